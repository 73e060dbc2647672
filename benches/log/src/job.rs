//! What the runner asks of a child, and what it gets back.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// All calls one after the other, the clock read before and after all of them.
    Speed,
    /// All calls one after the other, the clock read after each.
    Latency,
    /// A call each [`Job::pace_ns`], each timed alone.
    Paced,
    /// Allocations that the calling thread makes.
    Allocations,
    /// Calls of a level that is switched off.
    Disabled,
}

impl Measure {
    /// As it is named in JSON and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Speed => "speed",
            Self::Latency => "latency",
            Self::Paced => "paced",
            Self::Allocations => "allocations",
            Self::Disabled => "disabled",
        }
    }

    /// Whether records are written, and can be read back.
    pub fn writes(self) -> bool {
        self != Self::Disabled
    }
}

/// One measurement of one contestant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// Its name in the list of contestants.
    pub contestant: String,
    /// What is measured.
    pub measure: Measure,
    /// Threads that log at once.
    pub threads: u64,
    /// Records of each thread, without those that warm it up.
    pub records: u64,
    /// Records of each thread before the measurement.
    pub warm_up: u64,
    /// Sinks that each get every record; only mainstay takes more than one.
    pub sinks: usize,
    /// Bytes of the message; `None` is the usual one.
    pub message: Option<usize>,
    /// Nanoseconds from call to call where they are paced.
    pub pace_ns: u64,
    /// Bytes after which a file is rolled.
    pub roll: u64,
    /// Where the sinks write: a directory below it for each, by number.
    pub directory: PathBuf,
}

/// The first attempt's number of a thread: so far apart that threads never share one, and all of
/// the same number of digits.
pub const STRIDE: u64 = 100_000_000;

impl Job {
    /// Records that each thread hands over in all.
    pub fn per_thread(&self) -> u64 {
        self.records + self.warm_up
    }

    /// Records that are measured.
    pub fn measured(&self) -> u64 {
        self.records * self.threads
    }

    /// The number that the first record of this thread has.
    pub fn first(&self, thread: u64) -> u64 {
        (thread + 1) * STRIDE
    }

    /// The directory of this sink.
    pub fn sink_directory(&self, sink: usize) -> PathBuf {
        self.directory.join(sink.to_string())
    }
}

/// What a child has found. What was not measured is `None`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Mean nanoseconds that a call took its caller, wall time.
    pub caller_ns: Option<f64>,
    /// Mean nanoseconds of processor time that a call took its caller.
    pub caller_cpu_ns: Option<f64>,
    /// Nanoseconds of processor time of the whole process per record, final flush included.
    pub cpu_ns: Option<f64>,
    /// Records per second from the first call to the end of the final flush.
    pub per_second: Option<f64>,
    /// Calls of write(2) and its kin by the whole process, per record and sink.
    pub writes: Option<f64>,
    /// The most memory the process had resident, in bytes.
    pub peak_bytes: Option<f64>,
    /// Half of the calls took at most so many nanoseconds.
    pub p50: Option<f64>,
    /// 99 of a hundred.
    pub p99: Option<f64>,
    /// 999 of a thousand.
    pub p999: Option<f64>,
    /// The longest.
    pub max: Option<f64>,
    /// Allocations per call in the calling thread.
    pub allocations: Option<f64>,
    /// Nanoseconds of a call of a level that is switched off, over an empty loop.
    pub disabled_ns: Option<f64>,
}
