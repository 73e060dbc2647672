//! A dump from a stranger, taken apart into statements.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_backup::classic::split::{Broken, Splitter};

fn split(bytes: &[u8], length: usize) -> Result<Vec<(Vec<u8>, u64)>, Broken> {
    let mut splitter = Splitter::new(1 << 16);
    let mut found = Vec::new();
    for piece in bytes.chunks(length) {
        splitter.feed(piece);
        while let Some(statement) = splitter.statement()? {
            found.push((statement.text.to_vec(), statement.line));
        }
    }
    splitter.end();
    while let Some(statement) = splitter.statement()? {
        found.push((statement.text.to_vec(), statement.line));
    }
    Ok(found)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((length, bytes)) = bytes.split_first() else {
        return;
    };
    let whole = split(bytes, bytes.len().max(1));
    assert_eq!(whole, split(bytes, usize::from(*length).max(1)));
    if let Ok(found) = whole {
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        let mut after = 1;
        for (text, line) in found {
            assert!(!text.is_empty());
            assert!((after..=lines + 1).contains(&line));
            after = line;
            assert!(bytes.windows(text.len()).any(|part| part == text));
        }
    }
});
