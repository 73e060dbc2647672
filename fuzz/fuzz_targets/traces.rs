//! Tracebacks in what programs print: whole, and joined to records first.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mainstay_fault::Recogniser;
use mainstay_log::{Joiner, Limits};

fuzz_target!(|output: &[u8]| {
    look(&String::from_utf8_lossy(output));
    let mut joiner = Joiner::new(Limits::default());
    let mut emit = |joined: mainstay_log::Joined<'_>| look(&String::from_utf8_lossy(joined.bytes));
    for line in output.split(|byte| *byte == b'\n') {
        joiner.line(line, Duration::ZERO, 0, &mut emit);
    }
    joiner.finish(&mut emit);
});

fn look(text: &str) {
    let Some(found) = Recogniser::new().own("/srv/").find(text) else {
        return;
    };
    assert_eq!(found.fingerprint().len(), 12);
    assert!(found.frames().len() <= 64 && found.causes().len() <= 8);
    // Found is what is there, but for secrets.
    let exception = &found.raised().exception;
    let fault = found.clone().into_fault();
    assert!(fault.status().is_server_error());
    assert!(exception.len() <= 256 && fault.to_string().len() < 64 * 1024);
    assert_eq!(
        Recogniser::new().own("/srv/").find(text).as_ref(),
        Some(&found)
    );
}
