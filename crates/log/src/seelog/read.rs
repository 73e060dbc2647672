//! From a document to a [`Config`]: the grammar of everything but the receivers.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mainstay_base::{
    Diagnostic, Diagnostics, Place, Secret, Severity, SourceText, nearest, parse_duration,
};

use crate::seelog::levels::{self, Which};
use crate::seelog::verbs;
use crate::seelog::xml::{self, Attribute, Element, Fault, shown};
use crate::seelog::{Config, Dialect, Exception, Levels, LoggerType, NamedFormat, Options};
use mainstay_base::Pattern;

/// As many errors and warnings as anyone reads.
const MAX_DIAGNOSTICS: usize = 100;

impl Config {
    /// Reads a document that is shown as `path`. At most 4 MiB are read, whatever the source has.
    ///
    /// The error holds everything that is wrong, and the warnings. The content of passwords is in
    /// none of it.
    pub fn read(
        path: impl Into<PathBuf>,
        source: impl Read,
        options: &Options<'_>,
    ) -> Result<Self, Diagnostics> {
        let path = path.into();
        let mut bytes = Vec::new();
        let limit = xml::MAX_BYTES as u64 + 1;
        if let Err(error) = source.take(limit).read_to_end(&mut bytes) {
            return Err(
                Diagnostic::error(format!("cannot read {}: {error}", path.display()))
                    .help("check that the file exists and that mainstay may read it")
                    .into(),
            );
        }
        if bytes.len() > xml::MAX_BYTES {
            return Err(Diagnostic::error(format!(
                "{} has more than {} MiB",
                path.display(),
                xml::MAX_BYTES >> 20
            ))
            .help("a config of seelog is a small file; is this one?")
            .into());
        }
        let text = match String::from_utf8(bytes) {
            // It may hold passwords: wiped when it is dropped.
            Ok(text) => Secret::new(text),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(error.as_bytes());
                let source = Arc::new(SourceText::new(path, xml::masked(&text)));
                return Err(diagnostic(Severity::Error, &source, xml::not_utf8(at..at + 1)).into());
            }
        };
        Self::parse(path, text.expose(), options)
    }

    /// The same for a text.
    pub fn parse(
        path: impl AsRef<Path>,
        text: &str,
        options: &Options<'_>,
    ) -> Result<Self, Diagnostics> {
        let path = path.as_ref();
        if text.len() > xml::MAX_BYTES {
            return Self::read(path, text.as_bytes(), options);
        }
        let source = Arc::new(SourceText::new(path, xml::masked(text)));
        let document = match xml::parse(text) {
            Ok(document) => document,
            Err(fault) => return Err(diagnostic(Severity::Error, &source, fault).into()),
        };
        let mut reader = Reader {
            options,
            source,
            found: Vec::new(),
            formats: Vec::new(),
            ids: HashMap::new(),
            used: HashSet::new(),
            files: HashMap::new(),
        };
        for fault in document.errors {
            reader.error(fault);
        }
        for fault in document.ignored {
            reader.warn(fault);
        }
        let config = reader.root(&document.root);
        let mut found = Diagnostics::default();
        found.extend(reader.found);
        found.sort();
        match config {
            Some(mut config) if !found.has_errors() => {
                config.warnings = found;
                Ok(config)
            }
            _ => Err(found),
        }
    }
}

fn diagnostic(severity: Severity, source: &Arc<SourceText>, fault: Fault) -> Diagnostic {
    let diagnostic = Diagnostic {
        severity,
        ..Diagnostic::error(fault.message)
    }
    .at(&Place {
        source: Arc::clone(source),
        span: fault.span,
    });
    match fault.help {
        Some(help) => diagnostic.help(help),
        None => diagnostic,
    }
}

/// The value of an attribute, `${NAME}` replaced.
pub(super) struct Value<'e> {
    pub(super) text: Cow<'e, str>,
    /// The value in the document.
    pub(super) span: Range<usize>,
}

