//! What the documents say about the config is what the binary does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use compliance::{Outcome, Sandbox, binary};

/// What a fragment stands in: the least config there is.
const FRAME: &str = "schema = 1\n[program.dummy]\ncommand = \"sleep 1\"\n";

/// A value of a kind that no key takes.
const NO_KEY_TAKES: &str = "1979-05-27";

/// A key that is near to none.
const UNKNOWN: &str = "qqqqqqqq";

/// Tables whose keys are names that people choose.
const NAMED: [&str; 8] = [
    "alert.to",
    "secret",
    "program",
    "repository",
    "backup",
    "log.route",
    "log.sink",
    "program.NAME.env",
];

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(project(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The fenced blocks of a document: the line each begins at, what stands behind the fence, the text.
fn blocks(document: &str) -> Vec<(usize, String, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String, String)> = None;
    for (number, line) in document.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(info)) => {
                open = Some((number + 1, info.trim().to_owned(), String::new()));
            }
            (Some(_), Some("")) => blocks.extend(open.take()),
            (Some((.., text)), _) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed: {open:?}");
    blocks
}

/// What `mainstay check` says of a config.
fn check(sandbox: &Sandbox, config: &str) -> Outcome {
    sandbox.config(config);
    sandbox.run(&["check"])
}

/// Nothing is wrong with it, and nothing doubtful but what this host does not have.
fn assert_good(outcome: &Outcome, which: &str) {
    assert_eq!(outcome.code, 0, "{which}: {}", outcome.err);
    // What is doubtful about the text has a place in it; what this host does not have has none.
    let doubtful = outcome
        .err
        .lines()
        .find(|line| line.contains(": warning: "));
    assert_eq!(doubtful, None, "{which}: {}", outcome.err);
}

#[test]
fn every_config_in_the_documents_is_as_good_as_it_says() {
    let sandbox = Sandbox::new("");
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for path in ["README.md", "docs/backup.md", "docs/config.md"] {
        for (line, info, text) in blocks(&read(path)) {
            let good = match info.as_str() {
                "toml" => check(&sandbox, &text),
                "toml fragment" => check(&sandbox, &format!("{FRAME}{text}")),
                "toml refused" => {
                    let said = text
                        .lines()
                        .next()
                        .and_then(|first| first.strip_prefix("# says: "))
                        .unwrap_or_else(|| panic!("{path}:{line}: begins with `# says: …`"));
                    let outcome = check(&sandbox, &format!("{FRAME}{text}"));
                    assert_eq!(outcome.code, 2, "{path}:{line}: {outcome:?}");
                    assert!(outcome.err.contains(said), "{path}:{line}: {}", outcome.err);
                    *seen.entry(info).or_default() += 1;
                    continue;
                }
                other => {
                    assert!(!other.starts_with("toml"), "{path}:{line}: `{other}`?");
                    continue;
                }
            };
            assert_good(&good, &format!("{path}:{line}"));
            *seen.entry(info).or_default() += 1;
        }
    }
    for kind in ["toml", "toml fragment", "toml refused"] {
        assert!(seen.contains_key(kind), "no block is `{kind}`: {seen:?}");
    }
}

#[test]
fn the_configs_of_the_shop_are_good() {
    let sandbox = Sandbox::new("");
    let mut seen = 0;
    for entry in std::fs::read_dir(project("examples/shop")).unwrap() {
        let path = entry.unwrap().path();
        let is_config = path.extension().is_some_and(|e| e == "toml")
            && path.file_name().is_some_and(|n| n != "Cargo.toml");
        if is_config {
            let outcome = check(&sandbox, &std::fs::read_to_string(&path).unwrap());
            assert_good(&outcome, &path.display().to_string());
            seen += 1;
        }
    }
    assert!(seen >= 2, "the Rust shop and its Python twin");
}

/// The dotted paths of the keys in the tables of `docs/config.md`: those that work, and those that
/// are planned. `NAME` stands where people choose.
fn documented() -> (BTreeSet<String>, BTreeSet<String>) {
    let text = read("docs/config.md");
    let (mut works, mut planned) = (BTreeSet::new(), BTreeSet::new());
    let mut section = None;
    let mut columns = String::new();
    let mut previous = "";
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = section_of(heading);
        }
        if line.starts_with("|---") {
            previous.clone_into(&mut columns);
        } else if line.starts_with('|') && previous.starts_with('|') {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            match columns.as_str() {
                "| key | form | default | meaning |" => {
                    let section = section.as_deref().expect("a table of keys has a section");
                    works.extend(quoted(cells[1]).map(|key| join(section, key)));
                }
                "| section | keys |" => {
                    let name = cells[1].trim_matches('`');
                    let section = section_of(name).or_else(|| section_of(cells[1])).unwrap();
                    planned.extend(quoted(cells[2]).map(|key| join(&section, key)));
                }
                _ => {}
            }
        } else if !line.starts_with('|') {
            columns.clear();
        }
        previous = line;
    }
    (works, planned)
}

