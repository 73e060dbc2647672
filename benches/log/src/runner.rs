//! Starts the children in turn, reads back what they wrote, and prints what was found.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tempfile::TempDir;

use crate::check::{self, Findings};
use crate::contestants::{self, Entry};
use crate::job::{Job, Measure, Outcome};
use crate::machine::{self, Machine};
use crate::report::{self, Report, Row};
use crate::{Failed, child};

/// A child that takes longer has failed: the slowest is done in a tenth of it.
const DEADLINE: Duration = Duration::from_mins(10);
/// How often it is looked whether a child has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The binary whose allocator counts, beside this one.
const COUNTING: &str = "log-bench-counting";
/// The threads, sinks and sizes of messages of the tables of growth.
const GROWTH_THREADS: [u64; 5] = [1, 2, 4, 8, 16];
const GROWTH_SINKS: [usize; 5] = [1, 2, 5, 10, 20];
const GROWTH_SIZES: [usize; 5] = [10, 100, 1_000, 10_000, 65_536];
/// Bytes that one run of the tables of growth writes at most, about.
const GROWTH_BYTES: u64 = 256_000_000;
/// What a line has beside its message, about.
const OVERHEAD: u64 = 50;

/// Measures mainstay-log beside other loggers and prints the medians. README.md says what each
/// column means.
#[derive(Parser, Debug)]
#[command(name = "log-bench")]
struct Arguments {
    /// Only contestants whose name has this in it; may be repeated
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Only this measurement: speed, latency, paced, allocations, disabled, growth; may be repeated
    #[arg(long, value_name = "NAME", value_parser = ["speed", "latency", "paced", "allocations", "disabled", "growth"])]
    measure: Vec<String>,
    /// How often each is measured; the median counts
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Records of a run, over all its threads
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// How many threads log at once
    #[arg(long, value_delimiter = ',', default_value = "1,4", value_parser = clap::value_parser!(u64).range(1..=64))]
    threads: Vec<u64>,
    /// Nanoseconds from call to call where calls are paced
    #[arg(long, default_value_t = 20_000, value_name = "NS")]
    pace: u64,
    /// Bytes after which a file is rolled
    #[arg(long, default_value_t = 50_000_000, value_name = "BYTES")]
    roll: u64,
    /// Where the output is written, to be removed again: /dev/shm is memory [default: the system's
    /// directory for temporary files]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// What the ratios are to [default: the first of ours that is measured]
    #[arg(long, value_name = "NAME")]
    reference: Option<String>,
    /// Writes all figures, those of each round too, to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Names the contestants and ends
    #[arg(long)]
    list: bool,
}

