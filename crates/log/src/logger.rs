//! The way in: a handle that stays the same while pipelines come and go, and that the `log` crate's
//! macros reach.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mainstay_sys::current::Current;
use mainstay_sys::spill;

use crate::error::Error;
use crate::layer;
use crate::level::{Level, LevelSet};
use crate::macros;
use crate::model::Config;
use crate::outlet::{inside_a_sink, lock};
use crate::pipeline::{Changes, Override, Pipeline, Surroundings};
use crate::record::{Field, HeldValue, Location, Record, Value};
use crate::route;

/// How long a pipeline that was replaced is waited for until no thread writes to it any more.
const LEAVE_WAIT: Duration = Duration::from_secs(1);
/// How long a process that ends waits for what is to be written.
const END_WAIT: Duration = Duration::from_secs(5);

/// A handle to the current [`Pipeline`]; clones are the same handle.
///
/// It is a [`log::Log`]. The `log` crate knows no critical level: a record of level error with the
/// key `critical` set to true, `error!(critical = true; "...")`, becomes critical here, and the key
/// is left out.
#[derive(Debug, Clone)]
pub struct Logger(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Never none.
    current: Current<Pipeline>,
    /// The macros of this crate write here.
    global: AtomicBool,
    /// Some layer of `tracing` asks it what is let through.
    traced: AtomicBool,
    /// Held while one pipeline takes the place of another.
    changing: Mutex<()>,
    installed: AtomicBool,
}

/// The one that the macros of this crate write to.
static GLOBAL: Mutex<Option<Logger>> = Mutex::new(None);
/// The loggers that are written out when the process ends.
static DRAINED: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

/// A receiver for the `log` crate's macros that writes to this pipeline.
pub fn bridge(pipeline: Pipeline) -> Logger {
    Logger::new(pipeline)
}

impl Logger {
    /// A handle to this pipeline.
    pub fn new(pipeline: Pipeline) -> Self {
        let current = Current::new();
        current.replace(Some(Arc::new(pipeline)));
        Self(Arc::new(Shared {
            current,
            global: AtomicBool::new(false),
            traced: AtomicBool::new(false),
            changing: Mutex::new(()),
            installed: AtomicBool::new(false),
        }))
    }

    /// Makes this the receiver of the `log` crate's macros in the whole process, which can be done
    /// once, and of this crate's own macros.
    pub fn install(&self) -> Result<(), Error> {
        log::set_boxed_logger(Box::new(self.clone())).map_err(|_| Error::install())?;
        self.0.installed.store(true, Ordering::Relaxed);
        self.make_global();
        Ok(())
    }

    /// Makes this the receiver of this crate's own macros in the whole process, instead of the one
    /// before, if any; that is flushed.
    pub fn make_global(&self) {
        let mut global = lock(&GLOBAL);
        let before = global.replace(self.clone());
        self.0.global.store(true, Ordering::SeqCst);
        if let Some(before) = &before
            && !Arc::ptr_eq(&before.0, &self.0)
        {
            before.0.global.store(false, Ordering::SeqCst);
        }
        macros::publish(Some(self.pipeline()));
        drop(global);
        self.publish_level();
        if let Some(before) = before {
            before.flush();
        }
    }

    /// Whether both are handles to the same.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The receiver of this crate's own macros.
    pub fn global() -> Option<Self> {
        lock(&GLOBAL).clone()
    }