/// The dotted path of the section that a heading is about.
fn section_of(heading: &str) -> Option<String> {
    if heading.eq_ignore_ascii_case("top level") {
        return Some(String::new());
    }
    let name = heading.trim_matches('`').strip_prefix('[')?;
    Some(name.strip_suffix(']')?.to_owned())
}

/// The words in backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

fn join(section: &str, key: &str) -> String {
    if section.is_empty() {
        key.to_owned()
    } else {
        format!("{section}.{key}")
    }
}

/// A config in which the key with this path has this value.
fn with(path: &str, value: &str) -> String {
    match path.rsplit_once('.') {
        _ if path == "schema" => format!("schema = {value}\n"),
        Some((table, key)) => format!("schema = 1\n[{table}]\n{key} = {value}\n"),
        None => format!("schema = 1\n{path} = {value}\n"),
    }
}

#[test]
fn every_documented_key_is_read() {
    let (works, planned) = documented();
    assert!(works.len() > 80 && planned.len() > 20, "{works:?}");
    let sandbox = Sandbox::new("");
    for path in &works {
        // A key that is read is told that it is of another kind; one that is not, that it is unknown.
        let outcome = check(&sandbox, &with(path, NO_KEY_TAKES));
        assert_eq!(outcome.code, 2, "{path}: {outcome:?}");
        let is_read = outcome.err.contains(&format!("`{path}` must be "))
            && outcome.err.contains(", not a date")
            && !outcome.err.contains("unknown key");
        assert!(is_read, "{path}: {}", outcome.err);
    }
    for path in &planned {
        let outcome = check(&sandbox, &with(path, NO_KEY_TAKES));
        let refused = outcome.err.contains(&format!("`{path}` does not work yet"));
        assert!(outcome.code == 2 && refused, "{path}: {}", outcome.err);
    }
}

#[test]
fn every_key_that_is_read_is_documented() {
    let (works, planned) = documented();
    // Every table, and the keys that the documents give it.
    let mut tables: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in works.union(&planned) {
        let mut path = path.as_str();
        loop {
            let (table, key) = path.rsplit_once('.').unwrap_or(("", path));
            tables
                .entry(table.to_owned())
                .or_default()
                .insert(key.to_owned());
            if table.is_empty() {
                break;
            }
            path = table;
        }
    }
    let sandbox = Sandbox::new("");
    for (table, documented) in &tables {
        if NAMED.contains(&table.as_str()) {
            continue;
        }
        let outcome = check(&sandbox, &with(&join(table, UNKNOWN), "1"));
        let known: BTreeSet<String> = outcome
            .err
            .split_once("known here: ")
            .unwrap_or_else(|| panic!("[{table}]: {}", outcome.err))
            .1
            .lines()
            .next()
            .unwrap_or_default()
            .split(", ")
            .map(str::to_owned)
            .collect();
        assert_eq!(&known, documented, "[{table}]");
    }
}

#[test]
fn every_documented_key_is_in_the_config_that_has_every_key_once() {
    let text = read("docs/config.md");
    let (_, last) = text.split_once("## Every key once").unwrap();
    let (_, _, config) = blocks(last).remove(0);
    let words: BTreeSet<&str> = config
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .collect();
    for path in documented().0 {
        let key = path.rsplit('.').next().unwrap_or_default();
        assert!(words.contains(key), "{path} is not in it");
    }
}

#[test]
fn the_documented_exit_codes_are_those_of_the_help() {
    let text = read("docs/config.md");
    let help = std::process::Command::new(binary("mainstay"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, codes) = help.split_once("Exit codes:\n").unwrap();
    let rows: Vec<String> = codes
        .lines()
        .filter_map(|line| line.trim().split_once("  "))
        .map(|(code, meaning)| format!("| {code} | {meaning} |"))
        .collect();
    assert!(rows.len() >= 10, "{help}");
    for row in rows {
        assert!(text.contains(&row), "{row} is not in docs/config.md");
    }
}
