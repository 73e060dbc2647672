//! Records of captured output, looked for in the log files on behalf of the control API.
//!
//! The files are read on other threads, a few at a time: a search through gigabytes holds up neither
//! the answers to others nor the memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainstay_control::wire::{self, LogQuery, RecordQuery};
use mainstay_control::{ByteStream, Bytes, Error, Kind, records};
use mainstay_log::{Hit, Level, LevelSet, LogFile, Search, Tail, Wanted};
use regex::bytes::RegexBuilder;
use tokio::sync::Semaphore;

/// How many pieces of files are looked through at once, whoever asks.
static STEPS: Semaphore = Semaphore::const_new(2);
/// How often a followed log is looked at.
const FOLLOW: Duration = Duration::from_millis(200);
/// How large a compiled pattern may be.
const PATTERN_SIZE: usize = 1 << 20;

/// A pattern as the API takes it; `^` and `$` are those of each line.
pub(crate) fn pattern(text: &str) -> Result<regex::bytes::Regex, regex::Error> {
    RegexBuilder::new(text)
        .multi_line(true)
        .size_limit(PATTERN_SIZE)
        .dfa_size_limit(PATTERN_SIZE)
        .build()
}

fn wanted(query: &LogQuery, records: &RecordQuery, zone: TimeZone) -> Result<Wanted, Error> {
    let fallback = match query.stream {
        wire::Stream::Stdout => Level::Info,
        wire::Stream::Stderr => Level::Warn,
    };
    let usage = |why: String| Error::new(Kind::Usage, format!("logs of {}: {why}", query.name));
    let mut wanted = Wanted::all(fallback, zone);
    if let Some(level) = &records.level {
        let level: Level = level
            .parse()
            .map_err(|why: mainstay_log::UnknownLevel| usage(why.to_string()))?;
        wanted.levels = LevelSet::from(level);
    }
    if let Some(text) = &records.pattern {
        let pattern = pattern(text).map_err(|why| {
            usage(format!("the pattern cannot be used: {why}"))
                .help("write it as a regular expression, without look-around and back-references")
        })?;
        wanted.text = Some(Arc::new(move |bytes| pattern.is_match(bytes)));
    }
    wanted.since = records.since;
    wanted.until = records.until;
    wanted.last = query.lines;
    Ok(wanted)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Past,
    Now,
    Live,
    Over,
}

struct Running {
    search: Search,
    tail: Tail,
    follow: bool,
    phase: Phase,
    origin: Instant,
}

fn put(hit: Hit<'_>, out: &mut Vec<u8>) {
    records::record(hit.time, hit.level.name(), hit.bytes, out);
}

impl Running {
    /// Does a piece of work: what it found, and whether to wait before the next.
    fn work(&mut self) -> std::io::Result<(Vec<u8>, bool)> {
        let mut out = Vec::new();
        let mut wait = false;
        match self.phase {
            Phase::Past => {
                if !self.search.step(|hit| put(hit, &mut out))? {
                    if self.follow {
                        self.phase = Phase::Now;
                    } else {
                        self.search.finish(|hit| put(hit, &mut out));
                        self.phase = Phase::Over;
                    }
                }
            }
            Phase::Now => {
                records::now(&mut out);
                self.phase = Phase::Live;
            }
            Phase::Live => {
                let mut new = Vec::new();
                self.tail
                    .read_new(&mut new)
                    .map_err(std::io::Error::other)?;
                let now = self.origin.elapsed();
                if new.is_empty() {
                    self.search.on_time(now, |hit| put(hit, &mut out));
                    wait = out.is_empty();
                } else {
                    let emit = |hit: Hit<'_>| put(hit, &mut out);
                    self.search.push(&new, now, Timestamp::now(), emit);
                }
            }
            Phase::Over => {}
        }
        Ok((out, wait))
    }
}

/// The records that the query asks for, in the form of [`records`].
pub(crate) async fn stream(
    file: LogFile,
    query: &LogQuery,
    wanted_records: &RecordQuery,
    zone: TimeZone,
) -> Result<ByteStream, Error> {
    let wanted = wanted(query, wanted_records, zone)?;
    let follow = query.follow;
    let shown = file.path.display().to_string();
    let begun = tokio::task::spawn_blocking(move || {
        let tail = Tail::open(file)?;
        let search = Search::begin(&tail, wanted, !follow)?;
        Ok::<_, mainstay_log::Error>(Running {
            search,
            tail,
            follow,
            phase: Phase::Past,
            origin: Instant::now(),
        })
    })
    .await;
    let running = match begun {
        Ok(Ok(running)) => running,
        Ok(Err(why)) => {
            return Err(
                Error::new(Kind::Failed, format!("cannot read {shown}: {why}"))
                    .help("check that the user who runs mainstay may read it"),
            );
        }
        Err(why) => return Err(Error::new(Kind::Bug, format!("a search broke off: {why}"))),
    };
    Ok(Box::pin(futures_util::stream::unfold(
        Some(running),
        |running| async move {
            let mut running = running?;
            loop {
                if running.phase == Phase::Over {
                    return None;
                }
                // Held until the piece is done, also if whoever asked has gone meanwhile.
                let permit = STEPS.acquire().await.ok()?;
                let done = tokio::task::spawn_blocking(move || {
                    let _permit = permit;
                    let result = running.work();
                    (running, result)
                })
                .await;
                let (back, result) = match done {
                    Ok(done) => done,
                    Err(why) => return Some((Err(std::io::Error::other(why)), None)),
                };
                running = back;
                match result {
                    Ok((out, _)) if !out.is_empty() => {
                        return Some((Ok(Bytes::from(out)), Some(running)));
                    }
                    Ok((_, true)) => tokio::time::sleep(FOLLOW).await,
                    Ok(_) => {}
                    Err(why) => return Some((Err(why), None)),
                }
            }
        },
    )))
}
