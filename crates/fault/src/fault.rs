//! One value for "something went wrong".

use std::any::Any;
use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::panic::Location;

use http::StatusCode;
use mainstay_base::secret::is_secret_name;
use mainstay_base::{fingerprint, shape};

use crate::class::{Class, Notify, Retry, Severity};
use crate::classify;
use crate::id::Id;
use crate::redact::{cut, redact};
use crate::verdict::{Classify, Verdict};

/// How many causes are kept, and how much of each.
const CAUSES: usize = 16;
const CAUSE_BYTES: usize = 1024;
/// How many facts around it are kept, and how much of a name and a value.
const FACTS: usize = 32;
const NAME_BYTES: usize = 64;
const VALUE_BYTES: usize = 512;
/// How much of what a visitor is told is kept.
const PUBLIC_BYTES: usize = 1024;

/// A place in a program: where something went wrong, or a step on the way to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Frame {
    /// The function, as its language writes it; empty if that is not known.
    pub function: String,
    /// The file, as the program names it; empty if that is not known.
    pub file: String,
    /// The line in it, from 1.
    pub line: Option<u32>,
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.line {
            Some(line) => Cow::Owned(format!("{}:{line}", self.file)),
            None => Cow::Borrowed(self.file.as_str()),
        };
        match (self.function.is_empty(), place.is_empty()) {
            (true, _) => f.write_str(&place),
            (false, true) => f.write_str(&self.function),
            (false, false) => write!(f, "{} ({place})", self.function),
        }
    }
}

impl From<&Location<'_>> for Frame {
    fn from(location: &Location<'_>) -> Self {
        Self {
            function: String::new(),
            file: location.file().to_owned(),
            line: Some(location.line()),
        }
    }
}

/// Something that went wrong: what it is, what follows from it, and what is known of its causes.
///
/// All texts in it are bounded, and secrets are struck out of them when they come in, so that
/// `Debug`, `Display` and every store of it may show all of it to those who look after the app. What
/// a visitor may see is [`Fault::public`] alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    id: Id,
    verdict: Verdict,
    chain: Vec<String>,
    place: Option<Frame>,
    frames: Vec<Frame>,
    context: Vec<(String, String)>,
    fingerprint: String,
}

