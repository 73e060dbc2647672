//! The config document: TOML whose every key and value knows where it stands.
//!
//! A [`Section`] is a table that remembers which keys it was asked for, so that
//! [`Section::finish`] can point at the ones nobody knows. Readers never stop at the first fault:
//! a bad value is put on the document's list and reading goes on, so that one run shows everything.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Diagnostics, Place, SourceText, Spanned, nearest};
#[cfg(feature = "schedule")]
use crate::schedule::Schedule;
use crate::secret::{Part, Resolver, Template};
use crate::unit::{Size, parse_duration};

/// No config file is larger than this; a larger one is some other file.
const LARGEST: u64 = 4 << 20;

#[derive(Debug, Clone)]
struct Node {
    place: Place,
    data: Data,
}

#[derive(Debug, Clone)]
enum Data {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime,
    Array(Vec<Node>),
    Table(Vec<(Spanned<String>, Node)>),
}

impl Data {
    fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Boolean(_) => "a boolean",
            Self::Datetime => "a date",
            Self::Array(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

#[derive(Debug, Default)]
struct Findings {
    diagnostics: RefCell<Diagnostics>,
    references: RefCell<Vec<(Part, Place)>>,
}

/// One config: a main file and whatever was merged into it.
#[derive(Debug)]
pub struct Document {
    root: Node,
    findings: Findings,
}

impl Document {
    /// Reads a document from text that is shown as `name`.
    pub fn parse(name: impl Into<PathBuf>, text: impl Into<String>) -> Result<Self, Diagnostics> {
        let source = Arc::new(SourceText::new(name, text));
        let (table, errors) = DeTable::parse_recoverable(source.text());
        let mut diagnostics = Diagnostics::default();
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            let place = Place {
                source: Arc::clone(&source),
                span,
            };
            let message = error
                .message()
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned();
            diagnostics.push(Diagnostic::error(format!("not TOML: {message}")).at(&place));
        }
        if diagnostics.has_errors() {
            return Err(diagnostics);
        }
        let span = table.span();
        let data = table_data(table.into_inner(), &source, &mut diagnostics);
        if diagnostics.has_errors() {
            return Err(diagnostics);
        }
        let root = Node {
            place: Place { source, span },
            data,
        };
        Ok(Self {
            root,
            findings: Findings::default(),
        })
    }

    /// Reads a document from a file.
    pub fn load(path: &Path) -> Result<Self, Diagnostics> {
        let refuse = |why: String, help: &str| {
            Diagnostics::from(
                Diagnostic::error(format!("cannot read the config {}: {why}", path.display()))
                    .help(help),
            )
        };
        let metadata = std::fs::metadata(path).map_err(|e| {
            let help = if e.kind() == std::io::ErrorKind::NotFound {
                "name the config with -c FILE; three lines are enough for a first one: `schema = 1`, `[program.web]`, `command = \"…\"`"
            } else {
                "check the rights of the file and of the directories above it"
            };
            refuse(e.to_string(), help)
        })?;
        if !metadata.is_file() {
            return Err(refuse(
                "it is not a file".to_owned(),
                "name a TOML file with -c FILE",
            ));
        }
        if metadata.len() > LARGEST {
            return Err(refuse(
                format!(
                    "it has {} and a config has at most {}",
                    Size(metadata.len()).human(),
                    Size(LARGEST)
                ),
                "name a TOML file with -c FILE",
            ));
        }
        let bytes = std::fs::read(path).map_err(|e| {
            refuse(
                e.to_string(),
                "make it readable for the user that runs mainstay",
            )
        })?;
        let text = String::from_utf8(bytes).map_err(|e| {
            let good =
                String::from_utf8_lossy(&e.as_bytes()[..e.utf8_error().valid_up_to()]).into_owned();
            let line = good.matches('\n').count() + 1;
            refuse(
                format!("line {line} is not UTF-8"),
                "TOML is always UTF-8: save the file as UTF-8",
            )
        })?;
        Self::parse(
            path,
            text.strip_prefix('\u{feff}')
                .map(str::to_owned)
                .unwrap_or(text),
        )
    }

    /// Merges another file into this one: tables are joined, anything said twice is an error.
    pub fn merge(&mut self, other: Self) {
        let mut diagnostics = self.findings.diagnostics.borrow_mut();
        diagnostics.extend(other.findings.diagnostics.into_inner());
        merge(&mut self.root, other.root, "", &mut diagnostics);
    }

    /// The root table.
    pub fn root(&self) -> Section<'_> {
        Section::new(&self.root, &self.findings, String::new())
    }

