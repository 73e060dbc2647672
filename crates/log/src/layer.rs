//! The way in for programs that write with `tracing`.

use std::cell::RefCell;
use std::fmt;

use tracing_core::callsite::rebuild_interest_cache;
use tracing_core::field::{Field as Key, Visit};
use tracing_core::span::{Attributes, Id, Record as Recorded};
use tracing_core::subscriber::Interest;
use tracing_core::{Event, LevelFilter, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Filtered;
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use crate::format::{json_field, json_string, span_text, text_field};
use crate::level::Level;
use crate::logger::Logger;
use crate::record::{Field, HeldValue, Location, Record, Spans, Value};

/// The field that makes an error critical, since `tracing` has no such level.
const CRITICAL: &str = "critical";
/// The field that holds what `tracing` calls the message.
const MESSAGE: &str = "message";
/// An event has at most 32 fields, and most have few: each place in a row of them is written.
const FIELDS: usize = 32;
const FEW: usize = 4;

/// A layer for `tracing_subscriber::registry()` that hands events to a logger, with the spans they
/// happened in. It lets through what the logger does, and other layers see all the same.
///
/// An event of level error with the field `critical = true` becomes critical, and the field is left
/// out. The levels are asked once for each place in the code and again when they change; a place that
/// is not let through costs what `tracing` takes for that, about a nanosecond.
///
/// ```
/// use tracing_subscriber::layer::SubscriberExt as _;
/// # use std::sync::Arc;
/// # let config = mainstay_log::Config::new("/", jiff::tz::TimeZone::UTC);
/// # let clock = Arc::new(mainstay_base::SystemClock::new());
/// # let pipeline = mainstay_log::Pipeline::build(&config, mainstay_log::Surroundings::new(clock))?;
/// # let logger = mainstay_log::Logger::new(pipeline);
///
/// let subscriber = tracing_subscriber::registry().with(mainstay_log::layer(&logger));
/// tracing::subscriber::with_default(subscriber, || {
///     let _request = tracing::info_span!("request", id = 7).entered();
///     tracing::warn!(free = 12, "the disk is nearly full");
///     tracing::error!(critical = true, "the disk is full");
/// });
/// # Ok::<(), mainstay_log::Error>(())
/// ```
pub fn layer<S>(logger: &Logger) -> Filtered<Events, Levels, S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    logger.speak_tracing();
    Events {
        logger: logger.clone(),
    }
    .with_filter(Levels {
        logger: logger.clone(),
    })
}

/// Has all places in the code ask again what is let through.
pub(crate) fn levels_changed() {
    rebuild_interest_cache();
}

/// See [`layer`].
#[derive(Debug)]
pub struct Events {
    logger: Logger,
}

/// What is let through; see [`layer`].
#[derive(Debug)]
pub struct Levels {
    logger: Logger,
}

impl Levels {
    fn lets_through(&self, metadata: &Metadata<'_>) -> bool {
        let level = level_of(metadata);
        self.logger.lets_through(level, metadata.target())
            // It may turn out to be critical.
            || (level == Level::Error
                && self.logger.lets_through(Level::Critical, metadata.target()))
    }
}

impl<S> Filter<S> for Levels {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        metadata.is_span() || self.lets_through(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if metadata.is_span() || self.lets_through(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // Spans of any level tell what an event belongs to, so that there is no bound to give.
        None
    }
}

fn level_of(metadata: &Metadata<'_>) -> Level {
    match *metadata.level() {
        tracing_core::Level::TRACE => Level::Trace,
        tracing_core::Level::DEBUG => Level::Debug,
        tracing_core::Level::INFO => Level::Info,
        tracing_core::Level::WARN => Level::Warn,
        tracing_core::Level::ERROR => Level::Error,
    }
}

/// What is kept of a span, made once and used by each event in it.
struct Prepared {
    /// ` key=value key=value`.
    text: Vec<u8>,
    /// `,"key":value`.
    json: Vec<u8>,
}

impl Visit for Prepared {
    fn record_debug(&mut self, key: &Key, value: &dyn fmt::Debug) {
        self.field(key, Value::Debug(value));
    }
    fn record_str(&mut self, key: &Key, value: &str) {
        self.field(key, Value::Text(value));
    }
    fn record_i64(&mut self, key: &Key, value: i64) {
        self.field(key, Value::Signed(value));
    }
    fn record_u64(&mut self, key: &Key, value: u64) {
        self.field(key, Value::Unsigned(value));
    }
    fn record_f64(&mut self, key: &Key, value: f64) {
        self.field(key, Value::Float(value));
    }
    fn record_bool(&mut self, key: &Key, value: bool) {
        self.field(key, Value::Bool(value));
    }
}

impl Prepared {
    fn field(&mut self, key: &Key, value: Value<'_>) {
        text_field(key.name(), value, &mut self.text);
        json_field(key.name(), value, &mut self.json);
    }
}

/// What is used again from event to event.
#[derive(Default)]
struct Buffers {
    spans_text: Vec<u8>,
    spans_json: Vec<u8>,
    /// The message, and values that are lent only while they are visited.
    text: String,
    fields: Vec<(&'static str, HeldValue)>,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

impl<S> Layer<S> for Events
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut prepared = Prepared {
            text: Vec::new(),
            json: Vec::new(),
        };
        attributes.record(&mut prepared);
        span.extensions_mut().insert(prepared);
    }

