//! Formats in the verbs of seelog, compiled: `[%Level] %Date(2006-01-02) %Msg%n`.

use std::ops::Range;
use std::sync::Arc;

use mainstay_base::nearest;

use crate::format::{Escape, Format, LevelName, Op, Piece};
use crate::seelog::xml::{Fault, shown};
use crate::seelog::{DateLayout, Dialect, Options};

/// The format of what names none.
pub(super) const DEFAULT: &str = "%Ns [%Level] %Msg%n";

/// The layout of `%Date` without a parameter.
const DATE: &str = "2006-01-02";
/// The layout of `%Time`.
const TIME: &str = "15:04:05";

/// The predefined formats, without their prefix `std:`.
pub(super) const STANDARD: [(&str, &str); 11] = [
    (
        "xml-debug",
        "<time>%Ns</time><lev>%Lev</lev><msg>%Msg</msg><path>%RelFile</path><func>%Func</func>\
         <line>%Line</line>",
    ),
    (
        "xml-debug-short",
        "<t>%Ns</t><l>%l</l><m>%Msg</m><p>%RelFile</p><f>%Func</f>",
    ),
    ("xml", "<time>%Ns</time><lev>%Lev</lev><msg>%Msg</msg>"),
    ("xml-short", "<t>%Ns</t><l>%l</l><m>%Msg</m>"),
    (
        "json-debug",
        "{\"time\":%Ns,\"lev\":\"%Lev\",\"msg\":\"%Msg\",\"path\":\"%RelFile\",\
         \"func\":\"%Func\",\"line\":\"%Line\"}",
    ),
    (
        "json-debug-short",
        "{\"t\":%Ns,\"l\":\"%Lev\",\"m\":\"%Msg\",\"p\":\"%RelFile\",\"f\":\"%Func\"}",
    ),
    ("json", "{\"time\":%Ns,\"lev\":\"%Lev\",\"msg\":\"%Msg\"}"),
    ("json-short", "{\"t\":%Ns,\"l\":\"%Lev\",\"m\":\"%Msg\"}"),
    ("debug", "[%LEVEL] %RelFile:%Func.%Line %Date %Time %Msg%n"),
    ("debug-short", "[%LEVEL] %Date %Time %Msg%n"),
    ("fast", "%Ns %l %Msg%n"),
];

/// What begins the name of a predefined format.
pub(super) const PREFIX: &str = "std:";

/// The verbs without a parameter.
const PLAIN: [&str; 19] = [
    "Level",
    "Lev",
    "LEVEL",
    "LEV",
    "l",
    "Msg",
    "FullPath",
    "RelFile",
    "File",
    "Line",
    "Func",
    "FuncShort",
    "Time",
    "UTCTime",
    "Ns",
    "UTCNs",
    "n",
    "r",
    "t",
];

/// The verbs with one.
const PARAMETRISED: [&str; 3] = ["Date", "UTCDate", "EscM"];

/// The verbs that only we have. In seelog each is an error, so that no format of its changes.
const OURS: [&str; 3] = ["Target", "Fields", "Ctx"];

/// Whether seelog has a verb of this name.
pub(super) fn is_verb(name: &str) -> bool {
    PLAIN.contains(&name) || PARAMETRISED.contains(&name)
}

/// The verb without parameter that would be seen in `%name`, if there is one.
pub(super) fn hiding(name: &str) -> Option<&'static str> {
    longest(name, |prefix| {
        PLAIN.into_iter().find(|verb| *verb == prefix)
    })
}

/// Asks for ever shorter beginnings of `letters`, never for none of them.
fn longest<T>(letters: &str, mut find: impl FnMut(&str) -> Option<T>) -> Option<T> {
    letters
        .char_indices()
        .rev()
        .find_map(|(at, c)| find(&letters[..at + c.len_utf8()]))
}

/// A compiled format, and what of it will surprise.
pub(super) struct Compiled {
    pub(super) format: Format,
    /// Places within the text.
    pub(super) odd: Vec<Fault>,
}

/// Compiles a format of the user's.
pub(super) fn compile(text: &str, options: &Options<'_>) -> Result<Compiled, Fault> {
    Compiler::new(options, Escape::None).compile(text)
}

