//! From a record to the sinks that want it.

use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use mainstay_base::Clock;

use crate::error::{Error, Notice, Reason};
use crate::flight::Flight;
use crate::format::Format;
use crate::head::{Headed, Moments};
use crate::level::{Level, LevelSet};
use crate::loss::{Counts, SinkStatus};
use crate::model::{Config, SinkConfig, SinkKind};
use crate::outlet::{Held, Ident, Outlet, Report, guarded, lock};
use crate::record::{Message, Record, Stream, Value};
use crate::retention::Retention;
use crate::rolling::{RollingFile, Rolls};
use crate::route::{self, When};
use crate::scratch::{self, Scratch};
use crate::seelog::Gate;
use crate::sink::{Console, Sink};
use crate::sinks::redact::Strikes;
use crate::sinks::{
    Failover, FailoverConfig, JournaldSink, LokiSink, OpenAlerts, OtlpSink, Redact, Spool,
    StreamSink, alert,
};
use crate::stamp::Stamp;
use crate::tail::LogFile;
use crate::voice::{TARGET, Voice};

/// How long a flush waits for all sinks together.
const FLUSH_WAIT: Duration = Duration::from_secs(5);

/// What a pipeline needs from the process it lives in.
pub struct Surroundings {
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where it is said that a sink fails when no other sink takes that; usually standard error.
    pub last_resort: Option<Box<dyn Write + Send>>,
    /// The sinks that the config names as custom.
    pub custom: Vec<(String, Box<dyn Sink>)>,
    /// What raises alerts; without it no config with a sink of them can be built.
    pub alerts: Option<OpenAlerts>,
}

impl Surroundings {
    /// A clock, and nothing else.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            last_resort: None,
            custom: Vec::new(),
            alerts: None,
        }
    }
}

/// Takes records and hands each to the sinks its routes name.
///
/// Shared by all threads. A record is formatted in the thread that writes it, before any lock is
/// taken, and once for all sinks that want the same format. Then it goes to the sink at once or into
/// its queue, see [`Delivery`](crate::Delivery).
///
/// A sink that fails, or panics, touches no other: what it did not take is counted, or waits behind
/// its queue; the other sinks are told at once and then once a minute, and when it works again it is
/// told itself, in place, how many records it misses.
///
/// A pipeline that is dropped writes what waits in its queues first, for up to five seconds.
pub struct Pipeline {
    core: Arc<Core>,
    configured: LevelSet,
    /// The general levels now; those of single targets may be others.
    levels: AtomicU8,
    /// Whether `overrides` holds any.
    overridden: AtomicBool,
    overrides: RwLock<Vec<Override>>,
}

/// What does not change as long as a pipeline lives.
pub(crate) struct Core {
    /// Tells pipelines apart in what threads keep of them.
    number: u64,
    zone: TimeZone,
    formats: Vec<Headed>,
    routes: Vec<Compiled>,
    /// Where the process's own records go, by level, where nothing but the level decides that.
    ways: [Option<Box<[Way]>>; Level::ALL.len()],
    outlets: Vec<Arc<Outlet>>,
    clock: Arc<dyn Clock>,
    last_resort: Mutex<Option<Box<dyn Write + Send>>>,
    /// Some format shows fractions of a second.
    precise: bool,
    /// What single functions and source files let through.
    gate: Option<Gate>,
    flight: Option<Flight>,
}

struct Compiled {
    when: When,
    /// Places in `outlets` and `formats`.
    to: Vec<(usize, usize)>,
}

/// A place in `formats`, and places in `outlets` that get what it makes.
struct Way {
    format: usize,
    to: Vec<usize>,
}

/// Levels that somebody has set while the pipeline runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// For this target and all below it, or for a program of this name; `None` for all.
    pub target: Option<String>,
    /// The levels anything is done about.
    pub levels: LevelSet,
    /// Until then on the pipeline's monotonic clock; `None` for as long as it lives.
    pub until: Option<Duration>,
}

/// What a pipeline that follows another has changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Sinks that stay as they are, with what waits for them.
    pub kept: Vec<String>,
    /// Sinks that are new.
    pub opened: Vec<String>,
    /// Sinks that are closed, after all that waited for them was written.
    pub closed: Vec<String>,
}

