//! The id of a request: taken from who sent it if it looks like one, else made.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderName, HeaderValue};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// How many digits one of our own has.
const MADE: usize = 32;

/// The longest id that is taken.
const LONGEST: usize = 64;

/// The id of a request.
#[derive(Clone)]
pub(crate) enum RequestId {
    /// As it was sent, in printable ASCII.
    Theirs(HeaderValue),
    /// Hexadecimal digits.
    Made([u8; MADE]),
}

/// What a request's headers say of its id.
#[derive(Default)]
pub(crate) struct Ids<'a> {
    own: Option<&'a HeaderValue>,
    parent: Option<&'a HeaderValue>,
}

impl<'a> Ids<'a> {
    /// Looks at a header. The first of several counts.
    pub(crate) fn see(&mut self, name: &HeaderName, value: &'a HeaderValue) {
        if *name == REQUEST_ID {
            self.own.get_or_insert(value);
        } else if *name == TRACEPARENT {
            self.parent.get_or_insert(value);
        }
    }

    /// `X-Request-Id`, if it looks like one; else the trace id of `traceparent` (W3C Trace Context,
    /// section 3.2.2); else one of our own, which could be a trace id too.
    pub(crate) fn choose(self) -> RequestId {
        if let Some(id) = self.own.filter(|id| is_sane(id.as_bytes())) {
            return RequestId::Theirs(id.clone());
        }
        self.parent
            .and_then(|parent| trace_id(parent.as_bytes())?.try_into().ok())
            .map_or_else(made, RequestId::Made)
    }
}

impl RequestId {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Theirs(id) => id.to_str().unwrap_or_default(),
            Self::Made(digits) => std::str::from_utf8(digits).unwrap_or_default(),
        }
    }

    pub(crate) fn to_value(&self) -> HeaderValue {
        match self {
            Self::Theirs(id) => id.clone(),
            Self::Made(digits) => {
                HeaderValue::from_bytes(digits).unwrap_or(HeaderValue::from_static("unknown"))
            }
        }
    }
}

/// What others write into logs, tables and file names is letters, digits and a few signs.
fn is_sane(id: &[u8]) -> bool {
    (1..=LONGEST).contains(&id.len())
        && id
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:+/=@".contains(byte))
}

fn trace_id(parent: &[u8]) -> Option<&[u8]> {
    let mut parts = parent.split(|byte| *byte == b'-');
    let version = parts.next()?;
    let id = parts.next()?;
    let hex = |part: &[u8]| {
        part.iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let good = version.len() == 2
        && hex(version)
        && version != b"ff"
        && id.len() == 32
        && hex(id)
        && id.iter().any(|byte| *byte != b'0')
        && parts.next().is_some_and(|span| span.len() == 16);
    good.then_some(id)
}

/// 128 bits as 32 hexadecimal digits: a number that is random for each process, and one that is never
/// twice in it. Nobody who sees some of them may rely on not guessing the next; they only differ.
fn made() -> RequestId {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    static PROCESS: LazyLock<[u64; 2]> = LazyLock::new(|| {
        let random = RandomState::new();
        [random.hash_one(1_u8), random.hash_one(2_u8)]
    });
    let [process, start] = *PROCESS;
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let halves = [process, mixed(serial.wrapping_add(start))];
    let mut text = [0; MADE];
    for (half, digits) in halves.into_iter().zip(text.chunks_exact_mut(16)) {
        for (byte, pair) in half
            .to_be_bytes()
            .into_iter()
            .zip(digits.chunks_exact_mut(2))
        {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
    }
    RequestId::Made(text)
}

/// Another number for each number, which looks like chance (the end of `SplitMix64`: Steele, Lea and
/// Flood, Fast Splittable Pseudorandom Number Generators, 2014).
const fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_and_what_is_made() {
        const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let long = "a".repeat(65);
        for (name, id, parent, expected) in [
            ("theirs", Some("abc-1.2:x"), None, Some("abc-1.2:x")),
            (
                "theirs before the trace's",
                Some("a"),
                Some(TRACE),
                Some("a"),
            ),
            (
                "the trace's",
                None,
                Some(TRACE),
                Some("4bf92f3577b34da6a3ce929d0e0e4736"),
            ),
            ("a strange one", Some("<script>"), None, None),
            ("a long one", Some(long.as_str()), None, None),
            ("an empty one", Some(""), None, None),
            ("a broken trace", None, Some("00-4bf9-00f0-01"), None),
            (
                "a trace of zeros",
                None,
                Some("00-00000000000000000000000000000000-00f067aa0ba902b7-01"),
                None,
            ),
            (
                "a trace in capitals",
                None,
                Some("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"),
                None,
            ),
        ] {
            let value = |text: Option<&str>| text.map(|text| HeaderValue::from_str(text).unwrap());
            let (id, parent) = (value(id), value(parent));
            let later = HeaderValue::from_static("later");
            let choose = || {
                let mut ids = Ids::default();
                for (name, value) in [(REQUEST_ID, &id), (TRACEPARENT, &parent)] {
                    if let Some(value) = value {
                        ids.see(&name, value);
                        ids.see(&name, &later);
                    }
                }
                ids.choose()
            };
            let got = choose().to_value();
            if let Some(expected) = expected {
                assert_eq!(got, expected, "{name}");
            } else {
                assert_eq!(got.len(), 32, "{name}");
                assert_ne!(
                    got.to_str().unwrap(),
                    choose().as_str(),
                    "{name}: each is made anew"
                );
            }
        }
    }
}
