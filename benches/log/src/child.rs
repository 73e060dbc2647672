//! The process that makes one measurement and ends.

use std::process::ExitCode;

use crate::contestants;
use crate::job::{Job, Outcome};
use crate::{Failed, measure};

/// Runs a closure and says how many allocations this thread made in it.
pub type Counter = fn(&mut dyn FnMut()) -> u64;

/// The first argument of a child; the job is the second, as JSON, and the third a file for the
/// outcome: standard output is the loggers'.
pub const WORD: &str = "child";

/// The whole of a child, from its arguments to its exit code.
pub fn main(counter: Option<Counter>) -> ExitCode {
    match run(counter) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run(counter: Option<Counter>) -> Result<(), Failed> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [word, job, outcome] = &words[..] else {
        return Err("this is the child of log-bench: start that".into());
    };
    if word != WORD {
        return Err(format!("`{word}` is not `{WORD}`: start log-bench").into());
    }
    let job: Job = serde_json::from_str(job)?;
    let entry = contestants::find(&job.contestant)
        .ok_or_else(|| format!("there is no contestant `{}`", job.contestant))?;
    for sink in 0..job.sinks {
        std::fs::create_dir_all(job.sink_directory(sink))?;
    }
    let found: Outcome = measure::run(&entry, &job, counter)?;
    std::fs::write(outcome, serde_json::to_vec(&found)?)?;
    Ok(())
}
