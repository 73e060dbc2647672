//! Records that a person must know of. Who raises the alerts is for the program to say, by
//! [`Surroundings::alerts`](crate::Surroundings): this crate knows none.
//!
//! The sink gets more records than it raises: those of the same origin from level info up are kept as
//! context, the last few of each program.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use crate::batch::{Batch, Unwritten};
use crate::error::Error;
use crate::format::message_text;
use crate::level::{Level, LevelSet};
use crate::model::{Config, Route, SinkKind};
use crate::record::{Field, Record, Value};
use crate::route::{When, is_within};
use crate::seelog::Smtp;
use crate::sink::Sink;
use crate::sinks::redact::Strikes;

/// So many records are kept of each program.
const CONTEXT: usize = 20;

/// So much of each of them, in bytes.
const LINE: usize = 1000;

/// Of so many programs; beyond that all begin anew.
const PROGRAMS: usize = 512;

/// The targets of what sends alerts. An alert about that would go in a circle.
const SENDERS: [&str; 5] = ["mainstay_alert", "lettre", "ureq", "ureq_proto", "rustls"];

/// A sink of alerts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertConfig {
    /// What alerts about the process's own records are about; those about output of a program are
    /// about the program.
    pub app: Option<String>,
    /// By a mail server of its own, as seelog's `<smtp>`; else as the program is configured.
    pub mail: Option<Box<Smtp>>,
    /// What of the records that come is raised; the rest is context.
    pub(crate) raised: Vec<When>,
}

impl fmt::Display for AlertConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.mail {
            None => f.write_str("alert"),
            Some(mail) => write!(
                f,
                "smtp:{}:{} to {}",
                mail.host,
                mail.port,
                mail.recipients.join(", ")
            ),
        }
    }
}

/// A record that a person must know of.
#[derive(Debug, Clone, Copy)]
pub struct Raised<'a> {
    /// When it happened.
    pub time: Timestamp,
    /// How grave it is.
    pub level: Level,
    /// The program whose output it is, or [`AlertConfig::app`].
    pub app: Option<&'a str>,
    /// Whether it is output of a program.
    pub captured: bool,
    /// What it is about; for output of a program its name.
    pub target: &'a str,
    /// What happened.
    pub message: &'a str,
    /// The whole record as the format of its route has it.
    pub text: &'a str,
    /// What else is known, by name.
    pub fields: &'a [(String, String)],
    /// The last records before it, in the format of the route, oldest first.
    pub context: &'a VecDeque<String>,
}

/// Raises alerts. It is called in the thread that writes the record, with the sink locked: it must
/// neither wait nor log.
pub trait Raise: Send + Sync {
    /// Raises one.
    fn raise(&self, raised: &Raised<'_>);
}

/// Has each sink of alerts see what it needs as context.
pub(crate) fn with_context(config: &Config) -> Option<Config> {
    let is_alert = |at: &usize| matches!(config.sinks[*at].kind, SinkKind::Alert(_));
    let alerts: Vec<usize> = (0..config.sinks.len()).filter(is_alert).collect();
    if alerts.is_empty() {
        return None;
    }
    let mut wider = config.clone();
    let names = |route: &Route, at: usize| route.to.iter().any(|id| id.0 == at);
    for at in alerts {
        let routes = config.routes.iter().filter(|route| names(route, at));
        let mut whens: Vec<When> = Vec::new();
        for route in routes {
            whens.push(route.when.clone());
            let levels = route.when.levels.union(LevelSet::from(Level::Info));
            wider.routes.push(Route {
                when: When {
                    levels,
                    ..route.when.clone()
                },
                to: route.to.iter().copied().filter(|id| id.0 == at).collect(),
                ..route.clone()
            });
        }
        if let SinkKind::Alert(alert) = &mut wider.sinks[at].kind {
            alert.raised = whens;
        }
    }
    Some(wider)
}

/// The sink.
pub(crate) struct AlertSink {
    config: AlertConfig,
    raise: Arc<dyn Raise>,
    strikes: Option<Strikes>,
    /// The last records of each program, and under no name those of the process itself.
    context: HashMap<String, VecDeque<String>>,
    message: String,
}

impl AlertSink {
    pub(crate) fn new(
        config: AlertConfig,
        raise: Arc<dyn Raise>,
        strikes: Option<Strikes>,
    ) -> Self {
        Self {
            config,
            raise,
            strikes,
            context: HashMap::new(),
            message: String::new(),
        }
    }

    fn take(&mut self, record: &Record<'_>, bytes: &[u8]) {
        if SENDERS
            .iter()
            .any(|sender| is_within(record.target, sender))
        {
            return;
        }
        let clean = |text: &str| match &self.strikes {
            None => text.to_owned(),
            Some(strikes) => strikes.text(text),
        };
        let text = clean(String::from_utf8_lossy(bytes).trim_end());
        let own = record.program.unwrap_or("");
        if !is_kept(record.fields) && self.config.raised.iter().any(|when| when.matches(record)) {
            self.message.clear();
            message_text(record.message, &mut self.message);
            let message = clean(self.message.trim_end());
            let fields: Vec<(String, String)> = record
                .fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), clean(&shown(*value))))
                .collect();
            self.raise.raise(&Raised {
                time: record.time,
                level: record.level,
                app: record.program.or(self.config.app.as_deref()),
                captured: record.program.is_some(),
                target: record.target,
                message: &message,
                text: &text,
                fields: &fields,
                context: self.context.get(own).unwrap_or(&VecDeque::new()),
            });
        }
        self.keep(own, text);
    }

    fn keep(&mut self, program: &str, mut text: String) {
        if text.len() > LINE {
            let mut end = LINE;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
        }
        if !self.context.contains_key(program) {
            if self.context.len() >= PROGRAMS {
                self.context.clear();
            }
            self.context.insert(program.to_owned(), VecDeque::new());
        }
        if let Some(lines) = self.context.get_mut(program) {
            if lines.len() >= CONTEXT {
                lines.pop_front();
            }
            lines.push_back(text);
        }
    }
}

/// Whether the flight recorder kept it: it comes because of another record.
fn is_kept(fields: &[Field<'_>]) -> bool {
    let kept = |(name, value): &Field<'_>| *name == "kept" && matches!(value, Value::Bool(true));
    fields.iter().any(kept)
}

fn shown(value: Value<'_>) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Signed(value) => value.to_string(),
        Value::Unsigned(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::Text(value) => value.to_owned(),
        Value::Display(value) => value.to_string(),
        Value::Debug(value) => format!("{value:?}"),
    }
}

impl Sink for AlertSink {
    fn write(&mut self, batch: &Batch<'_>) -> Result<(), Unwritten> {
        // Without a queue there is a record; what the pipeline says of the sink itself has none.
        if let (Some(record), Some(entry)) = (batch.record(), batch.entries().next()) {
            self.take(record, entry.bytes);
        }
        Ok(())
    }
}

/// What makes sinks of alerts of their configs, or says why not.
pub type OpenAlerts = Box<dyn Fn(&AlertConfig) -> Result<Arc<dyn Raise>, String> + Send>;

pub(crate) fn open(
    config: &AlertConfig,
    strikes: Option<Strikes>,
    alerts: Option<&OpenAlerts>,
) -> Result<AlertSink, Error> {
    let Some(alerts) = alerts else {
        return Err(Error::config(format!(
            "the sink {config}: nothing in this program raises alerts"
        )));
    };
    let raise = alerts(config).map_err(|why| Error::config(format!("the sink {config}: {why}")))?;
    Ok(AlertSink::new(config.clone(), raise, strikes))
}