    /// Reports each `${secret.NAME}` and `${env.NAME}` that was read and has no value behind it.
    pub fn check_references(&self, resolver: &Resolver) {
        let known: Vec<&str> = resolver.secret_names().collect();
        for (part, place) in self.findings.references.borrow().iter() {
            let diagnostic = match part {
                Part::Secret(name) if !known.contains(&name.as_str()) => {
                    let diagnostic =
                        Diagnostic::error(format!("there is no secret `{name}` in [secret]"));
                    match nearest(name, known.iter().copied()) {
                        Some(near) => diagnostic.label(format!("did you mean `{near}`?")),
                        None => diagnostic
                            .help(format!("add `{name} = {{ file = \"…\" }}` to [secret]")),
                    }
                }
                Part::Env(name) if !resolver.has_env(name) => {
                    Diagnostic::error(format!("the environment has no variable `{name}`"))
                        .help(format!("set {name} where mainstay is started"))
                }
                _ => continue,
            };
            self.findings
                .diagnostics
                .borrow_mut()
                .push(diagnostic.at(place));
        }
    }

    /// What was found wrong so far, in the order of the file; the list is empty afterwards.
    pub fn take_diagnostics(&self) -> Diagnostics {
        let mut diagnostics = self.findings.diagnostics.take();
        diagnostics.sort();
        diagnostics
    }
}

fn table_data(table: DeTable<'_>, source: &Arc<SourceText>, out: &mut Diagnostics) -> Data {
    let mut entries: Vec<(Spanned<String>, Node)> = table
        .into_iter()
        .map(|(key, value)| {
            let place = Place {
                source: Arc::clone(source),
                span: key.span(),
            };
            let key = Spanned {
                value: key.into_inner().into_owned(),
                place: place.clone(),
            };
            let mut value_place = Place {
                source: Arc::clone(source),
                span: value.span(),
            };
            let value = value.into_inner();
            if matches!(value, DeValue::Table(_)) && value_place.span.is_empty() {
                value_place = place;
            }
            (key, node(value, value_place, out))
        })
        .collect();
    // The parser's map is ordered by name; people number and read their programs in file order.
    entries.sort_by_key(|(key, _)| key.place.span.start);
    Data::Table(entries)
}