impl Pipeline {
    /// Opens every sink and compiles the routes.
    pub fn build(config: &Config, surroundings: Surroundings) -> Result<Self, Error> {
        Ok(Self::build_after(config, surroundings, None)?.0)
    }

    /// The same, taking over from another pipeline the sinks that the config asks for just as they
    /// are. Nothing is taken away from the other one.
    pub(crate) fn build_after(
        config: &Config,
        mut surroundings: Surroundings,
        before: Option<&Self>,
    ) -> Result<(Self, Changes), Error> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let wider = alert::with_context(config);
        let config = wider.as_ref().unwrap_or(config);
        let (formats, routes) = compile(config)?;
        let mut voices: Vec<Option<Voice>> = vec![None; config.sinks.len()];
        for (sink, format) in routes.iter().flat_map(|route: &Compiled| &route.to) {
            voices[*sink].get_or_insert_with(|| Voice {
                format: formats[*format].clone(),
                zone: config.zone.clone(),
            });
        }
        let mut changes = Changes::default();
        let mut outlets = Vec::with_capacity(config.sinks.len());
        let mut joined = Vec::with_capacity(config.sinks.len());
        for (sink, voice) in config.sinks.iter().zip(voices) {
            let wanted = sink.resolved(&config.directory);
            let voice = voice.unwrap_or_else(|| Voice {
                format: Format::text(),
                zone: config.zone.clone(),
            });
            let there = before.and_then(|before| {
                let mut there = before.core.outlets.iter();
                there.find(|outlet| *outlet.config() == wanted)
            });
            let twin = outlets
                .iter()
                .find(|outlet: &&Arc<Outlet>| *outlet.config() == wanted);
            let outlet = if let Some(outlet) = twin {
                // It is written twice, as asked, by one.
                Arc::clone(outlet)
            } else if let Some(outlet) = there {
                changes.kept.push(outlet.name().to_owned());
                Arc::clone(outlet)
            } else {
                let opened = open(&wanted, &config.zone, &mut surroundings)?;
                let clock = Arc::clone(&surroundings.clock);
                let outlet = Outlet::open(wanted, opened, voice.clone(), clock)?;
                changes.opened.push(outlet.name().to_owned());
                Arc::new(outlet)
            };
            outlets.push(outlet);
            joined.push(voice);
        }
        if let Some(before) = before {
            changes.closed = before
                .leaving(&outlets)
                .map(|outlet| outlet.name().to_owned())
                .collect();
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let core = Arc::new(Core {
            number,
            flight: config.flight.map(|flight| Flight::new(flight, number)),
            zone: config.zone.clone(),
            gate: config.gate.clone(),
            precise: formats.iter().any(Format::needs_subseconds),
            ways: Level::ALL.map(|level| ways(&routes, level)),
            formats: formats.into_iter().map(Headed::new).collect(),
            routes,
            outlets,
            clock: surroundings.clock,
            last_resort: Mutex::new(surroundings.last_resort),
        });
        for (outlet, voice) in core.outlets.iter().zip(joined) {
            outlet.join(&core, voice);
        }
        let pipeline = Self {
            core,
            configured: config.levels,
            levels: AtomicU8::new(config.levels.bits()),
            overridden: AtomicBool::new(false),
            overrides: RwLock::new(Vec::new()),
        };
        if let Some(before) = before {
            pipeline.set_overrides(before.overrides());
        }
        Ok((pipeline, changes))
    }

    /// The sinks that are not among these.
    fn leaving<'a>(&'a self, staying: &'a [Arc<Outlet>]) -> impl Iterator<Item = &'a Arc<Outlet>> {
        let stays = |outlet: &Outlet| staying.iter().any(|other| other.id() == outlet.id());
        self.core
            .outlets
            .iter()
            .filter(move |outlet| !stays(outlet))
    }

