//! The INI dialect of supervisord: what Python's `RawConfigParser` makes of a text.
//!
//! The parser is the one of Python 3 with `strict=False` and `;` and `#` as prefixes of inline
//! comments. Its oddities are kept on purpose, because configs in use rely on them without knowing;
//! the tests compare it with Python's where that is installed.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::expand::{Expansions, expand};
use super::{ConfigError, Place, quote};

/// The section whose options every other section has too.
const DEFAULT_SECTION: &str = "DEFAULT";

/// The longest text that is read, in bytes.
pub const MAX_TEXT: usize = 16 * 1024 * 1024;

/// The most options that one config may have, all files together.
pub const MAX_OPTIONS: usize = 500_000;

/// How many faulty lines one error names.
const MAX_FAULTS: usize = 100;

/// One option: its name in lower case, its value, and where both stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, in lower case.
    pub key: String,
    /// The value: comments gone, each line stripped, lines joined by `\n`.
    pub value: String,
    /// Where the name stands.
    pub key_place: Place,
    /// Where the value begins.
    pub value_place: Place,
}

/// One section, merged from all places where it is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The name between the brackets, as it was written.
    pub name: String,
    /// Where it is opened first.
    pub place: Place,
    entries: Vec<Entry>,
    index: HashMap<String, usize>,
}

impl Section {
    fn new(name: &str, place: Place) -> Self {
        Self {
            name: name.to_owned(),
            place,
            entries: Vec::new(),
            index: HashMap::new(),
        }
    }

    /// The options in the order in which their names appeared first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The option of that name, given in lower case.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.index.get(key).map(|&at| &self.entries[at])
    }

    fn set(&mut self, entry: Entry) -> usize {
        if let Some(&at) = self.index.get(&entry.key) {
            self.entries[at] = entry;
            return at;
        }
        self.index.insert(entry.key.clone(), self.entries.len());
        self.entries.push(entry);
        self.entries.len() - 1
    }
}

/// All sections of a config and of the files it includes.
#[derive(Debug, Clone, Default)]
pub struct Ini {
    sections: Vec<Section>,
    index: HashMap<String, usize>,
    defaults: Option<Section>,
    options: usize,
}

impl Ini {
    /// Nothing read yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The sections in the order in which they were opened first, without `[DEFAULT]`.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The section of that name.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.index.get(name).map(|&at| &self.sections[at])
    }

    /// An option of a section, or else of `[DEFAULT]`. `None` also where there is no such section.
    pub fn get(&self, section: &str, key: &str) -> Option<&Entry> {
        let section = self.section(section)?;
        section
            .get(key)
            .or_else(|| self.defaults.as_ref().and_then(|all| all.get(key)))
    }

    /// An option, expanded, and where its value stands. `None` where it is not set.
    ///
    /// # Errors
    /// The expansion fails.
    pub fn expanded(
        &self,
        section: &str,
        key: &str,
        names: &Expansions,
    ) -> Result<Option<(String, Place)>, ConfigError> {
        let Some(entry) = self.get(section, key) else {
            return Ok(None);
        };
        let place = entry.value_place.clone();
        match expand(&entry.value, names, &format!("{section}.{key}")) {
            Ok(text) => Ok(Some((text, place))),
            Err(why) => Err(ConfigError::new(why).at(place)),
        }
    }

    /// The options of a section, and after them those it has from `[DEFAULT]`.
    pub fn entries<'a>(&'a self, section: &'a Section) -> impl Iterator<Item = &'a Entry> {
        let inherited = self.defaults.iter().flat_map(|all| all.entries().iter());
        section
            .entries()
            .iter()
            .chain(inherited.filter(|entry| section.get(&entry.key).is_none()))
    }

    /// Replaces `%(here)s` in every value read so far, as text.
    pub fn replace_here(&mut self, here: &str) {
        let all = self.sections.iter_mut().chain(self.defaults.as_mut());
        for entry in all.flat_map(|section| section.entries.iter_mut()) {
            if entry.value.contains("%(here)s") {
                entry.value = entry.value.replace("%(here)s", here);
            }
        }
    }

    /// Reads one more text. Its sections are merged with those that are there; of two options of
    /// the same name the later one wins.
    ///
    /// # Errors
    /// An option before the first section, lines that are no option, a text beyond [`MAX_TEXT`] or
    /// more options than [`MAX_OPTIONS`]. The wording of the first two is the original's.
    pub fn read(&mut self, file: &str, text: &str) -> Result<(), ConfigError> {
        let file: Arc<str> = file.into();
        if text.len() > MAX_TEXT {
            return Err(ConfigError::new(format!(
                "config file {file} is longer than {MAX_TEXT} bytes"
            )));
        }
        Reading {
            ini: self,
            file,
            current: Current::None,
            option: None,
            indent: 0,
            faults: Vec::new(),
            more_faults: 0,
        }
        .run(text)
    }

    fn open(&mut self, name: &str, place: Place) -> Current {
        if let Some(&at) = self.index.get(name) {
            return Current::Section(at);
        }
        if name == DEFAULT_SECTION {
            self.defaults
                .get_or_insert_with(|| Section::new(name, place));
            return Current::Defaults;
        }
        self.index.insert(name.to_owned(), self.sections.len());
        self.sections.push(Section::new(name, place));
        Current::Section(self.sections.len() - 1)
    }
}

/// The section that options belong to at the moment.
#[derive(Clone, Copy)]
enum Current {
    None,
    Defaults,
    Section(usize),
}

