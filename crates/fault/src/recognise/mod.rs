//! Faults in what programs print: the tracebacks of Go, Java, Node, PHP, Python, Ruby and Rust.
//!
//! Pure: text in, value out. Which lines belong together is found by whoever reads the program's
//! output, such as `mainstay_log::Joiner`; noise between them, colours, prefixes of containers and
//! missing ends are put up with here. Each language has a module that knows its ways.

mod go;
mod java;
mod node;
mod php;
mod python;
mod ruby;
mod rust;
mod scan;

use std::fmt;

use mainstay_base::shape;

use crate::class::Class;
use crate::fault::{Fault, Frame};
use crate::redact::{cut, redact};
use crate::verdict::Verdict;

/// How much of a text is looked at.
const TEXT_BYTES: usize = 64 * 1024;
/// How many lines of it, and how much of each.
const LINES: usize = 2000;
const LINE_BYTES: usize = 2048;
/// What is kept of a traceback.
const FRAMES: usize = 64;
const CAUSES: usize = 8;
const NAME_BYTES: usize = 256;
const MESSAGE_BYTES: usize = 1024;
/// How many frames make the fingerprint.
const TELLING: usize = 6;

/// A language whose tracebacks are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Language {
    /// Go.
    Go,
    /// Java, and what else runs on its machine.
    Java,
    /// JavaScript and TypeScript on Node.
    Node,
    /// PHP.
    Php,
    /// Python.
    Python,
    /// Ruby.
    Ruby,
    /// Rust.
    Rust,
}

impl Language {
    /// The name as its community writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Go => "Go",
            Self::Java => "Java",
            Self::Node => "Node.js",
            Self::Php => "PHP",
            Self::Python => "Python",
            Self::Ruby => "Ruby",
            Self::Rust => "Rust",
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An exception, or a panic.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Raised {
    /// Its type, as the language writes it; empty where the output does not show it.
    pub exception: String,
    /// The first line of its message; empty if it has none.
    pub message: String,
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exception = if self.exception.is_empty() {
            "an exception"
        } else {
            &self.exception
        };
        if self.message.is_empty() {
            f.write_str(exception)
        } else {
            write!(f, "{exception}: {}", self.message)
        }
    }
}

/// A step of a traceback.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    frame: Frame,
    /// Of the language, its runtime or a library, by where it lies.
    is_foreign: bool,
}

/// One exception with its steps, the innermost first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Block {
    raised: Raised,
    steps: Vec<Step>,
}

/// What a module of a language finds.
#[derive(Debug)]
struct Found {
    language: Language,
    /// The line it begins with.
    start: usize,
    /// What was told last in the program's own words, then its causes.
    blocks: Vec<Block>,
    /// The place is looked for in the causes first: what is around them only wraps them.
    root_first: bool,
    is_whole: bool,
}

/// A traceback in the output of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traceback {
    language: Language,
    raised: Raised,
    causes: Vec<Raised>,
    frames: Vec<Frame>,
    place: Option<Frame>,
    fingerprint: String,
    is_whole: bool,
}

impl Traceback {
    /// Whose way of telling it is.
    pub const fn language(&self) -> Language {
        self.language
    }

    /// The exception that was not caught. Secrets are struck out of its message.
    pub const fn raised(&self) -> &Raised {
        &self.raised
    }

    /// What caused it, or was being handled when it was raised: the nearest first.
    pub fn causes(&self) -> &[Raised] {
        &self.causes
    }

    /// The steps to it, the innermost first.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// The innermost step in the program's own code; without one, the innermost of all.
    pub const fn place(&self) -> Option<&Frame> {
        self.place.as_ref()
    }

    /// The same for tracebacks of one kind: the exceptions, and the steps in the program's own code
    /// without their lines, which move with each release. Where there are no steps, and for panics,
    /// which have no types, the message as far as it does not change from one time to the next.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Whether nothing of it seems to be missing.
    pub const fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// The fault that it tells of. A full disk and used up memory or descriptors are recognised by
    /// their words, whatever the language.
    pub fn into_fault(self) -> Fault {
        let class = self.class();
        let texts = std::iter::once(&self.raised)
            .chain(&self.causes)
            .map(Raised::to_string);
        let fault = Fault::build(Verdict::new(class), texts, self.place)
            .with_frames(self.frames)
            .with_fingerprint(self.fingerprint)
            .with("language", self.language);
        if self.is_whole {
            fault
        } else {
            fault.with("traceback", "not whole")
        }
    }

    fn class(&self) -> Class {
        let says = |words: &[&str]| {
            std::iter::once(&self.raised)
                .chain(&self.causes)
                .any(|raised| {
                    let text =
                        format!("{} {}", raised.exception, raised.message).to_ascii_lowercase();
                    words.iter().any(|word| text.contains(word))
                })
        };
        if says(&["no space left on device", "enospc", "disk quota exceeded"]) {
            Class::DiskFull
        } else if says(&[
            "too many open files",
            "outofmemoryerror",
            "out of memory",
            "cannot allocate memory",
            "memoryerror",
            "nomemoryerror",
            "allowed memory size",
            "resource temporarily unavailable",
        ]) {
            Class::Resources
        } else if matches!(self.language, Language::Go | Language::Rust) {
            Class::Panic
        } else {
            Class::Exception
        }
    }
}