    /// Keeps the new sinks of `self` from writing where sinks of `before` still do.
    pub(crate) fn hold(&self, before: &Self) -> Vec<Held<'_>> {
        let leaving: Vec<&str> = before
            .leaving(&self.core.outlets)
            .map(|outlet| outlet.name())
            .collect();
        let old: Vec<u64> = before.core.outlets.iter().map(|sink| sink.id()).collect();
        let outlets = self.core.outlets.iter();
        outlets
            .filter(|outlet| !old.contains(&outlet.id()) && leaving.contains(&outlet.name()))
            .map(|outlet| outlet.hold())
            .collect()
    }

    /// Closes the sinks that `next` has not taken over.
    pub(crate) fn close_for(&self, next: &Self) {
        for outlet in self.leaving(&next.core.outlets) {
            outlet.close();
        }
    }

    /// The levels anything is done about now, in general.
    pub fn levels(&self) -> LevelSet {
        LevelSet::of_bits(self.levels.load(Ordering::Relaxed))
    }

    /// Changes these while running; `None` makes them the config's again. See
    /// [`Logger::set_levels`](crate::Logger::set_levels) for a pipeline behind the `log` crate.
    pub fn set_levels(&self, levels: Option<LevelSet>) {
        let levels = levels.unwrap_or(self.configured);
        self.levels.store(levels.bits(), Ordering::Relaxed);
    }

    /// The levels that were set for some time or for single targets, and have not expired.
    pub fn overrides(&self) -> Vec<Override> {
        if !self.overridden.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let now = self.clock().monotonic();
        let all = self
            .overrides
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let valid = |o: &&Override| o.until.is_none_or(|until| now < until);
        all.iter().filter(valid).cloned().collect()
    }

    /// Replaces these. Of several that speak of a target the longest name counts, then the last.
    pub fn set_overrides(&self, overrides: Vec<Override>) {
        let any = !overrides.is_empty();
        *self
            .overrides
            .write()
            .unwrap_or_else(PoisonError::into_inner) = overrides;
        self.overridden.store(any, Ordering::Relaxed);
    }

    /// Whether the levels let a record through, before any route is asked.
    #[inline]
    fn admits(&self, level: Level, target: &str) -> bool {
        if self.overridden.load(Ordering::Relaxed)
            && let Some(levels) = self.overridden_levels(target)
        {
            return levels.contains(level);
        }
        self.levels().contains(level)
    }

    /// The same with what is said of the place it comes from.
    #[inline]
    fn admits_record(&self, record: &Record<'_>) -> bool {
        let Some(gate) = &self.core.gate else {
            return self.admits(record.level, record.target);
        };
        if self.overridden.load(Ordering::Relaxed)
            && let Some(levels) = self.overridden_levels(record.target)
        {
            return levels.contains(record.level);
        }
        self.levels().contains(record.level) && (record.program.is_some() || gate.admits(record))
    }

    #[cold]
    fn overridden_levels(&self, target: &str) -> Option<LevelSet> {
        let all = self.overrides();
        if all.is_empty() {
            self.overridden.store(false, Ordering::Relaxed);
        }
        let speaks = |o: &&Override| {
            let name = o.target.as_deref();
            name.is_none_or(|name| route::is_within(target, name))
        };
        let length = |o: &&Override| o.target.as_ref().map_or(0, String::len);
        let chosen = all.iter().filter(speaks).max_by_key(length);
        chosen.map(|o| o.levels)
    }

    /// The zone of its time stamps.
    pub fn zone(&self) -> &TimeZone {
        &self.core.zone
    }

    /// The clock of this pipeline.
    pub fn clock(&self) -> &dyn Clock {
        &*self.core.clock
    }

    /// The time for a record that is written now: exact where some format shows fractions of a second.
    #[inline]
    pub fn now(&self) -> jiff::Timestamp {
        if self.core.precise {
            self.core.clock.now()
        } else {
            self.core.clock.now_coarse()
        }
    }

    /// Whether a record of the process itself with this level and target would reach any sink, or be
    /// kept until something goes wrong.
    pub fn enabled(&self, level: Level, target: &str) -> bool {
        let flight = self.core.flight.as_ref();
        if flight.is_some_and(|flight| flight.config.levels.contains(level)) {
            return true;
        }
        self.admits(level, target)
            && match &self.core.ways[level.index()] {
                Some(ways) => !ways.is_empty(),
                None => self.core.routes.iter().any(|route| {
                    !route.to.is_empty() && route.when.admits(level, target, None, None)
                }),
            }
    }

    /// Whether any line this program prints there could reach a sink.
    pub fn wants(&self, program: &str, stream: Stream) -> bool {
        let levels = self.possible();
        self.core.routes.iter().any(|route| {
            !route.to.is_empty()
                && !route.when.levels.intersect(levels).is_empty()
                && route.when.admits_origin(Some(program), Some(stream))
        })
    }

    /// The levels that some record can be let through with.
    fn possible(&self) -> LevelSet {
        let overrides = self.overrides();
        let levels = overrides.iter().map(|o| o.levels);
        levels.fold(self.levels(), LevelSet::union)
    }

    /// The levels that records of the process itself can reach a sink with, or be kept.
    pub fn reachable(&self) -> LevelSet {
        let flight = self.core.flight.as_ref();
        let kept = flight.map_or(LevelSet::NONE, |flight| flight.config.levels);
        let written = self
            .core
            .routes
            .iter()
            .filter(|route| !route.to.is_empty() && route.when.programs.is_empty())
            .map(|route| route.when.levels)
            .fold(LevelSet::NONE, LevelSet::union)
            .intersect(self.possible());
        kept.union(written)
    }

    /// The least grave of these.
    pub fn lowest_level(&self) -> Option<Level> {
        self.reachable().min()
    }

    /// Writes what waits and closes every sink that has a thread of its own. Records that come later
    /// are lost there, and counted.
    pub fn close(&self) {
        for outlet in &self.core.outlets {
            outlet.close();
        }
    }

    /// Hands the record to every sink its routes name. Errors are counted and reported, never
    /// returned: there is nothing the caller could do.
    ///
    /// Waits for room in a queue that blocks, unless the record is output of a program: whoever
    /// carries that has others to serve, and what finds no room is lost and counted.
    #[inline]
    pub fn write(&self, record: &Record<'_>) {
        if !self.admits_record(record) {
            if let Some(flight) = &self.core.flight
                && record.program.is_none()
                && flight.config.levels.contains(record.level)
            {
                flight.keep(record);
            }
            return;
        }
        if let Some(flight) = &self.core.flight
            && record.level >= flight.config.trigger
            && record.program.is_none()
        {
            self.core.write_kept(flight, record);
        }
        let mut reports = Vec::new();
        let may_wait = record.program.is_none();
        scratch::with(|scratch| {
            self.core
                .deliver(record, None, may_wait, scratch, &mut reports)
        });
        if !reports.is_empty() {
            self.core.tell(reports);
        }
    }

    /// Waits until all that was written before is with the sinks, for up to five seconds, and makes
    /// every sink hand on what it holds back.
    pub fn flush(&self) {
        self.flush_within(FLUSH_WAIT);
    }

    /// The same for up to this time. Returns whether all was written.
    pub fn flush_within(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        // All write at once, and not one after another.
        for outlet in &self.core.outlets {
            outlet.hurry();
        }
        let mut reports = Vec::new();
        for outlet in &self.core.outlets {
            if let Err(error) = outlet.flush(until) {
                reports.push(Report {
                    notice: Notice {
                        level: Level::Error,
                        text: format!(
                            "the log sink {} cannot be flushed: {}",
                            outlet.name(),
                            Reason(&error)
                        ),
                    },
                    except: Some(outlet.id()),
                });
            }
        }
        let all = reports.is_empty();
        self.core.tell(reports);
        all
    }

    /// Makes every sink open again what may have been moved away. All are tried; an error leaves
    /// that sink as it was.
    pub fn reopen(&self) -> Result<(), Vec<Error>> {
        let outlets = self.core.outlets.iter();
        let errors: Vec<Error> = outlets.filter_map(|outlet| outlet.reopen().err()).collect();
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }

    /// The files that records of the process itself are written to, in the order of the routes.
    pub fn files(&self) -> Vec<LogFile> {
        let own = |route: &&Compiled| route.when.programs.is_empty();
        let sinks = self.core.routes.iter().filter(own).flat_map(|r| &r.to);
        let mut files = Vec::new();
        for (sink, _) in sinks {
            let file = match &self.core.outlets[*sink].config().kind {
                SinkKind::File { path } => LogFile::from(path),
                SinkKind::Rolling {
                    path,
                    naming,
                    archive,
                    ..
                } => LogFile {
                    path: path.clone(),
                    naming: naming.clone(),
                    archive: archive.clone(),
                },
                _ => continue,
            };
            if !files.contains(&file) {
                files.push(file);
            }
        }
        files
    }

    /// How many records each sink has lost since it was opened, by level.
    pub fn losses(&self) -> Vec<(&str, Counts)> {
        let outlets = self.core.outlets.iter();
        outlets
            .map(|outlet| (outlet.name(), outlet.lost()))
            .collect()
    }

    /// How each sink does since it was opened, those first that the config names first: for the metrics
    /// of a program.
    ///
    /// ```
    /// use mainstay_log::{Level, Logger, Retention, SinkKind};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("app.log");
    /// let file = SinkKind::rolling(&path, Retention::default());
    /// let logger = Logger::to(file, Level::Info, jiff::tz::TimeZone::system())?;
    ///
    /// for sink in logger.pipeline().sinks() {
    ///     for (level, lost) in Level::ALL.iter().zip(sink.lost) {
    ///         println!("records_lost{{sink={:?},level=\"{level}\"}} {lost}", sink.name);
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sinks(&self) -> Vec<SinkStatus> {
        self.core
            .outlets
            .iter()
            .map(|outlet| outlet.status())
            .collect()
    }

    /// How many bytes wait for each sink.
    pub fn waiting(&self) -> Vec<(&str, usize)> {
        let outlets = self.core.outlets.iter();
        outlets
            .map(|outlet| (outlet.name(), outlet.waiting()))
            .collect()
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sinks: Vec<&str> = self.core.outlets.iter().map(|sink| sink.name()).collect();
        f.debug_struct("Pipeline")
            .field("levels", &self.levels())
            .field("sinks", &sinks)
            .finish_non_exhaustive()
    }
}

