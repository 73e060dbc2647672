//! Whether what was logged is there: every record once, each thread's in the order of its calls.
//!
//! Records are known by the number that their line ends with. Files may be read in any order: a
//! thread's numbers within a file must rise, and no two files may overlap.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::job::{Job, STRIDE};

/// What is wrong with an output; all zero is right.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// Records that should be there.
    pub expected: u64,
    /// Bytes in all.
    pub bytes: u64,
    /// Records that are nowhere.
    pub lost: u64,
    /// Lines of records that were there before.
    pub doubled: u64,
    /// Lines after one of the same thread that was logged later.
    pub disordered: u64,
    /// Lines that are no record as it was logged: torn, mixed, or the logger's own words.
    pub foreign: u64,
}

impl Findings {
    /// Whether every record is there once, in order.
    pub fn is_whole(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.disordered == 0
    }

    /// Takes what was found in another output into account.
    pub fn add(&mut self, other: &Self) {
        self.expected += other.expected;
        self.bytes += other.bytes;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.disordered += other.disordered;
        self.foreign += other.foreign;
    }
}

/// Reads all that the sinks of a job have written.
pub fn output(job: &Job) -> io::Result<Findings> {
    let mut all = Findings::default();
    for sink in 0..job.sinks {
        let mut ledger = Ledger::new(job.threads, job.per_thread());
        files(&job.sink_directory(sink), &mut |path| {
            ledger.file(&std::fs::read(path)?);
            Ok(())
        })?;
        all.add(&ledger.close());
    }
    Ok(all)
}

fn files(directory: &Path, each: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            files(&entry.path(), each)?;
        } else if kind.is_file() {
            each(&entry.path())?;
        }
    }
    Ok(())
}

/// Counts lines, file by file.
struct Ledger {
    per_thread: u64,
    threads: Vec<Thread>,
    findings: Findings,
}

/// What was seen of one thread.
struct Thread {
    /// A bit for each of its records.
    seen: Vec<u64>,
    distinct: u64,
    /// First and last number in each file.
    files: Vec<(u64, u64)>,
    /// The last number in this file.
    last: Option<u64>,
}

impl Ledger {
    fn new(threads: u64, per_thread: u64) -> Self {
        let words = usize::try_from(per_thread.div_ceil(64)).unwrap_or(usize::MAX);
        Self {
            per_thread,
            threads: (0..threads)
                .map(|_| Thread {
                    seen: vec![0; words],
                    distinct: 0,
                    files: Vec::new(),
                    last: None,
                })
                .collect(),
            findings: Findings {
                expected: threads * per_thread,
                ..Findings::default()
            },
        }
    }

    fn file(&mut self, bytes: &[u8]) {
        self.findings.bytes += bytes.len() as u64;
        for thread in &mut self.threads {
            thread.last = None;
        }
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            match line.strip_suffix(b"\n").and_then(number) {
                Some(number) if self.record(number) => {}
                _ => self.findings.foreign += 1,
            }
        }
    }

    /// Notes a record; false if no thread logged one of this number.
    fn record(&mut self, number: u64) -> bool {
        let Some(index) = (number / STRIDE).checked_sub(1) else {
            return false;
        };
        let place = number % STRIDE;
        let thread = usize::try_from(index)
            .ok()
            .and_then(|index| self.threads.get_mut(index));
        let (Some(thread), true) = (thread, place < self.per_thread) else {
            return false;
        };
        let bit = 1 << (place % 64);
        // Both fit: the vector has a word for every place below the number of records.
        let word = &mut thread.seen[usize::try_from(place / 64).unwrap_or(usize::MAX)];
        if *word & bit == 0 {
            *word |= bit;
            thread.distinct += 1;
        } else {
            self.findings.doubled += 1;
        }
        match thread.last {
            None => thread.files.push((place, place)),
            Some(last) => {
                if place < last {
                    self.findings.disordered += 1;
                }
                if let Some((first, highest)) = thread.files.last_mut() {
                    *first = place.min(*first);
                    *highest = place.max(*highest);
                }
            }
        }
        thread.last = Some(place);
        true
    }

    fn close(mut self) -> Findings {
        for thread in &mut self.threads {
            self.findings.lost += self.per_thread - thread.distinct;
            thread.files.sort_unstable();
            let overlaps = thread.files.windows(2).filter(|pair| pair[1].0 < pair[0].1);
            self.findings.disordered += overlaps.count() as u64;
        }
        self.findings
    }
}

