//! `[log.sink.NAME]`: sinks that need more words than a route has room for.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mainstay_base::config::{FromValue, Section, Value, one_of};
use mainstay_base::{Diagnostic, Place, Size, Spanned};

use super::RouteReader;
use crate::admission::{AdmissionConfig, Dedup, Limit, Per, Sample};
use crate::level::Level;
use crate::model::{SinkConfig, SinkKind};
use crate::naming::Naming;
use crate::queue::{Delivery, Overflow, QueueConfig};
use crate::record::Stream;
use crate::retention::Retention;
use crate::seelog::DateLayout;
use crate::sinks::journald::JournaldFormat;
use crate::sinks::syslog::{self, Facility, Transport};
use crate::sinks::{
    AlertConfig, Framing, HttpConfig, JournaldConfig, LokiConfig, Named, Net, OtlpConfig,
    RedactConfig, Roots, SpoolConfig, StreamConfig, SyslogConfig, TlsConfig, check_url,
};

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

    /// What `type` and the keys that belong to it say. All keys are read, so that what is wrong with
    /// one is told also where it has no place.
    fn kind(&self, section: &mut Section<'_>) -> Option<SinkKind> {
        use SinkType::{
            Alert, Console, File, Journald, Loki, Otlp, Rolling, Syslog, Tcp, Udp, Unix, UnixGram,
        };
        let kind = section.required::<SinkType>("type");
        let stream = section.get_spanned::<Stream>("stream");
        let colours = section.get_spanned::<bool>("colours");
        let path = section.get_spanned::<PathBuf>("path");
        let retain = section.value("retain").map(|value| value.place().clone());
        let retention = Retention::read(section, self.config.retention);
        let shared = section.get_spanned::<bool>("shared");
        let names = section.get_spanned::<Names>("names");
        let date = section.get_spanned::<String>("date");
        let prefix = section.get_spanned::<bool>("prefix");
        let current = section.get_spanned::<bool>("current");
        let address = section.get_spanned::<String>("address");
        let framing = section.get_spanned::<Frames>("framing");
        let transport = section.get_spanned::<Way>("transport");
        let facility = section.get_spanned::<Speaker>("facility");
        let app = section.get_spanned::<String>("app");
        let url = section.get_spanned::<Url>("url");
        let labels = section.get_spanned::<BTreeMap<String, String>>("labels");
        let gzip = section.get_spanned::<bool>("gzip");
        let tls_place = section.value("tls").map(|value| value.place().clone());
        let tls = section.section("tls").map(read_tls);
        let kind = kind?;
        let http = &[Otlp, Loki][..];
        let keys: [(&str, Option<&Place>, &[SinkType]); 18] = [
            ("stream", place(stream.as_ref()), &[Console]),
            ("colours", place(colours.as_ref()), &[Console]),
            ("path", place(path.as_ref()), &[File, Rolling]),
            ("retain", retain.as_ref(), &[Rolling]),
            ("shared", place(shared.as_ref()), &[Rolling]),
            ("names", place(names.as_ref()), &[Rolling]),
            ("date", place(date.as_ref()), &[Rolling]),
            ("prefix", place(prefix.as_ref()), &[Rolling]),
            ("current", place(current.as_ref()), &[Rolling]),
            (
                "address",
                place(address.as_ref()),
                &[Tcp, Udp, Unix, UnixGram, Syslog, Journald],
            ),
            ("framing", place(framing.as_ref()), &[Tcp, Unix, Syslog]),
            ("transport", place(transport.as_ref()), &[Syslog]),
            ("facility", place(facility.as_ref()), &[Syslog]),
            (
                "app",
                place(app.as_ref()),
                &[Syslog, Journald, Otlp, Loki, Alert],
            ),
            ("url", place(url.as_ref()), http),
            ("labels", place(labels.as_ref()), &[Loki]),
            ("gzip", place(gzip.as_ref()), http),
            ("tls", tls_place.as_ref(), &[Tcp, Syslog, Otlp, Loki]),
        ];
        for (key, place, types) in keys {
            if let Some(place) = place.filter(|_| !types.contains(&kind)) {
                let what = TYPES[kind as usize];
                section.report(
                    Diagnostic::error(format!("`{key}` does nothing for a sink of type {what}"))
                        .at(place)
                        .help("remove it, or choose another type"),
                );
            }
        }
        let app = app.map(|app| app.value);
        let framing = framing.map(|framing| framing.value.0);
        let http = |url: Url, app: &str| HttpConfig {
            tls: tls.clone().unwrap_or_default(),
            gzip: gzip.as_ref().is_none_or(|gzip| gzip.value),
            ..OtlpConfig::new(url.0, app).http
        };
        Some(match kind {
            Console => SinkKind::Console {
                stream: stream.map_or(Stream::Stderr, |stream| stream.value),
                colours: colours.map_or(self.colours, |colours| colours.value),
            },
            File => SinkKind::File {
                path: self.config.directory.join(needed(path, "path", section)?),
            },
            Rolling => SinkKind::Rolling {
                path: self.config.directory.join(needed(path, "path", section)?),
                retention,
                naming: naming(section, names, date, prefix, current)?,
                shared: shared.is_some_and(|shared| shared.value),
            },
            Tcp | Udp | Unix | UnixGram => {
                let net = match kind {
                    Udp => Net::Udp,
                    Unix => Net::Unix,
                    UnixGram => Net::UnixDatagram,
                    _ => Net::Tcp,
                };
                let address = needed(address, "address", section)?;
                SinkKind::Stream(Box::new(StreamConfig {
                    tls,
                    framing: framing.unwrap_or_default(),
                    ..StreamConfig::new(net, address)
                }))
            }
            Syslog => {
                let way = transport.map_or(Way::Local, |way| way.value);
                let transport = match (way, tls) {
                    (Way::Tcp, None) => Transport::Tcp(framing.unwrap_or_default()),
                    (Way::Tcp, Some(tls)) => Transport::Tls(tls),
                    (Way::Udp, _) => Transport::Udp,
                    (Way::Local, _) => Transport::Local,
                };
                let address = match (way, address) {
                    (_, Some(address)) => address.value,
                    (Way::Local, None) => syslog::LOCAL.to_owned(),
                    (_, None) => needed(None, "address", section)?,
                };
                let config = SyslogConfig {
                    transport,
                    address,
                    ..SyslogConfig::default()
                };
                let mut format = config.format();
                if let Some(facility) = facility {
                    format.facility = facility.value.0;
                }
                if let Some(app) = app {
                    format.app_name = app;
                }
                SinkKind::Syslog(Box::new(config), format)
            }
            Journald => {
                let mut config = JournaldConfig::default();
                if let Some(address) = address {
                    config.socket = address.value.into();
                }
                let mut format = JournaldFormat::default();
                if let Some(app) = app {
                    format.identifier = app;
                }
                SinkKind::Journald(config, format)
            }
            Otlp => {
                let url = needed(url, "url", section)?;
                let app = app.as_deref().unwrap_or("mainstay");
                SinkKind::Otlp(Box::new(OtlpConfig {
                    http: http(url.clone(), app),
                    ..OtlpConfig::new(url.0, app)
                }))
            }
            Alert => SinkKind::Alert(AlertConfig {
                app,
                ..AlertConfig::default()
            }),
            Loki => {
                let url = needed(url, "url", section)?;
                let app = app.as_deref().unwrap_or("mainstay");
                let mut config = LokiConfig {
                    http: http(url.clone(), app),
                    ..LokiConfig::new(url.0, app)
                };
                config
                    .labels
                    .extend(labels.map(|labels| labels.value).into_iter().flatten());
                SinkKind::Loki(Box::new(config))
            }
        })
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

/// The value of a key that this type of sink cannot do without.
fn needed<T>(value: Option<Spanned<T>>, key: &str, section: &mut Section<'_>) -> Option<T> {
    if value.is_none() && section.value(key).is_none() {
        section.required::<String>(key);
    }
    value.map(|value| value.value)
}

/// Reads `tls` of a sink.
fn read_tls(mut section: Section<'_>) -> TlsConfig {
    let config = TlsConfig {
        roots: match section.get::<PathBuf>("ca") {
            Some(file) => Roots::File(file),
            None => Roots::System,
        },
        server_name: section.get("server_name"),
        insecure_skip_verify: section.get("insecure_skip_verify").unwrap_or(false),
        identity: None,
    };
    section.finish();
    config
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

fn place<T>(value: Option<&Spanned<T>>) -> Option<&Place> {
    value.map(|value| &value.place)
}

fn naming(
    section: &Section<'_>,
    names: Option<Spanned<Names>>,
    date: Option<Spanned<String>>,
    prefix: Option<Spanned<bool>>,
    current: Option<Spanned<bool>>,
) -> Option<Naming> {
    let names = match (&names, &date) {
        (Some(names), _) => names.value,
        (None, Some(_)) => Names::Date,
        (None, None) => Names::Shifted,
    };
    let date_keys = [
        ("date", place(date.as_ref())),
        ("current", place(current.as_ref())),
    ];
    let prefix_key = [("prefix", place(prefix.as_ref()))];
    let (misplaced, help): (&[&[_]], _) = match names {
        Names::Date => (&[], ""),
        Names::Growing => (&[&date_keys], "add names = \"date\""),
        Names::Shifted => (
            &[&date_keys, &prefix_key],
            "add names = \"date\" or \"growing\"",
        ),
    };
    let mut misplaced = misplaced.iter().copied().flatten();
    if let Some((key, Some(place))) = misplaced.find(|(_, place)| place.is_some()) {
        let diagnostic = Diagnostic::error(format!("`{key}` does nothing with names of this kind"));
        section.report(diagnostic.at(place).help(help));
        return None;
    }
    let prefix = prefix.is_some_and(|prefix| prefix.value);
    Some(match names {
        Names::Shifted => Naming::Shifted,
        Names::Growing => Naming::Growing { prefix },
        Names::Date => Naming::Dated {
            layout: Arc::new(DateLayout::compile(
                date.as_ref().map_or(DATE, |date| &date.value),
            )),
            prefix,
            current: current.is_some_and(|current| current.value),
        },
    })
}

/// The types of sinks that have a section.
pub(super) const TYPES: [&str; 12] = [
    "console", "file", "rolling", "tcp", "udp", "unix", "unixgram", "syslog", "journald", "otlp",
    "loki", "alert",
];
/// How dates in file names are written where nothing else is said.
const DATE: &str = "2006-01-02";

#[derive(Clone, Copy, PartialEq, Eq)]
enum SinkType {
    Console,
    File,
    Rolling,
    Tcp,
    Udp,
    Unix,
    UnixGram,
    Syslog,
    Journald,
    Otlp,
    Loki,
    Alert,
}

impl FromValue for SinkType {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        use SinkType::{
            Alert, Console, File, Journald, Loki, Otlp, Rolling, Syslog, Tcp, Udp, Unix, UnixGram,
        };
        let all = [
            Console, File, Rolling, Tcp, Udp, Unix, UnixGram, Syslog, Journald, Otlp, Loki, Alert,
        ];
        one_of(value, "type of sink", &all, |kind| TYPES[kind as usize])
    }
}

/// How borders of records are told.
struct Frames(Framing);

impl FromValue for Frames {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        let all = [Framing::Newline, Framing::OctetCounting, Framing::None];
        let framing = one_of(value, "framing", &all, |framing| match framing {
            Framing::Newline => "newline",
            Framing::OctetCounting => "octet-counting",
            Framing::None => "none",
        })?;
        Ok(Self(framing))
    }
}

