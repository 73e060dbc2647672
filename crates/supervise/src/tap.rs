//! Who looks at a stream of a process while it goes into its file: notifications, supervisord's
//! capture tokens, event listeners, and what keeps terminal control out of the file.
//!
//! All of it is decided by an [`Inspect`], so that a kill of the daemon loses and doubles nothing in
//! the file. A section between capture tokens waits in the pipe until it is whole, as long as it is
//! small: then it survives a kill too. A longer one is taken out of the pipe as it comes; a daemon
//! that is killed within such a section loses it, and the next takes its end for output.

use std::collections::VecDeque;

use mainstay_log::{Inspect, Verdict};

use crate::program::Tap;

/// What begins and ends a section, as supervisord has it.
const BEGIN: &[u8] = b"<!--XSUPERVISOR:BEGIN-->";
const END: &[u8] = b"<!--XSUPERVISOR:END-->";
/// A section up to this size waits in the pipe for its end: half of the smallest usual pipe.
const HOLD: usize = 32 * 1024;
/// A control sequence longer than this is none.
const SEQUENCE: usize = 4 * 1024;
/// Notifications of output are at most about this large.
const CHUNK: usize = 64 * 1024;

/// What was seen in a stream, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TapEvent {
    /// These bytes go into the log.
    Log(Vec<u8>),
    /// A section between capture tokens, or the last bytes of it if it is longer than is kept.
    Communication(Vec<u8>),
    /// The process has ended within a section. As in supervisord that is neither output nor a
    /// communication, because half a message might be taken for a whole one; but it can be told.
    Unfinished(Vec<u8>),
    /// What an event listener says to its supervisor.
    Raw(Vec<u8>),
}

/// Looks at the output of one process.
pub(crate) struct TapInspector {
    tap: Tap,
    is_listener: bool,
    on: Box<dyn FnMut(TapEvent) + Send>,
    /// What is kept of the section we are in.
    section: Option<Ring>,
    /// So many bytes ahead hold no begin of a token: they need not be searched again.
    searched: usize,
    /// Seen, and not told yet.
    log: Vec<u8>,
    raw: Vec<u8>,
    ended: bool,
    hold: usize,
}

impl TapInspector {
    /// `on` hears what is seen. A listener's stdout has no capture tokens and makes no notifications,
    /// as in supervisord: a notification of it would make another one.
    pub(crate) fn new(
        tap: Tap,
        is_listener: bool,
        on: impl FnMut(TapEvent) + Send + 'static,
    ) -> Self {
        Self {
            tap,
            is_listener,
            on: Box::new(on),
            section: None,
            searched: 0,
            log: Vec::new(),
            raw: Vec::new(),
            ended: false,
            hold: HOLD,
        }
    }

    fn outside(&mut self, ahead: &[u8], last: bool) -> Verdict {
        let (mut segment, mut whole) = (ahead, last);
        if self.tap.capture > 0 && !self.is_listener {
            let from = self.searched.min(ahead.len());
            match find(&ahead[from..], BEGIN) {
                Found::At(0) if from == 0 => return self.begin(ahead, last),
                Found::At(at) => {
                    self.searched = from + at;
                    segment = &ahead[..from + at];
                    whole = true;
                }
                Found::Perhaps(at) => {
                    self.searched = from + at;
                    if !last {
                        segment = &ahead[..from + at];
                    }
                }
            }
        }
        if segment.is_empty() {
            return Verdict::Wait;
        }
        match piece(segment, self.tap.strip_ansi, whole) {
            Piece::Text(bytes) => Verdict::Keep(bytes),
            Piece::Sequence(bytes) => Verdict::Drop(bytes),
            Piece::Begun => Verdict::Wait,
        }
    }

    /// A section begins at the head.
    fn begin(&mut self, ahead: &[u8], last: bool) -> Verdict {
        let content = &ahead[BEGIN.len()..];
        let ring = Ring::new(self.tap.capture);
        match find(content, END) {
            Found::At(end) => {
                self.communicate(ring, &content[..end]);
                Verdict::Drop(BEGIN.len() + end + END.len())
            }
            Found::Perhaps(_) if ahead.len() < self.hold && !last => Verdict::Wait,
            Found::Perhaps(_) => {
                self.section = Some(ring);
                Verdict::Drop(BEGIN.len())
            }
        }
    }