impl Fault {
    /// From an error of the app, which says itself what it is. The place is that of the caller.
    #[track_caller]
    pub fn new<E: Error + Classify + 'static>(error: &E) -> Self {
        Self::from_verdict(error.classify(), error)
    }

    /// From any error: what it is follows from its type and that of its causes.
    ///
    /// ```
    /// use mainstay_fault::{Class, Fault};
    /// let error: Box<dyn std::error::Error> = std::fs::File::open("/no/such/file").unwrap_err().into();
    /// let fault = Fault::from_error(error.as_ref());
    /// assert_eq!(fault.class(), Class::FileMissing);
    /// assert_eq!(fault.place().unwrap().file, file!());
    /// ```
    #[track_caller]
    pub fn from_error(error: &(dyn Error + 'static)) -> Self {
        Self::from_verdict(Verdict::from_error(error), error)
    }

    /// From an error and what is thought of it.
    #[track_caller]
    pub fn from_verdict(verdict: Verdict, error: &(dyn Error + 'static)) -> Self {
        let texts = classify::chain(error).map(|link| Text(link).to_string());
        Self::build(verdict, texts, Some(Location::caller().into()))
    }

    /// Without an error: from what is thought of it and one sentence for those who look after the app.
    #[track_caller]
    pub fn told(verdict: impl Into<Verdict>, what: &str) -> Self {
        Self::build(
            verdict.into(),
            std::iter::once(what.to_owned()),
            Some(Location::caller().into()),
        )
    }

    /// From a panic: what was thrown, and where, if the hook has seen it.
    pub fn panic(payload: &(dyn Any + Send), place: Option<&Location<'_>>) -> Self {
        let message = payload
            .downcast_ref::<&'static str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("a panic with a value that is no text");
        let texts = std::iter::once(message.to_owned());
        Self::build(Verdict::new(Class::Panic), texts, place.map(Frame::from))
    }

    pub(crate) fn build(
        mut verdict: Verdict,
        texts: impl Iterator<Item = String>,
        place: Option<Frame>,
    ) -> Self {
        let mut chain: Vec<String> = Vec::new();
        for text in texts.take(CAUSES) {
            let text = redact(cut(&text, CAUSE_BYTES));
            // Some errors repeat their cause in their own words.
            let repeated = chain.last().is_some_and(|last| last.ends_with(&text));
            if !text.is_empty() && !repeated {
                chain.push(text);
            }
        }
        if let Some(public) = &verdict.public
            && public.len() > PUBLIC_BYTES
        {
            verdict.public = Some(Cow::Owned(cut(public, PUBLIC_BYTES).to_owned()));
        }
        // The line moves with every release: the file and the words are what stays.
        let file = place.as_ref().map_or("", |place| place.file.as_str());
        let words: Vec<String> = chain.iter().map(|text| shape(text)).collect();
        let fingerprint = fingerprint(&format!(
            "{} {} {}",
            verdict.class,
            file.replace('/', " "),
            words.join(" ")
        ));
        Self {
            id: Id::random(),
            verdict,
            chain,
            place,
            frames: Vec::new(),
            context: Vec::new(),
            fingerprint,
        }
    }

    /// With something known around it: which request, which user, which job. A value whose name is
    /// that of a secret is not kept. Of more than 32 facts, the first are.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        if self.context.len() < FACTS {
            let value = if is_secret_name(name) {
                "***".to_owned()
            } else {
                redact(cut(&value.to_string(), VALUE_BYTES))
            };
            self.context.push((cut(name, NAME_BYTES).to_owned(), value));
        }
        self
    }

    /// With a place that is known better than by the caller.
    #[must_use]
    pub fn at(mut self, place: Frame) -> Self {
        self.place = Some(place);
        self
    }

    /// With the frames that led to it, the innermost first.
    #[must_use]
    pub fn with_frames(mut self, frames: Vec<Frame>) -> Self {
        self.frames = frames;
        self
    }

    /// With the caller's word on which faults are one.
    #[must_use]
    pub fn with_fingerprint(mut self, fingerprint: impl Into<String>) -> Self {
        self.fingerprint = fingerprint.into();
        self
    }

    /// With the id that this request has been given before.
    #[must_use]
    pub const fn with_id(mut self, id: Id) -> Self {
        self.id = id;
        self
    }

    /// The code that visitor, log and mail share.
    pub const fn id(&self) -> Id {
        self.id
    }

    /// What kind of fault it is.
    pub const fn class(&self) -> Class {
        self.verdict.class
    }

    /// The status of the answer.
    pub const fn status(&self) -> StatusCode {
        self.verdict.status
    }

    /// How grave it is.
    pub const fn severity(&self) -> Severity {
        self.verdict.severity
    }

    /// Whether the same request may succeed later.
    pub const fn retry(&self) -> Retry {
        self.verdict.retry
    }

    /// Whether a person is told.
    pub const fn notify(&self) -> Notify {
        self.verdict.notify
    }

    /// What the visitor is told instead of the text that is built in.
    pub fn public(&self) -> Option<&str> {
        self.verdict.public.as_deref()
    }

    /// What is one kind of fault has one: twelve hexadecimal digits, unless the caller has chosen.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// What went wrong, and what caused it: the outermost first. Secrets are struck out.
    pub fn chain(&self) -> &[String] {
        &self.chain
    }

    /// Where it went wrong.
    pub const fn place(&self) -> Option<&Frame> {
        self.place.as_ref()
    }

    /// The frames that led to it, the innermost first; empty if nobody has captured them.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// What is known around it.
    pub fn context(&self) -> &[(String, String)] {
        &self.context
    }
}

/// The words of an error. One whose `Display` fails loses the rest of them, not the thread.
struct Text<'a>(&'a dyn Error);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        let mut text = String::new();
        let _ = write!(text, "{}", self.0);
        f.write_str(&text)
    }
}

