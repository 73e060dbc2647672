//! The lines around a fault that an app reports and sends none with: those that it printed then.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use mainstay_fault::redact;

use super::reader::Source;

/// So many of the last bytes of a file are looked at when a fault is reported.
pub(super) const AT_ONCE: u64 = 64 << 10;
/// And so many when a person asks, if the line was not there yet.
pub(super) const LATER: u64 = 8 << 20;
/// So many lines are kept, most of them before the one that has the code.
const LINES: usize = 20;
const AFTER: usize = 3;

/// What the program printed around the line that has the code, without secrets; nothing if no line
/// has it.
pub(super) fn around(sources: &[Source], program: &str, code: &str, last: u64) -> Vec<String> {
    for source in sources.iter().filter(|source| source.program == program) {
        // A file that is not there yet, or no more, has nothing to say.
        let Ok(text) = read_last(&source.path, last) else {
            continue;
        };
        let lines: Vec<&str> = text.lines().collect();
        if let Some(at) = lines.iter().rposition(|line| line.contains(code)) {
            let end = lines.len().min(at + 1 + AFTER);
            let from = end.saturating_sub(LINES);
            return lines[from..end].iter().map(|line| redact(line)).collect();
        }
    }
    Vec::new()
}

/// The last whole lines.
fn read_last(path: &Path, last: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(last);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(last).read_to_end(&mut bytes)?;
    let whole = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(at) if from > 0 => &bytes[at + 1..],
        _ => &bytes,
    };
    Ok(String::from_utf8_lossy(whole).into_owned())
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn lines_of_the_program_that_has_the_code() {
        let place = tempfile::tempdir().unwrap();
        let mut long = String::new();
        for number in 0..10_000 {
            writeln!(long, "line {number}").unwrap();
        }
        long.push_str("ERROR fault K7Q29-XWD4M\nafter 1\nafter 2\nafter 3\nafter 4\n");
        let source = |program: &str, name: &str, text: &str| {
            let path = place.path().join(name);
            std::fs::write(&path, text).unwrap();
            Source {
                program: program.to_owned(),
                path,
            }
        };
        let sources = [
            source("other", "other", "K7Q29-XWD4M\n"),
            source("shop", "out", "a\nb\n"),
            source("safe", "safe", "K7Q29 password=hunter2\n"),
            source("shop", "err", &long),
            Source {
                program: "gone".to_owned(),
                path: place.path().join("gone"),
            },
        ];
        let found = around(&sources, "shop", "K7Q29-XWD4M", AT_ONCE);
        assert_eq!(found.len(), LINES);
        assert_eq!(found[0], "line 9984");
        assert_eq!(
            found[16..],
            ["ERROR fault K7Q29-XWD4M", "after 1", "after 2", "after 3"]
        );
        assert!(around(&sources, "shop", "00000-00000", LATER).is_empty());
        assert!(around(&sources, "gone", "K7Q29-XWD4M", LATER).is_empty());
        assert!(around(&sources, "shop", "line 1\n", 100).is_empty());
        let secret = around(&sources, "safe", "K7Q29", LATER);
        assert_eq!(secret.len(), 1);
        assert!(!secret[0].contains("hunter2"), "{secret:?}");
    }
}
