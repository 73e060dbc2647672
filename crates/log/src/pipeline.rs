//! From a record to the sinks that want it.

use std::fmt;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainstay_base::Clock;

use crate::batch::{Batch, Mark};
use crate::error::{Error, Notice, Reason};
use crate::format::Format;
use crate::level::{Level, LevelSet};
use crate::model::{Config, SinkConfig};
use crate::record::{Record, Stream};
use crate::retention::Retention;
use crate::rolling::RollingFile;
use crate::route::When;
use crate::scratch::{self, Scratch};
use crate::sink::{Console, Sink};
use crate::stamp::Stamp;

/// How often a sink that goes on failing is spoken of.
const REPORT_EVERY: Duration = Duration::from_mins(1);
/// The target of what the pipeline itself has to say.
const TARGET: &str = "mainstay_log";

/// What a pipeline needs from the process it lives in.
pub struct Surroundings {
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where it is said that a sink fails when no other sink takes that; usually standard error.
    pub last_resort: Option<Box<dyn Write + Send>>,
    /// The sinks that the config names as custom.
    pub custom: Vec<(String, Box<dyn Sink>)>,
}

impl Surroundings {
    /// A clock, and nothing else.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            last_resort: None,
            custom: Vec::new(),
        }
    }
}

/// Takes records and hands each to the sinks its routes name.
///
/// Shared by all threads. A record is formatted in the thread that writes it, before any lock is
/// taken, and once for all sinks that want the same format. A sink that fails, or panics, touches no
/// other: what it did not take is counted, the other sinks are told at once and then once a minute,
/// and when it works again it is told itself, in place, how many records it misses.
pub struct Pipeline {
    /// Tells pipelines apart in what threads keep of them.
    number: u64,
    zone: TimeZone,
    configured: LevelSet,
    levels: AtomicU8,
    formats: Vec<Format>,
    routes: Vec<Compiled>,
    sinks: Vec<Slot>,
    clock: Arc<dyn Clock>,
    last_resort: Mutex<Option<Box<dyn Write + Send>>>,
}

struct Compiled {
    when: When,
    /// Places in `sinks` and `formats`.
    to: Vec<(usize, usize)>,
}

struct Slot {
    name: String,
    state: Mutex<State>,
}

struct State {
    sink: Box<dyn Sink>,
    loss: Option<Loss>,
    /// All that was ever lost here, by level.
    lost: [u64; 6],
    /// When its failing was last spoken of, and how many records it had lost by then.
    reported: Option<Duration>,
}

/// Records that a sink did not take and does not know of yet.
struct Loss {
    counts: [u64; 6],
    since: Timestamp,
    reason: String,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: u64 = self.counts.iter().sum();
        write!(f, "{total} records lost (")?;
        let counted = Level::ALL.iter().zip(self.counts);
        for (index, (level, count)) in counted.filter(|(_, n)| *n > 0).enumerate() {
            write!(f, "{}{level} {count}", if index == 0 { "" } else { ", " })?;
        }
        f.write_str(")")
    }
}

/// Something the pipeline has to say, and the sink it should not be said to.
struct Report {
    notice: Notice,
    except: Option<usize>,
}