impl fmt::Display for Fault {
    /// One line for the log: code, class, status, place and causes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        write!(f, "{} {} {}", self.id, self.class(), self.status().as_u16())?;
        if let Some(place) = &self.place {
            write!(f, " at {place}")?;
        }
        for (index, text) in self.chain.iter().enumerate() {
            f.write_str(if index == 0 { ": " } else { "; caused by: " })?;
            for (index, part) in text.split(char::is_control).enumerate() {
                if index > 0 {
                    f.write_char(' ')?;
                }
                f.write_str(part)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[derive(Debug)]
    struct Step(&'static str, Option<Box<dyn Error + Send + Sync>>);

    impl fmt::Display for Step {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Step {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1
                .as_deref()
                .map(|source| source as &(dyn Error + 'static))
        }
    }

    #[test]
    fn causes_are_named_once_and_places_are_the_callers() {
        let inner = Step(
            "no space",
            Some(Box::new(io::Error::from(io::ErrorKind::StorageFull))),
        );
        let error = Step("cannot save: no space", Some(Box::new(inner)));
        let (fault, line) = (Fault::from_error(&error), line!());
        assert_eq!(fault.class(), Class::DiskFull);
        assert_eq!(fault.chain(), ["cannot save: no space", "no storage space"]);
        let place = fault.place().unwrap();
        assert_eq!((place.file.as_str(), place.line), (file!(), Some(line)));
        assert_eq!(
            fault.to_string(),
            format!(
                "{} disk.full 503 at {}:{line}: cannot save: no space; caused by: no storage space",
                fault.id(),
                file!()
            )
        );
    }

    #[test]
    fn nothing_that_shows_a_fault_shows_a_secret() {
        let cause = Step("postgres://shop:hunter2@db/shop: password=hunter2", None);
        let error = Step(
            "GET https://api.example/pay?key=hunter2 failed",
            Some(Box::new(cause)),
        );
        let fault = Fault::from_error(&error)
            .with("authorization", "Basic hunter2hunter2")
            .with("request", "POST /pay?token=hunter2")
            .with("header", "Cookie: hunter2");
        let fault = fault.with("form", "{\"password\":\"hunter2\"}");
        for shown in [
            format!("{fault}"),
            format!("{fault:?}"),
            format!("{fault:#?}"),
        ] {
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        assert_eq!(fault.context().len(), 4);
    }

    #[test]
    fn one_kind_has_one_fingerprint() {
        let fault = |text: &'static str, class| Fault::told(class, text).fingerprint().to_owned();
        let first = fault("order 17 has no customer", Class::Data);
        assert_eq!(first, fault("order 18 has no customer", Class::Data));
        assert_ne!(first, fault("order 17 has no address", Class::Data));
        assert_ne!(first, fault("order 17 has no customer", Class::Internal));
        let elsewhere = |file: &str| {
            let place = Frame {
                file: file.to_owned(),
                line: Some(1),
                ..Frame::default()
            };
            Fault::build(
                Verdict::new(Class::Data),
                std::iter::once("x".into()),
                Some(place),
            )
            .fingerprint
        };
        assert_ne!(elsewhere("src/a.rs"), elsewhere("src/b.rs"));
        assert_eq!(
            Fault::told(Class::Data, "x")
                .with_fingerprint("mine")
                .fingerprint(),
            "mine"
        );
    }

    #[test]
    fn a_fault_is_bounded() {
        let long = "äx".repeat(10_000);
        let mut fault = Fault::told(Verdict::conflict(long.clone()), &long);
        for index in 0..100 {
            fault = fault.with(&format!("{index}{long}"), &long);
        }
        assert!(format!("{fault:?}").len() < 64 * 1024);
        assert!(fault.public().unwrap().len() <= PUBLIC_BYTES);
        assert_eq!(fault.context().len(), FACTS);
    }

    /// An error that is its own cause.
    #[derive(Debug)]
    struct Circle;
    impl fmt::Display for Circle {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            Err(fmt::Error)
        }
    }
    impl Error for Circle {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&Circle)
        }
    }

    #[test]
    fn errors_that_misbehave_are_faults_too() {
        let fault = Fault::from_error(&Circle);
        assert_eq!((fault.class(), fault.chain().len()), (Class::Internal, 0));
    }

    #[test]
    fn panics() {
        for (payload, text) in [
            (Box::new("boom") as Box<dyn Any + Send>, "boom"),
            (Box::new("token=abc".to_owned()), "token=***"),
            (Box::new(7_i32), "a panic with a value that is no text"),
        ] {
            let fault = Fault::panic(&*payload, Some(Location::caller()));
            assert_eq!(
                (fault.class(), fault.chain()[0].as_str()),
                (Class::Panic, text)
            );
            assert_eq!(fault.status(), 500);
        }
    }

    #[test]
    fn a_line_of_the_log_is_one_line() {
        let fault = Fault::told(Class::Internal, "two\nlines\x1b[31m");
        assert!(!fault.to_string().contains(['\n', '\x1b']));
    }
}
