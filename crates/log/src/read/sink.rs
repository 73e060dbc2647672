//! `[log.sink.NAME]`: sinks that need more words than a route has room for.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_base::config::{FromValue, Section, Value, one_of};
use mainstay_base::{Diagnostic, Size, Spanned};

use super::RouteReader;
use super::kind::TYPES;
use crate::admission::{AdmissionConfig, Dedup, Limit, Per, Sample};
use crate::level::Level;
use crate::model::{SinkConfig, SinkKind};
use crate::queue::{Delivery, Overflow, QueueConfig};
use crate::sinks::{Named, RedactConfig, SpoolConfig};

impl RouteReader {
    /// Reads `[log.sink.NAME]`.
    pub(super) fn named_sink(&mut self, name: Spanned<String>, mut section: Section<'_>) {
        if TYPES.contains(&name.value.as_str()) || name.value.contains(':') {
            section.report(
                Diagnostic::error(format!("a sink cannot be called `{}`", name.value))
                    .at(&name.place)
                    .help("routes could not tell it from a type of sink; choose another name"),
            );
        }
        let kind = self.kind(&mut section);
        let delivery = match section.section("queue") {
            Some(queue) => Delivery::Queued(read_queue(queue)),
            None => Delivery::Direct,
        };
        let admission = read_admission(&mut section);
        let redact = section
            .get::<Vec<Kind>>("redact")
            .map(|kinds| RedactConfig {
                named: kinds.into_iter().map(|kind| kind.0).collect(),
                patterns: Vec::new(),
            });
        let spool = section.section("spool").and_then(read_spool);
        let mut failover = Vec::new();
        if let Some(value) = section.value("failover") {
            match value.as_array() {
                Ok(items) => {
                    for item in items {
                        match self.sink(&item) {
                            Ok(sink) => failover.push(sink.kind),
                            Err(diagnostic) => section.report(diagnostic),
                        }
                    }
                }
                Err(diagnostic) => section.report(diagnostic),
            }
        }
        let Some(kind) = kind else {
            section.finish();
            return;
        };
        if matches!(kind, SinkKind::Alert(_)) {
            refuse_around_alerts(&mut section);
        }
        let sink = SinkConfig {
            kind,
            delivery,
            admission,
            redact,
            spool,
            failover,
        };
        if let Err(diagnostic) = self.claim(&sink, &name.place) {
            section.report(diagnostic);
        }
        self.named.insert(name.value, sink);
        section.finish();
    }
}

/// Alerts have their own grouping, limits and outbox.
fn refuse_around_alerts(section: &mut Section<'_>) {
    for key in ["queue", "dedup", "limit", "sample", "spool", "failover"] {
        let place = section.value(key).map(|value| value.place().clone());
        if let Some(place) = place {
            section.report(
                Diagnostic::error(format!("`{key}` does nothing for a sink of type alert"))
                    .at(&place)
                    .help("remove it; [alert] says when alerts are told, and they wait on disk"),
            );
        }
    }
}

/// Reads `dedup`, `limit` and `sample` of a sink.
fn read_admission(section: &mut Section<'_>) -> AdmissionConfig {
    let dedup = section.get::<Duration>("dedup");
    let limit = section.section("limit").map(|mut limit| {
        let default = Limit::default();
        let records = positive(&mut limit, "records").unwrap_or(default.records);
        let read = Limit {
            records,
            every: limit.get("every").unwrap_or(default.every),
            burst: positive(&mut limit, "burst").unwrap_or(records),
            per: match limit.get::<bool>("call_site") {
                Some(true) => Per::CallSite,
                _ => Per::Sink,
            },
            spare: limit.get("spare").or(default.spare),
            ..default
        };
        limit.finish();
        read
    });
    let sample = section.section("sample").map(|mut sample| {
        let default = Sample::default();
        let read = Sample {
            below: sample.get("below").unwrap_or(default.below),
            one_of: positive(&mut sample, "one_of").unwrap_or(default.one_of),
            ..default
        };
        sample.finish();
        read
    });
    AdmissionConfig {
        dedup: dedup.map(|window| Dedup { window }),
        sample,
        limit,
    }
}

