//! The measurements, in the child. What is on the measured path allocates nothing of its own.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::Failed;
use crate::child::Counter;
use crate::contestants::{Contestant, Entry};
use crate::job::{Job, Measure, Outcome};
use crate::machine;

/// How often the loops of the disabled call are repeated; the shortest of each counts.
const DISABLED_ROUNDS: usize = 7;

/// Makes one measurement.
pub fn run(entry: &Entry, job: &Job, counter: Option<Counter>) -> Result<Outcome, Failed> {
    (entry.run)(job, counter)
}

/// The same for a contestant by its type, so that its calls are compiled into the loops.
pub fn measure<C: Contestant>(
    contestant: C,
    job: &Job,
    counter: Option<Counter>,
) -> Result<Outcome, Failed> {
    match job.measure {
        Measure::Speed => speed(contestant, job),
        Measure::Latency => latency(contestant, job),
        Measure::Paced => paced(contestant, job),
        Measure::Allocations => {
            let counter = counter.ok_or("this binary does not count allocations")?;
            allocations(contestant, job, counter)
        }
        Measure::Disabled => disabled(contestant, job),
    }
}

/// What a thread hands over: its records by number, beginning with those that warm it up.
struct Caller<'a, C> {
    contestant: &'a C,
    /// What stands before the number where the message has a size.
    filler: Option<String>,
    next: u64,
}

impl<'a, C: Contestant> Caller<'a, C> {
    fn new(contestant: &'a C, job: &Job, thread: u64) -> Self {
        /// What the number takes of the message.
        const DIGITS: usize = 10;
        let filler = job
            .message
            .map(|size| "x".repeat(size.saturating_sub(DIGITS)));
        Self {
            contestant,
            filler,
            next: job.first(thread),
        }
    }

    #[inline(always)]
    fn log(&mut self) {
        let attempt = self.next;
        self.next += 1;
        self.contestant
            .log(black_box(attempt % 1000), black_box(attempt));
    }

    /// Runs the loop with the kind of record that the job asks for, outside of the loop.
    #[inline(always)]
    fn many(&mut self, records: u64, mut after_each: impl FnMut()) -> Result<(), Failed> {
        if let Some(filler) = self.filler.take() {
            let sized = self
                .contestant
                .sized()
                .ok_or("this contestant logs no messages of a given size")?;
            for _ in 0..records {
                sized.log_sized(&filler, self.next);
                self.next += 1;
                after_each();
            }
            self.filler = Some(filler);
        } else {
            for _ in 0..records {
                self.log();
                after_each();
            }
        }
        Ok(())
    }
}

fn speed<C: Contestant>(contestant: C, job: &Job) -> Result<Outcome, Failed> {
    let ready = Barrier::new(threads(job) + 1);
    let go = Barrier::new(threads(job) + 1);
    let (begun, wall, cpu) = std::thread::scope(|scope| -> Result<_, Failed> {
        let running: Vec<_> = (0..job.threads)
            .map(|thread| {
                let (contestant, ready, go) = (&contestant, &ready, &go);
                scope.spawn(move || -> Result<(Duration, Duration), Failed> {
                    let mut caller = Caller::new(contestant, job, thread);
                    let warm = caller.many(job.warm_up, || {});
                    ready.wait();
                    go.wait();
                    warm?;
                    let (begun, cpu) = (Instant::now(), processor(ClockId::ThreadCPUTime));
                    caller.many(job.records, || {})?;
                    Ok((
                        begun.elapsed(),
                        processor(ClockId::ThreadCPUTime).saturating_sub(cpu),
                    ))
                })
            })
            .collect();
        ready.wait();
        let begun = Totals::now();
        go.wait();
        let (mut wall, mut cpu) = (Duration::ZERO, Duration::ZERO);
        for thread in running {
            let (its_wall, its_cpu) = thread.join().map_err(|_| "a thread panicked")??;
            wall += its_wall;
            cpu += its_cpu;
        }
        Ok((begun, wall, cpu))
    })?;
    contestant.finish()?;
    let ended = Totals::now();
    let records = job.measured() as f64;
    let nanos = |time: Duration| time.as_nanos() as f64 / records;
    Ok(Outcome {
        caller_ns: Some(nanos(wall)),
        caller_cpu_ns: Some(nanos(cpu)),
        cpu_ns: Some(nanos(ended.cpu.saturating_sub(begun.cpu))),
        per_second: Some(records / (ended.wall - begun.wall).as_secs_f64()),
        writes: begun
            .writes
            .zip(ended.writes)
            .map(|(before, after)| (after - before) as f64 / records / job.sinks as f64),
        peak_bytes: machine::peak_memory().map(|bytes| bytes as f64),
        ..Outcome::default()
    })
}

/// What the whole process has used so far.
struct Totals {
    wall: Instant,
    cpu: Duration,
    writes: Option<u64>,
}

impl Totals {
    fn now() -> Self {
        Self {
            writes: machine::write_calls(),
            cpu: processor(ClockId::ProcessCPUTime),
            wall: Instant::now(),
        }
    }
}

