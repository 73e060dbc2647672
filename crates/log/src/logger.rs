//! The way in: a handle that stays the same while pipelines come and go, and that the `log` crate's
//! macros reach.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::error::Error;
use crate::level::{Level, LevelSet};
use crate::pipeline::Pipeline;
use crate::record::{Field, Location, Record, Value};

/// A handle to the current [`Pipeline`]; clones are the same handle.
///
/// It is a [`log::Log`]. The `log` crate knows no critical level: a record of level error with the
/// key `critical` set to true, `error!(critical = true; "...")`, becomes critical here, and the key
/// is left out.
#[derive(Debug, Clone)]
pub struct Logger(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    current: RwLock<Arc<Pipeline>>,
    installed: AtomicBool,
}

/// A receiver for the `log` crate's macros that writes to this pipeline.
pub fn bridge(pipeline: Pipeline) -> Logger {
    Logger::new(pipeline)
}

impl Logger {
    /// A handle to this pipeline.
    pub fn new(pipeline: Pipeline) -> Self {
        Self(Arc::new(Shared {
            current: RwLock::new(Arc::new(pipeline)),
            installed: AtomicBool::new(false),
        }))
    }

    /// Makes this the receiver of the `log` crate's macros in the whole process. Can be done once.
    pub fn install(&self) -> Result<(), Error> {
        log::set_boxed_logger(Box::new(self.clone())).map_err(|_| Error::install())?;
        self.0.installed.store(true, Ordering::Relaxed);
        self.publish_level();
        Ok(())
    }

    /// The pipeline that records go to now.
    pub fn pipeline(&self) -> Arc<Pipeline> {
        let current = self.0.current.read();
        Arc::clone(&current.unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends all further records to another pipeline. Returns the one before, flushed; records that
    /// are being written to it are completed before it is dropped.
    pub fn replace(&self, pipeline: Pipeline) -> Arc<Pipeline> {
        let before = {
            let mut current = self
                .0
                .current
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, Arc::new(pipeline))
        };
        self.publish_level();
        before.flush();
        before
    }

    /// Changes the levels let through while running; `None` makes them the config's again.
    pub fn set_levels(&self, levels: Option<LevelSet>) {
        self.pipeline().set_levels(levels);
        self.publish_level();
    }

    /// Writes a record, see [`Pipeline::write`].
    pub fn write(&self, record: &Record<'_>) {
        self.pipeline().write(record);
    }

    /// Tells the macros what not to bother with: a disabled one costs a load and a comparison.
    fn publish_level(&self) {
        if self.0.installed.load(Ordering::Relaxed) {
            let lowest = self.pipeline().lowest_level();
            log::set_max_level(lowest.map_or(log::LevelFilter::Off, |level| {
                level.to_log().to_level_filter()
            }));
        }
    }
}

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        let level = Level::from(metadata.level());
        let pipeline = self.pipeline();
        pipeline.enabled(level, metadata.target())
            || level == Level::Error && pipeline.enabled(Level::Critical, metadata.target())
    }

    fn log(&self, from: &log::Record<'_>) {
        if !self.enabled(from.metadata()) {
            return;
        }
        let pipeline = self.pipeline();
        let location = from.file().zip(from.line()).map(|(file, line)| Location {
            file,
            line,
            function: from.module_path(),
        });
        let base = Record::new(
            pipeline.clock().now(),
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

    fn flush(&self) {
        self.pipeline().flush();
    }
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

enum HeldValue {
    Plain(Value<'static>),
    Text(Range<usize>),
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
        let value = match value {
            HeldValue::Plain(value) => *value,
            HeldValue::Text(range) => Value::Text(&held.text[range.clone()]),
        };
        (&held.text[key.clone()], value)
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
