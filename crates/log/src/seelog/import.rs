//! A config of seelog as a config of a pipeline.

use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use mainstay_base::{Diagnostic, Diagnostics, Place};

use crate::level::LevelSet;
use crate::model::{Config as Pipeline, Route, SinkConfig, SinkId, SinkKind};
use crate::naming::Naming;
use crate::queue::{Delivery, QueueConfig};
use crate::record::Stream;
use crate::retention::Retention;
use crate::route::When;
use crate::seelog::{
    Buffered, Config, Conn, Header, Leaf, LoggerType, NameMode, Receiver, RollWhen, Rolling, Smtp,
};
use crate::sinks::{AlertConfig, Check, Framing, Net, StreamConfig, Tls, UnknownNet};

/// What "never" is for a buffer that is only written when it is full.
const NEVER: Duration = Duration::from_hours(24 * 365);

impl Config {
    /// What a [`Pipeline`](crate::Pipeline) is built from. Relative paths are below `directory`, dates
    /// in file names in `zone`.
    ///
    /// The second value says what is done in another way than by seelog. The error is what cannot be
    /// done at all.
    pub fn to_pipeline(
        &self,
        directory: impl Into<PathBuf>,
        zone: TimeZone,
    ) -> Result<(Pipeline, Diagnostics), Diagnostics> {
        let mut config = Pipeline::new(directory, zone);
        let gate = self.gate();
        config.levels = gate.possible();
        config.gate = gate.has_rules().then_some(gate);
        let mut said = Diagnostics::default();
        for leaf in self.leaves() {
            let sink = match self.sink(&leaf, &mut said) {
                Ok(sink) => sink,
                Err(diagnostic) => {
                    said.push(*diagnostic);
                    continue;
                }
            };
            // Two receivers with one file are two, and each gets the record.
            config.sinks.push(sink);
            config.routes.push(Route {
                name: format!("<{}> at {}", leaf.receiver.element(), leaf.place),
                when: When {
                    levels: leaf.levels,
                    ..When::default()
                },
                to: vec![SinkId(config.sinks.len() - 1)],
                format: leaf.format.format.clone(),
            });
        }
        if said.has_errors() {
            return Err(said);
        }
        let any = config.routes.iter().map(|route| route.when.levels);
        let any = any.fold(LevelSet::NONE, LevelSet::union);
        config.levels = config.levels.intersect(any);
        Ok((config, said))
    }

    fn sink(&self, leaf: &Leaf<'_>, said: &mut Diagnostics) -> Result<SinkConfig, Box<Diagnostic>> {
        let delivery = match self.logger {
            LoggerType::Sync => Delivery::Direct,
            LoggerType::AsyncLoop => Delivery::Queued(QueueConfig::default()),
            // One record in each interval would be 500 in a second for 2 ms (D11): all that came in
            // it are written together instead.
            LoggerType::AsyncTimer { interval } => lingering(interval),
            LoggerType::Adaptive { min, max, .. } => lingering(min.max(max)),
        };
        let mut receiver = leaf.receiver;
        let mut delivery = delivery;
        while let Receiver::Buffered(Buffered {
            size, flush, inner, ..
        }) = receiver
        {
            let size = usize::try_from(*size)
                .unwrap_or(usize::MAX)
                .clamp(1, 256 << 20);
            delivery = Delivery::Queued(QueueConfig {
                bytes: size.saturating_mul(2).max(QueueConfig::default().bytes),
                batch: size,
                linger: flush.unwrap_or(NEVER),
                ..QueueConfig::default()
            });
            receiver = inner;
        }
        let kind = match receiver {
            Receiver::Console => SinkKind::Console {
                stream: Stream::Stdout,
                colours: false,
            },
            Receiver::File(file) => SinkKind::File {
                path: file.path.clone(),
            },
            Receiver::Rolling(rolling) => rolling_file(rolling),
            Receiver::Custom(custom) => SinkKind::Custom {
                name: custom.name.clone(),
            },
            Receiver::Buffered(_) => {
                // The loop above has taken these off.
                return Err(Box::new(
                    Diagnostic::error("a buffer without an end").at(leaf.place),
                ));
            }
            Receiver::Conn(conn) => stream(conn, leaf.place, said)?,
            Receiver::Smtp(smtp) => {
                // It never waits, and groups what comes by itself.
                delivery = Delivery::Direct;
                mail(smtp, leaf.place, said)?
            }
        };
        Ok(SinkConfig {
            delivery,
            ..kind.into()
        })
    }
}