    fn on_record(&self, id: &Id, values: &Recorded<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(prepared) = span.extensions_mut().get_mut::<Prepared>() {
            values.record(prepared);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        // Something that logs while it is shown as a field, or a thread that is ending, gets its own.
        let held = BUFFERS.try_with(|held| {
            held.try_borrow_mut()
                .map(|mut held| std::mem::take(&mut *held))
        });
        let mut buffers = held.ok().and_then(Result::ok).unwrap_or_default();
        buffers.spans_text.clear();
        buffers.spans_json.clear();
        buffers.text.clear();
        buffers.fields.clear();
        let mut root = None;
        for span in context
            .event_scope(event)
            .into_iter()
            .flat_map(tracing_subscriber::registry::Scope::from_root)
        {
            root.get_or_insert_with(|| span.id().into_u64());
            add_span(&span, &mut buffers);
        }
        self.write(event, root, &mut buffers);
        let _ = BUFFERS.try_with(|place| place.try_borrow_mut().map(|mut place| *place = buffers));
    }
}

fn add_span<S: for<'a> LookupSpan<'a>>(span: &SpanRef<'_, S>, buffers: &mut Buffers) {
    let extensions = span.extensions();
    let prepared = extensions.get::<Prepared>();
    let (text, json) = prepared.map_or((&[][..], &[][..]), |p| (&p.text, &p.json));
    let (texts, jsons) = (&mut buffers.spans_text, &mut buffers.spans_json);
    if !texts.is_empty() {
        texts.push(b':');
        jsons.push(b',');
    }
    span_text(span.name(), text, texts);
    jsons.extend_from_slice(b"{\"name\":");
    json_string(span.name(), jsons);
    jsons.extend_from_slice(json);
    jsons.push(b'}');
}

impl Events {
    fn write(&self, event: &Event<'_>, root: Option<u64>, buffers: &mut Buffers) {
        let metadata = event.metadata();
        let mut level = level_of(metadata);
        let mut held = Held {
            text: &mut buffers.text,
            fields: &mut buffers.fields,
            message: 0..0,
            may_be_critical: level == Level::Error,
            critical: false,
        };
        event.record(&mut held);
        let Held {
            message, critical, ..
        } = held;
        if critical {
            level = Level::Critical;
        }
        let spans = root.map(|root| Spans {
            // Both are put together of whole strings.
            text: std::str::from_utf8(&buffers.spans_text).unwrap_or_default(),
            json: std::str::from_utf8(&buffers.spans_json).unwrap_or_default(),
            root,
        });
        let location = metadata
            .file()
            .zip(metadata.line())
            .map(|(file, line)| Location {
                file,
                line,
                function: metadata.module_path(),
            });
        with_fields(buffers, |fields| {
            self.logger.write_now(|time| {
                Record::new(time, level, metadata.target(), &buffers.text[message])
                    .fields(fields)
                    .location(location)
                    .spans(spans)
            });
        });
    }
}

/// Lends the fields as records have them.
fn with_fields(buffers: &Buffers, work: impl FnOnce(&[Field<'_>])) {
    match buffers.fields.len() {
        0 => work(&[]),
        count if count <= FEW => {
            let mut fields = [("", Value::Null); FEW];
            buffers.resolve(&mut fields);
            work(&fields[..count]);
        }
        count => {
            let mut fields = [("", Value::Null); FIELDS];
            buffers.resolve(&mut fields);
            work(&fields[..count.min(FIELDS)]);
        }
    }
}

impl Buffers {
    fn resolve<'a>(&'a self, fields: &mut [Field<'a>]) {
        for (place, (key, value)) in fields.iter_mut().zip(&self.fields) {
            *place = (key, value.in_text(&self.text));
        }
    }
}

/// An event's fields between the visit, which lends each only for a moment, and the record.
struct Held<'a> {
    text: &'a mut String,
    fields: &'a mut Vec<(&'static str, HeldValue)>,
    message: std::ops::Range<usize>,
    may_be_critical: bool,
    critical: bool,
}

impl Held<'_> {
    fn field(&mut self, key: &Key, value: HeldValue) {
        self.fields.push((key.name(), value));
    }

    fn shown(&mut self, value: fmt::Arguments<'_>) -> std::ops::Range<usize> {
        let start = self.text.len();
        if fmt::Write::write_fmt(self.text, value).is_err() {
            self.text.push_str("<cannot be shown>");
        }
        start..self.text.len()
    }
}

impl Visit for Held<'_> {
    fn record_debug(&mut self, key: &Key, value: &dyn fmt::Debug) {
        let range = self.shown(format_args!("{value:?}"));
        if key.name() == MESSAGE {
            self.message = range;
        } else {
            self.field(key, HeldValue::Text(range));
        }
    }
    fn record_str(&mut self, key: &Key, value: &str) {
        let start = self.text.len();
        self.text.push_str(value);
        let range = start..self.text.len();
        if key.name() == MESSAGE {
            self.message = range;
        } else {
            self.field(key, HeldValue::Text(range));
        }
    }
    fn record_error(&mut self, key: &Key, value: &(dyn std::error::Error + 'static)) {
        let mut range = self.shown(format_args!("{value}"));
        let mut source = value.source();
        while let Some(cause) = source {
            range.end = self.shown(format_args!(": {cause}")).end;
            source = cause.source();
        }
        self.field(key, HeldValue::Text(range));
    }
    fn record_i64(&mut self, key: &Key, value: i64) {
        self.field(key, HeldValue::Plain(Value::Signed(value)));
    }
    fn record_u64(&mut self, key: &Key, value: u64) {
        self.field(key, HeldValue::Plain(Value::Unsigned(value)));
    }
    fn record_f64(&mut self, key: &Key, value: f64) {
        self.field(key, HeldValue::Plain(Value::Float(value)));
    }
    fn record_bool(&mut self, key: &Key, value: bool) {
        if value && self.may_be_critical && key.name() == CRITICAL {
            self.critical = true;
        } else {
            self.field(key, HeldValue::Plain(Value::Bool(value)));
        }
    }
}