    fn inside(&mut self, mut ring: Ring, ahead: &[u8], last: bool) -> Verdict {
        let end = match find(ahead, END) {
            Found::At(end) => {
                self.communicate(ring, &ahead[..end]);
                return Verdict::Drop(end + END.len());
            }
            Found::Perhaps(_) if last => ahead.len(),
            Found::Perhaps(at) => at,
        };
        let taken = ring.take(&ahead[..end], self.tap.strip_ansi, last);
        self.section = Some(ring);
        match taken {
            0 => Verdict::Wait,
            bytes => Verdict::Drop(bytes),
        }
    }

    /// The section ends with these bytes.
    fn communicate(&mut self, mut ring: Ring, rest: &[u8]) {
        ring.take(rest, self.tap.strip_ansi, true);
        self.flush();
        (self.on)(TapEvent::Communication(ring.bytes.into()));
    }

    fn flush(&mut self) {
        if !self.log.is_empty() {
            (self.on)(TapEvent::Log(std::mem::take(&mut self.log)));
        }
        if !self.raw.is_empty() {
            (self.on)(TapEvent::Raw(std::mem::take(&mut self.raw)));
        }
    }
}

impl Inspect for TapInspector {
    fn inspect(&mut self, ahead: &[u8], last: bool) -> Verdict {
        let verdict = match self.section.take() {
            Some(ring) => self.inside(ring, ahead, last),
            None => self.outside(ahead, last),
        };
        let (bytes, kept) = match verdict {
            Verdict::Keep(bytes) => (bytes, true),
            Verdict::Drop(bytes) => (bytes, false),
            Verdict::Wait => (0, false),
        };
        let run = &ahead[..bytes];
        self.searched = self.searched.saturating_sub(bytes);
        if self.is_listener {
            if !self.ended {
                self.raw.extend_from_slice(run);
            }
        } else if kept && (self.tap.events || self.tap.syslog || self.tap.debug) {
            self.log.extend_from_slice(run);
        }
        // Told together: output in colours would be a notification every few bytes.
        if bytes == 0 || bytes == ahead.len() || self.log.len() + self.raw.len() >= CHUNK {
            self.flush();
        }
        verdict
    }

    fn finish(&mut self) {
        self.flush();
        self.ended = true;
        self.searched = 0;
        if let Some(ring) = self.section.take() {
            (self.on)(TapEvent::Unfinished(ring.bytes.into()));
        }
    }
}

/// The last bytes of a section.
struct Ring {
    bytes: VecDeque<u8>,
    limit: usize,
}

impl Ring {
    fn new(limit: u64) -> Self {
        Self {
            bytes: VecDeque::new(),
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(self.limit)..];
        let surplus = (self.bytes.len() + bytes.len()).saturating_sub(self.limit);
        self.bytes.drain(..surplus);
        self.bytes.extend(bytes);
    }

    /// Takes the text of a part of the section; `whole`: what was begun in it does not go on.
    /// Returns how many bytes it took.
    fn take(&mut self, part: &[u8], strip: bool, whole: bool) -> usize {
        let mut taken = 0;
        while taken < part.len() {
            match piece(&part[taken..], strip, whole) {
                Piece::Text(bytes) => {
                    self.push(&part[taken..taken + bytes]);
                    taken += bytes;
                }
                Piece::Sequence(bytes) => taken += bytes,
                Piece::Begun => break,
            }
        }
        taken
    }
}

/// Where a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    At(usize),
    /// Nowhere; at this place, perhaps the end, one may have begun.
    Perhaps(usize),
}

