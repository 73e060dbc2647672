//! What looks like a secret is struck out before records leave.

use std::io;
use std::ops::Range;

use mainstay_base::secret::NAMES;
use regex::bytes::{Captures, Regex, RegexSet};

use crate::batch::{Batch, Mark, Unwritten};
use crate::error::{Error, Notice};
use crate::sink::Sink;

/// What stands where a secret was.
const STRUCK: &str = "***";

/// What is struck out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedactConfig {
    /// Known kinds of secrets.
    pub named: Vec<Named>,
    /// Patterns of the user's own, after these.
    pub patterns: Vec<OwnPattern>,
}

impl Default for RedactConfig {
    /// All known kinds but e-mail addresses.
    fn default() -> Self {
        Self {
            named: Named::ALL
                .into_iter()
                .filter(|named| *named != Named::Email)
                .collect(),
            patterns: Vec::new(),
        }
    }
}

/// A pattern of the user's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnPattern {
    /// A regular expression in the syntax of the `regex` crate, over the bytes of one rendered record.
    /// In a JSON format one that takes quotes or a lone backslash away leaves no JSON.
    pub regex: String,
    /// What takes its place; `$1` and `${name}` are its groups.
    pub replacement: String,
}

/// A known kind of secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Named {
    /// What follows `Authorization:`, in headers and fields.
    Authorization,
    /// What follows the word `Bearer`.
    Bearer,
    /// JSON Web Tokens (RFC 7519).
    Jwt,
    /// Values of [`NAMES`](mainstay_base::secret::NAMES), such as `password` and `api_key`, of `cookie`, and
    /// of names that end in them.
    Password,
    /// Numbers of payment cards, by issuer, length and check digit (ISO/IEC 7812).
    Card,
    /// Ids of AWS access keys.
    AwsKey,
    /// PEM blocks of private keys (RFC 7468).
    PrivateKey,
    /// E-mail addresses.
    Email,
}