/// The state between two lines of one text.
struct Reading<'a> {
    ini: &'a mut Ini,
    file: Arc<str>,
    current: Current,
    /// The option that a deeper line would continue.
    option: Option<usize>,
    indent: usize,
    faults: Vec<(Place, String)>,
    more_faults: usize,
}

impl Reading<'_> {
    fn run(mut self, text: &str) -> Result<(), ConfigError> {
        let mut touched: Vec<(Current, usize)> = Vec::new();
        for (number, line) in universal(text).split_inclusive('\n').enumerate() {
            self.line(number + 1, line, &mut touched)?;
        }
        for (current, option) in touched {
            self.current = current;
            if let Some(entry) = self.entry(option) {
                let kept = entry.value.trim_end_matches(is_space).len();
                entry.value.truncate(kept);
            }
        }
        let Some((place, _)) = self.faults.first() else {
            return Ok(());
        };
        let place = place.clone();
        let mut message = format!("Source contains parsing errors: {}", quote(&self.file));
        for (place, line) in &self.faults {
            let _ = write!(message, "\n\t[line {:2}]: {}", place.line, quote(line));
        }
        if self.more_faults > 0 {
            let _ = write!(message, "\n\tand {} more lines", self.more_faults);
        }
        Err(ConfigError::new(message).at(place))
    }

    fn line(
        &mut self,
        number: usize,
        line: &str,
        touched: &mut Vec<(Current, usize)>,
    ) -> Result<(), ConfigError> {
        let comment = comment_start(line);
        let value = line[..comment.unwrap_or(line.len())].trim_matches(is_space);
        if value.is_empty() {
            if comment.is_none()
                && let Some(option) = self.option
                && let Some(entry) = self.entry(option)
            {
                entry.value.push('\n');
            }
            return Ok(());
        }
        let indent = line.chars().take_while(|&c| is_space(c)).count();
        if indent > self.indent
            && let Some(option) = self.option
            && let Some(entry) = self.entry(option)
        {
            entry.value.push('\n');
            entry.value.push_str(value);
            return Ok(());
        }
        self.indent = indent;
        let place = |column: usize| Place {
            file: self.file.clone(),
            line: number,
            column: indent + column + 1,
        };
        if let Some(header) = header(value) {
            let place = place(0);
            self.current = self.ini.open(header, place);
            self.option = None;
            return Ok(());
        }
        if matches!(self.current, Current::None) {
            let message = format!(
                "File contains no section headers.\nfile: {}, line: {number}\n{}",
                quote(&self.file),
                quote(line)
            );
            return Err(ConfigError::new(message).at(place(0)));
        }
        let Some(delimiter) = value.find(['=', ':']) else {
            let place = place(0);
            self.fault(place, line);
            return Ok(());
        };
        let key = value[..delimiter].trim_end_matches(is_space);
        let after = &value[delimiter + 1..];
        let rest = after.trim_start_matches(is_space);
        let column = value.chars().count() - rest.chars().count();
        let entry = Entry {
            key: key.to_lowercase(),
            value: rest.to_owned(),
            key_place: place(0),
            value_place: place(column),
        };
        if key.is_empty() {
            let place = entry.key_place;
            self.fault(place, line);
            self.option = None;
            return Ok(());
        }
        self.ini.options += 1;
        if self.ini.options > MAX_OPTIONS {
            return Err(ConfigError::new(format!(
                "the config has more than {MAX_OPTIONS} options"
            ))
            .at(entry.key_place));
        }
        let Some(section) = self.section() else {
            return Ok(());
        };
        let option = section.set(entry);
        self.option = Some(option);
        touched.push((self.current, option));
        Ok(())
    }

    fn fault(&mut self, place: Place, line: &str) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push((place, line.to_owned()));
        } else {
            self.more_faults += 1;
        }
    }

    fn section(&mut self) -> Option<&mut Section> {
        match self.current {
            Current::None => None,
            Current::Defaults => self.ini.defaults.as_mut(),
            Current::Section(at) => self.ini.sections.get_mut(at),
        }
    }

    fn entry(&mut self, option: usize) -> Option<&mut Entry> {
        self.section()?.entries.get_mut(option)
    }
}

/// What Python's `str.isspace` and `\s` take for white space.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// The text with each `\r\n` and each `\r` as a `\n`, as Python opens files.
fn universal(text: &str) -> Cow<'_, str> {
    if text.contains('\r') {
        Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n"))
    } else {
        Cow::Borrowed(text)
    }
}

/// The name in `[name]`: up to the last bracket, whatever follows it.
fn header(value: &str) -> Option<&str> {
    let inner = value.strip_prefix('[')?;
    let end = inner.rfind(']')?;
    (end > 0).then(|| &inner[..end])
}

/// Where the comment of a line begins, as a byte offset.
///
/// Python looks for the next `;` and the next `#` in turns and stops at the first turn in which one
/// of them follows white space. So in `a;b ;c #d` the comment is `#d`.
fn comment_start(line: &str) -> Option<usize> {
    if line.trim_start_matches(is_space).starts_with(['#', ';']) {
        return Some(0);
    }
    let begins = |at: usize| at == 0 || line[..at].chars().next_back().is_some_and(is_space);
    let mut semicolons = line.match_indices(';').map(|(at, _)| at);
    let mut hashes = line.match_indices('#').map(|(at, _)| at);
    loop {
        let (semicolon, hash) = (semicolons.next(), hashes.next());
        if semicolon.is_none() && hash.is_none() {
            return None;
        }
        let found = [semicolon, hash].into_iter().flatten();
        if let Some(start) = found.filter(|&at| begins(at)).min() {
            return Some(start);
        }
    }
}

#[cfg(test)]
#[path = "tests/ini.rs"]
mod tests;