/// Each route with the places of its sinks and formats; equal formats are one.
fn compile(config: &Config) -> Result<(Vec<Format>, Vec<Compiled>), Error> {
    let mut formats = Vec::new();
    let mut routes = Vec::with_capacity(config.routes.len());
    for route in &config.routes {
        let mut to = Vec::with_capacity(route.to.len());
        for id in &route.to {
            let format = match config.sinks.get(id.0).map(|sink| &sink.kind) {
                Some(SinkKind::Console { colours: true, .. }) => route.format.clone().coloured(),
                Some(kind) => kind.own_format().unwrap_or_else(|| route.format.clone()),
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
    Ok((formats, routes))
}

/// Where the process's own records of this level go; `None` where some route asks for more of them.
fn ways(routes: &[Compiled], level: Level) -> Option<Box<[Way]>> {
    let mut ways: Vec<Way> = Vec::new();
    for Compiled { when, to } in routes {
        if !when.levels.contains(level) || !when.programs.is_empty() {
            continue;
        }
        if when.target.is_some() || when.stream.is_some() {
            return None;
        }
        for (sink, format) in to {
            // The first route that names a sink says how it is written there.
            if ways.iter().any(|way| way.to.contains(sink)) {
                continue;
            }
            match ways.iter_mut().find(|way| way.format == *format) {
                Some(way) => way.to.push(*sink),
                None => ways.push(Way {
                    format: *format,
                    to: vec![*sink],
                }),
            }
        }
    }
    Some(ways.into())
}

/// A sink with all that is around it: records are redacted first, then go to the one that takes them,
/// and wait on disk when none does.
fn open(
    config: &SinkConfig,
    zone: &TimeZone,
    surroundings: &mut Surroundings,
) -> Result<Box<dyn Sink>, Error> {
    if let SinkKind::Alert(kind) = &config.kind {
        let bare = SinkConfig {
            redact: config.redact.clone(),
            ..config.kind.clone().into()
        };
        if bare != *config {
            return Err(Error::config(format!(
                "the sink {kind} has a queue, a limit, a spool or a failover, and alerts have their own"
            )));
        }
        let strikes = config.redact.as_ref().map(Strikes::compile).transpose()?;
        let sink = alert::open(kind, strikes, surroundings.alerts.as_ref())?;
        return Ok(Box::new(sink));
    }
    let mut sink = open_kind(&config.kind, zone, surroundings)?;
    if !config.failover.is_empty() {
        let mut all = vec![(config.kind.to_string(), sink)];
        for kind in &config.failover {
            all.push((kind.to_string(), open_kind(kind, zone, surroundings)?));
        }
        let clock = Arc::clone(&surroundings.clock);
        sink = Box::new(Failover::new(all, FailoverConfig::default(), clock)?);
    }
    if let Some(spool) = &config.spool {
        let clock = Arc::clone(&surroundings.clock);
        sink = Box::new(Spool::open(sink, spool.clone(), clock)?);
    }
    if let Some(redact) = &config.redact {
        sink = Box::new(Redact::new(sink, redact)?);
    }
    Ok(sink)
}

fn open_kind(
    kind: &SinkKind,
    zone: &TimeZone,
    surroundings: &mut Surroundings,
) -> Result<Box<dyn Sink>, Error> {
    let clock = || Arc::clone(&surroundings.clock);
    Ok(match kind {
        SinkKind::Console { stream, .. } => Box::new(Console::standard(*stream)),
        SinkKind::File { path } => Box::new(RollingFile::open(path, Retention::NONE, clock())?),
        SinkKind::Rolling {
            path,
            retention,
            naming,
            archive,
            shared,
        } => {
            let rolls = Rolls {
                retention: *retention,
                naming: naming.clone(),
                zone: zone.clone(),
                archive: archive.clone(),
                shared: *shared,
            };
            Box::new(RollingFile::open_with(path, rolls, clock())?)
        }
        SinkKind::Stream(config) => Box::new(StreamSink::open((**config).clone(), clock())?),
        SinkKind::Syslog(config, _) => Box::new(config.open(clock())?),
        SinkKind::Journald(config, _) => Box::new(JournaldSink::new(config.clone(), clock())),
        SinkKind::Otlp(config) => Box::new(OtlpSink::open((**config).clone(), clock())?),
        SinkKind::Loki(config) => Box::new(LokiSink::open((**config).clone(), clock())?),
        SinkKind::Alert(config) => {
            return Err(Error::config(format!(
                "the sink {config} cannot stand in for another one"
            )));
        }
        SinkKind::Custom { name } => {
            let known = |(known, _): &(String, _)| known == name;
            let at = surroundings.custom.iter().position(known);
            let at =
                at.ok_or_else(|| Error::config(format!("there is no custom sink `{name}`")))?;
            surroundings.custom.remove(at).1
        }
    })
}

impl Core {
    /// Returns whether any sink took it.
    fn deliver(
        &self,
        record: &Record<'_>,
        except: Option<u64>,
        may_wait: bool,
        scratch: &mut Scratch,
        reports: &mut Vec<Report>,
    ) -> bool {
        let mut taken = false;
        let mut ident = None;
        if let Some(ways) = &self.ways[record.level.index()]
            && record.program.is_none()
            && except.is_none()
        {
            for way in ways {
                scratch.bytes.clear();
                let moments = self.moments(&mut scratch.moments);
                self.formats[way.format].render(way.format, record, moments, &mut scratch.bytes);
                for sink in &way.to {
                    let outlet = &self.outlets[*sink];
                    let ident = outlet
                        .compares()
                        .then(|| *ident.get_or_insert_with(|| identify(record)));
                    taken |= outlet.take(&scratch.bytes, record, ident, may_wait, reports);
                }
            }
            return taken;
        }
        scratch.bytes.clear();
        scratch.rendered.clear();
        scratch.rendered.resize(self.formats.len(), None);
        scratch.served.clear();
        scratch.served.resize(self.outlets.len(), false);
        for route in &self.routes {
            if !route.when.matches(record) {
                continue;
            }
            for (sink, format) in &route.to {
                let outlet = &self.outlets[*sink];
                if std::mem::replace(&mut scratch.served[*sink], true)
                    || except.is_some_and(|id| id == outlet.id())
                {
                    continue;
                }
                let range = if let Some(range) = &scratch.rendered[*format] {
                    range.clone()
                } else {
                    let start = scratch.bytes.len();
                    let moments = self.moments(&mut scratch.moments);
                    self.formats[*format].render(*format, record, moments, &mut scratch.bytes);
                    let range = start..scratch.bytes.len();
                    scratch.rendered[*format] = Some(range.clone());
                    range
                };
                // What is told about a sink is not held back.
                let ident = (outlet.compares() && except.is_none())
                    .then(|| *ident.get_or_insert_with(|| identify(record)));
                taken |= outlet.take(&scratch.bytes[range], record, ident, may_wait, reports);
            }
        }
        taken
    }

    /// What the thread remembers, made anew when another pipeline used it last.
    #[inline]
    fn moments<'a>(&self, held: &'a mut Option<(u64, Moments)>) -> &'a mut Moments {
        if held
            .as_ref()
            .is_some_and(|(owner, _)| *owner != self.number)
        {
            *held = None;
        }
        let moments = || Moments::new(self.zone.clone(), self.formats.len());
        &mut held.get_or_insert_with(|| (self.number, moments())).1
    }

    /// Writes what was kept and belongs to this record to the sinks that get the record.
    #[cold]
    fn write_kept(&self, flight: &Flight, trigger: &Record<'_>) {
        let all = flight.take(trigger);
        if all.is_empty() {
            return;
        }
        let mut served = vec![false; self.outlets.len()];
        let mut stamp = Stamp::new(self.zone.clone());
        let (mut line, mut reports) = (Vec::new(), Vec::new());
        for route in self
            .routes
            .iter()
            .filter(|route| route.when.matches(trigger))
        {
            for (sink, format) in &route.to {
                if std::mem::replace(&mut served[*sink], true) {
                    continue;
                }
                for kept in &all {
                    let fields = [("kept", Value::Bool(true))];
                    let record = kept.record().fields(&fields);
                    line.clear();
                    self.formats[*format]
                        .format()
                        .render(&record, &mut stamp, &mut line);
                    self.outlets[*sink].take(&line, &record, None, true, &mut reports);
                }
            }
        }
        self.tell(reports);
    }

    /// Says what happened to the sinks that it did not happen to, once and without waiting: what goes
    /// wrong with that is counted and said another time.
    pub(crate) fn tell(&self, reports: Vec<Report>) {
        for Report { notice, except } in reports {
            let record = Record::new(self.clock.now(), notice.level, TARGET, notice.text.as_str());
            let mut ignored = Vec::new();
            let scratch = &mut Scratch::default();
            let taken = self.deliver(&record, except, false, scratch, &mut ignored);
            if !taken && let Some(last_resort) = lock(&self.last_resort).as_mut() {
                // There is nowhere left to say that this failed.
                let _ = guarded(|| {
                    last_resort.write_all(format!("mainstay: {}\n", notice.text).as_bytes())?;
                    last_resort.flush()
                });
            }
        }
    }
}

/// What makes a record the same as another one: level, target and message; and the place in the code
/// it comes from, or its target where that is not known.
fn identify(record: &Record<'_>) -> Ident {
    let mut hash = Fnv::default();
    hash.add(record.target.as_bytes());
    hash.add(record.program.unwrap_or("").as_bytes());
    let mut key = hash;
    if let Some(location) = record.location {
        key.add(location.file.as_bytes());
        key.add(&location.line.to_ne_bytes());
    }
    hash.add(record.level.name().as_bytes());
    match record.message {
        Message::Text(text) => hash.add(text.as_bytes()),
        Message::Bytes(bytes) => hash.add(bytes),
        // Writing to it cannot fail; what cannot be shown ends where it fails.
        Message::Format(arguments) => drop(fmt::Write::write_fmt(&mut hash, arguments)),
        Message::Parts(append) => scratch::with_message(|bytes| {
            // The same as far as it can be shown.
            let _ = append(bytes);
            for byte in bytes.iter() {
                hash.byte(*byte);
            }
        }),
    }
    Ident {
        key: key.0,
        hash: hash.0,
    }
}

/// The hash of Fowler, Noll and Vo: 64 bits, variant 1a.
#[derive(Clone, Copy)]
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn byte(&mut self, byte: u8) {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }

    /// One of several parts: two side by side are not the same as another two.
    fn add(&mut self, part: &[u8]) {
        for byte in part {
            self.byte(*byte);
        }
        self.byte(0xff);
    }
}

impl fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.byte(byte);
        }
        Ok(())
    }
}
