//! `drill = { … }` of a backup.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use mainstay_base::config::Section;
use mainstay_base::{Diagnostic, Schedule};

use super::{SourceConfig, read_path};

/// How a backup is drilled.
#[derive(Debug, Clone, Default)]
pub struct DrillConfig {
    /// When it is drilled by itself; never when absent.
    pub at: Option<Schedule>,
    /// How old the last proven restore may be before it is told. When absent, the second time of the
    /// schedule that passes without one is.
    pub max_age: Option<Duration>,
    /// The program of the scratch server, where it is none that is found by its usual name.
    pub program: Option<PathBuf>,
    /// What else must hold of what was restored.
    pub assertions: Vec<Assertion>,
}

/// Something that must hold of what was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assertion {
    /// A database answers this to a query.
    Query {
        /// A statement of SQL, or a command of Redis as words.
        query: String,
        /// The answer: cells are parted by a tab, rows by a new line.
        is: String,
    },
    /// This path exists, relative to the directory that was backed up.
    Path(PathBuf),
    /// This program ends with exit code 0. It is started in the scratch directory, by no shell.
    Command {
        /// The program, absolute, and its arguments.
        words: Vec<String>,
        /// What it must print, where that matters.
        is: Option<String>,
    },
}

/// Reads the section.
pub(super) fn read(
    mut section: Section<'_>,
    source: Option<&SourceConfig>,
    zone: &TimeZone,
) -> DrillConfig {
    let kind = source.map(SourceConfig::kind);
    let at = section
        .get::<Schedule>("at")
        .map(|schedule| schedule.in_zone(zone.clone()));
    let max_age = section.get::<Duration>("max_age");
    if max_age.is_some_and(|age| age.is_zero())
        && let Some(value) = section.value("max_age")
    {
        section.report(value.error("nothing is ever so young"));
    }
    let program = read_path(&mut section, "program", false);
    if let (Some(_), Some(kind @ ("files" | "sqlite"))) = (&program, kind)
        && let Some(value) = section.value("program")
    {
        section.report(value.error(format!("a drill of `{kind}` starts no server")));
    }
    let mut assertions = Vec::new();
    if let Some(value) = section.value("assert") {
        match value.as_array() {
            Ok(items) => {
                for item in &items {
                    match item.as_section() {
                        Ok(part) => assertions.extend(read_assertion(part, kind)),
                        Err(diagnostic) => section.report(diagnostic.help(FORMS)),
                    }
                }
            }
            Err(diagnostic) => section.report(diagnostic),
        }
    }
    section.finish();
    DrillConfig {
        at,
        max_age,
        program,
        assertions,
    }
}

const FORMS: &str = "write `{ query = \"…\", is = \"…\" }`, `{ path = \"…\" }` or `{ command = [\"/path/to/program\", \"…\"] }`";

