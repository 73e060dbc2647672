//! Reading what a test runner prints: how many tests passed, which were skipped and why.
//!
//! A test that cannot run here (no root, no such program) prints a line `SKIPPED: reason` and
//! passes. Runners hide what passing tests print, so they are told to show it, and it is taken out
//! again here: the person sees the reasons in one list at the end.

use std::collections::BTreeMap;
use std::fmt;

/// How many tests ended how.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Tests that did not run: marked so in the source, or by their own word.
    pub(crate) skipped: u64,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

/// A reader of runners' output, line by line.
#[derive(Default)]
pub(crate) struct Transcript {
    /// What the runners counted: a test that skipped itself has passed, for them.
    counted: Totals,
    /// Reason by test (and test binary, since names repeat) for each one that skipped itself.
    said: BTreeMap<(u64, String), String>,
    /// Test and reason of each one that is marked as ignored.
    ignored: Vec<(String, String)>,
    /// How many test binaries have begun.
    binary: u64,
    /// Inside the part that shows what passing tests printed.
    hiding: bool,
    /// The test whose output is being shown.
    test: String,
    /// Inside a run of nextest: what looks like libtest there is one test's own output.
    nextest: bool,
}

impl Transcript {
    /// Takes one line; says whether the person should see it.
    pub(crate) fn line(&mut self, line: &str) -> bool {
        let text = line.trim();
        if text.starts_with("Starting ") && text.contains(" across ") {
            self.nextest = true;
        }
        if self.nextest {
            self.nextest_line(text)
        } else {
            self.libtest_line(text)
        }
    }

    fn libtest_line(&mut self, text: &str) -> bool {
        if text.starts_with("Running ") || text.starts_with("Doc-tests ") {
            self.binary += 1;
        } else if text == "successes:" {
            self.hiding = true;
        } else if text == "failures:" {
            self.hiding = false;
        } else if let Some(test) = heading(text) {
            test.clone_into(&mut self.test);
        } else if let Some((test, reason)) = ignored(text) {
            self.ignored.push((test.to_owned(), reason.to_owned()));
        } else if let Some(counts) = libtest_result(text) {
            self.hiding = false;
            self.count(counts);
        } else {
            self.note_reason(text);
        }
        !self.hiding
    }

    fn nextest_line(&mut self, text: &str) -> bool {
        if let Some((passed, test)) = nextest_verdict(text) {
            test.clone_into(&mut self.test);
            // What it printed follows; of tests that failed, the person wants to see it.
            self.hiding = passed;
            return true;
        }
        if let Some(counts) = nextest_result(text) {
            self.hiding = false;
            self.nextest = false;
            self.count(counts);
        }
        self.note_reason(text);
        !self.hiding
    }

    fn count(&mut self, counts: Totals) {
        self.counted.passed += counts.passed;
        self.counted.failed += counts.failed;
        self.counted.skipped += counts.skipped;
    }

    /// Notes why a test skipped itself; only what a passing test says is believed.
    fn note_reason(&mut self, text: &str) {
        // A runner with one thread has already begun the line with the test's name.
        let said = match text.split_once(" ... ") {
            Some((test, said)) if test.starts_with("test ") => said,
            _ => text,
        };
        if let Some(reason) = said.strip_prefix("SKIPPED:").filter(|_| self.hiding) {
            let key = (self.binary, self.test.clone());
            self.said
                .entry(key)
                .or_insert_with(|| reason.trim().to_owned());
        }
    }

    /// The tests that did not run, with their reasons.
    pub(crate) fn skips(&self) -> impl Iterator<Item = (&str, &str)> {
        let said = self
            .said
            .iter()
            .map(|((_, test), reason)| (test.as_str(), reason.as_str()));
        said.chain(
            self.ignored
                .iter()
                .map(|(test, reason)| (test.as_str(), reason.as_str())),
        )
    }

    /// The runners' counts, with those that skipped themselves counted as skipped.
    pub(crate) fn totals(&self) -> Totals {
        let said = self.said.len() as u64;
        Totals {
            passed: self.counted.passed.saturating_sub(said),
            skipped: self.counted.skipped + said,
            ..self.counted
        }
    }
}

/// `---- NAME stdout ----`: the test whose output follows.
fn heading(text: &str) -> Option<&str> {
    text.strip_prefix("---- ")?.strip_suffix(" stdout ----")
}