/// The predefined format of this name without `std:`.
pub(super) fn standard(name: &str, options: &Options<'_>) -> Option<Format> {
    let (name, text) = STANDARD.into_iter().find(|(known, _)| *known == name)?;
    let escape = match options.dialect {
        Dialect::Extended if name.starts_with("xml") => Escape::Xml,
        Dialect::Extended if name.starts_with("json") => Escape::Json,
        Dialect::Strict | Dialect::Extended => Escape::None,
    };
    Some(fixed(text, options, escape))
}

/// The format of what names none.
pub(super) fn default(options: &Options<'_>) -> Format {
    fixed(DEFAULT, options, Escape::None)
}

fn fixed(text: &str, options: &Options<'_>, escape: Escape) -> Format {
    match Compiler::new(options, escape).compile(text) {
        Ok(compiled) => compiled.format,
        // Each is compiled by a test.
        Err(fault) => unreachable!("the predefined format {text} is wrong: {fault:?}"),
    }
}

struct Compiler<'a> {
    options: &'a Options<'a>,
    escape: Escape,
    root: Arc<str>,
    ops: Vec<Op>,
    literal: String,
    odd: Vec<Fault>,
}

impl<'a> Compiler<'a> {
    fn new(options: &'a Options<'a>, escape: Escape) -> Self {
        let mut root = options.directory.to_owned();
        if !root.ends_with('/') {
            root.push('/');
        }
        Self {
            options,
            escape,
            root: root.into(),
            ops: Vec::new(),
            literal: String::new(),
            odd: Vec::new(),
        }
    }

    fn compile(mut self, text: &str) -> Result<Compiled, Fault> {
        let extended = self.options.dialect == Dialect::Extended;
        let mut at = 0;
        while let Some(c) = text[at..].chars().next() {
            let rest = &text[at..];
            if c == '%' {
                at += 1 + self.verb(text, at)?;
                continue;
            }
            // `\\n` is for who wants the two characters.
            let sequences = [
                ("\\\\n", "\\n"),
                ("\\\\t", "\\t"),
                ("\\n", "\n"),
                ("\\t", "\t"),
            ];
            let sequence = sequences
                .into_iter()
                .find(|(written, _)| extended && rest.starts_with(written));
            if let Some((written, meant)) = sequence {
                self.literal.push_str(meant);
                at += written.len();
            } else {
                self.literal.push(c);
                at += c.len_utf8();
            }
        }
        self.end_literal();
        Ok(Compiled {
            format: self.ops.into_iter().collect(),
            odd: self.odd,
        })
    }

    fn end_literal(&mut self) {
        if !self.literal.is_empty() {
            self.ops
                .push(Op::Literal(std::mem::take(&mut self.literal).into()));
        }
    }

    fn push(&mut self, op: Op) {
        self.end_literal();
        self.ops.push(op);
    }

    /// Compiles the verb behind the percent sign at `at`; gives its length without that.
    fn verb(&mut self, text: &str, at: usize) -> Result<usize, Fault> {
        let rest = &text[at + 1..];
        let Some(first) = rest.chars().next() else {
            return Err(
                Fault::new(at..at + 1, "`%` is the last character of the format")
                    .help("write %% for a percent sign"),
            );
        };
        if first == '%' {
            self.literal.push('%');
            return Ok(1);
        }
        let letters = &rest[..rest
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(rest.len())];
        if letters.is_empty() {
            let span = at..at + 1 + first.len_utf8();
            return Err(
                Fault::new(span, "there is no verb behind `%`").help("write %% for a percent sign")
            );
        }
        let plain = longest(letters, |verb| self.plain(verb).map(|op| (op, verb.len())));
        if let Some((op, length)) = plain {
            match op {
                Plain::Op(op) => self.push(op),
                Plain::Text(text) => self.literal.push_str(text),
            }
            if length == letters.len() && rest[length..].starts_with('(') {
                self.no_parameter(at, &rest[..length]);
            }
            return Ok(length);
        }
        let known =
            |verb: &str| PARAMETRISED.contains(&verb) || self.options.formatters.contains(verb);
        if let Some(verb) = longest(letters, |verb| {
            known(verb).then(|| rest[..verb.len()].to_owned())
        }) {
            return self.parametrised(rest, at, letters, &verb);
        }
        if self.options.dialect == Dialect::Extended
            && let Some(verb) = longest(letters, |verb| OURS.into_iter().find(|ours| *ours == verb))
        {
            self.push(match verb {
                "Target" => Op::Source,
                "Fields" => Op::Fields,
                _ => Op::Context,
            });
            return Ok(verb.len());
        }
        let span = at..at + 1 + letters.len();
        let names = PLAIN
            .into_iter()
            .chain(PARAMETRISED)
            .chain(OURS)
            .chain(self.options.formatters.names());
        let fault = Fault::new(
            span,
            format!("{} begins with no verb", shown(&format!("%{letters}"))),
        );
        let head: String = letters.chars().take(32).collect();
        Err(match nearest(&head, names) {
            Some(near) => fault.help(format!("did you mean `%{near}`?")),
            None => fault.help(format!(
                "verbs are %{}, %{}",
                PLAIN.join(" %"),
                PARAMETRISED.join(" %")
            )),
        })
    }

