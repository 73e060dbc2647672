//! Which records pass the levels and exceptions of a config.

use crate::level::{Level, LevelSet};
use crate::record::Record;
use crate::seelog::Config;
use mainstay_base::Pattern;

/// The general levels and the exceptions from them, ready to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    general: LevelSet,
    rules: Box<[Rule]>,
    possible: LevelSet,
}

/// An exception.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The functions it is about, by full name.
    pub function: Pattern,
    /// The source files it is about, by path.
    pub file: Pattern,
    /// The levels let through instead of the general ones.
    pub levels: LevelSet,
}

impl Gate {
    /// A gate that lets `general` through but where a rule says otherwise; the first that matches
    /// counts.
    pub fn new(general: LevelSet, rules: impl IntoIterator<Item = Rule>) -> Self {
        let rules: Box<[Rule]> = rules.into_iter().collect();
        let possible = rules
            .iter()
            .fold(general, |all, rule| all.union(rule.levels));
        Self {
            general,
            rules,
            possible,
        }
    }

    /// The levels that can pass somewhere. What is not among them need not be looked at further.
    pub fn possible(&self) -> LevelSet {
        self.possible
    }

    /// The levels that pass where no exception is asked.
    pub fn general(&self) -> LevelSet {
        self.general
    }

    /// Whether there is any exception, and so any need to know where a record was made.
    pub fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// The levels that pass for records made in this function of this source file. It holds for as
    /// long as the gate does, so that it can be kept for each place in the code.
    pub fn levels_at(&self, function: &str, file: &str) -> LevelSet {
        self.rule_at(function, file)
            .map_or(self.general, |at| self.rules[at].levels)
    }

    /// Whether a record of this level from this function of this source file passes.
    pub fn allows(&self, level: Level, function: &str, file: &str) -> bool {
        self.possible.contains(level) && self.levels_at(function, file).contains(level)
    }

    /// Whether this record passes. One whose place in the code is not known meets no exception, as
    /// in seelog; one whose function is not known is matched by its target.
    pub fn admits(&self, record: &Record<'_>) -> bool {
        match record.location {
            _ if !self.possible.contains(record.level) => false,
            Some(location) => {
                let function = location.function.unwrap_or(record.target);
                self.levels_at(function, location.file)
                    .contains(record.level)
            }
            None => self.general.contains(record.level),
        }
    }

    /// The place of the first rule that is about this function and file.
    pub(super) fn rule_at(&self, function: &str, file: &str) -> Option<usize> {
        self.rules
            .iter()
            .position(|rule| rule.function.matches(function) && rule.file.matches(file))
    }
}

impl Config {
    /// The gate that its levels and exceptions make.
    pub fn gate(&self) -> Gate {
        Gate::new(
            self.levels.set,
            self.exceptions.iter().map(|exception| Rule {
                function: exception.function.clone(),
                file: exception.file.clone(),
                levels: exception.levels.set,
            }),
        )
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::record::Location;

    #[test]
    fn a_record_without_a_place_meets_no_exception() {
        let rule = |function: &str, levels| Rule {
            function: Pattern::new(function),
            file: Pattern::new("*"),
            levels,
        };
        let gate = Gate::new(
            LevelSet::from(Level::Warn),
            [
                rule("api::*", LevelSet::ALL),
                rule("*", LevelSet::from(Level::Error)),
            ],
        );
        assert_eq!(gate.possible(), LevelSet::ALL);
        let location = |function| {
            Some(Location {
                file: "src/api.rs",
                line: 1,
                function,
            })
        };
        let table = [
            (Level::Warn, None, true),
            (Level::Info, None, false),
            (Level::Trace, location(Some("api::get")), true),
            (Level::Warn, location(Some("web::get")), false),
            // The target stands in for the function.
            (Level::Trace, location(None), true),
        ];
        for (level, location, expected) in table {
            let record =
                Record::new(Timestamp::UNIX_EPOCH, level, "api::x", "m").location(location);
            assert_eq!(gate.admits(&record), expected, "{level} {location:?}");
        }
        let closed = Gate::new(LevelSet::from(Level::Warn), []);
        assert!(!closed.possible().contains(Level::Info) && !closed.has_rules());
    }
}