/// `test NAME ... ignored, REASON`
fn ignored(text: &str) -> Option<(&str, &str)> {
    let (test, how) = text.strip_prefix("test ")?.split_once(" ... ignored")?;
    Some((test, how.strip_prefix(", ").unwrap_or("marked as ignored")))
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; …`
fn libtest_result(text: &str) -> Option<Totals> {
    let (_, counts) = text.strip_prefix("test result:")?.split_once(". ")?;
    Some(totals(counts.split("; "), "ignored"))
}

/// `Summary [ 1.2s] 12 tests run: 11 passed (1 slow), 1 failed, 2 skipped`
fn nextest_result(text: &str) -> Option<Totals> {
    let (_, counts) = text.strip_prefix("Summary [")?.split_once(" run: ")?;
    Some(totals(counts.split(", "), "skipped"))
}

/// `PASS [ 0.1s] (1/12) BINARY NAME`: whether the test passed, and which it was.
fn nextest_verdict(text: &str) -> Option<(bool, &str)> {
    let (verdict, rest) = text.split_once(" [")?;
    let known = ["PASS", "FAIL", "LEAK", "TIMEOUT", "ABORT"].contains(&verdict)
        || verdict.starts_with("SIG")
        || verdict.starts_with("TRY ")
        || verdict.starts_with("FLAKY ");
    let (time, test) = rest.split_once(']')?;
    let test = test.trim_start();
    let test = match test
        .strip_prefix('(')
        .and_then(|rest| rest.split_once(") "))
    {
        Some((_, test)) => test,
        None => test,
    };
    (known && time.ends_with('s')).then_some((matches!(verdict, "PASS" | "LEAK"), test))
}

fn totals<'a>(counts: impl Iterator<Item = &'a str>, skipped: &str) -> Totals {
    let mut totals = Totals::default();
    for count in counts {
        let mut words = count.split_whitespace();
        let number = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        match words.next() {
            Some("passed") => totals.passed += number,
            Some("failed") => totals.failed += number,
            Some(word) if word == skipped => totals.skipped += number,
            _ => {}
        }
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIBTEST: &str = "\
   Compiling mainstay v0.1.0
     Running unittests src/lib.rs (target/debug/deps/one-123)

running 3 tests
test a ... ok
test b ... ignored, needs root
test c ... ok

successes:

---- a stdout ----
noise
SKIPPED: no restic on this machine

successes:
    a
    c

test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.09s

     Running tests/it/main.rs (target/debug/deps/it-456)

running 2 tests
test a ... ok
test d ... FAILED

successes:

---- a stdout ----
SKIPPED: no restic either
SKIPPED: nor this

successes:
    a

failures:

---- d stdout ----
SKIPPED: is only printed here
seen

failures:
    d

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s
";

    fn read(text: &str) -> (Transcript, String) {
        let mut transcript = Transcript::default();
        let shown: Vec<&str> = text.lines().filter(|line| transcript.line(line)).collect();
        (transcript, shown.join("\n"))
    }

    #[test]
    fn libtest_is_understood() {
        let (transcript, shown) = read(LIBTEST);
        assert_eq!(
            transcript.totals(),
            Totals {
                passed: 1,
                failed: 1,
                skipped: 3
            }
        );
        let skips: Vec<_> = transcript.skips().collect();
        assert_eq!(
            skips,
            [
                ("a", "no restic on this machine"),
                ("a", "no restic either"),
                ("b", "needs root")
            ]
        );
        for (text, visible) in [
            ("noise", false),
            ("no restic", false),
            ("seen", true),
            ("test c ... ok", true),
        ] {
            assert_eq!(shown.contains(text), visible, "{text} in {shown}");
        }
    }

    const NEXTEST: &str = "\
────────────
 Nextest run ID 1234 with nextest profile: default
    Starting 3 tests across 2 binaries (4 tests skipped)
        PASS [   0.005s] (1/3) one a
  stdout ───

    running 1 test
    test a ... SKIPPED: no restic
    ok

    test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 25 filtered out

        FAIL [   0.100s] (2/3) one::it b
  stdout ───

    running 1 test
    test b ... FAILED
    seen
    SKIPPED: is only printed here

    test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 25 filtered out

        PASS [   0.100s] (3/3) one::it c
────────────
     Summary [   0.200s] 3 tests run: 2 passed (1 slow), 1 failed, 4 skipped
        FAIL [   0.100s] (2/3) one::it b
error: test run failed
   Doc-tests one

running 1 test
test src/lib.rs - (line 3) ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out
";

    #[test]
    fn nextest_is_understood() {
        let (transcript, shown) = read(NEXTEST);
        assert_eq!(
            transcript.totals(),
            Totals {
                passed: 2,
                failed: 1,
                skipped: 5
            }
        );
        assert_eq!(
            transcript.skips().collect::<Vec<_>>(),
            [("one a", "no restic")]
        );
        for (text, visible) in [
            ("no restic", false),
            ("seen", true),
            ("one::it c", true),
            ("Summary", true),
        ] {
            assert_eq!(shown.contains(text), visible, "{text} in {shown}");
        }
    }

    #[test]
    fn other_lines_count_nothing() {
        for line in [
            "test result",
            "Summary",
            "a test result: ok. 3 passed",
            "3 passed",
            "SKIPPED: x",
        ] {
            let (transcript, shown) = read(line);
            assert_eq!(transcript.totals(), Totals::default(), "{line}");
            assert_eq!(shown, line);
        }
    }

    #[test]
    fn totals_end_a_run_in_a_form_that_is_read_by_machines() {
        let totals = Totals {
            passed: 3,
            failed: 0,
            skipped: 1,
        };
        assert_eq!(totals.to_string(), "3 passed, 0 failed, 1 skipped");
    }
}
