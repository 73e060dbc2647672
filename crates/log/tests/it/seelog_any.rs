//! Whatever is written into a config, a format or a layout of seelog: an answer, and no panic.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainstay_log::seelog::{Config, DateLayout, Dialect, Options};
use mainstay_log::{Format, Level, Record, Stamp};
use proptest::prelude::*;

fn dialect() -> impl Strategy<Value = Dialect> {
    prop_oneof![Just(Dialect::Strict), Just(Dialect::Extended)]
}

/// Documents made of the language's own words.
fn document() -> impl Strategy<Value = String> {
    let words = "(<seelog |<outputs|<filter |<splitter|<file |<console|<rollingfile |<buffered |<conn |<smtp |<custom \
        |<formats|<format |<exceptions|<exception |<recipient |/>|>|</seelog>|</outputs>|</filter>|</buffered>|</formats>\
        |levels=\"info, off\" |minlevel=\"warn\" |type=\"size\" |type=\"date\" |type=\"adaptive\" |size=\"1KB\" |maxsize=\"-1\" \
        |path=\"a\" |id=\"f\" |formatid=\"f\" |format=\"%Date\\(2\\) %Msg\" |data-x=\"\\$\\{A\\}\" |password=\"geheim7\" |name=\"\u{e9}\" |filepattern=\"\\*\" )";
    proptest::string::string_regex(&format!("<seelog {words}{{0,30}}(</outputs></seelog>)?"))
        .expect("the words are a regular expression")
}

proptest! {
    #[test]
    fn documents(text in document(), dialect in dialect()) {
        let options = Options::new().dialect(dialect);
        match Config::parse("c.xml", &text, &options) {
            Ok(config) => {
                let leaves = config.leaves();
                for level in Level::ALL {
                    let explanation = config.explain(level, "f", "a");
                    prop_assert_eq!(explanation.leaves.len(), leaves.len());
                    let passes = config.gate().allows(level, "f", "a");
                    let expected = leaves.iter().filter(|leaf| passes && leaf.levels.contains(level));
                    prop_assert_eq!(explanation.reached().count(), expected.count());
                }
                prop_assert!(!config.warnings.has_errors());
                let shown = format!("{config:?}");
                prop_assert!(!shown.contains("geheim7"));
                if dialect == Dialect::Strict {
                    prop_assert!(config.warnings.is_empty());
                    // What seelog loads, we load.
                    let expands = text.contains("${");
                    let ours = Config::parse("c.xml", &text, &Options::new());
                    prop_assert!(expands || ours.is_ok());
                }
            }
            Err(wrong) => {
                prop_assert!(wrong.has_errors());
                prop_assert!(!wrong.to_string().contains("geheim7"));
            }
        }
    }

    #[test]
    fn bytes(bytes in any::<Vec<u8>>(), dialect in dialect()) {
        let options = Options::new().dialect(dialect);
        if let Err(wrong) = Config::read("c.xml", bytes.as_slice(), &options) {
            prop_assert!(!wrong.to_string().is_empty());
        }
    }

    #[test]
    fn formats(
        text in "(%|Msg|Level|l|Date|UTC|Time|Ns|n|EscM|\\(|\\)|2006|\\.000|\u{e9}|\\\\n| |[a-z]){0,20}",
        message in any::<String>(),
        seconds in -9_999_999_999_i64..99_999_999_999,
        dialect in dialect(),
    ) {
        let options = Options::new().dialect(dialect);
        if let Ok(format) = Format::seelog(&text, &options) {
            let time = Timestamp::from_second(seconds).expect("the range is within that of times");
            let record = Record::new(time, Level::Info, "t", message.as_str());
            let mut stamp = Stamp::new(TimeZone::UTC);
            let (mut first, mut second) = (Vec::new(), Vec::new());
            format.render(&record, &mut stamp, &mut first);
            format.render(&record, &mut stamp, &mut second);
            prop_assert_eq!(&first, &second);
            prop_assert!(std::str::from_utf8(&first).is_ok());
            prop_assert_eq!(Format::seelog(&text, &options).expect("it was compiled before"), format);
        }
    }

    #[test]
    fn a_layout_of_numbers_is_read_back(seconds in 0_i64..4_000_000_000, nanos in 0_i32..1_000_000_000) {
        let time = Timestamp::new(seconds, nanos).expect("the range is within that of times");
        let layout = DateLayout::compile("2006-01-02T15:04:05.000000000Z07:00");
        let text = layout.format(time, &TimeZone::UTC);
        prop_assert_eq!(text.parse::<Timestamp>().expect("it is RFC 3339"), time);
    }
}
