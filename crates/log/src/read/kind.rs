//! The types of sinks, and the keys that belong to each.

use std::collections::BTreeMap;
use std::sync::Arc;

use mainstay_base::config::{FromValue, Section, Value, one_of};
use mainstay_base::{Credential, Diagnostic, Place, Spanned};

use super::RouteReader;
use crate::model::SinkKind;
use crate::naming::Naming;
use crate::record::Stream;
use crate::retention::Retention;
use crate::seelog::{Archive, ArchiveKind, DateLayout};
use crate::sinks::journald::JournaldFormat;
use crate::sinks::syslog::{self, Facility, Transport};
use crate::sinks::{
    AlertConfig, Check, Framing, HttpConfig, JournaldConfig, LokiConfig, Net, OtlpConfig,
    StreamConfig, SyslogConfig, Tls, check_header, check_url,
};

/// What a section says, whatever its type. All keys are read, so that what is wrong with one is told
/// also where it has no place.
struct Keys {
    stream: Option<Spanned<Stream>>,
    colours: Option<Spanned<bool>>,
    path: Option<Spanned<LogPath>>,
    /// Where it stands, if it does.
    retain: Option<Place>,
    retention: Retention,
    archive: Option<(Option<Archive>, Place)>,
    shared: Option<Spanned<bool>>,
    names: Option<Spanned<Names>>,
    date: Option<Spanned<String>>,
    prefix: Option<Spanned<bool>>,
    current: Option<Spanned<bool>>,
    address: Option<Spanned<String>>,
    framing: Option<Spanned<Frames>>,
    reconnect: Option<Spanned<bool>>,
    transport: Option<Spanned<Way>>,
    facility: Option<Spanned<Speaker>>,
    app: Option<Spanned<String>>,
    url: Option<Spanned<Url>>,
    labels: Option<Spanned<BTreeMap<String, String>>>,
    gzip: Option<Spanned<bool>>,
    headers: Option<Spanned<BTreeMap<String, HeaderText>>>,
    tls: Option<(Tls, Place)>,
}

