//! A config's tree as a list of leaves, and where one record goes and why.

use std::fmt;

use mainstay_base::Place;

use crate::explain::Words;
use crate::level::{Level, LevelSet};
use crate::seelog::{Config, FormatUse, Levels, Output, OutputKind, Receiver, RollWhen};

/// A receiver and all that is decided on the way to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf<'a> {
    /// The elements from `<outputs>` down to the receiver itself; a buffered one with what is in it.
    pub path: Vec<Step<'a>>,
    /// The levels that all filters on the way let through.
    pub levels: LevelSet,
    /// How records are written.
    pub format: &'a FormatUse,
    /// Where they are written.
    pub receiver: &'a Receiver,
    /// The receiver's element.
    pub place: &'a Place,
}

/// An element on the way to a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step<'a> {
    /// Its name.
    pub element: &'static str,
    /// Where it is.
    pub place: &'a Place,
    /// The levels it lets through, if it is a filter.
    pub filter: Option<&'a Levels>,
}

impl Config {
    /// Every receiver, in the order of the document. A record goes to each whose levels hold its
    /// own, after the [`gate`](Config::gate) let it through.
    pub fn leaves(&self) -> Vec<Leaf<'_>> {
        let mut leaves = Vec::new();
        let root = Step {
            element: "outputs",
            place: &self.outputs.place,
            filter: None,
        };
        descend(&self.outputs, LevelSet::ALL, &mut vec![root], &mut leaves);
        leaves
    }

    /// Where a record of this level from this function of this source file goes, and why.
    pub fn explain(&self, level: Level, function: &str, file: &str) -> Explanation<'_> {
        let gate = self.gate();
        let rule = gate.rule_at(function, file);
        let levels = match rule {
            Some(at) => &self.exceptions[at].levels,
            None => &self.levels,
        };
        let passed = levels.set.contains(level);
        let leaves = self
            .leaves()
            .into_iter()
            .map(|leaf| LeafVerdict {
                stopped: leaf
                    .path
                    .iter()
                    .filter_map(|step| step.filter)
                    .find(|filter| !filter.set.contains(level)),
                passed,
                leaf,
            })
            .collect();
        Explanation {
            level,
            function: function.to_owned(),
            file: file.to_owned(),
            decision: Decision {
                exception: rule,
                pattern: rule.map(|at| {
                    let exception = &self.exceptions[at];
                    (exception.function.as_str(), exception.file.as_str())
                }),
                place: rule.map_or(&levels.place, |at| &self.exceptions[at].place),
                levels: levels.set,
                passed,
            },
            leaves,
        }
    }
}

fn descend<'a>(
    output: &'a Output,
    levels: LevelSet,
    path: &mut Vec<Step<'a>>,
    leaves: &mut Vec<Leaf<'a>>,
) {
    let (levels, children) = match &output.kind {
        OutputKind::Splitter(children) => (levels, children),
        OutputKind::Filter(filter, children) => (levels.intersect(filter.set), children),
        OutputKind::Receiver(receiver) => {
            let mut path = path.clone();
            let mut inner = receiver;
            while let Receiver::Buffered(buffered) = inner {
                path.push(Step {
                    element: buffered.inner.element(),
                    place: &buffered.inner_place,
                    filter: None,
                });
                inner = &buffered.inner;
            }
            leaves.push(Leaf {
                path,
                levels,
                format: &output.format,
                receiver,
                place: &output.place,
            });
            return;
        }
    };
    for child in children {
        let (element, filter) = match &child.kind {
            OutputKind::Splitter(_) => ("splitter", None),
            OutputKind::Filter(levels, _) => ("filter", Some(levels)),
            OutputKind::Receiver(receiver) => (receiver.element(), None),
        };
        path.push(Step {
            element,
            place: &child.place,
            filter,
        });
        descend(child, levels, path, leaves);
        path.pop();
    }
}

/// Where one record goes, and why. Shown, it is a few lines for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation<'a> {
    /// The level that was asked about.
    pub level: Level,
    /// The function that was asked about.
    pub function: String,
    /// The source file that was asked about.
    pub file: String,
    /// Whether it gets to the outputs at all.
    pub decision: Decision<'a>,
    /// What becomes of it at each receiver, in the order of the document.
    pub leaves: Vec<LeafVerdict<'a>>,
}