    /// Has what waits in queues written when the process ends: by `exit` or the end of `main` (for up
    /// to five seconds), after a panic, and by a signal that ends the process: SEGV, BUS, FPE, ILL,
    /// ABRT, SYS, TERM, HUP, as far as nobody handles or ignores them. A handler writes the bytes that
    /// wait to the open file of their sink; sinks without a file lose them. SIGKILL cannot be helped.
    pub fn drain_at_the_end(&self) -> Result<(), Error> {
        let mut drained = lock(&DRAINED);
        drained.retain(|other| other.strong_count() > 0);
        let first = drained.is_empty();
        drained.push(Arc::downgrade(&self.0));
        drop(drained);
        if first {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                before(panic);
                // A sink that panics would wait for itself.
                if !inside_a_sink() {
                    drain();
                }
            }));
        }
        spill::at_exit(drain)
            .and_then(|()| spill::pour_when_killed())
            .map_err(Error::drain)
    }

    /// The pipeline that records go to now.
    pub fn pipeline(&self) -> Arc<Pipeline> {
        self.0.current.get().expect("there is one from the start")
    }

    /// Sends all further records to another pipeline. Returns the one before, flushed; records that
    /// are being written to it are completed before it is dropped.
    pub fn replace(&self, pipeline: Pipeline) -> Arc<Pipeline> {
        let _changing = lock(&self.0.changing);
        let before = self.swap(Arc::new(pipeline));
        self.publish_level();
        before.flush();
        before
    }

    /// Puts another config in place while records are written. Sinks that are the same in both go on
    /// as they are, with what waits for them; others are opened first, and an error changes nothing.
    /// No record is lost or doubled, and those of one thread stay in order: a new sink that writes
    /// where a leaving one did begins after that has written all it has.
    ///
    /// Levels that were set for a time stay set. Custom sinks that stay need not be handed in again.
    pub fn reload(&self, config: &Config, surroundings: Surroundings) -> Result<Changes, Error> {
        let _changing = lock(&self.0.changing);
        let before = self.pipeline();
        let (next, changes) = Pipeline::build_after(config, surroundings, Some(&before))?;
        let next = Arc::new(next);
        let held = next.hold(&before);
        drop(self.swap(Arc::clone(&next)));
        // Whoever is in the middle of a record finishes it, unless it waits for a sink that fails.
        let until = Instant::now() + LEAVE_WAIT;
        let is_written_to = || {
            let settled = self.0.current.is_settled() && macros::is_settled();
            !settled || Arc::strong_count(&before) > 1
        };
        while is_written_to() && Instant::now() < until {
            std::thread::sleep(Duration::from_micros(100));
        }
        before.close_for(&next);
        let mut reopened = Ok(());
        for held in held {
            reopened = reopened.and(held.reopen());
        }
        self.publish_level();
        // They are open and being written to; only what was rolled meanwhile is not seen yet.
        reopened.map(|()| changes)
    }

    /// Changes the levels let through while running; `None` makes them the config's again.
    pub fn set_levels(&self, levels: Option<LevelSet>) {
        self.pipeline().set_levels(levels);
        self.publish_level();
    }

    /// Changes the levels of a target and all below it, or of a program, or of everything, for a time
    /// or for as long as the process lives. `levels` of `None` ends that again.
    pub fn set_levels_of(
        &self,
        target: Option<&str>,
        levels: Option<LevelSet>,
        time: Option<Duration>,
    ) {
        let _changing = lock(&self.0.changing);
        let pipeline = self.pipeline();
        let mut overrides = pipeline.overrides();
        overrides.retain(|other| other.target.as_deref() != target);
        if let Some(levels) = levels {
            overrides.push(Override {
                target: target.map(str::to_owned),
                levels,
                until: time.map(|time| pipeline.clock().monotonic().saturating_add(time)),
            });
        }
        pipeline.set_overrides(overrides);
        self.publish_level();
    }

    /// Writes a record, see [`Pipeline::write`].
    #[inline]
    pub fn write(&self, record: &Record<'_>) {
        self.0.current.with(|pipeline| {
            if let Some(pipeline) = pipeline {
                pipeline.write(record);
            }
        });
    }

    /// Writes the record that is made for this moment.
    pub(crate) fn write_now<'a>(&self, record: impl FnOnce(Timestamp) -> Record<'a>) {
        self.0.current.with(|pipeline| {
            if let Some(pipeline) = pipeline {
                pipeline.write(&record(pipeline.now()));
            }
        });
    }

    /// Whether a record would reach any sink.
    pub(crate) fn lets_through(&self, level: Level, target: &str) -> bool {
        let asked = |pipeline: Option<&Pipeline>| pipeline?.enabled(level, target).then_some(());
        self.0.current.with(asked).is_some()
    }

    /// A layer of `tracing` is to hear when levels change.
    pub(crate) fn speak_tracing(&self) {
        self.0.traced.store(true, Ordering::SeqCst);
    }

    /// Waits until all that was written before is with the sinks, see [`Pipeline::flush`].
    pub fn flush(&self) {
        self.pipeline().flush();
    }

    fn swap(&self, next: Arc<Pipeline>) -> Arc<Pipeline> {
        let before = self.0.current.replace(Some(Arc::clone(&next)));
        let before = before.expect("there is one from the start");
        if self.0.global.load(Ordering::SeqCst) {
            macros::publish(Some(next));
        }
        before
    }

    /// Tells the macros what not to bother with: a disabled one costs a load and a comparison.
    fn publish_level(&self) {
        if self.0.traced.load(Ordering::SeqCst) {
            layer::levels_changed();
        }
        if self.0.global.load(Ordering::SeqCst) {
            macros::open(Some(&self.pipeline()));
        }
        if self.0.installed.load(Ordering::Relaxed) {
            let lowest = self.pipeline().lowest_level();
            log::set_max_level(lowest.map_or(log::LevelFilter::Off, |level| {
                level.to_log().to_level_filter()
            }));
        }
    }
}