fn find(bytes: &[u8], token: &[u8]) -> Found {
    let mut at = 0;
    loop {
        let Some(next) = bytes[at..].iter().position(|byte| *byte == token[0]) else {
            return Found::Perhaps(bytes.len());
        };
        at += next;
        let there = &bytes[at..];
        if there.starts_with(token) {
            return Found::At(at);
        }
        if token.starts_with(there) {
            return Found::Perhaps(at);
        }
        at += 1;
    }
}

/// The first piece of some output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Text(usize),
    /// Terminal control.
    Sequence(usize),
    /// Terminal control, if more comes.
    Begun,
}

/// `bytes` is not empty; `whole`: what was begun in it does not go on.
fn piece(bytes: &[u8], strip: bool, whole: bool) -> Piece {
    let text = |from: usize| {
        let rest = &bytes[from..];
        let end = rest.iter().position(|byte| *byte == ESC);
        Piece::Text(from + end.unwrap_or(rest.len()))
    };
    if !strip {
        return Piece::Text(bytes.len());
    }
    if bytes[0] != ESC {
        return text(0);
    }
    match sequence(&bytes[..bytes.len().min(SEQUENCE)]) {
        Control::Whole(length) => Piece::Sequence(length),
        Control::Begun if !whole && bytes.len() < SEQUENCE => Piece::Begun,
        Control::Begun | Control::None => text(1),
    }
}

const ESC: u8 = 0x1b;
const BEL: u8 = 0x07;

/// What an escape character begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Control {
    Whole(usize),
    Begun,
    None,
}

/// The control sequence at the start of `bytes`, which is an escape character: ECMA-48, 5.3 to 5.6,
/// and xterm's end of strings by BEL. The original strips `ESC [` up to one of a few letters only, and
/// everything up to the end where none of these follows.
fn sequence(bytes: &[u8]) -> Control {
    let Some(second) = bytes.get(1) else {
        return Control::Begun;
    };
    let rest = &bytes[2..];
    let (skipped, last) = match second {
        // A control sequence: parameters, intermediates, a final byte.
        b'[' => {
            let parameters = span(rest, 0x30..=0x3f);
            let intermediates = span(&rest[parameters..], 0x20..=0x2f);
            (2 + parameters + intermediates, 0x40..=0x7e)
        }
        // A string: OSC, DCS, SOS, PM, APC. No line ends within it.
        b']' | b'P' | b'X' | b'^' | b'_' => {
            let Some(end) = rest.iter().position(|byte| *byte < 0x20) else {
                return Control::Begun;
            };
            return match &rest[end..] {
                [BEL, ..] => Control::Whole(2 + end + 1),
                [ESC, b'\\', ..] => Control::Whole(2 + end + 2),
                [ESC] => Control::Begun,
                _ => Control::None,
            };
        }
        // Any other: intermediates, a final byte.
        _ => (1 + span(&bytes[1..], 0x20..=0x2f), 0x30..=0x7e),
    };
    match bytes.get(skipped) {
        None => Control::Begun,
        Some(byte) if last.contains(byte) => Control::Whole(skipped + 1),
        Some(_) => Control::None,
    }
}