/// The number that a line ends with, if the rest of the line fits it.
fn number(line: &[u8]) -> Option<u64> {
    let digits = line.iter().rev().take_while(|byte| byte.is_ascii_digit());
    let (before, digits) = line.split_at(line.len() - digits.count());
    let number = decimal(digits)?;
    let Some(before) = before.strip_suffix(b" attempt ") else {
        // A message of a given size: a number behind letters x, or alone.
        return before
            .last()
            .is_none_or(|byte| matches!(byte, b'x' | b' '))
            .then_some(number);
    };
    let start = before.iter().rposition(|byte| *byte == b' ')? + 1;
    let user = decimal(&before[start..])?;
    let whole = before[..start].ends_with(b" failed login attempt from 11.22.33.44 user ");
    (whole && user == number % 1000).then_some(number)
}

fn decimal(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: u64) -> String {
        format!(
            "2026-11-25 14:00:00 INFO failed login attempt from 11.22.33.44 user {} attempt {number}\n",
            number % 1000
        )
    }

    /// What two threads of three records each come to, by the numbers in each file.
    fn findings(files: &[&[u64]]) -> [u64; 4] {
        let mut ledger = Ledger::new(2, 3);
        for file in files {
            ledger.file(
                file.iter()
                    .copied()
                    .map(line)
                    .collect::<String>()
                    .as_bytes(),
            );
        }
        let found = ledger.close();
        assert_eq!(found.expected, 6);
        [found.lost, found.doubled, found.disordered, found.foreign]
    }

    /// A name, the numbers in each file, what is found.
    type Case<'a> = (&'a str, &'a [&'a [u64]], [u64; 4]);

    #[test]
    fn losses_doubles_and_disorder_are_seen() {
        const A: u64 = STRIDE;
        const B: u64 = 2 * STRIDE;
        let cases: [Case; 9] = [
            ("whole", &[&[A, B, A + 1, A + 2, B + 1, B + 2]], [0; 4]),
            (
                "newest first",
                &[&[A + 2, B + 1, B + 2], &[A, B, A + 1]],
                [0; 4],
            ),
            ("nothing", &[], [6, 0, 0, 0]),
            ("one lost", &[&[A, A + 2, B, B + 1, B + 2]], [1, 0, 0, 0]),
            (
                "one doubled",
                &[&[A, A + 1, A + 1, A + 2, B, B + 1, B + 2]],
                [0, 1, 0, 0],
            ),
            (
                "doubled in the next file",
                &[&[A, A + 1, B], &[A + 1, A + 2, B + 1, B + 2]],
                [0, 1, 0, 0],
            ),
            (
                "out of order",
                &[&[A, A + 2, A + 1, B, B + 1, B + 2]],
                [0, 0, 1, 0],
            ),
            (
                "files overlap",
                &[&[A, A + 2, B], &[A + 1, B + 1, B + 2]],
                [0, 0, 1, 0],
            ),
            (
                "a number that nobody logged",
                &[&[A, A + 1, A + 2, A + 3, B, B + 1, B + 2, 3 * STRIDE, 5]],
                [0, 0, 0, 3],
            ),
        ];
        for (name, files, wanted) in cases {
            assert_eq!(findings(files), wanted, "{name}");
        }
    }

    #[test]
    fn a_line_is_a_record_only_whole() {
        let whole = line(STRIDE + 7);
        let cases: [(&str, Option<u64>); 8] = [
            (whole.trim_end(), Some(STRIDE + 7)),
            ("xxxx0100000007", Some(STRIDE + 7)),
            ("INFO 0100000007", Some(STRIDE + 7)),
            (
                "failed login attempt from 11.22.33.44 user 8 attempt 100000007",
                None,
            ),
            (
                " failed login attempt from 11.22.33.44 user 8 attempt 100000007",
                None,
            ),
            (
                " failed login attempt from 11.22.33.4 user 7 attempt 100000007",
                None,
            ),
            ("INFO failed login attempt from 11.22.33.44", None),
            ("", None),
        ];
        for (line, wanted) in cases {
            assert_eq!(number(line.as_bytes()), wanted, "{line}");
        }
        let mut ledger = Ledger::new(1, 8);
        ledger.file(whole.trim_end().as_bytes());
        let found = ledger.close();
        assert_eq!(
            (found.foreign, found.lost),
            (1, 8),
            "a line without its end"
        );
    }
}
