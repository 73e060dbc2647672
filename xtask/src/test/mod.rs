//! `cargo xtask test`: everything that must pass before a change lands. CI runs nothing else.
//!
//! All stages share one profile and one set of features, so that nothing is compiled twice: the
//! build stage makes every library, binary and test, the test stages only run them.

mod packages;
mod tools;
mod transcript;

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use crate::{Outcome, demo, licences, run, tidy};
use transcript::Transcript;

const HELP: &str = "\
Run everything that must pass before a change lands.

usage: cargo xtask test [--quick] [--no-install]

  --quick       only format, tidy, clippy and the unit tests
  --no-install  install nothing: tests that need a program that is missing skip themselves

Stages: system packages, tools from PyPI (into the build's directory), format, tidy, clippy, build,
tests, doc tests, the demo's tour, documents, licences. A failing stage does not stop the others. Ends with what was skipped and why, and with the
tests' totals; the exit code is 1 if anything failed.
";

/// How a stage ended.
enum Verdict {
    Passed,
    Failed(String),
    Skipped(String),
}

impl From<Result<(), String>> for Verdict {
    fn from(result: Result<(), String>) -> Verdict {
        result.map_or_else(Verdict::Failed, |()| Verdict::Passed)
    }
}

/// A finished stage.
struct Stage {
    name: &'static str,
    verdict: Verdict,
    took: Duration,
}

/// The stages so far, and what the tests said in them.
#[derive(Default)]
struct Report {
    stages: Vec<Stage>,
    transcript: Transcript,
}

impl Report {
    /// Runs a stage and notes how it ended.
    fn stage<V: Into<Verdict>>(
        &mut self,
        name: &'static str,
        work: impl FnOnce(&mut Transcript) -> V,
    ) -> bool {
        println!("\n== {name}");
        let start = Instant::now();
        let verdict = work(&mut self.transcript).into();
        match &verdict {
            Verdict::Passed => {}
            Verdict::Failed(why) => println!("FAILED: {why}"),
            Verdict::Skipped(why) => println!("skipped: {why}"),
        }
        let passed = matches!(verdict, Verdict::Passed);
        self.stages.push(Stage {
            name,
            verdict,
            took: start.elapsed(),
        });
        passed
    }

    fn skip(&mut self, name: &'static str, why: &str) {
        self.stage(name, |_| Verdict::Skipped(why.to_owned()));
    }

    fn failed(&self) -> bool {
        self.stages
            .iter()
            .any(|stage| matches!(stage.verdict, Verdict::Failed(_)))
    }

    /// The whole story in one table, the reasons of what was skipped, and the totals.
    fn summary(&self) -> String {
        let mut text = String::from("stage        result      time\n");
        for stage in &self.stages {
            let (word, reason) = match &stage.verdict {
                Verdict::Passed => ("ok", ""),
                Verdict::Failed(why) => ("FAILED", why.lines().next().unwrap_or_default()),
                Verdict::Skipped(why) => ("skipped", why.lines().next().unwrap_or_default()),
            };
            let row = format!(
                "{:<12} {word:<7} {:>6.1} s  {reason}",
                stage.name,
                stage.took.as_secs_f64()
            );
            text += row.trim_end();
            text.push('\n');
        }
        let total: Duration = self.stages.iter().map(|stage| stage.took).sum();
        text += &format!("{:<20} {:>6.1} s\n", "together", total.as_secs_f64());
        let skips: Vec<_> = self.transcript.skips().collect();
        if !skips.is_empty() {
            text += "\ntests that were skipped:\n";
        }
        for (test, reason) in skips {
            text += &format!("  {test}: {reason}\n");
        }
        text
    }
}

/// The chore.
pub(crate) fn main(args: &[String]) -> Outcome {
    let [quick, no_install] = match crate::switches(args, ["--quick", "--no-install"], HELP) {
        Ok(present) => present,
        Err(code) => return Ok(code),
    };
    let binaries = run::binaries()?;
    let mut report = Report::default();

    if quick {
        report.skip("packages", "--quick");
        report.skip("tools", "--quick");
    } else if !report.stage("packages", |_| match packages::prepare(!no_install) {
        Err(why) if no_install => Verdict::Skipped(why),
        result => result.into(),
    }) && !no_install
    {
        // What is missing decides what is tested: better to stop here than to pass by skipping.
        return Ok(ExitCode::FAILURE);
    }
    if !quick {
        // Where the tests look for them: beside the directory of the binaries.
        let tools = binaries.with_file_name("tools");
        report.stage("tools", |_| tools::prepare(&tools, !no_install));
    }
    report.stage("format", |_| {
        run::run(&mut run::cargo(&["fmt", "--all", "--check"]))
    });
    report.stage("tidy", |_| match tidy::main(&[]) {
        Ok(_) => Ok(()),
        Err(why) => Err(why),
    });
    report.stage("clippy", |_| {
        run::run(&mut run::cargo(&[
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]))
    });
    if quick {
        report.stage("unit tests", |transcript| {
            tests(transcript, &["--lib", "--bins"])
        });
        for name in ["tests", "doc tests", "demo", "documents", "licences"] {
            report.skip(name, "--quick");
        }
    } else {
        whole(&mut report, &binaries);
    }

    println!("\n{}", report.summary());
    println!("{}", report.transcript.totals());
    Ok(if report.failed() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// The stages that take their time.
fn whole(report: &mut Report, binaries: &std::path::Path) {
    let built = report.stage("build", |_| {
        run::run(&mut run::cargo(&["build", "--workspace", "--all-targets"]))
    });
    if built {
        // Benchmarks are built, but are no tests.
        report.stage("tests", |transcript| {
            tests(transcript, &["--lib", "--bins", "--tests"])
        });
        report.stage("doc tests", |transcript| {
            let mut command = run::cargo(&["test", "--workspace", "--doc", "--no-fail-fast"]);
            listen(transcript, &mut command)
        });
        report.stage("demo", |_| demo::tour(binaries));
    } else {
        for name in ["tests", "doc tests", "demo"] {
            report.skip(name, "the build failed");
        }
    }
    report.stage("documents", |_| {
        // With all features: what only one of them has is documented too, and links to it hold.
        let all = [
            "doc",
            "--quiet",
            "--workspace",
            "--no-deps",
            "--all-features",
        ];
        let mut command = run::cargo(&all);
        run::run(command.env("RUSTDOCFLAGS", "-D warnings"))
    });
    report.stage("licences", |_| licences::main(&[]).map(drop));
    report.skip(
        "advisories",
        "they need a database from the network: cargo deny check advisories",
    );
}

/// Runs tests of the whole workspace with whichever runner is there.
fn tests(transcript: &mut Transcript, targets: &[&str]) -> Result<(), String> {
    let mut command = if has_subcommand("nextest") {
        let mut command = run::cargo(&["nextest", "run", "--workspace", "--no-fail-fast"]);
        command
            .args(["--success-output", "immediate", "--color", "never"])
            .args(targets);
        command
    } else {
        let mut command = run::cargo(&["test", "--workspace", "--no-fail-fast"]);
        command.args(targets).args(["--", "--show-output"]);
        command
    };
    listen(transcript, &mut command)
}

fn listen(transcript: &mut Transcript, command: &mut Command) -> Result<(), String> {
    run::run_lines(command, |line| {
        if transcript.line(line) {
            println!("{line}");
        }
    })
}

/// Whether cargo has this subcommand.
fn has_subcommand(name: &str) -> bool {
    run::cargo(&[name, "--version"])
        .output()
        .is_ok_and(|output| output.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_what_failed_and_what_was_skipped() {
        let mut report = Report::default();
        report.stage("format", |_| Ok::<(), String>(()));
        assert!(!report.failed());
        report.stage("clippy", |_| {
            Err::<(), String>("ended with 1\nand more".to_owned())
        });
        report.skip("demo", "the build failed");
        report.stage("tests", |transcript| {
            for line in [
                "test a ... ignored, needs root",
                "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured",
            ] {
                transcript.line(line);
            }
            Verdict::Passed
        });
        assert!(report.failed());
        let summary = report.summary();
        for row in [
            "format       ok ",
            "clippy       FAILED ",
            "demo         skipped ",
            "  a: needs root",
        ] {
            assert!(summary.contains(row), "{row} in\n{summary}");
        }
        assert!(summary.contains("s  ended with 1\n"), "{summary}");
        assert_eq!(
            report.transcript.totals().to_string(),
            "3 passed, 0 failed, 1 skipped"
        );
    }
}
