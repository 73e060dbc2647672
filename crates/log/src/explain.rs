//! Where a record would go, and why: what a person asks who wonders why a line is not in a file.

use std::fmt;

use jiff::Timestamp;

use crate::level::{Level, LevelSet};
use crate::model::Config;
use crate::record::{Location, Record, Stream};
use crate::route::When;

/// What is asked about.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// The level; info if none is given.
    pub level: Option<Level>,
    /// The target, or the program's name; `app` if none is given.
    pub target: Option<String>,
    /// The function it is written in, by its full name.
    pub function: Option<String>,
    /// The source file it is written in.
    pub file: Option<String>,
    /// It is output of this program.
    pub program: Option<String>,
    /// It is written to this stream of the program.
    pub stream: Option<Stream>,
}

/// What becomes of a record. Shown, it is a few lines for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What stops it before any route is asked, if anything does.
    pub stopped: Option<String>,
    /// The routes in their order.
    pub routes: Vec<RouteAnswer>,
}

/// What a route does with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteAnswer {
    /// The route's name.
    pub name: String,
    /// Where it leads, as the config names sinks.
    pub to: Vec<String>,
    /// Why it does not take the record, if it does not.
    pub stopped: Option<String>,
}

impl Config {
    /// What becomes of such a record.
    pub fn explain(&self, question: &Question) -> Answer {
        let level = question.level.unwrap_or(Level::Info);
        let target = question.target.as_deref().or(question.program.as_deref());
        let target = target.unwrap_or("app");
        let mut record = Record::new(Timestamp::UNIX_EPOCH, level, target, "");
        if question.function.is_some() || question.file.is_some() {
            record = record.location(Some(Location {
                file: question.file.as_deref().unwrap_or(""),
                line: 1,
                function: question.function.as_deref(),
            }));
        }
        if let Some(program) = &question.program {
            record = record.program(program, question.stream.unwrap_or(Stream::Stdout));
        }
        let stopped = if self.levels.contains(level) {
            let gate = self.gate.as_ref().filter(|_| record.program.is_none());
            gate.filter(|gate| !gate.admits(&record)).map(|gate| {
                let levels = gate.levels_at(
                    question.function.as_deref().unwrap_or(target),
                    question.file.as_deref().unwrap_or(""),
                );
                format!(
                    "of this function and file only {} is let through",
                    Words(levels)
                )
            })
        } else {
            let levels = Words(self.levels);
            Some(format!("only {levels} is let through at all"))
        };
        let routes = self.routes.iter().map(|route| {
            let sinks = route.to.iter().filter_map(|id| self.sinks.get(id.0));
            RouteAnswer {
                name: route.name.clone(),
                to: sinks.map(ToString::to_string).collect(),
                stopped: why_not(&route.when, &record),
            }
        });
        Answer {
            stopped,
            routes: routes.collect(),
        }
    }
}

fn why_not(when: &When, record: &Record<'_>) -> Option<String> {
    if when.matches(record) {
        return None;
    }
    if !when.levels.contains(record.level) {
        return Some(format!("it takes {}", Words(when.levels)));
    }
    if !when.admits_origin(record.program, record.stream) {
        return Some(match (record.program, when.programs.is_empty()) {
            (Some(_), true) => {
                "it takes records of the process itself, not output of programs".into()
            }
            (None, false) => "it takes output of programs".into(),
            _ => "it takes output of other programs or of the other stream".into(),
        });
    }
    let target = when.target.as_deref().unwrap_or("any target");
    Some(format!("it takes {target} and what is below it"))
}

impl Answer {
    /// Whether any sink gets the record.
    pub fn reaches(&self) -> bool {
        self.stopped.is_none()
            && self
                .routes
                .iter()
                .any(|route| route.stopped.is_none() && !route.to.is_empty())
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stopped {
            None => f.write_str("passes the levels")?,
            Some(why) => write!(f, "stopped: {why}")?,
        }
        for route in &self.routes {
            let to = match route.to.as_slice() {
                [] => "nowhere".to_owned(),
                to => to.join(", "),
            };
            match (&self.stopped, &route.stopped) {
                (None, None) => write!(f, "\n  reaches {to} by route {}", route.name)?,
                (_, None) => write!(f, "\n  not     {to} by route {}", route.name)?,
                (_, Some(why)) => write!(f, "\n  not     {to} by route {}: {why}", route.name)?,
            }
        }
        Ok(())
    }
}

/// A set of levels in words: `warn and above`, `trace and error`, `nothing`.
pub(crate) struct Words(pub(crate) LevelSet);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(min) = self.0.min() else {
            return f.write_str("nothing");
        };
        if self.0 == LevelSet::ALL {
            return f.write_str("every level");
        }
        if self.0 == LevelSet::from(min) && min < Level::Critical {
            return write!(f, "{min} and above");
        }
        let levels = Level::ALL.into_iter();
        let levels = levels.filter(|level| self.0.contains(*level));
        let names: Vec<&str> = levels.map(Level::name).collect();
        match names.as_slice() {
            [most @ .., last] if !most.is_empty() => write!(f, "{} and {last}", most.join(", ")),
            names => f.write_str(&names.concat()),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::format::Format;
    use crate::model::SinkKind;
    use crate::seelog::{Gate, Rule};
    use mainstay_base::Pattern;

    #[test]
    fn what_becomes_of_records() {
        let mut config = Config::new("/logs", TimeZone::UTC);
        config.levels = LevelSet::from(Level::Debug);
        config.gate = Some(Gate::new(
            LevelSet::from(Level::Info),
            [Rule {
                function: Pattern::new("app::db::*"),
                file: Pattern::new("*"),
                levels: LevelSet::from(Level::Error),
            }],
        ));
        let file = |name: &str| SinkKind::File { path: name.into() };
        config.route("all", When::default(), file("all.log"), Format::text());
        let when = When {
            levels: LevelSet::from(Level::Warn),
            target: Some("api".into()),
            ..When::default()
        };
        config.route("api", when, file("api.log"), Format::text());
        let when = When {
            programs: vec![Pattern::new("web")],
            ..When::default()
        };
        config.route("web", when, file("web.log"), Format::text());
        let ask = |question: Question| config.explain(&question).to_string();
        assert_eq!(
            ask(Question {
                level: Some(Level::Warn),
                target: Some("api::db".into()),
                ..Question::default()
            }),
            "passes the levels\n  reaches file:all.log by route all\n  reaches file:api.log by route api\n  \
             not     file:web.log by route web: it takes output of programs"
        );
        assert_eq!(
            ask(Question {
                level: Some(Level::Trace),
                ..Question::default()
            })
            .lines()
            .next(),
            Some("stopped: only debug and above is let through at all")
        );
        let in_db = config.explain(&Question {
            level: Some(Level::Warn),
            function: Some("app::db::get".into()),
            ..Question::default()
        });
        assert_eq!(
            in_db.stopped.as_deref(),
            Some("of this function and file only error and above is let through")
        );
        assert!(!in_db.reaches());
        let of_web = config.explain(&Question {
            program: Some("web".into()),
            ..Question::default()
        });
        let reached: Vec<&str> = of_web
            .routes
            .iter()
            .filter(|route| route.stopped.is_none())
            .map(|route| route.name.as_str())
            .collect();
        assert_eq!(reached, ["web"]);
    }
}