pub(super) struct Reader<'a> {
    pub(super) options: &'a Options<'a>,
    source: Arc<SourceText>,
    found: Vec<Diagnostic>,
    pub(super) formats: Vec<NamedFormat>,
    /// The last format of each id.
    pub(super) ids: HashMap<String, usize>,
    /// The formats that something uses.
    pub(super) used: HashSet<usize>,
    /// Which element writes to a path first.
    pub(super) files: HashMap<String, Range<usize>>,
}

impl Reader<'_> {
    pub(super) fn extended(&self) -> bool {
        self.options.dialect == Dialect::Extended
    }

    pub(super) fn place(&self, span: &Range<usize>) -> Place {
        Place {
            source: Arc::clone(&self.source),
            span: span.clone(),
        }
    }

    fn report(&mut self, severity: Severity, fault: Fault) {
        // An error is kept when there are too many warnings: it decides.
        let errors = |found: &[Diagnostic]| {
            let error = |d: &&Diagnostic| d.severity == Severity::Error;
            found.iter().filter(error).count()
        };
        let full = self.found.len() >= MAX_DIAGNOSTICS;
        if !full || (severity == Severity::Error && errors(&self.found) == 0) {
            self.found.push(diagnostic(severity, &self.source, fault));
        }
    }

    pub(super) fn error(&mut self, fault: Fault) {
        self.report(Severity::Error, fault);
    }

    /// Says what seelog keeps silent about.
    pub(super) fn warn(&mut self, fault: Fault) {
        if self.extended() {
            self.report(Severity::Warning, fault);
        }
    }

    /// Reports the attributes that the element does not have.
    pub(super) fn known(&mut self, element: &Element<'_>, names: &[&str]) {
        for attribute in &element.attributes {
            if names.contains(&attribute.name) {
                continue;
            }
            let fault = Fault::new(
                attribute.name_span.clone(),
                format!(
                    "<{}> has no attribute {}",
                    shown(element.name).trim_matches('`'),
                    shown(attribute.name)
                ),
            );
            let known = if names.is_empty() {
                "it has none".to_owned()
            } else {
                format!("it has {}", names.join(", "))
            };
            // `usetls` means `tls`, though half of it is other letters.
            let near = nearest(attribute.name, names.iter().copied()).or_else(|| {
                names
                    .iter()
                    .copied()
                    .find(|name| name.len() > 2 && attribute.name.ends_with(name))
            });
            self.error(fault.help(match near {
                Some(near) => format!("did you mean `{near}`? {known}"),
                None => known,
            }));
        }
    }

    /// Reports an element that does not belong into `parent`.
    pub(super) fn unexpected(&mut self, child: &Element<'_>, parent: &str, names: &[&str]) {
        let name = shown(child.name);
        let fault = Fault::new(
            child.span.clone(),
            format!(
                "<{}> does not belong into <{parent}>",
                name.trim_matches('`')
            ),
        );
        let known = if names.is_empty() {
            format!("<{parent}> holds no elements")
        } else {
            format!("<{parent}> holds {}", names.join(", "))
        };
        self.error(
            fault.help(match nearest(child.name, names.iter().copied()) {
                Some(near) => format!("did you mean <{near}>? {known}"),
                None => known,
            }),
        );
    }

    /// Reports every element inside one that holds none.
    pub(super) fn no_children(&mut self, element: &Element<'_>) {
        for child in &element.children {
            self.unexpected(child, element.name, &[]);
        }
    }

    /// The value of an attribute. `Err` if it cannot be had, which was reported.
    pub(super) fn get<'e>(
        &mut self,
        element: &'e Element<'_>,
        name: &str,
    ) -> Result<Option<Value<'e>>, ()> {
        let Some(attribute) = find(element, name) else {
            return Ok(None);
        };
        let text = if self.extended() && attribute.value.contains("${") {
            Cow::Owned(self.expanded(attribute)?)
        } else {
            Cow::Borrowed(&*attribute.value)
        };
        Ok(Some(Value {
            text,
            span: attribute.value_span.clone(),
        }))
    }

    /// The value of an attribute that must be there; `None` was reported.
    pub(super) fn required<'e>(
        &mut self,
        element: &'e Element<'_>,
        name: &str,
    ) -> Option<Value<'e>> {
        match self.get(element, name) {
            Ok(Some(value)) => Some(value),
            Ok(None) => {
                self.missing(element, name);
                None
            }
            Err(()) => None,
        }
    }

    pub(super) fn missing(&mut self, element: &Element<'_>, name: &str) {
        self.error(
            Fault::new(
                element.span.clone(),
                format!("<{}> lacks the attribute `{name}`", element.name),
            )
            .help(format!("add {name}=\"…\"")),
        );
    }

    /// Replaces `${NAME}` by the environment's value and `$${` by `${`.
    fn expanded(&mut self, attribute: &Attribute<'_>) -> Result<String, ()> {
        let written = &*attribute.value;
        let mut text = String::with_capacity(written.len());
        let mut at = 0;
        while let Some(found) = written[at..].find('$') {
            text.push_str(&written[at..at + found]);
            at += found;
            if written[at..].starts_with("$${") {
                text.push_str("${");
                at += 3;
            } else if let Some(rest) = written[at..].strip_prefix("${") {
                let Some(length) = rest.find('}') else {
                    let span = attribute.within(at..at + 2);
                    self.error(
                        Fault::new(span, "`${` is not closed")
                            .help("write ${NAME}, or $${ for the characters themselves"),
                    );
                    return Err(());
                };
                let name = &rest[..length];
                let end = at + 2 + length + 1;
                let value = (self.options.environment)(name).filter(|_| !name.is_empty());
                let Some(value) = value else {
                    let fault = Fault::new(
                        attribute.within(at..end),
                        format!("the environment has no variable {}", shown(name)),
                    );
                    self.error(fault.help(
                        "set it where mainstay is started, or write $${ for the characters themselves",
                    ));
                    return Err(());
                };
                text.push_str(&value);
                at = end;
            } else {
                text.push('$');
                at += 1;
            }
        }
        text.push_str(&written[at..]);
        Ok(text)
    }

    fn root(&mut self, root: &Element<'_>) -> Option<Config> {
        if root.name != "seelog" {
            let name = shown(root.name);
            self.error(
                Fault::new(
                    root.span.clone(),
                    format!(
                        "the root element is <{}>, not <seelog>",
                        name.trim_matches('`')
                    ),
                )
                .help("a config of seelog begins with <seelog>"),
            );
            return None;
        }
        self.known(
            root,
            &[
                "minlevel",
                "maxlevel",
                "levels",
                "type",
                "asyncinterval",
                "mininterval",
                "maxinterval",
                "critmsgcount",
            ],
        );
        self.ignored_text(root);
        let sections = ["outputs", "formats", "exceptions"];
        for (index, child) in root.children.iter().enumerate() {
            if !sections.contains(&child.name) {
                self.unexpected(child, "seelog", &sections);
            } else if root.children[..index]
                .iter()
                .any(|before| before.name == child.name)
            {
                self.error(
                    Fault::new(
                        child.span.clone(),
                        format!("there is a second <{}>", child.name),
                    )
                    .help("put everything into the first"),
                );
            }
        }
        let section = |name| root.children.iter().find(|child| child.name == name);
        let levels = self.levels(root);
        let exceptions = section("exceptions").map(|element| self.exceptions(element));
        if let Some(element) = section("formats") {
            self.read_formats(element);
        }
        let outputs = self.outputs(root, section("outputs"));
        let logger = self.logger(root);
        self.unused_formats();
        let (levels, logger) = (levels?, logger?);
        let config = Config {
            dialect: self.options.dialect,
            levels,
            exceptions: exceptions.unwrap_or_default(),
            formats: std::mem::take(&mut self.formats),
            outputs,
            logger,
            logger_place: find(root, "type").map_or_else(
                || self.place(&root.span),
                |attribute| self.place(&attribute.value_span),
            ),
            warnings: Diagnostics::default(),
        };
        self.unreachable(&config);
        Some(config)
    }

    /// Warns of text that means nothing, here and below.
    fn ignored_text(&mut self, element: &Element<'_>) {
        if let Some(span) = &element.text {
            self.warn(Fault::new(
                span.clone(),
                format!(
                    "text inside of <{}> is ignored",
                    shown(element.name).trim_matches('`')
                ),
            ));
        }
        for child in &element.children {
            self.ignored_text(child);
        }
    }

    /// What `minlevel`, `maxlevel` and `levels` of an element let through.
    fn levels(&mut self, element: &Element<'_>) -> Option<Levels> {
        let mut get = |name| self.get(element, name);
        let (min, max, list) = (get("minlevel"), get("maxlevel"), get("levels"));
        let (Ok(min), Ok(max), Ok(list)) = (min, max, list) else {
            return None;
        };
        let text = |value: &'_ Option<Value<'_>>| value.as_ref().map(|v| v.text.to_string());
        let (min, max, list) = (text(&min), text(&max), text(&list));
        let read = levels::constraints(&levels::Given {
            min: min.as_deref(),
            max: max.as_deref(),
            list: list.as_deref(),
        });
        match read {
            Ok(read) => {
                for (which, fault) in read.odd {
                    let fault = in_attribute(element, which, fault);
                    self.warn(fault);
                }
                let by = read.by.and_then(|which| find(element, attribute_of(which)));
                Some(Levels {
                    set: read.levels,
                    place: by.map_or_else(
                        || self.place(&element.span),
                        |attribute| self.place(&attribute.value_span),
                    ),
                })
            }
            Err(wrong) => {
                for (which, fault) in wrong {
                    let fault = in_attribute(element, which, fault);
                    self.error(fault);
                }
                None
            }
        }
    }

    fn exceptions(&mut self, element: &Element<'_>) -> Vec<Exception> {
        self.known(element, &[]);
        if element.children.is_empty() {
            self.empty(element, "exception");
        }
        let mut exceptions: Vec<Exception> = Vec::new();
        let mut seen: HashSet<(Pattern, Pattern)> = HashSet::new();
        let mut all: Option<Range<usize>> = None;
        for child in &element.children {
            if child.name != "exception" {
                self.unexpected(child, "exceptions", &["exception"]);
                continue;
            }
            let names = [
                "filepattern",
                "funcpattern",
                "minlevel",
                "maxlevel",
                "levels",
            ];
            self.known(child, &names);
            self.ignored_children(child);
            let levels = self.levels(child);
            let function = self.pattern(child, "funcpattern");
            let file = self.pattern(child, "filepattern");
            let (Some(function), Some(file)) = (function, file) else {
                continue;
            };
            if !seen.insert((function.clone(), file.clone())) {
                self.error(
                    Fault::new(
                        child.span.clone(),
                        format!(
                            "an exception for the functions {} in the files {} is there already",
                            shown(function.as_str()),
                            shown(file.as_str())
                        ),
                    )
                    .help("only the first would count: remove one of them"),
                );
            } else if let Some(first) = &all {
                let first = self.place(first);
                self.warn(
                    Fault::new(child.span.clone(), "this exception is never asked").help(format!(
                        "the one at {first} is about everything; put it last"
                    )),
                );
            }
            if function.as_str() == "*" && file.as_str() == "*" {
                all.get_or_insert(child.span.clone());
            }
            if let Some(levels) = levels {
                exceptions.push(Exception {
                    function,
                    file,
                    levels,
                    place: self.place(&child.span),
                });
            }
        }
        exceptions
    }

    /// `funcpattern` or `filepattern`; `None` was reported.
    fn pattern(&mut self, element: &Element<'_>, name: &str) -> Option<Pattern> {
        let Some(attribute) = find(element, name) else {
            return Some(Pattern::new("*"));
        };
        let text = &*attribute.value;
        let more = if name == "filepattern" {
            "\\/ _*."
        } else {
            "_*."
        };
        let allowed = |c: char| match self.options.dialect {
            Dialect::Strict => c.is_ascii_alphanumeric() || more.contains(c),
            Dialect::Extended => !c.is_control(),
        };
        if let Some((at, c)) = text.char_indices().find(|(_, c)| !allowed(*c)) {
            let fault = Fault::new(
                attribute.within(at..at + c.len_utf8()),
                format!("{} cannot stand in `{name}`", shown(&c.to_string())),
            );
            self.error(fault.help(if self.extended() {
                "control characters are in no name".to_owned()
            } else {
                format!("seelog takes letters, digits and {more:?}")
            }));
            return None;
        }
        let mut reduced = String::with_capacity(text.len());
        for c in text.chars() {
            if c != '*' || !reduced.ends_with('*') {
                reduced.push(c);
            }
        }
        Some(Pattern::new(reduced))
    }

    fn read_formats(&mut self, element: &Element<'_>) {
        self.known(element, &[]);
        if element.children.is_empty() {
            self.empty(element, "format");
        }
        for child in &element.children {
            if child.name != "format" {
                self.unexpected(child, "formats", &["format"]);
                continue;
            }
            self.known(child, &["id", "format"]);
            self.ignored_children(child);
            let id = self
                .required(child, "id")
                .map(|value| value.text.into_owned());
            let Some(attribute) = find(child, "format") else {
                self.missing(child, "format");
                continue;
            };
            let compiled = match verbs::compile(&attribute.value, self.options) {
                Ok(compiled) => compiled,
                Err(mut fault) => {
                    fault.span = attribute.within(fault.span);
                    self.error(fault);
                    // The name is known, so that its uses are no errors too.
                    verbs::Compiled {
                        format: verbs::default(self.options),
                        odd: Vec::new(),
                    }
                }
            };
            for mut fault in compiled.odd {
                fault.span = attribute.within(fault.span);
                self.warn(fault);
            }
            let Some(id) = id else {
                continue;
            };
            if let Some(before) = self.ids.insert(id.clone(), self.formats.len()) {
                let first = self.formats[before].place.clone();
                self.used.insert(before);
                self.warn(
                    Fault::new(
                        child.span.clone(),
                        format!("this replaces the format {} at {first}", shown(&id)),
                    )
                    .help("the last of several formats with one id counts: remove the others"),
                );
            }
            self.formats.push(NamedFormat {
                id,
                text: attribute.value.to_string(),
                format: compiled.format,
                place: self.place(&child.span),
            });
        }
    }

    fn unused_formats(&mut self) {
        let unused: Vec<Fault> = self
            .formats
            .iter()
            .enumerate()
            .filter(|(index, _)| !self.used.contains(index))
            .map(|(_, format)| {
                Fault::new(
                    format.place.span.clone(),
                    format!("nothing uses the format {}", shown(&format.id)),
                )
                .help("name it in a `formatid`, or remove it")
            })
            .collect();
        for fault in unused {
            self.warn(fault);
        }
    }

    fn logger(&mut self, root: &Element<'_>) -> Option<LoggerType> {
        let kind = self.get(root, "type").ok()?;
        let kind_text = kind.as_ref().map_or("asyncloop", |value| &*value.text);
        let (logger, used): (Option<LoggerType>, &[&str]) = match kind_text {
            "sync" => (Some(LoggerType::Sync), &[]),
            "asyncloop" => (Some(LoggerType::AsyncLoop), &[]),
            "asynctimer" => (
                self.interval(root, "asyncinterval").map(|interval| {
                    if interval.is_zero() {
                        let span = find(root, "asyncinterval").map(|a| a.value_span.clone());
                        self.warn(
                            Fault::new(span.unwrap_or(0..0), "an interval of 0 crashes seelog")
                                .help("write a time above 0, or type=\"asyncloop\""),
                        );
                    }
                    LoggerType::AsyncTimer { interval }
                }),
                &["asyncinterval"],
            ),
            "adaptive" => (
                self.adaptive(root),
                &["mininterval", "maxinterval", "critmsgcount"],
            ),
            other => {
                let names = ["sync", "asyncloop", "asynctimer", "adaptive"];
                let known = format!("types are {}", names.join(", "));
                let span = kind.as_ref().map_or(root.span.clone(), |v| v.span.clone());
                let fault = Fault::new(span, format!("{} is no type of logger", shown(other)));
                let fault = fault.help(match nearest(other, names) {
                    Some(near) => format!("did you mean `{near}`? {known}"),
                    None => known,
                });
                self.error(fault);
                return None;
            }
        };
        for name in [
            "asyncinterval",
            "mininterval",
            "maxinterval",
            "critmsgcount",
        ] {
            if let Some(attribute) = find(root, name).filter(|_| !used.contains(&name)) {
                let span = attribute.name_span.clone();
                self.warn(
                    Fault::new(span, format!("`{name}` means nothing for type {kind_text}"))
                        .help("remove it"),
                );
            }
        }
        logger
    }

    fn adaptive(&mut self, root: &Element<'_>) -> Option<LoggerType> {
        let min = self.interval(root, "mininterval");
        let max = self.interval(root, "maxinterval");
        let count = self.required(root, "critmsgcount").and_then(|value| {
            let count = whole(&value.text).and_then(|count| u32::try_from(count).ok());
            if let Some(count @ 1..=1000) = count {
                return Some(count);
            }
            self.error(
                Fault::new(
                    value.span,
                    format!(
                        "{} is no number of messages from 1 to 1000",
                        shown(&value.text)
                    ),
                )
                .help("write a whole number from 1 to 1000"),
            );
            None
        });
        let (min, max, critical_count) = (min?, max?, count?);
        let span = |name| find(root, name).map_or(root.span.clone(), |a| a.value_span.clone());
        if min.is_zero() {
            self.error(
                Fault::new(span("mininterval"), "the shortest interval is 0")
                    .help("write a time above 0"),
            );
        }
        if max > Duration::from_mins(1) {
            self.error(
                Fault::new(
                    span("maxinterval"),
                    "the longest interval is more than a minute",
                )
                .help("write \"1m\" or less"),
            );
        }
        if min > max {
            self.warn(
                Fault::new(
                    span("mininterval"),
                    "the shortest interval is above the longest",
                )
                .help("exchange `mininterval` and `maxinterval`"),
            );
        }
        Some(LoggerType::Adaptive {
            min,
            max,
            critical_count,
        })
    }

    /// Nanoseconds as a number of 32 bits, or a duration with its unit.
    fn interval(&mut self, root: &Element<'_>, name: &str) -> Option<Duration> {
        let value = self.required(root, name)?;
        if let Some(nanos) = whole(&value.text).and_then(|nanos| u32::try_from(nanos).ok()) {
            return Some(Duration::from_nanos(u64::from(nanos)));
        }
        if self.extended()
            && let Ok(duration) = parse_duration(&value.text)
        {
            return Some(duration);
        }
        let fault = Fault::new(
            value.span,
            format!("{} is no number of nanoseconds", shown(&value.text)),
        );
        self.error(fault.help(if self.extended() {
            "write a whole number below 4294967296, or a time with its unit, as in \"50ms\""
        } else {
            "write a whole number below 4294967296"
        }));
        None
    }

    fn empty(&mut self, element: &Element<'_>, holds: &str) {
        self.error(
            Fault::new(element.span.clone(), format!("<{}> is empty", element.name))
                .help(format!("put a <{holds}> into it, or remove it")),
        );
    }

    fn ignored_children(&mut self, element: &Element<'_>) {
        if let Some(child) = element.children.first() {
            self.warn(
                Fault::new(
                    child.span.clone(),
                    format!("what is inside of <{}> is ignored", element.name),
                )
                .help("remove it"),
            );
        }
    }
}

pub(super) fn find<'e, 'a>(element: &'e Element<'a>, name: &str) -> Option<&'e Attribute<'a>> {
    element
        .attributes
        .iter()
        .find(|attribute| attribute.name == name)
}

fn attribute_of(which: Which) -> &'static str {
    match which {
        Which::Min => "minlevel",
        Which::Max => "maxlevel",
        Which::List => "levels",
    }
}

/// A fault of a value as one of the document.
pub(super) fn in_attribute(element: &Element<'_>, which: Which, mut fault: Fault) -> Fault {
    fault.span = match find(element, attribute_of(which)) {
        Some(attribute) => attribute.within(fault.span),
        None => element.span.clone(),
    };
    fault
}

/// A whole number in digits alone.
pub(super) fn whole(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}
