//! Diagnostics: what is wrong in a config file, where, and what to write instead.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How bad a [`Diagnostic`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// The configuration can be used, but probably does not do what was meant.
    Warning,
}

/// The text of one config file and the name it is shown under.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceText {
    path: PathBuf,
    text: String,
    /// The offset each line begins at.
    lines: Vec<usize>,
}

impl SourceText {
    /// Holds `text`, to be shown as `path` in diagnostics.
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        let text = text.into();
        let lines = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self {
            path: path.into(),
            text,
            lines,
        }
    }

    /// The path the text was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Line and column (both from 1, the column in characters) of a byte offset.
    ///
    /// An offset past the end or inside a character is taken back to the nearest character start.
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let mut at = offset.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        let line = self.lines.partition_point(|start| *start <= at);
        (
            line,
            self.text[self.lines[line - 1]..at].chars().count() + 1,
        )
    }

    /// The text of a line, counted from 1, without its line end.
    fn line(&self, line: usize) -> &str {
        let start = self.lines.get(line - 1).copied().unwrap_or(self.text.len());
        self.text[start..].lines().next().unwrap_or("")
    }
}

/// A stretch of a [`SourceText`], in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub source: Arc<SourceText>,
    /// Byte offsets into its text.
    pub span: Range<usize>,
}

/// `file:line:column`, the form editors and terminals turn into a link.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.source.line_column(self.span.start);
        write!(f, "{}:{line}:{column}", self.source.path.display())
    }
}

/// A value together with the place it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

/// One thing that is wrong, where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether the configuration can still be used.
    pub severity: Severity,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// Where, when there is a place.
    pub place: Option<Place>,
    /// A few words beside the underlined place.
    pub label: Option<String>,
    /// What to do next.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error with this message.
    pub fn error(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            place: None,
            label: None,
            help: None,
        }
    }

    /// A warning with this message.
    pub fn warning(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(message)
        }
    }

    /// Says where.
    #[must_use]
    pub fn at(mut self, place: &Place) -> Self {
        self.place = Some(place.clone());
        self
    }

    /// Puts a few words beside the underlined place.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Says what to do next.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// ```text
/// shop.toml:3:1: error: unknown key `comand` in [program.web]
///   |
/// 3 | comand = "blog"
///   | ^^^^^^ did you mean `command`?
///   = help: …
/// ```
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let mut gutter = 1;
        if let Some(place) = &self.place {
            let (line, column) = place.source.line_column(place.span.start);
            let shown = place.source.line(line);
            gutter = line.to_string().len();
            let length = place
                .source
                .text()
                .get(place.span.clone())
                .map_or(1, |text| {
                    text.lines()
                        .next()
                        .map_or(1, |first| first.chars().count())
                        .max(1)
                });
            // A tab is as wide here as it is in the line above, whatever the terminal makes of it.
            let lead: String = shown
                .chars()
                .take(column - 1)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            writeln!(f, "{place}: {severity}: {}", self.message)?;
            writeln!(f, "{:gutter$} |", "")?;
            writeln!(f, "{line} | {shown}")?;
            write!(f, "{:gutter$} | {lead}{}", "", "^".repeat(length))?;
            if let Some(label) = &self.label {
                write!(f, " {label}")?;
            }
        } else {
            write!(f, "{severity}: {}", self.message)?;
            if let Some(label) = &self.label {
                write!(f, " ({label})")?;
            }
        }
        if let Some(help) = &self.help {
            write!(f, "\n{:gutter$} = help: {help}", "")?;
        }
        Ok(())
    }
}

/// Nobody reads more at once; and what is wrong so often is wrong in one place.
const MOST_SHOWN: usize = 100;

/// Everything that was found wrong in one pass, in the order of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    /// Whether any of them is an error.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|d| d.severity == Severity::Error)
    }

    /// Whether there is none at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each in turn.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.iter()
    }

    /// Orders them by file and place, errors without a place first.
    pub fn sort(&mut self) {
        fn key(d: &Diagnostic) -> Option<(&Path, usize)> {
            d.place
                .as_ref()
                .map(|p| (p.source.path.as_path(), p.span.start))
        }
        self.0.sort_by(|a, b| key(a).cmp(&key(b)));
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

impl Extend<Diagnostic> for Diagnostics {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, more: I) {
        self.0.extend(more);
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.0.iter().take(MOST_SHOWN).enumerate() {
            if i > 0 {
                f.write_str("\n\n")?;
            }
            diagnostic.fmt(f)?;
        }
        match self.0.len().saturating_sub(MOST_SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n\nerror: {more} more are not shown"),
        }
    }
}

impl std::error::Error for Diagnostics {}

/// The known name nearest to a mistyped one, if any is near enough to be worth proposing.
///
/// Near is a Damerau-Levenshtein distance of at most a third of the longer name (at least 1), so
/// that `comand` finds `command` but `x` proposes nothing.
///
/// ```
/// assert_eq!(mainstay_base::nearest("comand", ["command", "user"]), Some("command"));
/// assert_eq!(mainstay_base::nearest("zebra", ["command", "user"]), None);
/// ```
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| {
            let longer = name.chars().count().max(candidate.chars().count());
            *distance <= (longer / 3).max(1)
        })
        .min_by_key(|(distance, candidate)| (*distance, candidate.len()))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, span: Range<usize>) -> Place {
        Place {
            source: Arc::new(SourceText::new("shop.toml", text)),
            span,
        }
    }

    #[test]
    fn line_and_column_count_characters_from_one() {
        let source = SourceText::new("x", "a\nбв = 1\n");
        for (offset, expected) in [
            (0, (1, 1)),
            (1, (1, 2)),
            (2, (2, 1)),
            (4, (2, 2)),
            (3, (2, 1)),
            (99, (3, 1)),
        ] {
            assert_eq!(source.line_column(offset), expected, "offset {offset}");
        }
    }

    #[test]
    fn a_diagnostic_shows_the_line_and_underlines_the_place() {
        let text = "schema = 1\n[program.web]\ncomand = \"blog\"\n";
        let diagnostic = Diagnostic::error("unknown key `comand` in [program.web]")
            .at(&place(text, 25..31))
            .label("did you mean `command`?")
            .help("`mainstay check` lists every key");
        assert_eq!(
            diagnostic.to_string(),
            "shop.toml:3:1: error: unknown key `comand` in [program.web]\n  |\n3 | comand = \"blog\"\n  \
             | ^^^^^^ did you mean `command`?\n  = help: `mainstay check` lists every key"
        );
    }

    #[test]
    fn a_span_over_several_lines_underlines_the_first() {
        let diagnostic = Diagnostic::error("bad").at(&place("a = [\n1,\n]", 4..10));
        assert!(
            diagnostic.to_string().ends_with("1 | a = [\n  |     ^"),
            "{diagnostic}"
        );
    }

    #[test]
    fn nearest_proposes_only_what_is_near() {
        let known = ["command", "user", "umask", "env"];
        for (typed, expected) in [
            ("comand", Some("command")),
            ("commnad", Some("command")),
            ("usr", Some("user")),
            ("umaks", Some("umask")),
            ("enviroment", None),
            ("qqqqqq", None),
        ] {
            assert_eq!(nearest(typed, known), expected, "{typed}");
        }
    }
}
