//! Conversations with listeners.

use proptest::prelude::*;

use super::*;

/// Feeds `pieces`; before each piece that begins with `!` a notification is sent.
fn talk(pieces: &[&[u8]]) -> (Vec<Step>, State) {
    let mut listener = Listener::default();
    let mut steps = Vec::new();
    for piece in pieces {
        let said = match piece.strip_prefix(b"!") {
            Some(said) => {
                assert!(listener.sent(), "{:?}", listener.state());
                said
            }
            None => piece,
        };
        listener.feed(said, |step| steps.push(step));
    }
    (steps, listener.state())
}

/// Steps in few words.
fn words(steps: &[Step]) -> String {
    let words: Vec<String> = steps
        .iter()
        .map(|step| match step {
            Step::Ready => "ready".to_owned(),
            Step::Accepted => "accepted".to_owned(),
            Step::Rejected(result) => format!("rejected({})", as_text(result)),
            Step::Violation {
                from,
                bad_line: None,
            } => format!("violation({from})"),
            Step::Violation {
                from,
                bad_line: Some(line),
            } => format!("violation({from}: {line})"),
        })
        .collect();
    words.join(" ")
}

#[test]
fn conversations() {
    use State::{Acknowledged, Busy, Ready, Unknown};
    let cases: &[(&str, &[&[u8]], &str, State)] = &[
        ("silent", &[], "", Acknowledged),
        ("ready", &[b"READY\n"], "ready", Ready),
        ("in pieces", &[b"REA", b"", b"DY", b"\n"], "ready", Ready),
        ("not yet", &[b"READY"], "", Acknowledged),
        // Nothing is decided before six bytes, not even what cannot become right.
        ("short junk", &[b"junk\n"], "", Acknowledged),
        ("junk", &[b"junk\nR"], "violation(ACKNOWLEDGED)", Unknown),
        ("CRLF", &[b"READY\r\n"], "violation(ACKNOWLEDGED)", Unknown),
        ("case", &[b"ready\n"], "violation(ACKNOWLEDGED)", Unknown),
        ("space", &[b" READY\n"], "violation(ACKNOWLEDGED)", Unknown),
        (
            "result unasked",
            &[b"RESULT 2\nOK"],
            "violation(ACKNOWLEDGED)",
            Unknown,
        ),
        (
            "ready twice",
            &[b"READY\nREADY\n"],
            "ready violation(READY)",
            Unknown,
        ),
        (
            "a byte too many",
            &[b"READY\n", b"\n"],
            "ready violation(READY)",
            Unknown,
        ),
        (
            "answer too early",
            &[b"READY\nRESULT 2\nOK"],
            "ready violation(READY)",
            Unknown,
        ),
        ("busy", &[b"READY\n", b"!"], "ready", Busy),
        (
            "accepted",
            &[b"READY\n", b"!RESULT 2\nOK"],
            "ready accepted",
            Acknowledged,
        ),
        (
            "and on",
            &[b"READY\n", b"!RESULT 2\nOKREADY\n", b"!RESULT 2\nOK"],
            "ready accepted ready accepted",
            Acknowledged,
        ),
        (
            "rejected",
            &[b"READY\n", b"!RESULT 4\nFAIL"],
            "ready rejected(FAIL)",
            Acknowledged,
        ),
        (
            "not just OK",
            &[b"READY\n", b"!RESULT 3\nOK\n"],
            "ready rejected(OK\n)",
            Acknowledged,
        ),
        (
            "lower case",
            &[b"READY\n", b"!RESULT 2\nok"],
            "ready rejected(ok)",
            Acknowledged,
        ),
        (
            "binary",
            &[b"READY\n", b"!RESULT 3\n\n\0\n"],
            "ready rejected(\n\0\n)",
            Acknowledged,
        ),
        (
            "empty result",
            &[b"READY\n", b"!RESULT 0\n"],
            "ready rejected()",
            Acknowledged,
        ),
        (
            "result is short",
            &[b"READY\n", b"!RESULT 3\nOK"],
            "ready",
            Busy,
        ),
        (
            "line feed after the result",
            &[b"READY\n", b"!RESULT 2\nOK\nREADY\n"],
            "ready accepted violation(ACKNOWLEDGED)",
            Unknown,
        ),
        ("line is short", &[b"READY\n", b"!RESULT 2"], "ready", Busy),
        // As supervisord: the word in the place of RESULT is not looked at.
        (
            "any word",
            &[b"READY\n", b"!result:2\nOK"],
            "ready accepted",
            Acknowledged,
        ),
        (
            "spaces",
            &[b"READY\n", b"!RESULT  \t+0_2 \r\nOK"],
            "ready accepted",
            Acknowledged,
        ),
        (
            "READY while busy",
            &[b"READY\n", b"!READY\n"],
            "ready violation(BUSY: READY)",
            Unknown,
        ),
        (
            "empty line",
            &[b"READY\n", b"!\n"],
            "ready violation(BUSY: )",
            Unknown,
        ),
        (
            "no number",
            &[b"READY\n", b"!RESULT OK\nREADY\n"],
            "ready violation(BUSY: RESULT OK)",
            Unknown,
        ),
        (
            "negative",
            &[b"READY\n", b"!RESULT -1\nOK"],
            "ready violation(BUSY: RESULT -1)",
            Unknown,
        ),
        (
            "too large",
            &[b"READY\n", b"!RESULT 1048577\n"],
            "ready violation(BUSY: RESULT 1048577)",
            Unknown,
        ),
        ("large", &[b"READY\n", b"!RESULT 1048576\n"], "ready", Busy),
        (
            "not UTF-8",
            &[b"READY\n", b"!RESULT \xff\n"],
            "ready violation(BUSY: Undecodable: b'RESULT \\xff')",
            Unknown,
        ),
        (
            "for good",
            &[b"junk junk", b"READY\n", b"READY\n"],
            "violation(ACKNOWLEDGED)",
            Unknown,
        ),
    ];
    for (name, pieces, expected, state) in cases {
        let (steps, end) = talk(pieces);
        assert_eq!(words(&steps), *expected, "{name}");
        assert_eq!(end, *state, "{name}");
        if let Some(last) = steps.last()
            && end != Busy
        {
            assert_eq!(last.state(), end, "{name}");
        }
    }
}

