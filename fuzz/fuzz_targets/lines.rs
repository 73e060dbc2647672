//! What programs print.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mainstay_log::{Joiner, Limits, recognise};

fuzz_target!(|output: &[u8]| {
    let limits = Limits {
        bytes: 400,
        lines: 12,
        ..Limits::default()
    };
    let mut joiner = Joiner::new(limits);
    let (mut came, mut went, mut cut) = (Vec::new(), Vec::new(), false);
    let mut emit = |joined: mainstay_log::Joined<'_>| {
        assert!(joined.lines <= limits.lines);
        assert!(joined.bytes.len() <= limits.bytes || joined.lines == 1);
        cut |= joined.more;
        went.extend(
            joined
                .bytes
                .split(|byte| *byte == b'\n')
                .map(<[u8]>::to_vec),
        );
    };
    for (at, line) in output.split(|byte| *byte == b'\n').enumerate() {
        let known = recognise(line);
        assert!(known.message <= line.len());
        let now = Duration::from_millis(at as u64 * (line.len() as u64 % 3) * 200);
        joiner.on_time(now, &mut emit);
        joiner.line(line, now, 0, &mut emit);
        came.push(line.strip_suffix(b"\r").unwrap_or(line).to_vec());
    }
    joiner.finish(&mut emit);
    assert_eq!(joiner.wake_at(), None);
    // Only blank lines where a record is cut, or held behind one, become empty.
    let solid = |lines: &[Vec<u8>]| -> Vec<Vec<u8>> {
        let solid = |line: &&Vec<u8>| line.iter().any(|byte| !matches!(byte, b' ' | b'\t'));
        lines.iter().filter(solid).cloned().collect()
    };
    assert_eq!(solid(&went), solid(&came));
    assert!(cut || went.len() == came.len());
});