/// The whole of it, from arguments to the exit code: 1 if something could not be measured, or was
/// lost by a contestant that is not set up to lose.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        for entry in contestants::all() {
            println!("{}", entry.name);
        }
        return ExitCode::SUCCESS;
    }
    match run(&arguments) {
        Ok(code) => code,
        Err(why) => {
            eprintln!("log-bench: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode, Failed> {
    let entries: Vec<Entry> = contestants::all()
        .into_iter()
        .filter(|entry| {
            arguments.only.is_empty() || arguments.only.iter().any(|text| entry.name.contains(text))
        })
        .collect();
    if entries.is_empty() {
        return Err("no contestant has such a name: --list shows all".into());
    }
    if arguments.rounds == 0 {
        return Err("--rounds 0 measures nothing".into());
    }
    let place = match &arguments.dir {
        Some(dir) => tempfile::Builder::new()
            .prefix("log-bench-")
            .tempdir_in(dir),
        None => tempfile::Builder::new().prefix("log-bench-").tempdir(),
    }
    .map_err(|why| format!("cannot make a directory for the output: {why}; --dir names another"))?;
    let mut packages: Vec<&str> = entries.iter().filter_map(|entry| entry.package).collect();
    packages.extend(["log", "tracing", "tracing-subscriber"]);
    packages.sort_unstable();
    packages.dedup();
    let machine = Machine::look(place.path(), &packages);
    let before = machine::load();
    let mut runner = Runner {
        arguments,
        place,
        stopped: stop_flag()?,
        rows: Vec::new(),
        places: HashMap::new(),
        failures: Vec::new(),
        exchange_ns: Vec::new(),
    };
    runner.contest(&entries);
    if runner.wants("growth") {
        runner.growth(&entries);
    }
    let reference = arguments.reference.clone().or_else(|| {
        let ours = entries.iter().find(|entry| entry.is_ours());
        ours.map(|entry| entry.name.to_owned())
    });
    let report = Report {
        machine,
        load_before: before,
        load_after: machine::load(),
        exchange_ns: runner.exchange_ns,
        rounds: arguments.rounds,
        records: arguments.records,
        pace_ns: arguments.pace,
        roll: arguments.roll,
        reference,
        rows: runner.rows,
        failures: runner.failures,
    };
    print!("{}", report::text(&report));
    if let Some(path) = &arguments.json {
        let json = serde_json::to_vec_pretty(&report)?;
        std::fs::write(path, json)
            .map_err(|why| format!("cannot write {}: {why}", path.display()))?;
    }
    let whole = report.failures.is_empty() && report.rows.iter().all(Row::is_right);
    Ok(if whole && !runner.stopped.load(Ordering::Relaxed) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Set by the signals that people stop a program with, so that the output is removed all the same.
fn stop_flag() -> io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}

/// What tells a row from all others: contestant, measurement, threads, sinks, size of the message, and
/// whether it is part of the tables of growth.
type Series = (String, Measure, u64, usize, Option<usize>, bool);

struct Runner<'a> {
    arguments: &'a Arguments,
    place: TempDir,
    stopped: Arc<AtomicBool>,
    rows: Vec<Row>,
    /// Where the row of a series stands.
    places: HashMap<Series, usize>,
    failures: Vec<String>,
    exchange_ns: Vec<f64>,
}

impl Runner<'_> {
    fn wants(&self, measure: &str) -> bool {
        let named = &self.arguments.measure;
        named.is_empty() || named.iter().any(|name| name == measure)
    }

    fn job(&self, entry: &Entry, measure: Measure, threads: u64) -> Job {
        let records = self.arguments.records;
        // Those whose records are timed one by one need fewer, those that are counted fewer still; a
        // call that is switched off is so short that it takes more.
        let (records, warm_up) = match measure {
            Measure::Speed => (records / threads, 1000),
            Measure::Latency => (records / 2 / threads, 1000),
            Measure::Paced => (records / 20, 1000),
            Measure::Allocations => (records / 50, records / 50),
            Measure::Disabled => (records * 10, 0),
        };
        Job {
            contestant: entry.name.to_owned(),
            measure,
            threads,
            records: records.max(1),
            warm_up,
            sinks: 1,
            message: None,
            pace_ns: self.arguments.pace,
            roll: self.arguments.roll,
            directory: self.place.path().join("output"),
        }
    }

    /// Every measurement of every contestant, in turn.
    fn contest(&mut self, entries: &[Entry]) {
        let mut series: Vec<(Measure, u64)> = Vec::new();
        for measure in [Measure::Speed, Measure::Latency] {
            series.extend(
                self.arguments
                    .threads
                    .iter()
                    .map(|threads| (measure, *threads)),
            );
        }
        series
            .extend([Measure::Paced, Measure::Allocations, Measure::Disabled].map(|one| (one, 1)));
        series.retain(|(measure, _)| self.wants(measure.name()));
        for round in 0..self.arguments.rounds {
            for (measure, threads) in &series {
                // Counts do not differ from round to round.
                if *measure == Measure::Allocations && round > 0 {
                    continue;
                }
                self.exchange_ns.push(machine::exchange());
                for index in 0..entries.len() {
                    if self.stopped.load(Ordering::Relaxed) {
                        return;
                    }
                    // Another one is first in each round.
                    let entry = &entries[(index + round) % entries.len()];
                    let job = self.job(entry, *measure, *threads);
                    self.one(entry, &job, round, false);
                }
            }
        }
    }

    /// How ours grow with threads, sinks and the size of messages.
    fn growth(&mut self, entries: &[Entry]) {
        for round in 0..self.arguments.rounds {
            for entry in entries.iter().filter(|entry| entry.is_ours()) {
                let base = self.job(entry, Measure::Speed, 1);
                let total = base.records;
                let threads = GROWTH_THREADS.map(|threads| Job {
                    threads,
                    records: (total / threads).max(1),
                    ..base.clone()
                });
                let sinks = GROWTH_SINKS.map(|sinks| Job {
                    sinks,
                    records: (total / sinks as u64).max(1),
                    ..base.clone()
                });
                let sizes = GROWTH_SIZES.map(|size| Job {
                    message: Some(size),
                    records: total.min(GROWTH_BYTES / (size as u64 + OVERHEAD)).max(1),
                    warm_up: base.warm_up.min(100),
                    ..base.clone()
                });
                for job in threads.into_iter().chain(sinks).chain(sizes) {
                    if self.stopped.load(Ordering::Relaxed) {
                        return;
                    }
                    self.one(entry, &job, round, true);
                }
            }
        }
    }

    /// Runs one job and takes its outcome down.
    fn one(&mut self, entry: &Entry, job: &Job, round: usize, growth: bool) {
        eprintln!(
            "round {}: {}{}, {} threads: {}",
            round + 1,
            if growth { "growth, " } else { "" },
            job.measure.name(),
            job.threads,
            entry.name
        );
        let done = self.child(job).and_then(|outcome| {
            let findings = if entry.writes && job.measure.writes() {
                check::output(job)?
            } else {
                Findings::default()
            };
            Ok((outcome, findings))
        });
        // It is as large as memory may be; the next one begins with nothing.
        let _ = std::fs::remove_dir_all(&job.directory);
        match done {
            Ok((outcome, findings)) => {
                let key = (
                    job.contestant.clone(),
                    job.measure,
                    job.threads,
                    job.sinks,
                    job.message,
                    growth,
                );
                let rows = &mut self.rows;
                let place = *self.places.entry(key).or_insert_with(|| {
                    rows.push(Row::new(entry, job, growth));
                    rows.len() - 1
                });
                rows[place].outcomes.push(outcome);
                rows[place].findings.add(&findings);
            }
            Err(_) if self.stopped.load(Ordering::Relaxed) => {}
            Err(why) => {
                let text = format!("{}, {}: {why}", entry.name, job.measure.name());
                eprintln!("  FAILED {text}");
                self.failures.push(text);
            }
        }
    }

    fn child(&self, job: &Job) -> Result<Outcome, Failed> {
        let outcome = self.place.path().join("outcome.json");
        let said = self.place.path().join("said");
        let said_file = File::create(&said)?;
        let mut running = Command::new(program(job.measure)?)
            .arg(child::WORD)
            .arg(serde_json::to_string(job)?)
            .arg(&outcome)
            .stdin(Stdio::null())
            .stdout(said_file.try_clone()?)
            .stderr(said_file)
            .spawn()?;
        let since = Instant::now();
        let status = loop {
            if let Some(status) = running.try_wait()? {
                break status;
            }
            if since.elapsed() > DEADLINE {
                running.kill()?;
                running.wait()?;
                return Err(format!("not done after {} s", DEADLINE.as_secs()).into());
            }
            std::thread::sleep(LOOK_EVERY);
        };
        if !status.success() {
            let said = std::fs::read_to_string(&said).unwrap_or_default();
            let end: Vec<&str> = said.lines().rev().take(3).collect();
            let end: Vec<&str> = end.into_iter().rev().collect();
            return Err(format!("{status}: {}", end.join(" / ")).into());
        }
        Ok(serde_json::from_slice(&std::fs::read(outcome)?)?)
    }
}

/// This binary, or the one beside it that counts.
fn program(measure: Measure) -> Result<PathBuf, Failed> {
    let own = std::env::current_exe()?;
    if measure != Measure::Allocations {
        return Ok(own);
    }
    let counting = own.parent().unwrap_or(Path::new(".")).join(COUNTING);
    if !counting.exists() {
        return Err(format!(
            "{COUNTING} is not beside log-bench: `cargo build --release` makes both"
        )
        .into());
    }
    Ok(counting)
}