/// Writes out what waits in all loggers that asked for it.
fn drain() {
    let loggers: Vec<_> = lock(&DRAINED).iter().filter_map(Weak::upgrade).collect();
    let until = Instant::now() + END_WAIT;
    for logger in loggers {
        let left = until.saturating_duration_since(Instant::now());
        if let Some(pipeline) = logger.current.get() {
            pipeline.flush_within(left);
        }
    }
}

/// Whether the record may reach a sink; an error may turn out to be critical.
fn lets_through(pipeline: &Pipeline, metadata: &log::Metadata<'_>) -> bool {
    let level = Level::from(metadata.level());
    if level == Level::Trace && is_confiding(metadata.target()) {
        return false;
    }
    pipeline.enabled(level, metadata.target())
        || level == Level::Error && pipeline.enabled(Level::Critical, metadata.target())
}

fn write(pipeline: &Pipeline, from: &log::Record<'_>) {
    let location = from.file().zip(from.line()).map(|(file, line)| Location {
        file,
        line,
        function: from.module_path(),
    });
    let base = Record::new(
        pipeline.now(),
        Level::from(from.level()),
        from.target(),
        *from.args(),
    )
    .location(location);
    if from.key_values().count() == 0 {
        pipeline.write(&base);
    } else {
        with_fields(from, |fields, critical| {
            let mut record = base.fields(fields);
            if critical {
                record.level = Level::Critical;
            }
            pipeline.write(&record);
        });
    }
}

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        let asked = |pipeline: Option<&Pipeline>| lets_through(pipeline?, metadata).then_some(());
        self.0.current.with(asked).is_some()
    }

    fn log(&self, from: &log::Record<'_>) {
        self.0.current.with(|pipeline| {
            if let Some(pipeline) = pipeline.filter(|it| lets_through(it, from.metadata())) {
                write(pipeline, from);
            }
        });
    }

    fn flush(&self) {
        Logger::flush(self);
    }
}

/// Targets that write down at level trace what they send, secret addresses and passwords included.
const CONFIDING: [&str; 4] = ["lettre", "rustls", "ureq", "ureq_proto"];

#[cold]
fn is_confiding(target: &str) -> bool {
    CONFIDING.iter().any(|one| route::is_within(target, one))
}

/// The key that makes an error critical.
const CRITICAL: &str = "critical";
/// So many fields cost no allocation.
const INLINE: usize = 16;

