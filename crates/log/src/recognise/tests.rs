use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;

fn unescaped(text: &str) -> Vec<u8> {
    text.replace("\\e", "\x1b")
        .replace("\\t", "\t")
        .into_bytes()
}

#[test]
fn table() {
    let mut rows = 0;
    let mut wrong = Vec::new();
    for row in include_str!("table.txt").lines() {
        if row.starts_with('#') || row.is_empty() {
            continue;
        }
        rows += 1;
        let mut columns = row.split('¦');
        let expected = columns.next().unwrap().trim();
        let line = columns.next().unwrap();
        let line = line.strip_prefix(' ').unwrap_or(line);
        let message = columns.next();
        let line = if message.is_some() {
            line.strip_suffix(' ').unwrap()
        } else {
            line
        };
        let line = unescaped(line);
        let found = recognise(&line);
        let level = found.level.map_or("-", Level::name);
        let shown = format!("{level}{}", if found.time.is_some() { " t" } else { "" });
        let text = String::from_utf8_lossy(&line[found.message..]).into_owned();
        if shown != expected {
            wrong.push(format!("{row}\n    is {shown}"));
        } else if let Some(message) = message
            && !text.starts_with(message.trim())
        {
            wrong.push(format!("{row}\n    has the message {text:?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {rows}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(rows >= 250, "{rows}");
}

#[test]
fn shapes() {
    let table = [
        ("plain", Shape::Plain),
        ("ERROR: x", Shape::Logged),
        ("2026-01-02 15:04:05 x", Shape::Logged),
        ("{\"level\":30}", Shape::Whole),
        ("{\"level\":30} \r", Shape::Whole),
        ("{\"level\":30}\x1b[0m", Shape::Whole),
        ("{\"level\":30,", Shape::Logged),
        ("{", Shape::Plain),
        ("Jan 02, 2026 3:04:05 PM com.example.App main", Shape::Half),
        (
            "2026-01-02 15:04:05.123 UTC [12] DETAIL:  x",
            Shape::Further,
        ),
        (
            "Traceback (most recent call last):",
            Shape::Trace(Trace::Python),
        ),
        (
            "\x1b[31mTraceback (most recent call last):",
            Shape::Trace(Trace::Python),
        ),
        ("ValueError: x", Shape::Trace(Trace::Exception)),
        ("Error: x", Shape::Trace(Trace::Exception)),
        ("panic: x", Shape::Trace(Trace::Go)),
        (
            "thread 'x' panicked at a.rs:1:2:",
            Shape::Trace(Trace::Rust),
        ),
        ("UserWarning: x", Shape::Logged),
    ];
    for (line, shape) in table {
        assert_eq!(recognise(line.as_bytes()).shape, shape, "{line}");
    }
}

#[test]
fn a_level_far_inside_an_object_is_found_and_nothing_beyond_the_limit() {
    let long = |length| format!("{{\"a\":\"{}\",\"level\":\"error\"}}", "x".repeat(length));
    assert_eq!(recognise(long(10_000).as_bytes()).level, Some(Level::Error));
    assert_eq!(recognise(long(100_000).as_bytes()).level, None);
}

/// Pieces that headers are made of, so that chance gets somewhere.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "2026-01-02",
        "T15:04:05",
        "15:04:05",
        ",123",
        "Z",
        "+01:00",
        " ",
        " ",
        "  ",
        "\t",
        "[",
        "]",
        "(",
        ")",
        "{",
        "}",
        "<",
        ">",
        ":",
        "|",
        "-",
        " - ",
        "ERROR",
        "error",
        "Warning",
        "INFO",
        "E",
        "\"",
        "\\",
        "=",
        "level",
        "msg",
        "\x1b[31m",
        "\x1b[",
        "Jan ",
        "Fri ",
        "02",
        "1767366245",
        "12:M ",
        "PHP ",
        "npm ",
        "Error",
        "Exception",
        "/",
        ".",
        "#",
        "PM",
        "<34>",
        "E0102 ",
        "I, [",
        "::",
        "500",
        "GET",
        ",",
        "é",
        "·",
    ])
    .prop_map(|text| text.as_bytes().to_vec());
    let any = prop::collection::vec(any::<u8>(), 0..4);
    prop::collection::vec(prop_oneof![8 => known, 1 => any], 0..24).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_looked_at_without_harm(line in prop_oneof![pieces(), prop::collection::vec(any::<u8>(), 0..300)]) {
        let found = recognise(&line);
        prop_assert!(found.message <= line.len());
        if let Some(time) = found.time {
            let _ = time.at(&TimeZone::UTC, Timestamp::UNIX_EPOCH);
            let _ = time.at(&TimeZone::UTC, Timestamp::MAX);
            let _ = time.at(&TimeZone::UTC, Timestamp::MIN);
        }
        // What is behind the head changes nothing.
        if line.first() != Some(&b'{') && !line.trim_ascii_start().starts_with(b"{") {
            let mut longer = line.clone();
            longer.resize(HEAD.max(line.len()), b' ');
            let head = recognise(&longer);
            longer.extend_from_slice(b" ERROR: ");
            let more = recognise(&longer);
            prop_assert_eq!(head.level, more.level);
        }
    }
}
