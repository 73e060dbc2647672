//! Which records a route takes: the deciding part, pure.

use mainstay_base::Pattern;

use crate::level::{Level, LevelSet};
use crate::record::{Record, Stream};

/// What a record must be like for a route to take it. Every condition that is given must hold.
///
/// A route that names no program takes only the daemon's own records: what programs print is in
/// their own files already, and would otherwise drown the daemon's log. `program = "*"` takes the
/// output of all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct When {
    /// The levels let through.
    pub levels: LevelSet,
    /// The target itself or a path it starts with: `api::db` takes `api::db::pool` and not
    /// `api::dbx`.
    pub target: Option<String>,
    /// The programs whose output is taken; empty for the daemon's own records.
    pub programs: Vec<Pattern>,
    /// Only this stream of those programs.
    pub stream: Option<Stream>,
}

impl When {
    /// Whether the route takes this record.
    pub fn matches(&self, record: &Record<'_>) -> bool {
        self.admits(record.level, record.target, record.program, record.stream)
    }

    /// The same for the parts of a record that routes look at, so that it can be asked before a
    /// record is made.
    pub fn admits(
        &self,
        level: Level,
        target: &str,
        program: Option<&str>,
        stream: Option<Stream>,
    ) -> bool {
        self.levels.contains(level)
            && self
                .target
                .as_deref()
                .is_none_or(|prefix| is_within(target, prefix))
            && self.admits_origin(program, stream)
    }

    /// Whether any record of this origin could be taken, whatever its level and target.
    pub fn admits_origin(&self, program: Option<&str>, stream: Option<Stream>) -> bool {
        let program_fits = match program {
            None => self.programs.is_empty(),
            // A program of several instances is meant by its name, one of them by `web:1`.
            Some(process) => {
                let program = process
                    .split_once(':')
                    .map_or(process, |(program, _)| program);
                let meant = |p: &Pattern| p.matches(process) || p.matches(program);
                self.programs.iter().any(meant)
            }
        };
        program_fits && (self.stream.is_none() || self.stream == stream)
    }
}

/// Whether `target` is `prefix` or lies below it as a Rust path.
pub(crate) fn is_within(target: &str, prefix: &str) -> bool {
    target
        .strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Case<'a> = (When, Level, &'a str, Option<(&'a str, Stream)>, bool);

    fn when(levels: LevelSet, target: &str, programs: &[&str], stream: Option<Stream>) -> When {
        When {
            levels,
            target: (!target.is_empty()).then(|| target.to_owned()),
            programs: programs.iter().map(|p| Pattern::new(*p)).collect(),
            stream,
        }
    }

    #[test]
    fn table() {
        use Stream::{Stderr, Stdout};
        let all = LevelSet::ALL;
        let warn = LevelSet::from(Level::Warn);
        let holes: LevelSet = [Level::Trace, Level::Error].into_iter().collect();
        let table: Vec<Case<'_>> = vec![
            (When::default(), Level::Trace, "a", None, true),
            // A program of several instances.
            (
                when(all, "", &["web"], None),
                Level::Info,
                "a",
                Some(("web:1", Stdout)),
                true,
            ),
            (
                when(all, "", &["web:1"], None),
                Level::Info,
                "a",
                Some(("web:1", Stdout)),
                true,
            ),
            (
                when(all, "", &["web:0"], None),
                Level::Info,
                "a",
                Some(("web:1", Stdout)),
                false,
            ),
            (
                when(all, "", &["web"], None),
                Level::Info,
                "a",
                Some(("web2:1", Stdout)),
                false,
            ),
            // Levels.
            (when(warn, "", &[], None), Level::Info, "a", None, false),
            (when(warn, "", &[], None), Level::Warn, "a", None, true),
            (when(warn, "", &[], None), Level::Critical, "a", None, true),
            (when(holes, "", &[], None), Level::Trace, "a", None, true),
            (when(holes, "", &[], None), Level::Warn, "a", None, false),
            (when(holes, "", &[], None), Level::Error, "a", None, true),
            (
                when(LevelSet::NONE, "", &[], None),
                Level::Critical,
                "a",
                None,
                false,
            ),
            // Targets.
            (
                when(all, "api::db", &[], None),
                Level::Info,
                "api::db",
                None,
                true,
            ),
            (
                when(all, "api::db", &[], None),
                Level::Info,
                "api::db::pool",
                None,
                true,
            ),
            (
                when(all, "api::db", &[], None),
                Level::Info,
                "api::dbx",
                None,
                false,
            ),
            (
                when(all, "api::db", &[], None),
                Level::Info,
                "api",
                None,
                false,
            ),
            // Programs.
            (
                When::default(),
                Level::Info,
                "web",
                Some(("web", Stdout)),
                false,
            ),
            (
                when(all, "", &["web"], None),
                Level::Info,
                "web",
                Some(("web", Stdout)),
                true,
            ),
            (
                when(all, "", &["web"], None),
                Level::Info,
                "web",
                Some(("web2", Stdout)),
                false,
            ),
            (
                when(all, "", &["web"], None),
                Level::Info,
                "web",
                None,
                false,
            ),
            (
                when(all, "", &["db", "w*"], None),
                Level::Info,
                "x",
                Some(("web2", Stderr)),
                true,
            ),
            (
                when(all, "", &["*"], None),
                Level::Info,
                "x",
                Some(("any", Stderr)),
                true,
            ),
            // Streams.
            (
                when(all, "", &["*"], Some(Stderr)),
                Level::Info,
                "x",
                Some(("any", Stderr)),
                true,
            ),
            (
                when(all, "", &["*"], Some(Stderr)),
                Level::Info,
                "x",
                Some(("any", Stdout)),
                false,
            ),
            (
                when(all, "", &[], Some(Stderr)),
                Level::Info,
                "x",
                None,
                false,
            ),
        ];
        for (when, level, target, origin, expected) in table {
            let mut record = Record::new(jiff::Timestamp::UNIX_EPOCH, level, target, "m");
            if let Some((program, stream)) = origin {
                record = record.program(program, stream);
            }
            assert_eq!(when.matches(&record), expected, "{when:?} {record:?}");
        }
    }
}