fn node(value: DeValue<'_>, place: Place, out: &mut Diagnostics) -> Node {
    let data = match value {
        DeValue::String(text) => Data::String(text.into_owned()),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map_or_else(
                |_| {
                    out.push(Diagnostic::error("the integer is too large").at(&place));
                    Data::Integer(0)
                },
                Data::Integer,
            ),
        DeValue::Float(float) => Data::Float(float.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(boolean) => Data::Boolean(boolean),
        DeValue::Datetime(_) => Data::Datetime,
        DeValue::Array(array) => Data::Array(
            array
                .into_iter()
                .map(|item| {
                    let place = Place {
                        source: Arc::clone(&place.source),
                        span: item.span(),
                    };
                    node(item.into_inner(), place, out)
                })
                .collect(),
        ),
        DeValue::Table(table) => table_data(table, &place.source, out),
    };
    Node { place, data }
}

fn merge(into: &mut Node, from: Node, path: &str, out: &mut Diagnostics) {
    let (Data::Table(into), Data::Table(from)) = (&mut into.data, from.data) else {
        return;
    };
    for (key, value) in from {
        let path = join(path, &key.value);
        match into.iter_mut().find(|(known, _)| known.value == key.value) {
            None => into.push((key, value)),
            Some((_, known))
                if matches!((&known.data, &value.data), (Data::Table(_), Data::Table(_))) =>
            {
                merge(known, value, &path, out);
            }
            // Every file says which schema it is written in; saying the same is no conflict.
            Some((_, known))
                if path == "schema"
                    && matches!((&known.data, &value.data), (Data::Integer(a), Data::Integer(b)) if a == b) =>
                {}
            Some((known, _)) => out.push(
                Diagnostic::error(format!("`{path}` is already set"))
                    .at(&key.place)
                    .help(format!("it was set first at {}", known.place)),
            ),
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// A value of the document and the dotted path that leads to it.
#[derive(Debug, Clone)]
pub struct Value<'d> {
    node: &'d Node,
    findings: &'d Findings,
    path: String,
}

impl<'d> Value<'d> {
    /// Where it stands.
    pub fn place(&self) -> &'d Place {
        &self.node.place
    }

    /// The dotted path of its key, `program.web.command`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The error for a value of another kind than `expected` ("a string").
    pub fn mismatch(&self, expected: &str) -> Diagnostic {
        Diagnostic::error(format!(
            "`{}` must be {expected}, not {}",
            self.path,
            self.node.data.kind()
        ))
        .at(&self.node.place)
        .label(format!("expected {expected}"))
    }

    /// An error at this value's place.
    pub fn error(&self, message: impl std::fmt::Display) -> Diagnostic {
        Diagnostic::error(format!("`{}`: {message}", self.path)).at(&self.node.place)
    }

    /// The text of a string.
    pub fn as_str(&self) -> Result<&'d str, Diagnostic> {
        match &self.node.data {
            // Neither a path nor an argument nor a variable can hold one.
            Data::String(text) if text.contains('\0') => {
                Err(self.error("there is a NUL character in it"))
            }
            Data::String(text) => Ok(text),
            _ => Err(self.mismatch("a string")),
        }
    }

    /// The integer.
    pub fn as_integer(&self) -> Result<i64, Diagnostic> {
        match &self.node.data {
            Data::Integer(integer) => Ok(*integer),
            _ => Err(self.mismatch("an integer")),
        }
    }

    /// The values of an array.
    pub fn as_array(&self) -> Result<Vec<Value<'d>>, Diagnostic> {
        match &self.node.data {
            Data::Array(items) => Ok(items
                .iter()
                .enumerate()
                .map(|(i, node)| Value {
                    node,
                    findings: self.findings,
                    path: format!("{}[{i}]", self.path),
                })
                .collect()),
            Data::String(text) => Err(self
                .mismatch("a list")
                .help(format!("write it in brackets: [\"{text}\"]"))),
            Data::Integer(integer) => Err(self
                .mismatch("a list")
                .help(format!("write it in brackets: [{integer}]"))),
            _ => Err(self.mismatch("a list")),
        }
    }

    /// Whether it is a string.
    pub fn is_str(&self) -> bool {
        matches!(self.node.data, Data::String(_))
    }

    /// Whether it is a table.
    pub fn is_table(&self) -> bool {
        matches!(self.node.data, Data::Table(_))
    }

    /// The table as a section of its own.
    pub fn as_section(&self) -> Result<Section<'d>, Diagnostic> {
        match &self.node.data {
            Data::Table(_) => Ok(Section::new(self.node, self.findings, self.path.clone())),
            _ => Err(self.mismatch("a table")),
        }
    }

    pub(crate) fn note_references(&self, template: &Template) {
        let mut references = self.findings.references.borrow_mut();
        for part in template.parts() {
            if !matches!(part, Part::Literal(_)) {
                references.push((part.clone(), self.node.place.clone()));
            }
        }
    }
}

/// What can be read from one value of the config.
pub trait FromValue: Sized {
    /// Reads it, or says at its place what is wrong.
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic>;
}