/// Finds faults in the output of programs.
///
/// ```
/// use mainstay_fault::Recogniser;
///
/// let output = r#"
/// Traceback (most recent call last):
///   File "/srv/shop/app.py", line 12, in order
///     price = prices[sku]
/// KeyError: 'A-17'
/// "#;
/// let traceback = Recogniser::new().find(output).expect("a traceback");
/// assert_eq!(traceback.raised().to_string(), "KeyError: 'A-17'");
/// assert_eq!(traceback.place().unwrap().to_string(), "order (/srv/shop/app.py:12)");
/// assert_eq!(traceback.into_fault().class().name(), "exception");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Recogniser {
    own: Vec<String>,
}

impl Recogniser {
    /// One that tells the program's own code from that of others by where it lies.
    pub const fn new() -> Self {
        Self { own: Vec::new() }
    }

    /// Says where the program's own code is: the beginning of the paths of its files, or of the names
    /// of its functions (`com.example.`). Once this is said, nothing else is its own.
    #[must_use]
    pub fn own(mut self, prefix: impl Into<String>) -> Self {
        self.own.push(prefix.into());
        self
    }

    /// The first traceback in a text. Of a JSON object, the one in any of its strings.
    pub fn find(&self, text: &str) -> Option<Traceback> {
        let text = cut(text, TEXT_BYTES);
        if text.trim_start().starts_with('{')
            && let Ok(value) = serde_json::from_str(text)
        {
            return self.find_in(&value, 4);
        }
        self.find_in_lines(text)
    }

    /// [`Self::find`], as a fault.
    pub fn fault(&self, text: &str) -> Option<Fault> {
        self.find(text).map(Traceback::into_fault)
    }

    fn find_in(&self, value: &serde_json::Value, depth: usize) -> Option<Traceback> {
        use serde_json::Value;
        match value {
            Value::String(text) if text.contains('\n') => self.find_in_lines(text),
            Value::Object(object) if depth > 0 => object
                .values()
                .find_map(|value| self.find_in(value, depth - 1)),
            Value::Array(array) if depth > 0 => array
                .iter()
                .find_map(|value| self.find_in(value, depth - 1)),
            _ => None,
        }
    }

    fn find_in_lines(&self, text: &str) -> Option<Traceback> {
        let plain = scan::plain(text);
        let lines: Vec<&str> = plain
            .lines()
            .take(LINES)
            .map(|line| cut(line, LINE_BYTES))
            .collect();
        let lines = scan::without_prefix(lines);
        let modules = [
            python::find,
            java::find,
            node::find,
            go::find,
            ruby::find,
            rust::find,
            php::find,
        ];
        modules
            .iter()
            .filter_map(|find| find(&lines))
            .min_by_key(|found| found.start)
            .filter(|found| !found.was_asked_for())
            .map(|found| self.told(found))
    }

    fn is_own(&self, step: &Step) -> bool {
        if self.own.is_empty() {
            return !step.is_foreign;
        }
        self.own
            .iter()
            .any(|own| step.frame.file.starts_with(own) || step.frame.function.starts_with(own))
    }

    fn told(&self, found: Found) -> Traceback {
        let mut blocks = found.blocks;
        blocks.truncate(1 + CAUSES);
        for block in &mut blocks {
            block.steps.truncate(FRAMES);
            for Step { frame, .. } in &mut block.steps {
                frame.function = cut(&frame.function, NAME_BYTES).to_owned();
                frame.file = cut(&frame.file, NAME_BYTES).to_owned();
            }
        }
        let has_own = |block: &&Block| block.steps.iter().any(|step| self.is_own(step));
        let chosen = if found.root_first {
            blocks.iter().rev().find(has_own)
        } else {
            blocks.iter().find(has_own)
        };
        let steps = chosen.or_else(|| blocks.iter().find(|block| !block.steps.is_empty()));
        let steps = steps.map_or(&[][..], |block| &block.steps);
        let place = steps
            .iter()
            .find(|step| self.is_own(step))
            .or_else(|| steps.first());
        let place = place.map(|step| step.frame.clone());
        let frames = steps.iter().map(|step| step.frame.clone()).collect();

        let mut words = vec![found.language.name().to_owned()];
        words.extend(blocks.iter().map(|block| block.raised.exception.clone()));
        let own: Vec<&Step> = steps.iter().filter(|step| self.is_own(step)).collect();
        let telling = if own.is_empty() {
            steps.iter().collect()
        } else {
            own
        };
        let mut named: Vec<String> = telling
            .iter()
            .map(|step| scan::without_place(&step.frame))
            .collect();
        // A recursion is one step, however deep it went.
        named.dedup();
        named.truncate(TELLING);
        // A panic has no type that would tell one from another in the same function.
        let is_plain = matches!(found.language, Language::Go | Language::Rust);
        if named.is_empty() || is_plain {
            words.push(shape(
                blocks.first().map_or("", |block| &block.raised.message),
            ));
        }
        words.append(&mut named);

        let mut raised = blocks.into_iter().map(|block| Raised {
            exception: cut(&block.raised.exception, NAME_BYTES).to_owned(),
            message: redact(cut(&block.raised.message, MESSAGE_BYTES)),
        });
        Traceback {
            language: found.language,
            raised: raised.next().unwrap_or_default(),
            causes: raised.collect(),
            frames,
            place,
            fingerprint: mainstay_base::fingerprint(&words.join("\n")),
            is_whole: found.is_whole,
        }
    }
}

impl Found {
    /// Ended by a person or by itself, and not by a fault: Ctrl-C, `exit`.
    fn was_asked_for(&self) -> bool {
        self.blocks.first().is_some_and(|block| {
            matches!(
                block.raised.exception.as_str(),
                "KeyboardInterrupt" | "SystemExit" | "Interrupt" | "SignalException"
            )
        })
    }
}

#[cfg(test)]
mod tests;