#[test]
fn only_a_ready_listener_is_sent_something() {
    let mut listener = Listener::default();
    assert!(!listener.sent());
    listener.feed(b"READY\n", drop);
    assert!(listener.sent());
    assert!(!listener.sent());
    listener.feed(b"\n", drop);
    assert_eq!(listener.state(), State::Unknown);
    assert!(!listener.sent());
    listener.reset();
    assert_eq!(listener.state(), State::Acknowledged);
    listener.feed(b"READY\n", drop);
    assert_eq!(listener.state(), State::Ready);
}

#[test]
fn memory_is_bounded() {
    // A line without end is a violation in the same place, however it comes.
    let mut junk = b"READY\n".to_vec();
    junk.extend(vec![b'x'; LONGEST_LINE + 1]);
    for piece in [1, 1000, LONGEST_LINE + 1] {
        let mut pieces: Vec<Vec<u8>> = vec![junk[..6].to_vec(), b"!".to_vec()];
        pieces.extend(junk[6..].chunks(piece).map(<[u8]>::to_vec));
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let (steps, state) = talk(&pieces[..pieces.len() - 1]);
        assert_eq!((steps.len(), state), (1, State::Busy), "{piece}");
        let (steps, state) = talk(&pieces);
        assert_eq!((steps.len(), state), (2, State::Unknown), "{piece}");
        assert!(
            matches!(&steps[1], Step::Violation { bad_line: Some(line), .. }
            if line.len() == LONGEST_LINE)
        );
    }
    // Of a long result the beginning is kept.
    let result = vec![b'y'; LONGEST_RESULT];
    let (steps, state) = talk(&[b"READY\n", b"!RESULT 1048576\n", &result]);
    assert_eq!(steps[1], Step::Rejected(vec![b'y'; RESULT_KEPT]));
    assert_eq!(state, State::Acknowledged);
}