fn read_assertion(mut section: Section<'_>, kind: Option<&str>) -> Option<Assertion> {
    let whole = section.path().to_owned();
    let query = section.get::<String>("query");
    let path = section.get::<String>("path").map(PathBuf::from);
    let command = section.get::<Vec<String>>("command");
    let is = section.get::<String>("is");
    let refuse = |section: &Section<'_>, why: String, help: &str| {
        section.report(Diagnostic::error(why).at(section.place()).help(help));
        None
    };
    let named = ["query", "path", "command"]
        .iter()
        .filter(|key| section.value(key).is_some())
        .count();
    let read = if named != 1 {
        let why = format!("`{whole}` must have one of `query`, `path` and `command`");
        refuse(&section, why, FORMS)
    } else if let Some(query) = query {
        match (kind, is) {
            (Some("files"), _) => refuse(
                &section,
                "files answer no query".to_owned(),
                "name a `path` that must exist, or a `command`",
            ),
            (_, None) => refuse(
                &section,
                format!("`{whole}.is` is missing"),
                "say what the query must answer: `is = \"1\"`",
            ),
            (_, Some(is)) => Some(Assertion::Query { query, is }),
        }
    } else if let Some(path) = path {
        let inside = (path.components()).all(|part| matches!(part, Component::Normal(_)));
        match kind {
            Some("files") | None if inside && is.is_none() => Some(Assertion::Path(path)),
            Some("files") | None if !inside => refuse(
                &section,
                format!("`{whole}.path` is not a path below what is backed up"),
                "give it relative to `files.path`, without `..`",
            ),
            Some("files") | None => refuse(
                &section,
                format!("`{whole}.is` belongs to a query or a command"),
                "a path must exist, that is all",
            ),
            Some(kind) => refuse(
                &section,
                format!("a drill of `{kind}` has no paths"),
                "ask it something: `{ query = \"…\", is = \"…\" }`",
            ),
        }
    } else if let Some(command) = command {
        if command
            .first()
            .is_some_and(|program| Path::new(program).is_absolute())
        {
            Some(Assertion::Command { words: command, is })
        } else {
            refuse(
                &section,
                format!("`{whole}.command` must begin with an absolute path"),
                "it is started by no shell, and searched for nowhere: `command = [\"/usr/bin/test\", \"-s\", \"index.html\"]`",
            )
        }
    } else {
        None
    };
    section.finish();
    read
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use mainstay_base::config::Document;

    /// The drill of a backup of this source, and what is said.
    fn read(source: &str, drill: &str) -> (Option<DrillConfig>, String) {
        let text = format!(
            "[repository.local]\npath = \"/backup\"\npassword = \"${{secret.r}}\"\n[backup.x]\n{source}\nto = [\"local\"]\ndrill = {{ {drill} }}\n"
        );
        let document = Document::parse("/etc/mainstay.toml", text).unwrap();
        let mut root = document.root();
        let config = Config::read(&mut root, "shop1", &TimeZone::UTC);
        root.finish();
        let drill = config.backup("x").and_then(|backup| backup.drill.clone());
        (drill, document.take_diagnostics().to_string())
    }

    const FILES: &str = "files = { path = \"/srv\" }";
    const SQLITE: &str = "sqlite = { path = \"/srv/db\" }";
    const REDIS: &str = "redis = { address = \"db1\" }";

    #[test]
    fn what_is_asserted_is_read() {
        let (drill, said) = read(
            SQLITE,
            "at = \"0 5 * * 0\", max_age = \"8d\", assert = [{ query = \"SELECT 1\", is = \"1\" }, { command = [\"/bin/true\"] }]",
        );
        assert_eq!(said, "");
        let drill = drill.unwrap();
        assert_eq!(drill.max_age, Some(Duration::from_hours(8 * 24)));
        assert_eq!(drill.at.unwrap().to_string(), "0 5 * * 0");
        assert_eq!(
            drill.assertions,
            [
                Assertion::Query {
                    query: "SELECT 1".to_owned(),
                    is: "1".to_owned()
                },
                Assertion::Command {
                    words: vec!["/bin/true".to_owned()],
                    is: None
                }
            ]
        );
        let (drill, said) = read(FILES, "assert = [{ path = \"a/b\" }]");
        assert_eq!(said, "");
        assert_eq!(drill.unwrap().assertions, [Assertion::Path("a/b".into())]);
        let (drill, said) = read(REDIS, "program = \"/opt/redis/bin/redis-server\"");
        assert_eq!(said, "");
        assert!(drill.unwrap().program.is_some());
    }

    #[test]
    fn mistakes_are_told_with_what_to_write() {
        for (source, drill, expected) in [
            (
                FILES,
                "assert = [{ query = \"x\", is = \"\" }]",
                "files answer no query",
            ),
            (
                SQLITE,
                "assert = [{ query = \"SELECT 1\" }]",
                ".is` is missing",
            ),
            (
                SQLITE,
                "assert = [{ path = \"a\" }]",
                "a drill of `sqlite` has no paths",
            ),
            (
                FILES,
                "assert = [{ path = \"../a\" }]",
                "is not a path below",
            ),
            (FILES, "assert = [{ path = \"/a\" }]", "is not a path below"),
            (
                FILES,
                "assert = [{ path = \"a\", is = \"b\" }]",
                "belongs to a query",
            ),
            (
                FILES,
                "assert = [{ command = [\"true\"] }]",
                "must begin with an absolute path",
            ),
            (
                FILES,
                "assert = [{ command = [] }]",
                "must begin with an absolute path",
            ),
            (
                FILES,
                "assert = [{ is = \"b\" }]",
                "must have one of `query`, `path` and `command`",
            ),
            (
                FILES,
                "assert = [{ path = \"a\", command = [\"/bin/true\"] }]",
                "must have one of",
            ),
            (FILES, "assert = [\"a\"]", "must be a table"),
            (FILES, "assert = [{ pth = \"a\" }]", "did you mean `path`?"),
            (FILES, "program = \"/usr/bin/x\"", "starts no server"),
            (FILES, "max_age = \"0s\"", "nothing is ever so young"),
            (FILES, "max_agee = \"1d\"", "did you mean `max_age`?"),
        ] {
            let (_, said) = read(source, drill);
            assert!(said.contains(expected), "{drill}: {said}");
            assert!(said.contains("/etc/mainstay.toml:"), "{said}");
        }
    }
}
