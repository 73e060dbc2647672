//! Python, whose standard library speaks for the rest of the world.

use std::io::Write;
use std::process::{Command, Stdio};

/// What a script prints that gets `input`; absent, and said, where there is no Python.
pub(crate) fn python(script: &str, input: &[u8]) -> Option<String> {
    let Ok(mut python) = Command::new("python3")
        .args(["-c", script])
        .env("PYTHONIOENCODING", "utf-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
    else {
        println!("SKIPPED: there is no python3 to read this with");
        return None;
    };
    python.stdin.take().unwrap().write_all(input).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "the script failed");
    Some(String::from_utf8(output.stdout).unwrap())
}
