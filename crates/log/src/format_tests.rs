use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;
use crate::record::{Location, Stream};

fn time() -> Timestamp {
    "2026-11-22T06:00:00.123Z".parse().unwrap()
}

fn render(format: &Format, record: &Record<'_>) -> String {
    let mut stamp = Stamp::new(TimeZone::get("Asia/Taipei").unwrap());
    let mut out = Vec::new();
    format.render(record, &mut stamp, &mut out);
    String::from_utf8(out).unwrap()
}

struct Broken;
impl fmt::Display for Broken {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Err(fmt::Error)
    }
}

#[test]
fn text_lines() {
    let record = |message| Record::new(time(), Level::Info, "app::db", message);
    let head = "2026-11-22T14:00:00.123+08:00 INFO  app::db: ";
    let dash = format_args!("{}-{:?}", 1, "x\n");
    let broken = format_args!("a {Broken}");
    let table: [(Message<'_>, &str); 12] = [
        ("ready".into(), "ready"),
        ("".into(), ""),
        ("tab\tkept".into(), "tab\tkept"),
        ("two\nlines".into(), "two\n    lines"),
        ("end\n\n".into(), "end"),
        ("dos\r\nend\r\n".into(), "dos\n    end"),
        ("bar\rbar".into(), "bar\\rbar"),
        ("\x1b[31mred\x07".into(), "\\x1b[31mred\\x07"),
        (
            "c1 \u{9b}31m caf\u{e9} \u{a3}".into(),
            "c1 \\u{9b}31m caf\u{e9} \u{a3}",
        ),
        (
            b"bad \xff\xfe utf8 \xe2\x82".as_slice().into(),
            "bad \u{fffd}\u{fffd} utf8 \u{fffd}",
        ),
        (dash.into(), "1-\"x\\n\""),
        (broken.into(), "a <cannot be shown>"),
    ];
    for (message, expected) in table {
        assert_eq!(
            render(&Format::text(), &record(message)),
            format!("{head}{expected}\n"),
            "{expected}"
        );
    }
}

#[test]
fn fields_are_quoted_only_where_needed() {
    let table: [(Value<'_>, &str); 16] = [
        (Value::Null, "null"),
        (true.into(), "true"),
        ((-3_i64).into(), "-3"),
        (u64::MAX.into(), "18446744073709551615"),
        (1.5.into(), "1.5"),
        (f64::NAN.into(), "NaN"),
        ("plain/path:1".into(), "plain/path:1"),
        ("".into(), "\"\""),
        ("a b".into(), "\"a b\""),
        ("a=b".into(), "\"a=b\""),
        ("say \"hi\" \\".into(), "\"say \\\"hi\\\" \\\\\""),
        ("line\nbreak\ttab\x1b".into(), "\"line\\nbreak\\ttab\\x1b\""),
        ("caf\u{e9}\u{6f22}".into(), "caf\u{e9}\u{6f22}"),
        ("no\u{a0}break".into(), "\"no\u{a0}break\""),
        (Value::Display(&"d d"), "\"d d\""),
        (Value::Debug(&Some(1)), "Some(1)"),
    ];
    for (value, expected) in table {
        let fields = [("k", value)];
        let record = Record::new(time(), Level::Critical, "t", "m").fields(&fields);
        assert_eq!(
            render(&Format::short(), &record),
            format!("14:00:00 CRIT  m k={expected}\n")
        );
    }
    let fields = [
        ("odd key", Value::Null),
        ("twice", 1.into()),
        ("twice", 2.into()),
    ];
    let record = Record::new(time(), Level::Debug, "t", "m").fields(&fields);
    assert_eq!(
        render(&Format::short(), &record),
        "14:00:00 DEBUG m \"odd key\"=null twice=1 twice=2\n"
    );
}

#[test]
fn programs_colours_json() {
    let record = Record::new(time(), Level::Warn, "web", "hot").program("web:1", Stream::Stderr);
    assert_eq!(
        render(&Format::text(), &record),
        "2026-11-22T14:00:00.123+08:00 WARN  web:1[stderr]: hot\n"
    );
    assert_eq!(
        render(&Format::short(), &record),
        "14:00:00 WARN  web:1[stderr]: hot\n"
    );
    assert_eq!(
        render(&Format::short().coloured(), &record),
        "14:00:00 \x1b[33mWARN \x1b[0m web:1[stderr]: hot\n"
    );
    assert_eq!(Format::json().coloured(), Format::json());
    let fields = [("n", Value::Unsigned(3)), ("nan", f64::NAN.into())];
    let record = record.fields(&fields).location(Some(Location {
        file: "src/a.rs",
        line: 7,
        function: Some("a::b"),
    }));
    assert_eq!(
        render(&Format::json(), &record),
        "{\"time\":\"2026-11-22T14:00:00.123+08:00\",\"level\":\"warn\",\"target\":\"web\",\
         \"program\":\"web:1\",\"stream\":\"stderr\",\"message\":\"hot\",\
         \"fields\":{\"n\":3,\"nan\":\"NaN\"},\"file\":\"src/a.rs\",\"line\":7,\
         \"function\":\"a::b\"}\n"
    );
    for name in NAMES {
        assert!(Format::named(name).is_some());
    }
    assert_eq!(Format::named("Text"), None);
}

proptest! {
    #[test]
    fn json_says_what_was_said(
        message in any::<Vec<u8>>(),
        text in any::<String>(),
        key in any::<String>(),
        signed in any::<i64>(),
        float in any::<f64>(),
    ) {
        let fields = [
            (key.as_str(), Value::Text(&text)),
            ("signed!", signed.into()),
            ("float!", float.into()),
            ("shown!", Value::Display(&text)),
        ];
        let record = Record::new(time(), Level::Error, &text, message.as_slice()).fields(&fields);
        let line = render(&Format::json(), &record);
        prop_assert_eq!(line.matches('\n').count(), 1);
        prop_assert!(!line.trim_end_matches('\n').chars().any(|c| c.is_ascii_control()));
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(&read["message"], &String::from_utf8_lossy(&message).into_owned());
        prop_assert_eq!(&read["target"], &text);
        prop_assert_eq!(&read["fields"][&key], &text);
        prop_assert_eq!(&read["fields"]["shown!"], &text);
        prop_assert_eq!(read["fields"]["signed!"].as_i64(), Some(signed));
        if float.is_finite() {
            let back = read["fields"]["float!"].as_f64().unwrap();
            // The reader may round the last place.
            prop_assert!((back - float).abs() <= float.abs() * 1e-15, "{} {}", back, float);
        }
    }

    #[test]
    fn a_record_in_text_is_never_taken_for_two(message in any::<Vec<u8>>(), value in any::<String>()) {
        let fields = [("key", Value::Text(&value))];
        let record = Record::new(time(), Level::Error, "t", message.as_slice()).fields(&fields);
        let text = render(&Format::text(), &record);
        prop_assert!(text.ends_with('\n'));
        for (index, line) in text.trim_end_matches('\n').split('\n').enumerate() {
            let start = if index == 0 { "2026-11-22T14:00:00.123+08:00 ERROR t: " } else { "    " };
            prop_assert!(line.starts_with(start), "{:?}", line);
            prop_assert!(!line.chars().any(|c| c.is_control() && c != '\t'));
        }
    }
}