impl Named {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::Authorization,
        Self::Bearer,
        Self::Jwt,
        Self::Password,
        Self::Card,
        Self::AwsKey,
        Self::PrivateKey,
        Self::Email,
    ];

    /// The name, as written in a config.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Authorization => "authorization",
            Self::Bearer => "bearer",
            Self::Jwt => "jwt",
            Self::Password => "password",
            Self::Card => "card",
            Self::AwsKey => "aws-key",
            Self::PrivateKey => "private-key",
            Self::Email => "email",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|named| named.name() == name)
    }

    /// Regular expressions whose group 1, if there is one, stays.
    ///
    /// They may meet text as it is, text inside JSON (`\"` for a quote) and JSON inside text inside
    /// JSON. Values take an escape as a whole and never an unescaped quote, so that JSON stays JSON.
    fn regexes(self) -> Vec<String> {
        const VALUE: &str = r#"(?:[^\s"'\\,;&]|\\.)+"#;
        // A quote that may be the end of a JSON string is followed by what is no value.
        const QUOTED: &str = r#"(?:[^\s"'\\,;&:}\]]|\\.)(?:[^\s"'\\,;&]|\\.)*"#;
        // A quote inside JSON: behind an even number of backslashes it ends the string.
        const ESCAPED: &str = r#"\\(?:\\\\)*""#;
        const SCHEME: &str = "(?:(?:basic|bearer|digest|negotiate|token)[ +]+)?";
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        match self {
            Self::Authorization => vec![
                format!(
                    r#"(?i)(authorization(?:{ESCAPED}|["'])?\s*[:=]\s*(?:{ESCAPED}|["'])){SCHEME}{QUOTED}"#
                ),
                format!(r#"(?i)(authorization(?:{ESCAPED}|["'])?\s*[:=]\s*){SCHEME}{VALUE}"#),
            ],
            Self::Bearer => owned(&[r"(?i)\b(bearer[ +]+)[a-z0-9._~+/=-]{8,}"]),
            Self::Jwt => owned(&[r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*"]),
            Self::Password => {
                let names = NAMES.map(|words| words.join("[_-]?")).join("|");
                let key = format!("(?:{names}|cookie)");
                vec![
                    // "password": "…"
                    format!(r#"(?i)({key}"\s*:\s*")(?:[^"\\]|\\.)+"#),
                    // password="…"; what may follow the end of a JSON string is no beginning.
                    format!(r#"(?i)({key}\s*=\s*")[^",\}}\]:\s\\](?:[^"\\]|\\.)*"#),
                    // The same inside JSON, and with the other quotes.
                    format!(r#"(?i)({key}(?:{ESCAPED}|')?\s*[:=]\s*(?:{ESCAPED}|'))[^"'\\]+"#),
                    // password=…, password: …
                    format!(r"(?i)({key}\s*[:=]\s*){VALUE}"),
                ]
            }
            Self::Card => owned(&[r"\b[2-6](?:[ -]?[0-9]){12,18}"]),
            Self::AwsKey => owned(&[r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"]),
            Self::PrivateKey => {
                const INSIDE: &str = r"(?:\\[nr]|#012|[A-Za-z0-9+/=\s:,.-])";
                const END: &str = "-----END [A-Z ]*PRIVATE KEY-----";
                vec![format!(
                    "-----BEGIN [A-Z ]*PRIVATE KEY-----(?:{INSIDE}*?{END}|{INSIDE}*)"
                )]
            }
            Self::Email => owned(&[r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+"]),
        }
    }
}

struct Rule {
    regex: Regex,
    replacement: Replacement,
}

enum Replacement {
    /// Group 1 stays, the rest is struck.
    Strike,
    /// The same, if it is the number of a card.
    Card,
    /// As the user says.
    Own(Vec<u8>),
}

/// Strikes out secrets of text. Linear in time whatever the text is.
pub(crate) struct Strikes {
    set: RegexSet,
    rules: Vec<Rule>,
}

/// Strikes out secrets of what a sink gets.
pub struct Redact {
    inner: Box<dyn Sink>,
    strikes: Strikes,
    /// The end of a record that the inner sink took the beginning of. Given again from its middle, it
    /// could not be recognised.
    begun: Option<(Vec<u8>, Mark)>,
}

impl Strikes {
    /// Compiles the patterns; an error names the one that is none.
    pub(crate) fn compile(config: &RedactConfig) -> Result<Self, Error> {
        let mut texts = Vec::new();
        let mut rules = Vec::new();
        for named in &config.named {
            for text in named.regexes() {
                // Classes of bytes are what is meant, and cost less.
                let text = format!("(?s-u){text}");
                let replacement = if *named == Named::Card {
                    Replacement::Card
                } else {
                    Replacement::Strike
                };
                rules.push(rule(&text, replacement)?);
                texts.push(text);
            }
        }
        for pattern in &config.patterns {
            let replacement = Replacement::Own(pattern.replacement.as_bytes().to_vec());
            rules.push(rule(&pattern.regex, replacement)?);
            texts.push(pattern.regex.clone());
        }
        let set = RegexSet::new(&texts).map_err(|error| wrong("all of them together", &error))?;
        Ok(Self { set, rules })
    }

    /// Appends the record with its secrets struck out.
    fn strike(&self, record: &[u8], out: &mut Vec<u8>) {
        let mut text = record.to_vec();
        for index in &self.set.matches(record) {
            let rule = &self.rules[index];
            let replaced = rule.regex.replace_all(&text, |captures: &Captures<'_>| {
                rule.replacement.of(captures)
            });
            text = replaced.into_owned();
        }
        out.extend_from_slice(&text);
    }

    /// The text with its secrets struck out.
    pub(crate) fn text(&self, text: &str) -> String {
        let mut out = Vec::with_capacity(text.len());
        self.strike(text.as_bytes(), &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }
}

impl Redact {
    /// Compiles the patterns; an error names the one that is none.
    pub fn new(inner: Box<dyn Sink>, config: &RedactConfig) -> Result<Self, Error> {
        Ok(Self {
            inner,
            strikes: Strikes::compile(config)?,
            begun: None,
        })
    }

    fn complete(&mut self) -> io::Result<()> {
        if let Some((mut bytes, mark)) = self.begun.take() {
            let result = self.inner.write(&Batch::new(&bytes, &[mark]));
            if let Err(Unwritten { taken, error }) = result {
                let taken = taken.min(bytes.len());
                bytes.drain(..taken);
                self.begun = Some((bytes, mark.shortened(taken)));
                return Err(error);
            }
        }
        Ok(())
    }
}

fn wrong(text: &str, error: &regex::Error) -> Error {
    Error::setup(
        format!("the pattern `{}` for redaction", text.escape_debug()),
        io::Error::new(io::ErrorKind::InvalidInput, error.to_string()),
    )
}

fn rule(text: &str, replacement: Replacement) -> Result<Rule, Error> {
    let regex = Regex::new(text).map_err(|error| wrong(text, &error))?;
    Ok(Rule { regex, replacement })
}

impl Replacement {
    fn of(&self, captures: &Captures<'_>) -> Vec<u8> {
        let found = captures.get(0).map_or(&b""[..], |found| found.as_bytes());
        match self {
            Self::Strike => {
                let kept = captures.get(1).map_or(&b""[..], |kept| kept.as_bytes());
                [kept, STRUCK.as_bytes()].concat()
            }
            Self::Card => match card(found) {
                Some(range) => {
                    let after = &found[range.end..];
                    [STRUCK.as_bytes(), after].concat()
                }
                None => found.to_vec(),
            },
            Self::Own(replacement) => {
                let mut out = Vec::new();
                captures.expand(replacement, &mut out);
                out
            }
        }
    }
}

/// The number of a card at the beginning of this text: the longest that is one and that no digit
/// follows.
fn card(text: &[u8]) -> Option<Range<usize>> {
    let places: Vec<usize> = (0..text.len())
        .filter(|at| text[*at].is_ascii_digit())
        .collect();
    let digits: Vec<u8> = places.iter().map(|at| text[*at] - b'0').collect();
    (13..=digits.len().min(19)).rev().find_map(|count| {
        let end = places[count - 1] + 1;
        let is_end = !text.get(end).is_some_and(u8::is_ascii_digit);
        let digits = &digits[..count];
        (is_end && is_issued(digits) && checks(digits)).then_some(0..end)
    })
}

/// Whether an issuer has numbers that begin like this and are so long.
fn is_issued(digits: &[u8]) -> bool {
    let first = |count: usize| {
        digits[..count]
            .iter()
            .fold(0_u32, |number, digit| number * 10 + u32::from(*digit))
    };
    match digits.len() {
        13 => first(1) == 4,
        14 => matches!(first(2), 36 | 38 | 39) || matches!(first(3), 300..=305),
        15 => matches!(first(2), 34 | 37),
        16 => {
            matches!(first(1), 4)
                || matches!(first(2), 51..=55 | 62 | 65)
                || matches!(first(3), 644..=649)
                || matches!(first(4), 2221..=2720 | 3528..=3589 | 6011)
        }
        17 | 18 => matches!(first(2), 62 | 65) || first(4) == 6011,
        19 => first(1) == 4 || matches!(first(2), 62 | 65) || first(4) == 6011,
        _ => false,
    }
}

/// The check digit (Luhn, ISO/IEC 7812-1, annex B).
fn checks(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            let digit = u32::from(*digit);
            match (at % 2, digit * 2) {
                (0, _) => digit,
                (_, double) if double > 9 => double - 9,
                (_, double) => double,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

impl Sink for Redact {
    fn write(&mut self, batch: &Batch<'_>) -> Result<(), Unwritten> {
        self.complete()?;
        if !batch
            .entries()
            .any(|entry| self.strikes.set.is_match(entry.bytes))
        {
            let result = self.inner.write(batch);
            let Err(Unwritten { taken, error }) = result else {
                return Ok(());
            };
            // Cut in its middle, a user's own pattern might meet the rest.
            let mut end = 0;
            for entry in batch.entries() {
                let start = end;
                end += entry.bytes.len();
                if taken > start && taken < end {
                    let rest = entry.bytes[taken - start..].to_vec();
                    let mark = Mark::new(entry.time, entry.level, rest.len());
                    self.begun = Some((rest, mark));
                    return Err(Unwritten { taken: end, error });
                }
            }
            return Err(Unwritten { taken, error });
        }
        let mut bytes = Vec::with_capacity(batch.bytes().len());
        let mut marks = Vec::with_capacity(batch.len());
        for entry in batch.entries() {
            let start = bytes.len();
            self.strikes.strike(entry.bytes, &mut bytes);
            marks.push(Mark::new(entry.time, entry.level, bytes.len() - start));
        }
        let Err(Unwritten { taken, error }) = self.inner.write(&Batch::new(&bytes, &marks)) else {
            return Ok(());
        };
        let (mut end, mut original) = (0, 0);
        for (entry, mark) in batch.entries().zip(&marks) {
            let start = end;
            end += mark.length();
            if end > taken {
                if taken > start {
                    original += entry.bytes.len();
                    let rest = bytes[taken..end].to_vec();
                    self.begun = Some((rest, mark.shortened(taken - start)));
                }
                break;
            }
            original += entry.bytes.len();
        }
        Err(Unwritten {
            taken: original,
            error,
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.complete()?;
        self.inner.flush()
    }

    fn reopen(&mut self) -> Result<(), Error> {
        self.inner.reopen()
    }

    fn take_notices(&mut self) -> Vec<Notice> {
        self.inner.take_notices()
    }

    fn take_lost(&mut self) -> [u64; 6] {
        self.inner.take_lost()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::level::Level;

    /// Takes so many bytes, then so many more, then all.
    #[derive(Clone, Default)]
    struct Picky {
        seen: Arc<Mutex<Vec<u8>>>,
        room: Arc<Mutex<Vec<usize>>>,
    }

    impl Sink for Picky {
        fn write(&mut self, batch: &Batch<'_>) -> Result<(), Unwritten> {
            let all = batch.bytes();
            let room = self.room.lock().unwrap().pop().unwrap_or(usize::MAX);
            let taken = room.min(all.len());
            self.seen.lock().unwrap().extend_from_slice(&all[..taken]);
            if taken < all.len() {
                return Err(Unwritten {
                    taken,
                    error: io::ErrorKind::StorageFull.into(),
                });
            }
            Ok(())
        }
    }

    fn redact(config: &RedactConfig) -> (Redact, Picky) {
        let sink = Picky::default();
        (Redact::new(Box::new(sink.clone()), config).unwrap(), sink)
    }

    fn struck(config: &RedactConfig, text: &[u8]) -> Vec<u8> {
        let (redact, _) = redact(config);
        let mut out = Vec::new();
        redact.strikes.strike(text, &mut out);
        out
    }

    #[test]
    fn secrets() {
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmN";
        let key = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpQIB+/AA==\n-----END RSA PRIVATE KEY-----";
        let table: Vec<(String, &str)> = vec![
            (
                "nothing here: 17 passwords".into(),
                "nothing here: 17 passwords",
            ),
            (
                "Authorization: Basic dXNlcjpwdw== x".into(),
                "Authorization: *** x",
            ),
            (
                r#"{"authorization":"Bearer abc","a":1}"#.into(),
                r#"{"authorization":"***","a":1}"#,
            ),
            ("got Bearer abcdefgh.ij= yes".into(), "got Bearer *** yes"),
            ("the bearer of this".into(), "the bearer of this"),
            (format!("t={jwt};"), "t=***;"),
            ("password=hunter2&user=bob".into(), "password=***&user=bob"),
            (
                "DB_PASSWORD: hunter2, next".into(),
                "DB_PASSWORD: ***, next",
            ),
            (
                r#"password="my \"old\" pw" next"#.into(),
                r#"password="***" next"#,
            ),
            (
                r#"{"password": "p w","n":1}"#.into(),
                r#"{"password": "***","n":1}"#,
            ),
            (
                r#"{"m":"{\"password\":\"p w\",\"n\":1}"}"#.into(),
                r#"{"m":"{\"password\":\"***\",\"n\":1}"}"#,
            ),
            (
                r#"{"m":"Password:","n":"x"}"#.into(),
                r#"{"m":"Password:","n":"x"}"#,
            ),
            (
                r#"{"m":"--password=","n":"x"}"#.into(),
                r#"{"m":"--password=","n":"x"}"#,
            ),
            (
                r#"{"m":"password=a\"b c","n":"x"}"#.into(),
                r#"{"m":"password=*** c","n":"x"}"#,
            ),
            ("secret='it s' x".into(), "secret='***' x"),
            (
                "aws_secret_access_key = wJalrXUtn/K7MDENG".into(),
                "aws_secret_access_key = ***",
            ),
            ("id AKIAIOSFODNN7EXAMPLE.".into(), "id ***."),
            (format!("{key}\nafter"), "***\nafter"),
            (
                format!("{{\"m\":\"{}\",\"n\":1}}", key.replace('\n', "\\n")),
                r#"{"m":"***","n":1}"#,
            ),
            ("-----BEGIN PRIVATE KEY-----\nMIIEpQIB cut".into(), "***"),
            ("card 4111 1111 1111 1111 ok".into(), "card *** ok"),
            (
                "card 4111-1111-1111-1112 no".into(),
                "card 4111-1111-1111-1112 no",
            ),
            ("5555555555554444 12".into(), "*** 12"),
            ("378282246310005".into(), "***"),
            (
                r#"{"timeUnixNano":"1795327200123456789"}"#.into(),
                r#"{"timeUnixNano":"1795327200123456789"}"#,
            ),
            ("bob@example.org".into(), "bob@example.org"),
        ];
        for (text, expected) in table {
            let found = struck(&RedactConfig::default(), text.as_bytes());
            assert_eq!(String::from_utf8_lossy(&found), expected, "{text}");
        }
        let config = RedactConfig {
            named: vec![Named::Email],
            patterns: vec![OwnPattern {
                regex: r"user=(\w)\w*".to_owned(),
                replacement: "user=$1...".to_owned(),
            }],
        };
        assert_eq!(
            struck(&config, b"user=robert <bob.x@mail.example.org>, password=1"),
            b"user=r... <***>, password=1"
        );
    }

    #[test]
    fn a_pattern_that_is_none_is_named() {
        let config = RedactConfig {
            named: Vec::new(),
            patterns: vec![OwnPattern {
                regex: "a(".to_owned(),
                replacement: String::new(),
            }],
        };
        let error = Redact::new(Box::new(Picky::default()), &config)
            .err()
            .unwrap();
        assert!(error.to_string().contains("the pattern `a(`"), "{error}");
        for named in Named::ALL {
            assert_eq!(Named::from_name(named.name()), Some(named));
        }
    }

    proptest! {
        /// Whatever the inner sink takes at a time, it gets all of it in the end, once and struck out.
        #[test]
        fn what_is_taken_is_told_in_the_bytes_that_came(
            records in proptest::collection::vec("[a-c]{0,4}( password=x{1,3})?\n", 1..8),
            room in proptest::collection::vec(0_usize..20, 0..10),
        ) {
            let (mut redact, sink) = redact(&RedactConfig::default());
            *sink.room.lock().unwrap() = room;
            let all: String = records.concat();
            let mut marks: Vec<Mark> = records
                .iter()
                .map(|record| Mark::new(Timestamp::UNIX_EPOCH, Level::Info, record.len()))
                .collect();
            let mut bytes = all.as_bytes();
            let mut tries = 0;
            while !marks.is_empty() {
                let Err(Unwritten { taken, .. }) = redact.write(&Batch::new(bytes, &marks)) else {
                    break;
                };
                bytes = &bytes[taken..];
                let mut left = taken;
                while let Some(mark) = marks.first() && mark.length() <= left {
                    left -= mark.length();
                    marks.remove(0);
                    if left == 0 {
                        break;
                    }
                }
                prop_assert_eq!(left, 0, "whole records");
                tries += 1;
                prop_assert!(tries < 100);
            }
            while redact.flush().is_err() {}
            let seen = String::from_utf8(sink.seen.lock().unwrap().clone()).unwrap();
            let expected: String = records
                .iter()
                .map(|record| match record.split_once("password=") {
                    Some((before, _)) => format!("{before}password=***\n"),
                    None => record.clone(),
                })
                .collect();
            prop_assert_eq!(seen, expected);
        }

        #[test]
        fn json_stays_json(
            text in any::<String>(),
            secret in prop_oneof![any::<String>(), r#"[\\"'=:,}\] a]{0,6}"#],
        ) {
            let line = serde_json::json!({
                "message": format!("{text} password={secret}"),
                "header": format!("{text} authorization: {secret}"),
                "authorization": secret,
                "password": secret,
                "inner": serde_json::json!({ "token": secret, "m": text }).to_string(),
            })
            .to_string();
            let found = struck(&RedactConfig::default(), line.as_bytes());
            let read: Result<serde_json::Value, _> = serde_json::from_slice(&found);
            prop_assert!(read.is_ok(), "{} -> {}", line, String::from_utf8_lossy(&found));
            if !secret.is_empty() {
                prop_assert_eq!(&read.unwrap()["password"], STRUCK);
            }
        }
    }
}
