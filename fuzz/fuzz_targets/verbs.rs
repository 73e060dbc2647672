//! What can be a format in seelog's verbs: compiled, then written for a record.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_log::seelog::{Dialect, Options};
use mainstay_log::{Format, Level, Location, Record, Stamp};

fuzz_target!(|input: (&str, &str, i64, i32)| {
    let (text, message, second, nanos) = input;
    let Ok(time) = jiff::Timestamp::new(second, nanos) else {
        return;
    };
    let record = Record::new(time, Level::Warn, "fuzz", message).location(Some(Location {
        file: message,
        line: 1,
        function: Some(message),
    }));
    let mut stamp = Stamp::new(jiff::tz::TimeZone::UTC);
    for dialect in [Dialect::Strict, Dialect::Extended] {
        let Ok(format) = Format::seelog(text, &Options::new().dialect(dialect)) else {
            continue;
        };
        let (mut first, mut second) = (Vec::new(), Vec::new());
        format.render(&record, &mut stamp, &mut first);
        format.render(&record, &mut stamp, &mut second);
        assert_eq!(first, second);
        assert!(std::str::from_utf8(&first).is_ok());
    }
});