impl Pipeline {
    /// Opens every sink and compiles the routes.
    pub fn build(config: &Config, mut surroundings: Surroundings) -> Result<Self, Error> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let mut sinks = Vec::with_capacity(config.sinks.len());
        for sink in &config.sinks {
            let opened: Box<dyn Sink> = match sink {
                SinkConfig::Console { stream, .. } => Box::new(Console::standard(*stream)),
                SinkConfig::File { path } => Box::new(RollingFile::open(
                    config.directory.join(path),
                    Retention::NONE,
                    Arc::clone(&surroundings.clock),
                )?),
                SinkConfig::Rolling { path, retention } => Box::new(RollingFile::open(
                    config.directory.join(path),
                    *retention,
                    Arc::clone(&surroundings.clock),
                )?),
                SinkConfig::Custom { name } => {
                    let at = surroundings
                        .custom
                        .iter()
                        .position(|(known, _)| known == name)
                        .ok_or_else(|| {
                            Error::config(format!("there is no custom sink `{name}`"))
                        })?;
                    surroundings.custom.remove(at).1
                }
            };
            sinks.push(Slot {
                name: sink.to_string(),
                state: Mutex::new(State {
                    sink: opened,
                    loss: None,
                    lost: [0; 6],
                    reported: None,
                }),
            });
        }
        let mut formats = Vec::new();
        let mut routes = Vec::with_capacity(config.routes.len());
        for route in &config.routes {
            let mut to = Vec::with_capacity(route.to.len());
            for id in &route.to {
                let format = match config.sinks.get(id.0) {
                    Some(SinkConfig::Console { colours: true, .. }) => {
                        route.format.clone().coloured()
                    }
                    Some(_) => route.format.clone(),
                    None => {
                        return Err(Error::config(format!(
                            "the route `{}` names the sink {} of {}",
                            route.name,
                            id.0,
                            config.sinks.len()
                        )));
                    }
                };
                let known = formats.iter().position(|known| *known == format);
                to.push((
                    id.0,
                    known.unwrap_or_else(|| {
                        formats.push(format);
                        formats.len() - 1
                    }),
                ));
            }
            routes.push(Compiled {
                when: route.when.clone(),
                to,
            });
        }
        Ok(Self {
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
            zone: config.zone.clone(),
            configured: config.levels,
            levels: AtomicU8::new(config.levels.bits()),
            formats,
            routes,
            sinks,
            clock: surroundings.clock,
            last_resort: Mutex::new(surroundings.last_resort),
        })
    }

    /// The levels anything is done about now.
    pub fn levels(&self) -> LevelSet {
        LevelSet::of_bits(self.levels.load(Ordering::Relaxed))
    }

    /// Changes these while running; `None` makes them the config's again. See
    /// [`Logger::set_levels`](crate::Logger::set_levels) for a pipeline behind the `log` crate.
    pub fn set_levels(&self, levels: Option<LevelSet>) {
        let levels = levels.unwrap_or(self.configured);
        self.levels.store(levels.bits(), Ordering::Relaxed);
    }

    /// The clock of this pipeline.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Whether a record of the process itself with this level and target would reach any sink.
    pub fn enabled(&self, level: Level, target: &str) -> bool {
        self.levels().contains(level)
            && self
                .routes
                .iter()
                .any(|route| !route.to.is_empty() && route.when.admits(level, target, None, None))
    }

    /// Whether any line this program prints there could reach a sink.
    pub fn wants(&self, program: &str, stream: Stream) -> bool {
        let levels = self.levels();
        self.routes.iter().any(|route| {
            !route.to.is_empty()
                && !route.when.levels.intersect(levels).is_empty()
                && route.when.admits_origin(Some(program), Some(stream))
        })
    }

    /// The least grave level of the process's own records that can reach a sink.
    pub fn lowest_level(&self) -> Option<Level> {
        self.routes
            .iter()
            .filter(|route| !route.to.is_empty() && route.when.programs.is_empty())
            .map(|route| route.when.levels)
            .fold(LevelSet::NONE, LevelSet::union)
            .intersect(self.levels())
            .min()
    }

    /// Hands the record to every sink its routes name. Errors are counted and reported, never
    /// returned: there is nothing the caller could do.
    pub fn write(&self, record: &Record<'_>) {
        if !self.levels().contains(record.level) {
            return;
        }
        let mut reports = Vec::new();
        scratch::with(|scratch| self.deliver(record, None, scratch, &mut reports));
        self.tell(reports);
    }

    /// Returns whether any sink took it.
    fn deliver(
        &self,
        record: &Record<'_>,
        except: Option<usize>,
        scratch: &mut Scratch,
        reports: &mut Vec<Report>,
    ) -> bool {
        let mut taken = false;
        scratch.bytes.clear();
        scratch.rendered.clear();
        scratch.rendered.resize(self.formats.len(), None);
        scratch.served.clear();
        scratch.served.resize(self.sinks.len(), false);
        for route in &self.routes {
            if !route.when.matches(record) {
                continue;
            }
            for (sink, format) in &route.to {
                if Some(*sink) == except || std::mem::replace(&mut scratch.served[*sink], true) {
                    continue;
                }
                let range = if let Some(range) = &scratch.rendered[*format] {
                    range.clone()
                } else {
                    let start = scratch.bytes.len();
                    let stamp = stamp(&mut scratch.stamp, self.number, &self.zone);
                    self.formats[*format].render(record, stamp, &mut scratch.bytes);
                    let range = start..scratch.bytes.len();
                    scratch.rendered[*format] = Some(range.clone());
                    range
                };
                taken |= self.give(*sink, *format, &scratch.bytes[range], record, reports);
            }
        }
        taken
    }

    /// Gives one sink the formatted record. Returns whether it took it.
    fn give(
        &self,
        index: usize,
        format: usize,
        line: &[u8],
        record: &Record<'_>,
        reports: &mut Vec<Report>,
    ) -> bool {
        let slot = &self.sinks[index];
        let mut state = lock(&slot.state);
        let result = self
            .declare(&mut state, format)
            .and_then(|()| give_one(&mut *state.sink, line, record));
        for notice in quiet(|| state.sink.take_notices()) {
            reports.push(Report {
                notice,
                except: None,
            });
        }
        let Err(error) = result else {
            return true;
        };
        state.lost[record.level.index()] += 1;
        let reason = Reason(&error).to_string();
        let loss = state.loss.get_or_insert_with(|| Loss {
            counts: [0; 6],
            since: record.time,
            reason: String::new(),
        });
        loss.counts[record.level.index()] += 1;
        loss.reason = reason;
        let text = format!(
            "the log sink {} fails: {}; {loss} since {}",
            slot.name, loss.reason, loss.since
        );
        let now = self.clock.monotonic();
        let due = state
            .reported
            .is_none_or(|last| now.saturating_sub(last) >= REPORT_EVERY);
        if due {
            state.reported = Some(now);
            reports.push(Report {
                notice: Notice {
                    level: Level::Error,
                    text,
                },
                except: Some(index),
            });
        }
        false
    }

    /// Tells a sink that works again what it misses; an error if it does not work yet.
    fn declare(&self, state: &mut State, format: usize) -> io::Result<()> {
        let Some(loss) = &state.loss else {
            return Ok(());
        };
        let now = self.clock.now();
        let mut stamp = Stamp::new(self.zone.clone());
        let mut line = Vec::new();
        let (mut from, mut to) = (Vec::new(), Vec::new());
        stamp.full(loss.since, &mut from);
        stamp.full(now, &mut to);
        let text = format!(
            "{loss} between {} and {}: {}",
            String::from_utf8_lossy(&from),
            String::from_utf8_lossy(&to),
            loss.reason
        );
        let record = Record::new(now, Level::Warn, TARGET, text.as_str());
        self.formats[format].render(&record, &mut stamp, &mut line);
        give_one(&mut *state.sink, &line, &record)?;
        state.loss = None;
        state.reported = None;
        Ok(())
    }

    /// Says what happened to the sinks that it did not happen to, once: what goes wrong with that is
    /// counted and said another time.
    fn tell(&self, reports: Vec<Report>) {
        for Report { notice, except } in reports {
            let record = Record::new(self.clock.now(), notice.level, TARGET, notice.text.as_str());
            let mut ignored = Vec::new();
            let taken = self.deliver(&record, except, &mut Scratch::default(), &mut ignored);
            if !taken && let Some(last_resort) = lock(&self.last_resort).as_mut() {
                // There is nowhere left to say that this failed.
                let _ = guarded(|| {
                    last_resort.write_all(format!("mainstay: {}\n", notice.text).as_bytes())?;
                    last_resort.flush()
                });
            }
        }
    }

    /// Makes every sink hand on what it holds back.
    pub fn flush(&self) {
        let mut reports = Vec::new();
        for (index, slot) in self.sinks.iter().enumerate() {
            let mut state = lock(&slot.state);
            if let Err(error) = guarded(|| state.sink.flush()) {
                reports.push(Report {
                    notice: Notice {
                        level: Level::Error,
                        text: format!(
                            "the log sink {} cannot be flushed: {}",
                            slot.name,
                            Reason(&error)
                        ),
                    },
                    except: Some(index),
                });
            }
        }
        self.tell(reports);
    }

    /// Makes every sink open again what may have been moved away. All are tried; an error leaves
    /// that sink as it was.
    pub fn reopen(&self) -> Result<(), Vec<Error>> {
        let errors: Vec<Error> = self
            .sinks
            .iter()
            .filter_map(|slot| lock(&slot.state).sink.reopen().err())
            .collect();
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }

    /// How many records each sink has lost since the pipeline was built, by level.
    pub fn losses(&self) -> Vec<(&str, [u64; 6])> {
        self.sinks
            .iter()
            .map(|slot| (slot.name.as_str(), lock(&slot.state).lost))
            .collect()
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sinks: Vec<&str> = self.sinks.iter().map(|slot| slot.name.as_str()).collect();
        f.debug_struct("Pipeline")
            .field("levels", &self.levels())
            .field("sinks", &sinks)
            .finish_non_exhaustive()
    }
}

/// The thread's stamp, made anew when another pipeline used it last.
fn stamp<'a>(held: &'a mut Option<(u64, Stamp)>, number: u64, zone: &TimeZone) -> &'a mut Stamp {
    if held.as_ref().is_some_and(|(owner, _)| *owner != number) {
        *held = None;
    }
    &mut held
        .get_or_insert_with(|| (number, Stamp::new(zone.clone())))
        .1
}

/// A lock that somebody panicked under is still a lock: sinks are guarded one by one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives a sink a single record: all of it is taken, or it is lost.
fn give_one(sink: &mut dyn Sink, line: &[u8], record: &Record<'_>) -> io::Result<()> {
    let mark = Mark::new(record.time, record.level, line.len());
    guarded(|| {
        sink.write(&Batch::of_one(line, &mark, record))
            .map_err(|unwritten| unwritten.error)
    })
}

/// A sink's panic is its error and nobody else's.
fn guarded(work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(io::Error::other("the sink panicked")))
}

fn quiet(work: impl FnOnce() -> Vec<Notice>) -> Vec<Notice> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_default()
}
