//! Format verbs of the program's own.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::record::Record;
use crate::seelog::verbs;

/// Writes one part of a line. It appends to the buffer and leaves alone what is in it.
pub type Formatter = Arc<dyn Fn(&Record<'_>, &mut Vec<u8>) + Send + Sync>;

/// Makes a formatter for the parameter in parentheses; `""` where there is none.
type Make = Arc<dyn Fn(&str) -> Formatter + Send + Sync>;

/// Format verbs by name, beside those of seelog: `%Name` and `%Name(parameter)`.
///
/// ```
/// use std::sync::Arc;
///
/// use mainstay_log::seelog::{Formatters, Options};
/// use mainstay_log::{Format, Level, Record, Stamp};
///
/// let mut formatters = Formatters::new();
/// formatters.register("Host", |name| {
///     let name = name.to_owned();
///     Arc::new(move |_, out| out.extend_from_slice(name.as_bytes()))
/// })?;
/// let options = Options::new().formatters(&formatters);
/// let format = Format::seelog("%Host(web1) %Msg%n", &options).map_err(|d| d.to_string())?;
///
/// let record = Record::new(jiff::Timestamp::UNIX_EPOCH, Level::Info, "shop", "open");
/// let mut line = Vec::new();
/// format.render(&record, &mut Stamp::new(jiff::tz::TimeZone::UTC), &mut line);
/// assert_eq!(line, b"web1 open\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct Formatters(BTreeMap<String, Make>);

impl Formatters {
    /// None.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Adds a verb. Its name has letters only, is not taken, and does not begin with a verb of
    /// seelog that takes no parameter (as `name` does with `%n`): that one would be seen instead.
    pub fn register(
        &mut self,
        name: &str,
        make: impl Fn(&str) -> Formatter + Send + Sync + 'static,
    ) -> Result<(), NameError> {
        let error = |why| NameError {
            name: name.to_owned(),
            why,
        };
        if name.is_empty() || !name.chars().all(char::is_alphabetic) {
            return Err(error(Why::Letters));
        }
        if verbs::is_verb(name) {
            return Err(error(Why::Reserved));
        }
        if let Some(verb) = verbs::hiding(name) {
            return Err(error(Why::Hidden(verb)));
        }
        if self.0.contains_key(name) {
            return Err(error(Why::Taken));
        }
        self.0.insert(name.to_owned(), Arc::new(make));
        Ok(())
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(crate) fn make(&self, name: &str, parameter: &str) -> Option<Custom> {
        self.0.get(name).map(|make| Custom {
            name: name.into(),
            parameter: parameter.into(),
            write: make(parameter),
        })
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

impl fmt::Debug for Formatters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A verb of the program's own in a compiled format. Two are equal if they are written the same.
#[derive(Clone)]
pub(crate) struct Custom {
    name: Box<str>,
    parameter: Box<str>,
    write: Formatter,
}

impl Custom {
    pub(crate) fn write(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        (self.write)(record, out);
    }
}

impl PartialEq for Custom {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.parameter == other.parameter
    }
}

impl Eq for Custom {}

impl Hash for Custom {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.parameter.hash(state);
    }
}

impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Custom(%{}({:?}))", self.name, self.parameter)
    }
}

/// A name that a verb cannot have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameError {
    name: String,
    why: Why,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Why {
    Letters,
    Reserved,
    Hidden(&'static str),
    Taken,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot register the format verb `%{}`: ",
            self.name.escape_debug()
        )?;
        match &self.why {
            Why::Letters => f.write_str("a verb has letters only"),
            Why::Reserved => f.write_str("seelog has a verb of this name; choose another"),
            Why::Hidden(verb) => write!(
                f,
                "`%{verb}` would be seen in it; choose a name that does not begin so"
            ),
            Why::Taken => f.write_str("it is registered already"),
        }
    }
}

impl std::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let mut formatters = Formatters::new();
        let table = [
            ("Host", ""),
            ("Host", "registered already"),
            ("", "letters only"),
            ("Host1", "letters only"),
            ("my-verb", "letters only"),
            ("Msg", "seelog has a verb"),
            ("Date", "seelog has a verb"),
            ("name", "`%n` would be seen"),
            ("Timer", "`%Time` would be seen"),
            ("Dates", ""),
            ("\u{df}", ""),
        ];
        for (name, expected) in table {
            let made = formatters.register(name, |_| Arc::new(|_, _| {}));
            match made {
                Ok(()) => assert_eq!(expected, "", "{name}"),
                Err(error) => {
                    let said = error.to_string();
                    assert!(
                        !expected.is_empty() && said.contains(expected),
                        "{name}: {said}"
                    );
                }
            }
        }
        assert_eq!(
            formatters.names().collect::<Vec<_>>(),
            ["Dates", "Host", "\u{df}"]
        );
    }
}