fn rolling_file(rolling: &Rolling) -> SinkKind {
    let prefix = rolling.names == NameMode::Prefix;
    let (size, naming) = match &rolling.when {
        RollWhen::Size { max } => (*max, Naming::Growing { prefix }),
        RollWhen::Date { pattern, full_name } => (
            None,
            Naming::Dated {
                layout: pattern.clone(),
                prefix,
                current: *full_name,
            },
        ),
    };
    let files = rolling
        .max_rolls
        .map(|rolls| u32::try_from(rolls).unwrap_or(u32::MAX));
    SinkKind::Rolling {
        path: rolling.path.clone(),
        retention: Retention {
            size,
            files,
            ..Retention::NONE
        },
        naming,
        // Without a number of rolls none is too many, and none is archived, as in seelog.
        archive: rolling.archive.clone(),
        shared: false,
    }
}

fn stream(conn: &Conn, place: &Place, said: &mut Diagnostics) -> Result<SinkKind, Box<Diagnostic>> {
    let unknown = |error: UnknownNet| {
        let diagnostic = Diagnostic::error(error.to_string()).at(place);
        Box::new(diagnostic.help("seelog finds out at the first record, and loses it"))
    };
    let net = conn.network.parse::<Net>().map_err(unknown)?;
    let tls = conn.tls.map(|tls| Tls {
        check: if tls.verify {
            Check::Name
        } else {
            Check::Nothing
        },
        ..Tls::default()
    });
    if tls.as_ref().is_some_and(|tls| tls.check == Check::Nothing) {
        said.push(
            Diagnostic::warning("whoever sits in between reads and changes all records")
                .at(place)
                .help("leave out insecureskipverify"),
        );
    }
    Ok(SinkKind::Stream(Box::new(StreamConfig {
        tls,
        reconnect_per_message: conn.reconnect,
        framing: Framing::None,
        ..StreamConfig::new(net, conn.address.clone())
    })))
}

/// Whether a header is the composer's to set.
pub(super) fn is_composed(header: &Header) -> bool {
    mainstay_base::is_composed_header(&header.name)
}

fn mail(smtp: &Smtp, place: &Place, said: &mut Diagnostics) -> Result<SinkKind, Box<Diagnostic>> {
    let error = |text: String, help: &str| Box::new(Diagnostic::error(text).at(place).help(help));
    if !u16::try_from(smtp.port).is_ok_and(|port| port > 0) {
        return Err(error(
            format!("there is no port {}", smtp.port),
            "ports are from 1 to 65535; seelog finds out at the first record, and loses it",
        ));
    }
    if smtp.recipients.is_empty() {
        return Err(error(
            "mail goes to nobody: there is no recipient".to_owned(),
            "put a <recipient address=\"…\"/> into it",
        ));
    }
    let mut mail = smtp.clone();
    for header in &smtp.headers {
        if is_composed(header) {
            let text = format!("the header {} is set as the mail needs it", header.name);
            let warning = Diagnostic::warning(text).at(place);
            said.push(warning.help("leave it out; seelog writes it into the body"));
        }
    }
    mail.headers.retain(|header| !is_composed(header));
    said.push(
        Diagnostic::warning("records like each other are one mail, which says how many they are")
            .at(place)
            .help("seelog sends a mail for each record, in the thread that writes it"),
    );
    Ok(SinkKind::Alert(AlertConfig {
        mail: Some(Box::new(mail)),
        ..AlertConfig::default()
    }))
}

fn lingering(linger: Duration) -> Delivery {
    Delivery::Queued(QueueConfig {
        linger,
        ..QueueConfig::default()
    })
}