/// Text that is taken as it is; nothing is filled in, so what looks as if it were is refused.
fn literal<'d>(value: &Value<'d>) -> Result<&'d str, Diagnostic> {
    let text = value.as_str()?;
    if ["${secret.", "${env."]
        .iter()
        .any(|reference| text.contains(reference))
    {
        return Err(value
            .error("nothing is filled in here")
            .label("taken as it is")
            .help("${secret.NAME} and ${env.NAME} work in commands, environments and passwords"));
    }
    Ok(text)
}

/// The one of `all` that is called as `value` says; `what` is what they are, for the error, which
/// lists the names and the nearest.
pub fn one_of<T: Copy>(
    value: &Value<'_>,
    what: &str,
    all: &[T],
    name: impl Fn(T) -> &'static str,
) -> Result<T, Diagnostic> {
    let text = value.as_str()?;
    let names = || all.iter().map(|one| name(*one));
    let found = all.iter().find(|one| name(**one) == text);
    found.copied().ok_or_else(|| {
        let diagnostic = value.error(format!(
            "`{text}` is no {what}; there are {}",
            names().collect::<Vec<_>>().join(", ")
        ));
        match nearest(text, names()) {
            Some(near) => diagnostic.label(format!("did you mean `{near}`?")),
            None => diagnostic,
        }
    })
}

impl FromValue for String {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        literal(value).map(str::to_owned)
    }
}

impl FromValue for bool {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        match value.node.data {
            Data::Boolean(boolean) => Ok(boolean),
            _ => Err(value.mismatch("true or false")),
        }
    }
}

impl FromValue for f64 {
    #[allow(
        clippy::cast_precision_loss,
        reason = "a config's integers are far below 2^53"
    )]
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        match value.node.data {
            Data::Float(float) => Ok(float),
            Data::Integer(integer) => Ok(integer as f64),
            _ => Err(value.mismatch("a number")),
        }
    }
}

macro_rules! integers {
    ($($t:ty),*) => {$(
        impl FromValue for $t {
            fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
                let integer = value.as_integer()?;
                Self::try_from(integer).map_err(|_| {
                    value.error(format!("{integer} is out of range"))
                        .label(format!("from {} to {}", Self::MIN, Self::MAX))
                })
            }
        }
    )*};
}
integers!(i64, i32, u64, u32, u16, u8, usize);

/// The mode of a file, written in octal as a text: `"0660"`. Only the nine permission bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMode(pub u32);

impl FromValue for FileMode {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        let text = literal(value)?;
        match u32::from_str_radix(text, 8) {
            Ok(bits) if bits <= 0o777 => Ok(Self(bits)),
            _ => Err(value
                .error(format!("`{text}` is not a file mode"))
                .help("write it in octal as a string, as in \"0660\"")),
        }
    }
}

/// A path; a relative one starts at the directory of the config file it is written in.
impl FromValue for PathBuf {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        let text = literal(value)?;
        if text.is_empty() || text.contains('\0') {
            return Err(value.error("it is not a path"));
        }
        let directory = value
            .place()
            .source
            .path()
            .parent()
            .unwrap_or(Path::new(""));
        Ok(directory.join(text))
    }
}

impl FromValue for Size {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        if let Data::Integer(integer) = value.node.data {
            return u64::try_from(integer)
                .map(Size)
                .map_err(|_| value.error("a size is not negative"));
        }
        value
            .as_str()?
            .parse()
            .map_err(|e: crate::unit::UnitError| value.error(&e).help(e.form()))
    }
}

impl FromValue for Duration {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        if let Data::Integer(integer) = value.node.data {
            return Err(value
                .error("a duration needs its unit")
                .label(format!("\"{integer}s\" for seconds")));
        }
        parse_duration(value.as_str()?).map_err(|e| value.error(&e).help(e.form()))
    }
}

/// A schedule in UTC; whoever knows the host's zone applies it with [`Schedule::in_zone`].
#[cfg(feature = "schedule")]
impl FromValue for Schedule {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        value.as_str()?.parse().map_err(|e: crate::schedule::ScheduleError| {
            value.error(format!("not a schedule: {e}")).help(
                "write five cron fields (minute hour day month weekday), as in \"0 3 * * *\", or \"every 10m\"",
            )
        })
    }
}