/// Fields as they are held between the visit, which lends each only for a moment, and the record.
#[derive(Default)]
struct Held {
    text: String,
    fields: Vec<(Range<usize>, HeldValue)>,
    /// Whether the key counts, and whether it was there.
    may_be_critical: bool,
    critical: bool,
}

thread_local! {
    static HELD: RefCell<Held> = RefCell::default();
}

fn with_fields(from: &log::Record<'_>, write: impl FnOnce(&[Field<'_>], bool)) {
    // Something that logs while it is shown as a field, or a thread that is ending, gets its own.
    let mut held = HELD
        .try_with(|held| {
            held.try_borrow_mut()
                .map(|mut held| std::mem::take(&mut *held))
        })
        .ok()
        .and_then(Result::ok)
        .unwrap_or_default();
    held.text.clear();
    held.fields.clear();
    held.critical = false;
    held.may_be_critical = from.level() == log::Level::Error;
    // The visitor below gives no errors; one of the source's own leaves the fields before it.
    let _ = from.key_values().visit(&mut held);
    let resolve = |(key, value): &(Range<usize>, HeldValue)| {
        (&held.text[key.clone()], value.in_text(&held.text))
    };
    if held.fields.len() <= INLINE {
        let mut fields = [("", Value::Null); INLINE];
        for (place, field) in fields.iter_mut().zip(&held.fields) {
            *place = resolve(field);
        }
        write(&fields[..held.fields.len()], held.critical);
    } else {
        let fields: Vec<Field<'_>> = held.fields.iter().map(resolve).collect();
        write(&fields, held.critical);
    }
    let _ = HELD.try_with(|place| place.try_borrow_mut().map(|mut place| *place = held));
}

impl<'kvs> log::kv::VisitSource<'kvs> for Held {
    fn visit_pair(
        &mut self,
        key: log::kv::Key<'kvs>,
        value: log::kv::Value<'kvs>,
    ) -> Result<(), log::kv::Error> {
        if self.may_be_critical && key.as_str() == CRITICAL && value.to_bool() == Some(true) {
            self.critical = true;
            return Ok(());
        }
        let start = self.text.len();
        self.text.push_str(key.as_str());
        let key = start..self.text.len();
        let mut one = One {
            text: &mut self.text,
            value: HeldValue::Plain(Value::Null),
        };
        let visited = value.visit(&mut one);
        let value = one.value;
        self.fields.push((key, value));
        visited
    }
}

struct One<'a> {
    text: &'a mut String,
    value: HeldValue,
}

impl One<'_> {
    fn shown(&mut self, value: std::fmt::Arguments<'_>) {
        let start = self.text.len();
        if self.text.write_fmt(value).is_err() {
            self.text.push_str("<cannot be shown>");
        }
        self.value = HeldValue::Text(start..self.text.len());
    }

    fn plain(&mut self, value: Value<'static>) {
        self.value = HeldValue::Plain(value);
    }
}

impl log::kv::VisitValue<'_> for &mut One<'_> {
    fn visit_any(&mut self, value: log::kv::Value<'_>) -> Result<(), log::kv::Error> {
        self.shown(format_args!("{value}"));
        Ok(())
    }
    fn visit_null(&mut self) -> Result<(), log::kv::Error> {
        self.plain(Value::Null);
        Ok(())
    }
    fn visit_u64(&mut self, value: u64) -> Result<(), log::kv::Error> {
        self.plain(Value::Unsigned(value));
        Ok(())
    }
    fn visit_i64(&mut self, value: i64) -> Result<(), log::kv::Error> {
        self.plain(Value::Signed(value));
        Ok(())
    }
    fn visit_f64(&mut self, value: f64) -> Result<(), log::kv::Error> {
        self.plain(Value::Float(value));
        Ok(())
    }
    fn visit_bool(&mut self, value: bool) -> Result<(), log::kv::Error> {
        self.plain(Value::Bool(value));
        Ok(())
    }
}