impl Keys {
    fn read(section: &mut Section<'_>, retention: Retention) -> Self {
        let place_of = |section: &mut Section<'_>, key: &str| {
            let value = section.value(key);
            value.map(|value| value.place().clone())
        };
        Self {
            stream: section.get_spanned::<Stream>("stream"),
            colours: section.get_spanned::<bool>("colours"),
            path: section.get_spanned::<LogPath>("path"),
            retain: place_of(section, "retain"),
            retention: Retention::read(section, retention),
            archive: place_of(section, "archive")
                .and_then(|place| Some((read_archive(section.section("archive")?), place))),
            shared: section.get_spanned::<bool>("shared"),
            names: section.get_spanned::<Names>("names"),
            date: section.get_spanned::<String>("date"),
            prefix: section.get_spanned::<bool>("prefix"),
            current: section.get_spanned::<bool>("current"),
            address: section.get_spanned::<String>("address"),
            framing: section.get_spanned::<Frames>("framing"),
            reconnect: section.get_spanned::<bool>("reconnect"),
            transport: section.get_spanned::<Way>("transport"),
            facility: section.get_spanned::<Speaker>("facility"),
            app: section.get_spanned::<String>("app"),
            url: section.get_spanned::<Url>("url"),
            labels: section.get_spanned::<BTreeMap<String, String>>("labels"),
            gzip: section.get_spanned::<bool>("gzip"),
            headers: section.get_spanned::<BTreeMap<String, HeaderText>>("headers"),
            tls: place_of(section, "tls")
                .and_then(|place| Some((read_tls(section.section("tls")?), place))),
        }
    }

    /// Reports the keys that a sink of this type has no use for.
    fn report_misplaced(&self, kind: SinkType, section: &Section<'_>) {
        use SinkType::{
            Alert, Console, File, Journald, Loki, Otlp, Rolling, Syslog, Tcp, Udp, Unix, UnixGram,
        };
        let http = &[Otlp, Loki][..];
        let tls = self.tls.as_ref().map(|(_, place)| place);
        let archive = self.archive.as_ref().map(|(_, place)| place);
        let keys: [(&str, Option<&Place>, &[SinkType]); 21] = [
            ("stream", place(self.stream.as_ref()), &[Console]),
            ("colours", place(self.colours.as_ref()), &[Console]),
            ("path", place(self.path.as_ref()), &[File, Rolling]),
            ("retain", self.retain.as_ref(), &[Rolling]),
            ("archive", archive, &[Rolling]),
            ("shared", place(self.shared.as_ref()), &[Rolling]),
            ("names", place(self.names.as_ref()), &[Rolling]),
            ("date", place(self.date.as_ref()), &[Rolling]),
            ("prefix", place(self.prefix.as_ref()), &[Rolling]),
            ("current", place(self.current.as_ref()), &[Rolling]),
            (
                "address",
                place(self.address.as_ref()),
                &[Tcp, Udp, Unix, UnixGram, Syslog, Journald],
            ),
            (
                "framing",
                place(self.framing.as_ref()),
                &[Tcp, Unix, Syslog],
            ),
            ("reconnect", place(self.reconnect.as_ref()), &[Tcp, Unix]),
            ("transport", place(self.transport.as_ref()), &[Syslog]),
            ("facility", place(self.facility.as_ref()), &[Syslog]),
            (
                "app",
                place(self.app.as_ref()),
                &[Syslog, Journald, Otlp, Loki, Alert],
            ),
            ("url", place(self.url.as_ref()), http),
            ("labels", place(self.labels.as_ref()), &[Loki]),
            ("gzip", place(self.gzip.as_ref()), http),
            ("headers", place(self.headers.as_ref()), http),
            ("tls", tls, &[Tcp, Syslog, Otlp, Loki]),
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
    }

    fn framing(&self) -> Framing {
        self.framing
            .as_ref()
            .map_or_else(Framing::default, |framing| framing.value.0)
    }

    fn connection(self, net: Net, section: &mut Section<'_>) -> Option<SinkKind> {
        let framing = self.framing();
        let address = needed(self.address, "address", section)?;
        Some(SinkKind::Stream(Box::new(StreamConfig {
            tls: self.tls.map(|(tls, _)| tls),
            framing,
            reconnect_per_message: self.reconnect.is_some_and(|reconnect| reconnect.value),
            ..StreamConfig::new(net, address)
        })))
    }

    fn syslog(self, section: &mut Section<'_>) -> Option<SinkKind> {
        let framing = self.framing();
        let way = self.transport.map_or(Way::Local, |way| way.value);
        let transport = match (way, self.tls) {
            (Way::Tcp, None) => Transport::Tcp(framing),
            (Way::Tcp, Some((tls, _))) => Transport::Tls(tls),
            (Way::Udp, _) => Transport::Udp,
            (Way::Local, _) => Transport::Local,
        };
        let address = match (way, self.address) {
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
        if let Some(facility) = self.facility {
            format.facility = facility.value.0;
        }
        if let Some(app) = self.app {
            format.app_name = app.value;
        }
        Some(SinkKind::Syslog(Box::new(config), format))
    }

    fn journald(self) -> SinkKind {
        let mut config = JournaldConfig::default();
        if let Some(address) = self.address {
            config.socket = address.value.into();
        }
        let mut format = JournaldFormat::default();
        if let Some(app) = self.app {
            format.identifier = app.value;
        }
        SinkKind::Journald(config, format)
    }

    fn http(&mut self, section: &mut Section<'_>) -> Option<HttpConfig> {
        let url = needed(self.url.take(), "url", section)?;
        Some(HttpConfig {
            headers: self
                .headers
                .take()
                .map(|headers| checked(headers.value, section))
                .unwrap_or_default(),
            tls: self.tls.take().map(|(tls, _)| tls).unwrap_or_default(),
            gzip: self.gzip.as_ref().is_none_or(|gzip| gzip.value),
            ..HttpConfig::new(url.0)
        })
    }

    fn app(&self) -> &str {
        self.app
            .as_ref()
            .map_or("mainstay", |app| app.value.as_str())
    }

    fn otlp(mut self, section: &mut Section<'_>) -> Option<SinkKind> {
        let http = self.http(section)?;
        let config = OtlpConfig::new(http.url.clone(), self.app());
        Some(SinkKind::Otlp(Box::new(OtlpConfig { http, ..config })))
    }

    fn loki(mut self, section: &mut Section<'_>) -> Option<SinkKind> {
        let http = self.http(section)?;
        let mut config = LokiConfig::new(http.url.clone(), self.app());
        config.http = http;
        let labels = self.labels.map(|labels| labels.value);
        config.labels.extend(labels.into_iter().flatten());
        Some(SinkKind::Loki(Box::new(config)))
    }
}

impl RouteReader {
    /// What `type` and the keys that belong to it say.
    pub(super) fn kind(&self, section: &mut Section<'_>) -> Option<SinkKind> {
        let kind = section.required::<SinkType>("type");
        let keys = Keys::read(section, self.config.retention);
        let kind = kind?;
        keys.report_misplaced(kind, section);
        match kind {
            SinkType::Console => Some(SinkKind::Console {
                stream: keys.stream.map_or(Stream::Stderr, |stream| stream.value),
                colours: keys.colours.map_or(self.colours, |colours| colours.value),
            }),
            SinkType::File => Some(SinkKind::File {
                path: self.path(&needed(keys.path, "path", section)?.0),
            }),
            SinkType::Rolling => self.rolling(keys, section),
            SinkType::Tcp => keys.connection(Net::Tcp, section),
            SinkType::Udp => keys.connection(Net::Udp, section),
            SinkType::Unix => keys.connection(Net::Unix, section),
            SinkType::UnixGram => keys.connection(Net::UnixDatagram, section),
            SinkType::Syslog => keys.syslog(section),
            SinkType::Journald => Some(keys.journald()),
            SinkType::Otlp => keys.otlp(section),
            SinkType::Loki => keys.loki(section),
            SinkType::Alert => Some(SinkKind::Alert(AlertConfig {
                app: keys.app.map(|app| app.value),
                ..AlertConfig::default()
            })),
        }
    }
}

impl RouteReader {
    fn rolling(&self, keys: Keys, section: &mut Section<'_>) -> Option<SinkKind> {
        let naming = naming(section, keys.names, keys.date, keys.prefix, keys.current)?;
        let archive = match keys.archive {
            Some((_, place)) if naming == Naming::Shifted => {
                section.report(
                    Diagnostic::error("an archive needs rolled files whose names stay")
                        .at(&place)
                        .help("add names = \"growing\" or \"date\""),
                );
                None
            }
            Some((Some(archive), _)) => Some(Archive {
                path: self.config.directory.join(archive.path),
                ..archive
            }),
            Some((None, _)) | None => None,
        };
        Some(SinkKind::Rolling {
            path: self.path(&needed(keys.path, "path", section)?.0),
            retention: keys.retention,
            naming,
            archive,
            shared: keys.shared.is_some_and(|shared| shared.value),
        })
    }
}

/// A path of a log: relative to where logs lie, not to the config.
struct LogPath(String);

impl FromValue for LogPath {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        let path = String::from_value(value)?;
        if path.is_empty() || path.contains('\0') {
            return Err(value.error("it is not a path"));
        }
        Ok(Self(path))
    }
}

