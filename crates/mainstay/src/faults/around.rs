//! The lines around a fault that an app reports and sends none with: those that it printed then.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::reader::Source;

/// So many of the last bytes of a file are looked at.
const LAST: u64 = 64 << 10;
/// So many lines are kept, most of them before the one that has the code.
const LINES: usize = 20;
const AFTER: usize = 3;

/// What the program printed around the line that has the code; its last lines if none has it.
pub(super) fn around(sources: &[Source], program: &str, code: &str) -> Vec<String> {
    let own = sources.iter().filter(|source| source.program == program);
    let mut last = Vec::new();
    for source in own {
        // A file that is not there yet, or no more, has nothing to say.
        let Ok(text) = read_last(&source.path) else {
            continue;
        };
        let lines: Vec<&str> = text.lines().collect();
        if let Some(at) = lines.iter().rposition(|line| line.contains(code)) {
            let end = lines.len().min(at + 1 + AFTER);
            return owned(&lines[..end]);
        }
        if last.is_empty() {
            last = owned(&lines);
        }
    }
    last
}

fn owned(lines: &[&str]) -> Vec<String> {
    let from = lines.len().saturating_sub(LINES);
    lines[from..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect()
}

/// The last whole lines.
fn read_last(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(LAST);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(LAST).read_to_end(&mut bytes)?;
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
            source("shop", "err", &long),
            Source {
                program: "gone".to_owned(),
                path: place.path().join("gone"),
            },
        ];
        let found = around(&sources, "shop", "K7Q29-XWD4M");
        assert_eq!(found.len(), LINES);
        assert_eq!(found[0], "line 9984");
        assert_eq!(
            found[16..],
            ["ERROR fault K7Q29-XWD4M", "after 1", "after 2", "after 3"]
        );
        assert_eq!(around(&sources, "shop", "00000-00000"), ["a", "b"]);
        assert!(around(&sources, "gone", "K7Q29-XWD4M").is_empty());
    }
}