impl<T: FromValue> FromValue for Vec<T> {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        value.as_array()?.iter().map(T::from_value).collect()
    }
}

impl<T: FromValue> FromValue for BTreeMap<String, T> {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        let Data::Table(entries) = &value.node.data else {
            return Err(value.mismatch("a table"));
        };
        entries
            .iter()
            .map(|(key, node)| {
                let value = Value {
                    node,
                    findings: value.findings,
                    path: join(&value.path, &key.value),
                };
                T::from_value(&value).map(|item| (key.value.clone(), item))
            })
            .collect()
    }
}

/// A table of the document that remembers which keys it was asked for.
#[derive(Debug)]
#[must_use = "call finish() so that unknown keys are reported"]
pub struct Section<'d> {
    node: &'d Node,
    findings: &'d Findings,
    path: String,
    known: Vec<String>,
}

impl<'d> Section<'d> {
    fn new(node: &'d Node, findings: &'d Findings, path: String) -> Self {
        Self {
            node,
            findings,
            path,
            known: Vec::new(),
        }
    }

    fn entries(&self) -> &'d [(Spanned<String>, Node)] {
        match &self.node.data {
            Data::Table(entries) => entries,
            _ => &[],
        }
    }

    /// The dotted path of this table, empty for the root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where it stands.
    pub fn place(&self) -> &'d Place {
        &self.node.place
    }

    /// Puts a diagnostic on the document's list.
    pub fn report(&self, diagnostic: Diagnostic) {
        self.findings.diagnostics.borrow_mut().push(diagnostic);
    }

    /// The raw value of a key, for values of more than one form.
    pub fn value(&mut self, key: &str) -> Option<Value<'d>> {
        if !self.known.iter().any(|known| known == key) {
            self.known.push(key.to_owned());
        }
        let (_, node) = self
            .entries()
            .iter()
            .find(|(known, _)| known.value == key)?;
        Some(Value {
            node,
            findings: self.findings,
            path: join(&self.path, key),
        })
    }

    /// The value of a key. A bad value is reported and reads as absent.
    pub fn get<T: FromValue>(&mut self, key: &str) -> Option<T> {
        self.get_spanned(key).map(|spanned| spanned.value)
    }

    /// The value of a key and its place.
    pub fn get_spanned<T: FromValue>(&mut self, key: &str) -> Option<Spanned<T>> {
        let value = self.value(key)?;
        match T::from_value(&value) {
            Ok(read) => Some(Spanned {
                value: read,
                place: value.place().clone(),
            }),
            Err(diagnostic) => {
                self.report(diagnostic);
                None
            }
        }
    }

    /// The value of a key that must be there.
    pub fn required<T: FromValue>(&mut self, key: &str) -> Option<T> {
        let path = join(&self.path, key);
        if self.value(key).is_none() {
            self.report(Diagnostic::error(format!("`{path}` is missing")).at(self.place()));
        }
        self.get(key)
    }

    /// The sub-table of a key.
    pub fn section(&mut self, key: &str) -> Option<Section<'d>> {
        match self.value(key)?.as_section() {
            Ok(section) => Some(section),
            Err(diagnostic) => {
                self.report(diagnostic);
                None
            }
        }
    }

    /// The named tables under a key, `[program.web]` and `[program.worker]` under `program`, in the
    /// order of the file. A name is at most 64 letters, digits, `-`, `_` and `.`.
    pub fn sections(&mut self, key: &str) -> Vec<(Spanned<String>, Section<'d>)> {
        let Some(parent) = self.section(key) else {
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (name, node) in parent.entries() {
            let path = join(&parent.path, &name.value);
            let value = Value {
                node,
                findings: self.findings,
                path,
            };
            if let Err(why) = check_name(&name.value) {
                self.report(Diagnostic::error(format!("`{}` {why}", name.value)).at(&name.place));
            }
            match value.as_section() {
                Ok(section) => sections.push((name.clone(), section)),
                Err(diagnostic) => self.report(
                    diagnostic.help(format!("write a table with a name, [{key}.{}]", name.value)),
                ),
            }
        }
        sections
    }

    /// The raw value of a key that does not belong here, to say where it does. It is not among the keys
    /// that are known here.
    pub fn misplaced(&mut self, key: &str) -> Option<Value<'d>> {
        let there = self.entries().iter().any(|(known, _)| known.value == key);
        there.then(|| self.value(key)).flatten()
    }

    /// Keys that are designed but do not work yet: their presence is an error that says so.
    pub fn planned(&mut self, keys: &[&str]) {
        for key in keys {
            self.known.push((*key).to_owned());
            if let Some((key, _)) = self.entries().iter().find(|(known, _)| known.value == *key) {
                let path = join(&self.path, &key.value);
                self.report(
                    Diagnostic::error(format!("`{path}` does not work yet"))
                        .at(&key.place)
                        .label("designed, not built")
                        .help(
                            "remove it: mainstay refuses what it would otherwise silently ignore",
                        ),
                );
            }
        }
    }

    /// Reports the keys nobody asked for, each with the nearest known name.
    pub fn finish(self) {
        for (key, _) in self.entries() {
            if self.known.contains(&key.value) {
                continue;
            }
            let place = if self.path.is_empty() {
                "at the top level".to_owned()
            } else {
                format!("in [{}]", self.path)
            };
            let diagnostic =
                Diagnostic::error(format!("unknown key `{}` {place}", key.value)).at(&key.place);
            let known = self.known.iter().map(String::as_str);
            self.report(if let Some(near) = nearest(&key.value, known.clone()) {
                diagnostic.label(format!("did you mean `{near}`?"))
            } else {
                let mut names: Vec<&str> = known.collect();
                names.sort_unstable();
                diagnostic.help(format!("known here: {}", names.join(", ")))
            });
        }
    }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > 64 {
        return Err("is not a name: a name has 1 to 64 characters");
    }
    if !name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        || name.starts_with(['.', '-'])
    {
        return Err(
            "is not a name: a name has letters, digits, `-`, `_` and `.`, and starts with a letter, a digit or `_`",
        );
    }
    if name == "all" {
        return Err("cannot be a name: commands use `all` for everything");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a document the way an engine would, and gives what was found wrong.
    fn read(text: &str) -> (Option<String>, Option<Duration>, Vec<String>, String) {
        let document = match Document::parse("shop.toml", text) {
            Ok(document) => document,
            Err(diagnostics) => return (None, None, Vec::new(), diagnostics.to_string()),
        };
        let mut root = document.root();
        let mut command = None;
        let mut wait = None;
        let mut names = Vec::new();
        for (name, mut program) in root.sections("program") {
            command = program.required::<String>("command");
            wait = program.get::<Duration>("wait");
            program.get::<Vec<u16>>("ports");
            program.get::<Template>("url");
            program.planned(&["health"]);
            program.finish();
            names.push(name.value);
        }
        root.finish();
        document.check_references(&Resolver::default());
        (
            command,
            wait,
            names,
            document.take_diagnostics().to_string(),
        )
    }

    #[test]
    fn a_good_document_reads_without_a_word() {
        let (command, wait, names, said) = read(
            "[program.web]\ncommand = \"blog\"\nwait = \"30s\"\nports = [1, 2]\n[program.api]\ncommand = \"api\"\n",
        );
        assert_eq!(said, "");
        assert_eq!((command.as_deref(), wait), (Some("api"), None));
        assert_eq!(names, ["web", "api"], "file order, not alphabet");
    }

    #[test]
    fn faults_are_told_at_their_place() {
        for (text, expected) in [
            (
                "[program.web]\ncomand = \"x\"\n",
                "shop.toml:2:1: error: unknown key `comand` in [program.web]",
            ),
            (
                "[program.web]\ncomand = \"x\"\n",
                "^^^^^^ did you mean `command`?",
            ),
            (
                "[program.web]\ncomand = \"x\"\n",
                "error: `program.web.command` is missing",
            ),
            (
                "[program.web]\ncommand = 3\n",
                "shop.toml:2:11: error: `program.web.command` must be a string, not an integer",
            ),
            (
                "[program.web]\ncommand = \"x\"\nwait = 30\n",
                "\"30s\" for seconds",
            ),
            (
                "[program.web]\ncommand = \"x\"\nwait = \"30 x\"\n",
                "shop.toml:3:8: error: `program.web.wait`: `30 x` is not a duration",
            ),
            (
                "[program.web]\ncommand = \"x\"\nports = [1, 70000]\n",
                "shop.toml:3:13: error: `program.web.ports[1]`: 70000 is out of range",
            ),
            (
                "[program.web]\ncommand = \"x\"\nhealth = \"/up\"\n",
                "shop.toml:3:1: error: `program.web.health` does not work yet",
            ),
            (
                "[program.web]\ncommand = \"x\"\nurl = \"${secret.nope}\"\n",
                "shop.toml:3:7: error: there is no secret `nope` in [secret]",
            ),
            (
                "[program.web]\ncommand = \"x\"\nurl = \"${env.NOPE}\"\n",
                "the environment has no variable `NOPE`",
            ),
            (
                "[program.web]\ncommand = \"x\"\nurl = \"${nope}\"\n",
                "is neither ${secret.NAME} nor ${env.NAME}",
            ),
            (
                "program = 3\n",
                "shop.toml:1:11: error: `program` must be a table, not an integer",
            ),
            (
                "[program]\nweb = 3\n",
                "write a table with a name, [program.web]",
            ),
            (
                "[program.\"a b\"]\ncommand = \"x\"\n",
                "`a b` is not a name",
            ),
            ("[program.all]\ncommand = \"x\"\n", "`all` cannot be a name"),
            ("[frnt]\n", "unknown key `frnt` at the top level"),
            ("[program.web]\ncommand = \"x\n", "shop.toml:2:1"),
            (
                "a = 1\na = 2\n",
                "shop.toml:2:1: error: not TOML: duplicate key",
            ),
            ("a = 99999999999999999999\n", "too large"),
        ] {
            let (_, _, _, said) = read(text);
            assert!(
                said.contains(expected),
                "{text}\n--- said:\n{said}\n--- expected:\n{expected}"
            );
        }
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let (_, _, _, said) = read(
            "[program.web]\ncommand = 3\nwait = 5\n[program.api]\ncommand = \"x\"\nusr = \"y\"\n",
        );
        assert_eq!(said.matches("error:").count(), 3, "{said}");
    }

    #[test]
    fn a_relative_path_starts_at_its_file() {
        let document =
            Document::parse("/etc/mainstay/shop.toml", "a = \"x/y\"\nb = \"/abs\"\n").unwrap();
        let mut root = document.root();
        assert_eq!(
            root.get::<PathBuf>("a").as_deref(),
            Some(Path::new("/etc/mainstay/x/y"))
        );
        assert_eq!(root.get::<PathBuf>("b").as_deref(), Some(Path::new("/abs")));
        root.finish();
    }

    #[test]
    fn merging_joins_tables_and_refuses_what_is_said_twice() {
        let mut main =
            Document::parse("main.toml", "schema = 1\n[program.web]\ncommand = \"a\"\n").unwrap();
        main.merge(
            Document::parse("b.toml", "schema = 1\n[program.api]\ncommand = \"b\"\n").unwrap(),
        );
        main.merge(Document::parse("c.toml", "[program.web]\ncommand = \"c\"\n").unwrap());
        let said = main.take_diagnostics().to_string();
        assert!(
            said.contains("c.toml:2:1: error: `program.web.command` is already set"),
            "{said}"
        );
        assert!(said.contains("main.toml:3:1"), "{said}");
        assert_eq!(main.root().sections("program").len(), 2);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(\\[[a-z.]{0,8}\\]\n|[a-z]{1,3} = [0-9\"a-z$\\{\\}\\[\\]]{0,8}\n|\\PC{0,9}){0,6}") {
            read(&text);
        }
    }
}