    fn no_parameter(&mut self, at: usize, verb: &str) {
        self.odd.push(
            Fault::new(
                at..at + 1 + verb.len(),
                format!("`%{verb}` takes no parameter: what is in parentheses is printed"),
            )
            .help(match verb {
                "Time" => "use %Date(15:04:05) for a layout of your own",
                "UTCTime" => "use %UTCDate(15:04:05) for a layout of your own",
                _ => "put a space before the parenthesis if that is meant",
            }),
        );
    }

    fn parametrised(
        &mut self,
        rest: &str,
        at: usize,
        letters: &str,
        verb: &str,
    ) -> Result<usize, Fault> {
        let after = &rest[verb.len()..];
        let mut parameter = None;
        if after.starts_with('(') && verb.len() == letters.len() {
            let Some(end) = after.find(')') else {
                let open = at + 1 + verb.len();
                return Err(Fault::new(open..open + 1, "`(` is not closed")
                    .help(format!("a parameter ends with `)`, as in %{verb}(…)")));
            };
            parameter = Some(&after[1..end]);
        }
        let length = verb.len() + parameter.map_or(0, |parameter| parameter.len() + 2);
        let span = at..at + 1 + length;
        let parameter = parameter.unwrap_or("");
        let op = match verb {
            "Date" => self.date(parameter, false, span),
            "UTCDate" => self.date(parameter, true, span),
            "EscM" if parameter.is_empty() => {
                self.odd.push(
                    Fault::new(span, "`%EscM` without a parameter prints WRONG_ESCAPE")
                        .help("%EscM(31) begins red, %EscM(0) ends it"),
                );
                Op::Literal("WRONG_ESCAPE".into())
            }
            "EscM" => Op::Literal(format!("\x1b[{parameter}m").into()),
            _ => match self.options.formatters.make(verb, parameter) {
                Some(custom) => Op::Custom(custom),
                // It was found under this name just now.
                None => Op::Literal("".into()),
            },
        };
        match op {
            Op::Literal(text) => self.literal.push_str(&text),
            op => self.push(op),
        }
        Ok(length)
    }

    fn date(&mut self, layout: &str, utc: bool, span: Range<usize>) -> Op {
        let layout = DateLayout::compile(if layout.is_empty() { DATE } else { layout });
        if !layout.shows_time() {
            self.odd.push(
                Fault::new(span, "the layout shows no part of the time")
                    .help("write how Mon Jan 2 15:04:05 2006 would look, as in 2006-01-02"),
            );
        }
        Op::Date(Arc::new(layout), utc)
    }

    fn plain(&self, verb: &str) -> Option<Plain> {
        let text = |piece| Op::Text(piece, self.escape);
        let time = |utc| Op::Date(Arc::new(DateLayout::compile(TIME)), utc);
        Some(Plain::Op(match verb {
            "Level" => Op::LevelName(LevelName::Word),
            "LEVEL" => Op::LevelName(LevelName::UpperWord),
            "Lev" => Op::LevelName(LevelName::Three),
            "LEV" => Op::LevelName(LevelName::UpperThree),
            "l" => Op::LevelName(LevelName::Letter),
            "Msg" => text(Piece::Message),
            "FullPath" => text(Piece::FullPath(Arc::clone(&self.root))),
            "RelFile" => text(Piece::RelativePath(Arc::clone(&self.root))),
            "File" => text(Piece::FileName),
            "Func" => text(Piece::Function),
            "FuncShort" => text(Piece::FunctionName),
            "Line" => Op::Line,
            "Time" => time(false),
            "UTCTime" => time(true),
            "Ns" | "UTCNs" => Op::Nanoseconds,
            "n" => return Some(Plain::Text("\n")),
            "r" => return Some(Plain::Text("\r")),
            "t" => return Some(Plain::Text("\t")),
            _ => return None,
        }))
    }
}

enum Plain {
    Op(Op),
    Text(&'static str),
}