#[test]
fn lines_are_those_of_supervisord() {
    let unknown = "WARN p: has entered the UNKNOWN state and will no longer receive events, this \
                   usually indicates the process violated the eventlistener protocol";
    for (step, expected) in [
        (Step::Ready, vec!["DEBUG p: ACKNOWLEDGED -> READY"]),
        (
            Step::Accepted,
            vec![
                "DEBUG p: event was processed",
                "DEBUG p: BUSY -> ACKNOWLEDGED",
            ],
        ),
        (
            Step::Rejected(b"FAIL".to_vec()),
            vec![
                "WARN p: event was rejected",
                "DEBUG p: BUSY -> ACKNOWLEDGED",
            ],
        ),
        (
            Step::Violation {
                from: State::Ready,
                bad_line: None,
            },
            vec!["DEBUG p: READY -> UNKNOWN", unknown],
        ),
        (
            Step::Violation {
                from: State::Busy,
                bad_line: Some("huh".into()),
            },
            vec![
                "WARN p: bad result line: 'huh'",
                "DEBUG p: BUSY -> UNKNOWN",
                unknown,
            ],
        ),
    ] {
        let lines: Vec<String> = step
            .lines("p")
            .iter()
            .map(|(level, text)| format!("{} {text}", format!("{level:?}").to_uppercase()))
            .collect();
        assert_eq!(lines, expected);
    }
}

/// A conversation by the rules: the pieces that a listener says from one notification to the
/// next.
fn conversation() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let result = prop_oneof![
        Just(b"OK".to_vec()),
        Just(b"FAIL".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..20),
    ];
    proptest::collection::vec(result, 0..6).prop_map(|results| {
        let mut turns = vec![b"READY\n".to_vec()];
        for result in results {
            let mut turn = format!("RESULT {}\n", result.len()).into_bytes();
            turn.extend(result);
            turn.extend(b"READY\n");
            turns.push(turn);
        }
        turns
    })
}

/// Feeds each turn whole or cut in pieces of the sizes given, and sends a notification after it.
fn steps(turns: &[Vec<u8>], sizes: &[usize]) -> (Vec<Step>, State) {
    let mut listener = Listener::default();
    let mut steps = Vec::new();
    let mut sizes = sizes.iter().cycle();
    for turn in turns {
        let mut rest = turn.as_slice();
        while !rest.is_empty() {
            let size = sizes
                .next()
                .map_or(rest.len(), |size| *size.min(&rest.len()));
            let (piece, after) = rest.split_at(size);
            listener.feed(piece, |step| steps.push(step));
            rest = after;
        }
        listener.sent();
    }
    (steps, listener.state())
}

proptest! {
    #[test]
    fn any_split_means_the_same(
        turns in conversation(),
        sizes in proptest::collection::vec(1_usize..12, 1..9),
    ) {
        let whole = steps(&turns, &[]);
        prop_assert_eq!(whole.1, State::Busy);
        prop_assert_eq!(whole.0.len(), 2 * turns.len() - 1);
        let clean = whole.0.iter().all(|step| !matches!(step, Step::Violation { .. }));
        prop_assert!(clean);
        prop_assert_eq!(steps(&turns, &sizes), whole);
    }

    #[test]
    fn any_split_of_junk_means_the_same(
        turns in proptest::collection::vec("(READY\n|RESULT |[0-4]|\n|OK|[a-z ]){0,8}", 0..5),
        sizes in proptest::collection::vec(1_usize..12, 1..9),
    ) {
        let turns: Vec<Vec<u8>> = turns.into_iter().map(String::into_bytes).collect();
        prop_assert_eq!(steps(&turns, &sizes), steps(&turns, &[]));
    }

    #[test]
    fn no_bytes_panic(turns in proptest::collection::vec(
        proptest::collection::vec(any::<u8>(), 0..40), 0..5)
    ) {
        let _ = steps(&turns, &[]);
    }
}