fn processor(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    // Neither is ever negative: the clock begins with the process or the thread.
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

fn threads(job: &Job) -> usize {
    usize::try_from(job.threads).unwrap_or(usize::MAX)
}

/// Times of calls in nanoseconds: its memory is there, and was touched, before the first one.
struct Times(Vec<u32>);

impl Times {
    fn with_room_for(records: u64) -> Self {
        let mut times = vec![u32::MAX; usize::try_from(records).unwrap_or(usize::MAX)];
        times.clear();
        Self(times)
    }

    #[inline(always)]
    fn note(&mut self, time: Duration) {
        debug_assert!(self.0.len() < self.0.capacity());
        self.0
            .push(u32::try_from(time.as_nanos()).unwrap_or(u32::MAX));
    }
}

fn percentiles(mut times: Vec<u32>) -> Outcome {
    times.sort_unstable();
    let at = |per_mille: usize| {
        // The smallest time that so many of a thousand do not exceed.
        let rank = (times.len() * per_mille).div_ceil(1000).max(1);
        times.get(rank - 1).copied().map(f64::from)
    };
    Outcome {
        p50: at(500),
        p99: at(990),
        p999: at(999),
        max: at(1000),
        ..Outcome::default()
    }
}

fn latency<C: Contestant>(contestant: C, job: &Job) -> Result<Outcome, Failed> {
    let go = Barrier::new(threads(job));
    let all = std::thread::scope(|scope| -> Result<_, Failed> {
        let running: Vec<_> = (0..job.threads)
            .map(|thread| {
                let (contestant, go) = (&contestant, &go);
                scope.spawn(move || -> Result<Vec<u32>, Failed> {
                    let mut times = Times::with_room_for(job.records);
                    let mut caller = Caller::new(contestant, job, thread);
                    let warm = caller.many(job.warm_up, || {});
                    go.wait();
                    warm?;
                    let mut last = Instant::now();
                    caller.many(job.records, || {
                        let now = Instant::now();
                        times.note(now - last);
                        last = now;
                    })?;
                    Ok(times.0)
                })
            })
            .collect();
        let mut all = Vec::new();
        for thread in running {
            all.extend(thread.join().map_err(|_| "a thread panicked")??);
        }
        Ok(all)
    })?;
    contestant.finish()?;
    Ok(percentiles(all))
}

fn paced<C: Contestant>(contestant: C, job: &Job) -> Result<Outcome, Failed> {
    let pace = Duration::from_nanos(job.pace_ns);
    let mut times = Times::with_room_for(job.records);
    let mut caller = Caller::new(&contestant, job, 0);
    caller.many(job.warm_up, || {})?;
    let mut due = Instant::now() + pace;
    for _ in 0..job.records {
        // A sleep would take longer than the pace, and wake to cold caches: that is its own price.
        let mut now = Instant::now();
        while now < due {
            std::hint::spin_loop();
            now = Instant::now();
        }
        caller.log();
        let after = Instant::now();
        times.note(after - now);
        // Calls that took too long are not made up for in a burst.
        due = (due + pace).max(after);
    }
    contestant.finish()?;
    Ok(percentiles(times.0))
}

fn allocations<C: Contestant>(
    contestant: C,
    job: &Job,
    counter: Counter,
) -> Result<Outcome, Failed> {
    let mut caller = Caller::new(&contestant, job, 0);
    caller.many(job.warm_up, || {})?;
    let mut result = Ok(());
    let count = counter(&mut || result = caller.many(job.records, || {}));
    result?;
    contestant.finish()?;
    Ok(Outcome {
        allocations: Some(count as f64 / job.measured() as f64),
        ..Outcome::default()
    })
}

fn disabled<C: Contestant>(contestant: C, job: &Job) -> Result<Outcome, Failed> {
    let mut calls = Duration::MAX;
    let mut empty = Duration::MAX;
    for _ in 0..DISABLED_ROUNDS {
        let begun = Instant::now();
        for number in 0..job.records {
            let number = black_box(number);
            contestant.disabled(number, number);
        }
        calls = calls.min(begun.elapsed());
        let begun = Instant::now();
        for number in 0..job.records {
            black_box(number);
        }
        empty = empty.min(begun.elapsed());
    }
    contestant.finish()?;
    let nanos = |time: Duration| time.as_nanos() as f64 / job.records as f64;
    Ok(Outcome {
        disabled_ns: Some((nanos(calls) - nanos(empty)).max(0.0)),
        ..Outcome::default()
    })
}

#[cfg(test)]
mod tests {
    use super::percentiles;

    #[test]
    fn percentiles_are_ranks() {
        let thousand = percentiles((1..=1000).rev().collect());
        assert_eq!(thousand.p50, Some(500.0));
        assert_eq!(thousand.p99, Some(990.0));
        assert_eq!(thousand.p999, Some(999.0));
        assert_eq!(thousand.max, Some(1000.0));
        let one = percentiles(vec![7]);
        assert_eq!((one.p50, one.max), (Some(7.0), Some(7.0)));
        assert_eq!(percentiles(Vec::new()).p50, None);
    }
}
