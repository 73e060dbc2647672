//! What a stranger may have put into the directory of a spool.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_log::sinks::spool::{MAGIC, records};

fuzz_target!(|bytes: &[u8]| {
    assert!(records(bytes).count() == 0 || bytes.starts_with(MAGIC));
    let segment = [MAGIC.as_slice(), bytes].concat();
    let mut found = records(&segment);
    let mut size = 0;
    while let Some(record) = found.next() {
        size += record.bytes.len();
        assert!(size + found.rest().len() < segment.len());
    }
});
