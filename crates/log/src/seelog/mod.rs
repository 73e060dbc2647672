//! The XML config language of seelog: read, checked, explained.
//!
//! [`Config::read`] takes a document and gives what it says as values, or everything that is wrong
//! with it, each with line, column and what to write instead. It opens nothing: what a config means
//! for running sinks is for who builds them. A [`Gate`] decides which records pass the levels and
//! exceptions, [`Config::leaves`] lists where they can go, [`Config::explain`] says for one record
//! where it goes and why, and [`Format::seelog`](crate::Format::seelog) compiles a format of its
//! verbs.
//!
//! There are two dialects. [`Dialect::Strict`] loads what seelog loads and refuses what it refuses.
//! [`Dialect::Extended`] takes the same grammar and more: sizes with units (`10MB`), durations with
//! units (`30s`), `${NAME}` for a variable of the environment (`$${` for the two characters),
//! `password_file`, mail without a login, any character in the patterns of exceptions, `\n` and `\t`
//! in formats, and the verbs `%Target`, `%Fields` and `%Ctx` (the spans around a record); it warns
//! where seelog silently does something else than was meant; and its predefined JSON and XML formats
//! escape what they are given. In both, `%%` is a percent sign, and a pattern is a true glob: `*aa`
//! matches `aaa`.
//!
//! ```
//! use mainstay_log::seelog::{Config, Options};
//! use mainstay_log::Level;
//!
//! let text = r#"
//! <seelog minlevel="info">
//!     <exceptions><exception filepattern="*/noisy.rs" minlevel="error"/></exceptions>
//!     <outputs formatid="std:debug-short">
//!         <console/>
//!         <filter levels="error,critical"><file path="errors.log"/></filter>
//!     </outputs>
//! </seelog>"#;
//! let config = Config::parse("seelog.xml", text, &Options::new())?;
//! assert!(config.gate().allows(Level::Info, "main", "src/main.rs"));
//! assert!(!config.gate().allows(Level::Info, "main", "src/noisy.rs"));
//! let explanation = config.explain(Level::Warn, "main", "src/main.rs");
//! assert_eq!(explanation.reached().count(), 1);
//! # Ok::<(), mainstay_base::Diagnostics>(())
//! ```

mod config;
mod convert;
mod custom;
mod explain;
mod gate;
mod import;
pub(crate) mod layout;
mod levels;
mod outputs;
mod read;
mod receivers;
mod verbs;
mod xml;

use mainstay_base::Diagnostic;

use crate::format::Format;

pub use config::{
    Archive, ArchiveKind, Buffered, Config, Conn, Custom as CustomReceiver, DataParameter,
    Exception, File, FormatUse, Header, Levels, LoggerType, Login, NameMode, NamedFormat, Output,
    OutputKind, Password, Receiver, RollWhen, Rolling, Smtp, Tls,
};
pub(crate) use custom::Custom;
pub use custom::{Formatter, Formatters, NameError};
pub use explain::{Decision, Explanation, Leaf, LeafVerdict, Step};
pub use gate::{Gate, Rule};
pub use layout::DateLayout;

/// How a config is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Dialect {
    /// seelog's rules of loading to the letter, without a warning.
    Strict,
    /// The same grammar with our additions and warnings, see [the module](self).
    #[default]
    Extended,
}

/// What reading a config needs beside its text.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    pub(crate) dialect: Dialect,
    pub(crate) environment: &'a dyn Fn(&str) -> Option<String>,
    pub(crate) formatters: &'a Formatters,
    pub(crate) receivers: Option<&'a [&'a str]>,
    pub(crate) directory: &'a str,
}

static NO_FORMATTERS: Formatters = Formatters::new();

impl<'a> Options<'a> {
    /// The extended dialect, an empty environment, no formatters, every custom receiver accepted,
    /// source paths below `/`.
    pub fn new() -> Self {
        Self {
            dialect: Dialect::Extended,
            environment: &|_| None,
            formatters: &NO_FORMATTERS,
            receivers: None,
            directory: "/",
        }
    }

    /// The same in this dialect.
    #[must_use]
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    /// The same with what `${NAME}` stands for.
    #[must_use]
    pub fn environment(mut self, environment: &'a dyn Fn(&str) -> Option<String>) -> Self {
        self.environment = environment;
        self
    }

    /// The same with format verbs of the program's own.
    #[must_use]
    pub fn formatters(mut self, formatters: &'a Formatters) -> Self {
        self.formatters = formatters;
        self
    }

    /// The same with the names that `<custom name="…">` may have; others become errors.
    #[must_use]
    pub fn receivers(mut self, names: &'a [&'a str]) -> Self {
        self.receivers = Some(names);
        self
    }

    /// The same with the directory that `%RelFile` and `%FullPath` refer to.
    #[must_use]
    pub fn directory(mut self, directory: &'a str) -> Self {
        self.directory = directory;
        self
    }
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("dialect", &self.dialect)
            .field("formatters", &self.formatters)
            .field("receivers", &self.receivers)
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

impl Format {
    /// Compiles a format in seelog's verbs, as `<format format="…">` has it, or takes a predefined
    /// one by its name, as in `std:json`.
    ///
    /// The error has no place, because the text has none; it names the position within the format.
    pub fn seelog(text: &str, options: &Options<'_>) -> Result<Self, Diagnostic> {
        if let Some(name) = text.strip_prefix(verbs::PREFIX) {
            return verbs::standard(name, options).ok_or_else(|| unknown_standard(name));
        }
        match verbs::compile(text, options) {
            Ok(compiled) => Ok(compiled.format),
            Err(fault) => {
                let column = text
                    .get(..fault.span.start)
                    .map_or(1, |before| before.chars().count() + 1);
                let diagnostic = Diagnostic::error(format!(
                    "{}, at character {column} of the format",
                    fault.message
                ));
                Err(match fault.help {
                    Some(help) => diagnostic.help(help),
                    None => diagnostic,
                })
            }
        }
    }

    /// The format of seelog for what names none: `%Ns [%Level] %Msg%n`.
    pub fn seelog_default(options: &Options<'_>) -> Self {
        verbs::default(options)
    }
}

fn unknown_standard(name: &str) -> Diagnostic {
    let names = verbs::STANDARD.map(|(name, _)| name);
    let diagnostic = Diagnostic::error(format!(
        "there is no predefined format {}",
        xml::shown(&format!("{}{name}", verbs::PREFIX))
    ))
    .help(format!("there are std:{}", names.join(", std:")));
    let head: String = name.chars().take(32).collect();
    match mainstay_base::nearest(&head, names) {
        Some(near) => diagnostic.label(format!("did you mean `std:{near}`?")),
        None => diagnostic,
    }
}
