//! What a server that is none may answer, and send as its data.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_backup::source::redis::{rdb, resp};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = resp::read(&mut &*bytes) {
        let mut written = Vec::new();
        value.write(&mut written);
        // A text that was not UTF-8 is another one after it was read.
        let again = resp::read(&mut written.as_slice()).expect("what is written can be read");
        assert_eq!(again, value);
    }
    for version in ["", "REDIS0004", "REDIS0011", "VALKEY080"] {
        let file = [version.as_bytes(), bytes].concat();
        if let Ok(contents) = rdb::read(file.as_slice()) {
            assert_eq!(contents.bytes, file.len() as u64);
            let keys: u64 = contents.databases.values().map(|keys| keys.keys).sum();
            assert!(keys <= contents.bytes);
        }
    }
});