/// How syslog messages travel; with `tls`, TCP is encrypted.
#[derive(Clone, Copy)]
enum Way {
    Local,
    Udp,
    Tcp,
}

impl FromValue for Way {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        let all = [Self::Local, Self::Udp, Self::Tcp];
        one_of(value, "transport", &all, |way| {
            ["local", "udp", "tcp"][way as usize]
        })
    }
}

struct Speaker(Facility);

impl FromValue for Speaker {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        let facility = value.as_str()?.parse::<Facility>();
        facility.map(Self).map_err(|error| value.error(error))
    }
}

#[derive(Clone)]
struct Url(String);

impl FromValue for Url {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        let url = value.as_str()?;
        match check_url(url) {
            Ok(()) => Ok(Self(url.to_owned())),
            Err(error) => Err(value.error(error)),
        }
    }
}

/// A known kind of secret.
struct Kind(Named);

impl FromValue for Kind {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        one_of(value, "kind of secret", &Named::ALL, Named::name).map(Self)
    }
}

#[derive(Clone, Copy)]
enum Names {
    Shifted,
    Growing,
    Date,
}

impl FromValue for Names {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        let all = [Self::Shifted, Self::Growing, Self::Date];
        let name = |names| ["shifted", "growing", "date"][names as usize];
        one_of(value, "way to name rolled files", &all, name)
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