/// Reads `archive` of a rolling sink.
fn read_archive(mut section: Section<'_>) -> Option<Archive> {
    let kind = section.required::<Form>("type");
    let path = section.get::<LogPath>("path");
    let exploded = section.get::<bool>("exploded").unwrap_or(false);
    section.finish();
    let kind = kind?.0;
    Some(Archive {
        path: path.map_or_else(|| kind.usual_path(exploded).into(), |path| path.0.into()),
        kind,
        exploded,
    })
}

/// A form of archives, by seelog's names.
struct Form(ArchiveKind);

impl FromValue for Form {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        let all = [ArchiveKind::Zip, ArchiveKind::Gzip];
        let name = |kind| match kind {
            ArchiveKind::Zip => "zip",
            ArchiveKind::Gzip => "gzip",
        };
        one_of(value, "type of archive", &all, name).map(Self)
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
fn read_tls(mut section: Section<'_>) -> Tls {
    let mut tls = Tls::read(&mut section);
    if section.get("insecure_skip_verify").unwrap_or(false) {
        tls.check = Check::Nothing;
    }
    section.finish();
    tls
}

/// Checks `headers`: what is a secret is referred to, everything else may stand there.
fn checked(
    headers: BTreeMap<String, HeaderText>,
    section: &Section<'_>,
) -> Vec<(String, Credential)> {
    let is_secret = |name: &str| {
        SECRET_HEADERS
            .iter()
            .any(|secret| name.eq_ignore_ascii_case(secret))
    };
    let check = |(name, text): (String, HeaderText)| {
        if is_secret(&name) && !text.value.refers() {
            section.report(
                Diagnostic::error("a secret is never written into the config")
                    .at(&text.place)
                    .label("readable by whoever reads the config")
                    .help("write \"Bearer ${secret.NAME}\", or { file = \"…\" }"),
            );
        }
        if let Err(error) = check_header(&name) {
            let diagnostic = Diagnostic::error(format!("`{}`: {error}", name.escape_debug()));
            section.report(diagnostic.at(&text.place));
        }
        (name, text.value)
    };
    headers.into_iter().map(check).collect()
}

/// The value of a header and where it stands.
struct HeaderText {
    value: Credential,
    place: Place,
}

impl FromValue for HeaderText {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        Ok(Self {
            value: Credential::from_value(value)?,
            place: value.place().clone(),
        })
    }
}

/// Headers whose values let one in.
const SECRET_HEADERS: [&str; 6] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-api-key",
    "api-key",
    "dd-api-key",
];

fn place<T>(value: Option<&Spanned<T>>) -> Option<&Place> {
    value.map(|value| &value.place)
}

/// What `names` and the keys that belong to it say.
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
