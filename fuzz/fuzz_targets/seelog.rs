//! What can be in a config of seelog.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_log::Level;
use mainstay_log::seelog::{Config, Dialect, Options};

fuzz_target!(|bytes: &[u8]| {
    let environment = |name: &str| (name == "A").then(|| "b".to_owned());
    let mut loaded = false;
    for dialect in [Dialect::Strict, Dialect::Extended] {
        let options = Options::new().dialect(dialect).environment(&environment);
        match Config::read("fuzz.xml", bytes, &options) {
            Ok(config) => {
                loaded = true;
                let leaves = config.leaves();
                for level in Level::ALL {
                    let explanation = config.explain(level, "main.f", "a.rs");
                    assert_eq!(explanation.leaves.len(), leaves.len());
                    let _ = explanation.to_string();
                }
                let _ = config.warnings.to_string();
            }
            Err(wrong) => {
                assert!(wrong.has_errors());
                let _ = wrong.to_string();
                // What seelog loads is refused for its dollars only, and for durations never.
                let dollars = bytes.windows(2).any(|pair| pair == b"${");
                let control = wrong.to_string().contains("cannot stand in");
                assert!(!loaded || dollars || control, "{wrong}");
            }
        }
    }
});