/// A number of which none makes no sense.
fn positive(section: &mut Section<'_>, key: &str) -> Option<NonZeroU32> {
    let number = section.get_spanned::<u32>(key)?;
    let positive = NonZeroU32::new(number.value);
    if positive.is_none() {
        let diagnostic = Diagnostic::error(format!("`{key}` of 0 would let nothing through"));
        section.report(diagnostic.at(&number.place).help("write 1 or more"));
    }
    positive
}

/// Reads `spool` of a sink.
fn read_spool(mut section: Section<'_>) -> Option<SpoolConfig> {
    let directory = section.required::<PathBuf>("dir");
    let bytes = section.get::<Size>("bytes");
    let sync = section.get("sync");
    section.finish();
    let default = SpoolConfig::new(directory?);
    Some(SpoolConfig {
        bytes: bytes.map_or(default.bytes, |Size(bytes)| bytes),
        sync: sync.unwrap_or(false),
        ..default
    })
}

/// A known kind of secret.
struct Kind(Named);

impl FromValue for Kind {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        one_of(value, "kind of secret", &Named::ALL, Named::name).map(Self)
    }
}

#[derive(Clone, Copy)]
enum Policy {
    Block,
    DropNew,
    DropOld,
    DropBelow,
    Sample,
}

impl FromValue for Policy {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        let all = [
            Self::Block,
            Self::DropNew,
            Self::DropOld,
            Self::DropBelow,
            Self::Sample,
        ];
        let names = ["block", "drop-new", "drop-old", "drop-below", "sample"];
        one_of(value, "policy of a queue", &all, |policy| {
            names[policy as usize]
        })
    }
}

/// Reads `queue` of a sink.
fn read_queue(mut section: Section<'_>) -> QueueConfig {
    let default = QueueConfig::default();
    let policy = section.get::<Policy>("overflow").unwrap_or(Policy::Block);
    let keep = section.get_spanned::<Level>("keep");
    let one_in = section.get_spanned::<u32>("one_in");
    let bytes = section.get_spanned::<Size>("bytes");
    if let (Some(keep), false) = (&keep, matches!(policy, Policy::DropBelow)) {
        section.report(
            Diagnostic::error("`keep` says which level is never dropped, and nothing is by level")
                .at(&keep.place)
                .help("add overflow = \"drop-below\""),
        );
    }
    let one_in = match (policy, &one_in) {
        (Policy::Sample, one_in) => {
            let count = one_in.as_ref().map_or(10, |one_in| one_in.value);
            NonZeroU32::new(count).unwrap_or_else(|| {
                if let Some(one_in) = one_in {
                    section.report(
                        Diagnostic::error("one in none cannot be kept")
                            .at(&one_in.place)
                            .help("write 1 or more"),
                    );
                }
                NonZeroU32::MIN
            })
        }
        (_, Some(one_in)) => {
            section.report(
                Diagnostic::error("`one_in` says how many are kept, and none are sampled")
                    .at(&one_in.place)
                    .help("add overflow = \"sample\""),
            );
            NonZeroU32::MIN
        }
        (_, None) => NonZeroU32::MIN,
    };
    let overflow = match policy {
        Policy::Block => Overflow::Block,
        Policy::DropNew => Overflow::DropNew,
        Policy::DropOld => Overflow::DropOld,
        Policy::DropBelow => Overflow::DropBelow(keep.map_or(Level::Warn, |keep| keep.value)),
        Policy::Sample => Overflow::Sample(one_in),
    };
    let bytes = match bytes {
        None => default.bytes,
        Some(bytes) => match usize::try_from(bytes.value.0) {
            Ok(size) if (4096..=1 << 30).contains(&size) => size,
            _ => {
                section.report(
                    Diagnostic::error("a queue holds 4 KiB at least and 1 GiB at most")
                        .at(&bytes.place)
                        .help("1 MiB is usual"),
                );
                default.bytes
            }
        },
    };
    let config = QueueConfig {
        overflow,
        bytes,
        linger: section.get("linger").unwrap_or(default.linger),
        // While these are written as many have room again and again.
        batch: default.batch.min(bytes / 4),
    };
    section.finish();
    config
}
