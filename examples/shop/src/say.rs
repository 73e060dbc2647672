//! What the shop says: one line per event, requests and news to stdout, errors to stderr.
//!
//! A line that cannot be written is dropped: with nobody to read it, there is nobody to tell.

use std::fmt::Display;
use std::io::{self, Write};

/// A line on stdout.
pub(crate) fn info(message: impl Display) {
    let line = line("INFO ", &message);
    let _ = io::stdout().lock().write_all(line.as_bytes());
}

/// A line on stderr.
pub(crate) fn error(message: impl Display) {
    let line = line("ERROR", &message);
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// Text on stdout as it is: the answer to `--help` and `--version`.
pub(crate) fn plain(text: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// A complaint on stderr about how the shop was started, which concerns the person who did.
pub(crate) fn complain(message: impl Display) {
    let _ = writeln!(io::stderr().lock(), "shop: {message}");
}

/// One event is one line, whatever a visitor put into it: control characters are escaped. Made
/// whole first, so that it reaches the pipe in one write.
fn line(level: &str, message: &impl Display) -> String {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
    let mut line = format!("{now} {level} ");
    for c in message.to_string().chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn a_message_cannot_break_out_of_its_line() {
        let line = line("INFO ", &"a\nb\x1b[31mc");
        assert!(line.ends_with(" INFO  a\\nb\\u{1b}[31mc\n"), "{line:?}");
        assert_eq!(line.matches('\n').count(), 1);
    }
}