/// How many bytes at the start are in the range.
fn span(bytes: &[u8], range: std::ops::RangeInclusive<u8>) -> usize {
    bytes
        .iter()
        .position(|byte| !range.contains(byte))
        .unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;

    use super::*;

    const FULL: Tap = Tap {
        strip_ansi: true,
        capture: 1000,
        events: true,
        syslog: false,
        debug: false,
    };

    #[test]
    fn sequences() {
        use Control::{Begun, None, Whole};
        let table: [(&[u8], Control); 24] = [
            (b"\x1b", Begun),
            (b"\x1b[", Begun),
            (b"\x1b[31", Begun),
            (b"\x1b[31mtext", Whole(5)),
            (b"\x1b[m", Whole(3)),
            (b"\x1b[?25l", Whole(6)),
            (b"\x1b[38;2;1;2;3mx", Whole(13)),
            (b"\x1b[2~", Whole(4)),
            (b"\x1b[0 q", Whole(5)),
            (b"\x1b[31\n", None),
            (b"\x1b[\x1b[0m", None),
            (b"\x1b]0;title\x07x", Whole(10)),
            (b"\x1b]0;title\x1b\\x", Whole(11)),
            (b"\x1b]0;ti\xc3\xa4tle\x07", Whole(12)),
            (b"\x1b]0;title", Begun),
            (b"\x1b]0;title\x1b", Begun),
            (b"\x1b]0;title\x1bX", None),
            (b"\x1b]0;title\n", None),
            (b"\x1bP1$r\x1b\\", Whole(7)),
            (b"\x1b(B", Whole(3)),
            (b"\x1b(", Begun),
            (b"\x1b7x", Whole(2)),
            (b"\x1b\n", None),
            (b"\x1b\x1b", None),
        ];
        for (bytes, expected) in table {
            assert_eq!(sequence(bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn tokens() {
        use Found::{At, Perhaps};
        let table: [(&[u8], Found); 8] = [
            (b"", Perhaps(0)),
            (b"abc", Perhaps(3)),
            (b"a<b", Perhaps(3)),
            (b"a<", Perhaps(1)),
            (b"a<!--XSUPERVISOR:BEGIN--", Perhaps(1)),
            (b"a<!--XSUPERVISOR:BEGIN-->", At(1)),
            (b"<<!--<!--XSUPERVISOR:BEGIN-->", At(5)),
            (b"<!--XSUPERVISOR:END-->", Perhaps(22)),
        ];
        for (bytes, expected) in table {
            assert_eq!(find(bytes, BEGIN), expected, "{}", bytes.escape_ascii());
        }
    }

    /// A stream through an inspector: what is kept and what is told, output that was told piece by
    /// piece put together.
    #[derive(Debug, Default, PartialEq)]
    struct Result {
        kept: Vec<u8>,
        told: Vec<TapEvent>,
    }

    impl Result {
        fn tell(&mut self, event: TapEvent) {
            match (self.told.last_mut(), event) {
                (Some(TapEvent::Log(before)), TapEvent::Log(bytes))
                | (Some(TapEvent::Raw(before)), TapEvent::Raw(bytes)) => before.extend(bytes),
                (_, event) => self.told.push(event),
            }
        }
    }

    /// What a capture does, with a pipe of this size.
    fn drive(inspector: TapInspector, pieces: &[&[u8]], pipe: usize) -> Result {
        let told = Arc::new(Mutex::new(Result::default()));
        let hear = Arc::clone(&told);
        let mut inspector = TapInspector {
            on: Box::new(move |event| hear.lock().unwrap().tell(event)),
            ..inspector
        };
        let mut ahead: Vec<u8> = Vec::new();
        let mut kept = Vec::new();
        let mut decide = |ahead: &mut Vec<u8>, ended: bool| {
            while !ahead.is_empty() {
                let full = ahead.len() >= pipe;
                let verdict = match inspector.inspect(ahead, false) {
                    Verdict::Wait if ended || full => inspector.inspect(ahead, true),
                    other => other,
                };
                match verdict {
                    Verdict::Keep(bytes) => kept.extend(ahead.drain(..bytes)),
                    Verdict::Drop(bytes) => drop(ahead.drain(..bytes)),
                    Verdict::Wait => {
                        assert!(!ended && !full, "it was told that nothing comes");
                        break;
                    }
                }
            }
            if ended {
                inspector.finish();
            }
        };
        for piece in pieces {
            let mut piece = *piece;
            while !piece.is_empty() {
                let (now, later) = piece.split_at(piece.len().min(pipe - ahead.len()));
                ahead.extend_from_slice(now);
                piece = later;
                decide(&mut ahead, false);
            }
        }
        decide(&mut ahead, true);
        drop(inspector);
        let mut result = Arc::into_inner(told).unwrap().into_inner().unwrap();
        result.kept = kept;
        result
    }

    fn with(tap: Tap, is_listener: bool) -> TapInspector {
        TapInspector::new(tap, is_listener, |_| ())
    }

    #[test]
    fn streams() {
        let log = |text: &str| TapEvent::Log(text.into());
        let communication = |text: &str| TapEvent::Communication(text.into());
        let table: [(&str, &str, &[TapEvent]); 10] = [
            ("plain\n", "plain\n", &[log("plain\n")]),
            (
                "a<!--XSUPERVISOR:BEGIN-->b<!--XSUPERVISOR:END-->c",
                "ac",
                &[log("a"), communication("b"), log("c")],
            ),
            (
                "<!--XSUPERVISOR:BEGIN--><!--XSUPERVISOR:END-->",
                "",
                &[communication("")],
            ),
            // Within a section a begin is data, outside of one an end is.
            (
                "<!--XSUPERVISOR:BEGIN--><!--XSUPERVISOR:BEGIN-->x<!--XSUPERVISOR:END-->",
                "",
                &[communication("<!--XSUPERVISOR:BEGIN-->x")],
            ),
            (
                "a<!--XSUPERVISOR:END-->b",
                "a<!--XSUPERVISOR:END-->b",
                &[log("a<!--XSUPERVISOR:END-->b")],
            ),
            // The end of the output is output.
            (
                "after<!--XSUPERVISOR:BEG",
                "after<!--XSUPERVISOR:BEG",
                &[log("after<!--XSUPERVISOR:BEG")],
            ),
            (
                "a<!--XSUPERVISOR:BEGIN-->half<!--XSUPER",
                "a",
                &[log("a"), TapEvent::Unfinished(b"half<!--XSUPER".to_vec())],
            ),
            ("\x1b[31mred\x1b[0m\n", "red\n", &[log("red\n")]),
            ("a\x1b[31", "a\x1b[31", &[log("a\x1b[31")]),
            (
                "<!--XSUPERVISOR:BEGIN-->\x1b[1mb\x1b[<!--XSUPERVISOR:END-->\x1b(Bc",
                "c",
                &[communication("b\x1b["), log("c")],
            ),
        ];
        for (input, kept, told) in table {
            let input = input.as_bytes();
            let bytes: Vec<&[u8]> = input.chunks(1).collect();
            for (hold, pieces) in [(HOLD, &[input][..]), (HOLD, &bytes), (1, &bytes)] {
                let inspector = TapInspector {
                    hold,
                    ..with(FULL, false)
                };
                let result = drive(inspector, pieces, 1 << 16);
                let name = input.escape_ascii();
                assert_eq!(result.kept, kept.as_bytes(), "{name}");
                assert_eq!(result.told, told, "{name}");
            }
        }
    }

    #[test]
    fn a_section_larger_than_the_pipe_keeps_its_last_bytes() {
        let tap = Tap {
            capture: 10,
            ..FULL
        };
        let input = [BEGIN, &b"x".repeat(300_000), b"0123456789", END, b"\n"].concat();
        let pieces: Vec<&[u8]> = input.chunks(5000).collect();
        let result = drive(with(tap, false), &pieces, 1 << 16);
        assert_eq!(result.kept, b"\n");
        let told = [
            TapEvent::Communication(b"0123456789".to_vec()),
            TapEvent::Log(b"\n".to_vec()),
        ];
        assert_eq!(result.told, told);
    }

    #[test]
    fn a_sequence_without_end_is_output() {
        let input = [b"a\x1b]0;".as_slice(), &b"t".repeat(10_000), b"\x07z"].concat();
        let pieces: Vec<&[u8]> = input.chunks(100).collect();
        assert_eq!(drive(with(FULL, false), &pieces, 1 << 16).kept, input);
    }

    #[test]
    fn a_listener_is_heard_as_it_speaks() {
        let input = b"READY\n\x1b[0m<!--XSUPERVISOR:BEGIN-->RESULT 2\nOK";
        let pieces: Vec<&[u8]> = input.chunks(1).collect();
        let result = drive(with(FULL, true), &pieces, 1 << 16);
        assert_eq!(result.kept, b"READY\n<!--XSUPERVISOR:BEGIN-->RESULT 2\nOK");
        assert_eq!(result.told, [TapEvent::Raw(input.to_vec())]);
        let mut inspector = with(FULL, true);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hear = Arc::clone(&heard);
        inspector.on = Box::new(move |event| hear.lock().unwrap().push(event));
        assert_eq!(inspector.inspect(b"READY\n", false), Verdict::Keep(6));
        assert_eq!(*heard.lock().unwrap(), [TapEvent::Raw(b"READY\n".to_vec())]);
        // What a child of an ended listener says is not said by the next one.
        inspector.finish();
        assert_eq!(inspector.inspect(b"READY\n", false), Verdict::Keep(6));
        assert_eq!(heard.lock().unwrap().len(), 1);
    }

    /// The same on the whole of a stream, without regard to anything else.
    fn reference(input: &[u8], tap: Tap) -> Result {
        let strip = |mut bytes: &[u8]| {
            let mut text = Vec::new();
            while !bytes.is_empty() {
                let length = match sequence(bytes) {
                    Control::Whole(length) if bytes[0] == ESC && tap.strip_ansi => length,
                    _ => {
                        text.push(bytes[0]);
                        1
                    }
                };
                bytes = &bytes[length..];
            }
            text
        };
        let cut = |bytes: &[u8], token: &[u8]| {
            let at = bytes.windows(token.len()).position(|part| part == token)?;
            Some((bytes[..at].to_vec(), bytes[at + token.len()..].to_vec()))
        };
        let tail = |bytes: Vec<u8>| {
            let limit = usize::try_from(tap.capture).unwrap();
            bytes[bytes.len().saturating_sub(limit)..].to_vec()
        };
        let mut result = Result::default();
        let keep = |result: &mut Result, bytes: &[u8]| {
            let bytes = strip(bytes);
            result.kept.extend(&bytes);
            if tap.events && !bytes.is_empty() {
                result.tell(TapEvent::Log(bytes));
            }
        };
        let mut rest = input.to_vec();
        while let Some((before, after)) = cut(&rest, BEGIN).filter(|_| tap.capture > 0) {
            keep(&mut result, &before);
            let Some((section, after)) = cut(&after, END) else {
                result.tell(TapEvent::Unfinished(tail(strip(&after))));
                return result;
            };
            result.tell(TapEvent::Communication(tail(strip(&section))));
            rest = after;
        }
        keep(&mut result, &rest);
        result
    }

    fn fragment() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            Just(BEGIN.to_vec()),
            Just(END.to_vec()),
            (0..BEGIN.len()).prop_map(|length| BEGIN[..length].to_vec()),
            (0..END.len()).prop_map(|length| END[..length].to_vec()),
            prop_oneof![
                Just(b"\x1b[31m".to_vec()),
                Just(b"\x1b[0m".to_vec()),
                Just(b"\x1b]0;t\x07".to_vec()),
                Just(b"\x1b]t\x1b\\".to_vec()),
                Just(b"\x1b(".to_vec()),
                Just(b"\x1b[".to_vec()),
                Just(b"\x1b]".to_vec()),
                Just(b"\x1b".to_vec()),
            ],
            prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'<'), b'a'..=b'd'], 1..8),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]
        #[test]
        fn any_splits_give_what_the_whole_gives(
            fragments in prop::collection::vec(fragment(), 0..20),
            splits in prop::collection::vec(1..60_usize, 1..20),
            strip_ansi: bool,
            events: bool,
            capture in prop_oneof![Just(0_u64), 1..20_u64, Just(1000)],
            hold in prop_oneof![Just(HOLD), 1..100_usize],
        ) {
            let tap = Tap { strip_ansi, capture, events, syslog: false, debug: false };
            let input = fragments.concat();
            let mut pieces = Vec::new();
            let mut rest = &input[..];
            for split in splits.iter().cycle() {
                let (piece, later) = rest.split_at(rest.len().min(*split));
                pieces.push(piece);
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            let inspector = TapInspector { hold, ..with(tap, false) };
            prop_assert_eq!(drive(inspector, &pieces, 1 << 16), reference(&input, tap));
        }
    }
}
