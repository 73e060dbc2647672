//! `[log.sink.NAME]`: sinks that need more words than a route has room for.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use mainstay_base::config::{FromValue, Section, Value};
use mainstay_base::{Diagnostic, Place, Size, Spanned};

use super::{RouteReader, one_of};
use crate::level::Level;
use crate::model::{SinkConfig, SinkKind};
use crate::naming::Naming;
use crate::queue::{Delivery, Overflow, QueueConfig};
use crate::record::Stream;
use crate::retention::Retention;
use crate::seelog::DateLayout;

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
        let Some(kind) = kind else {
            section.finish();
            return;
        };
        let sink = SinkConfig {
            delivery,
            ..kind.into()
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
        let kind = kind?;
        let console = [
            ("stream", place(stream.as_ref())),
            ("colours", place(colours.as_ref())),
        ];
        let rolling = [
            ("retain", retain.as_ref()),
            ("shared", place(shared.as_ref())),
            ("names", place(names.as_ref())),
            ("date", place(date.as_ref())),
            ("prefix", place(prefix.as_ref())),
            ("current", place(current.as_ref())),
        ];
        let path_key = [("path", place(path.as_ref()))];
        let (no_console, no_path, no_rolling) = match kind {
            SinkType::Console => (&[][..], &path_key[..], &rolling[..]),
            SinkType::File => (&console[..], &[][..], &rolling[..]),
            SinkType::Rolling => (&console[..], &[][..], &[][..]),
        };
        for (key, place) in no_console.iter().chain(no_path).chain(no_rolling) {
            if let Some(place) = place {
                let what = TYPES[kind as usize];
                section.report(
                    Diagnostic::error(format!("`{key}` does nothing for a sink of type {what}"))
                        .at(place)
                        .help("remove it, or choose another type"),
                );
            }
        }
        let path = match (kind, path) {
            (SinkType::Console, _) => PathBuf::new(),
            (_, Some(path)) => self.config.directory.join(path.value),
            (_, None) => {
                if section.value("path").is_none() {
                    section.required::<PathBuf>("path");
                }
                return None;
            }
        };
        Some(match kind {
            SinkType::Console => SinkKind::Console {
                stream: stream.map_or(Stream::Stderr, |stream| stream.value),
                colours: colours.map_or(self.colours, |colours| colours.value),
            },
            SinkType::File => SinkKind::File { path },
            SinkType::Rolling => SinkKind::Rolling {
                path,
                retention,
                naming: naming(section, names, date, prefix, current)?,
                shared: shared.is_some_and(|shared| shared.value),
            },
        })
    }
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
pub(super) const TYPES: [&str; 3] = ["console", "file", "rolling"];
/// How dates in file names are written where nothing else is said.
const DATE: &str = "2006-01-02";

#[derive(Clone, Copy)]
enum SinkType {
    Console,
    File,
    Rolling,
}

impl FromValue for SinkType {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        let all = [Self::Console, Self::File, Self::Rolling];
        one_of(value, "type of sink", &all, |kind| TYPES[kind as usize])
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
        batch: default.batch.min(bytes),
    };
    section.finish();
    config
}