/// What decided whether a record gets to the outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<'a> {
    /// The exception that counts, by its place in [`Config::exceptions`]; `None` for the levels of
    /// the root.
    pub exception: Option<usize>,
    /// Its patterns: of functions and of files.
    pub pattern: Option<(&'a str, &'a str)>,
    /// Where it is.
    pub place: &'a Place,
    /// The levels it lets through.
    pub levels: LevelSet,
    /// Whether the record is let through.
    pub passed: bool,
}

/// What becomes of a record at one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafVerdict<'a> {
    /// The receiver.
    pub leaf: Leaf<'a>,
    /// The first filter on the way that stops the record.
    pub stopped: Option<&'a Levels>,
    passed: bool,
}

impl LeafVerdict<'_> {
    /// Whether the record is written here.
    pub fn reached(&self) -> bool {
        self.passed && self.stopped.is_none()
    }
}

impl<'a> Explanation<'a> {
    /// The receivers that write the record.
    pub fn reached(&self) -> impl Iterator<Item = &Leaf<'a>> {
        self.leaves
            .iter()
            .filter(|verdict| verdict.reached())
            .map(|verdict| &verdict.leaf)
    }
}

/// A receiver in a few words: `file errors.log`.
struct Target<'a>(&'a Receiver);

impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Receiver::Console => f.write_str("console"),
            Receiver::File(file) => write!(f, "file {}", file.path.display()),
            Receiver::Rolling(rolling) => {
                write!(f, "rolling file {}", rolling.path.display())?;
                match &rolling.when {
                    RollWhen::Size { max: Some(max) } => write!(f, " by size, {max} bytes"),
                    RollWhen::Size { max: None } => f.write_str(", never rolled"),
                    RollWhen::Date { pattern, .. } => write!(f, " by date, {}", pattern.text()),
                }
            }
            Receiver::Buffered(buffered) => write!(f, "{}, buffered", Target(&buffered.inner)),
            Receiver::Conn(conn) => write!(f, "connection to {}:{}", conn.network, conn.address),
            Receiver::Smtp(smtp) => {
                write!(
                    f,
                    "mail to {} by {}:{}",
                    smtp.recipients.join(", "),
                    smtp.host,
                    smtp.port
                )
            }
            Receiver::Custom(custom) => write!(f, "receiver {} of the program", custom.name),
        }
    }
}

/// ```text
/// warn from main.Serve in src/main.rs
/// passes: exception funcpattern="main.*" filepattern="*" lets through info and above (seelog.xml:3:9)
///   reaches file errors.log, format std:debug (seelog.xml:8:13)
///     by outputs > filter > file
///   not     mail to ops@example.org by mx:25 (seelog.xml:11:13)
///     by outputs > filter > smtp: the filter lets through critical (seelog.xml:10:17)
/// ```
impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_nowhere = |text: &'_ str| {
            if text.is_empty() {
                "(not given)".to_owned()
            } else {
                text.to_owned()
            }
        };
        writeln!(
            f,
            "{} from {} in {}",
            self.level,
            or_nowhere(&self.function),
            or_nowhere(&self.file)
        )?;
        let decision = &self.decision;
        f.write_str(if decision.passed {
            "passes: "
        } else {
            "stopped: "
        })?;
        match decision.pattern {
            Some((function, file)) => write!(
                f,
                "exception funcpattern=\"{function}\" filepattern=\"{file}\" lets through"
            )?,
            None => f.write_str("no exception matches, <seelog> lets through")?,
        }
        write!(f, " {} ({})", Words(decision.levels), decision.place)?;
        for verdict in &self.leaves {
            let leaf = &verdict.leaf;
            let word = if verdict.reached() {
                "reaches"
            } else {
                "not    "
            };
            write!(f, "\n  {word} {}, ", Target(leaf.receiver))?;
            match &leaf.format.id {
                Some(id) => write!(f, "format {id}")?,
                None => f.write_str("the default format")?,
            }
            write!(f, " ({})\n    by ", leaf.place)?;
            for (index, step) in leaf.path.iter().enumerate() {
                f.write_str(if index > 0 { " > " } else { "" })?;
                f.write_str(step.element)?;
            }
            if let Some(filter) = verdict.stopped {
                write!(
                    f,
                    ": the filter lets through {} ({})",
                    Words(filter.set),
                    filter.place
                )?;
            }
        }
        Ok(())
    }
}
