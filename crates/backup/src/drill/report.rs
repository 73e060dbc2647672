//! What a drill found.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::BackupConfig;
use crate::error::{Error, ErrorKind};
use crate::repository::Snapshot;

/// The form of the report that is written here.
const FORMAT: u32 = 1;

/// What a drill showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The snapshot was restored, and is what it says it is.
    Proven,
    /// It could not be restored, or is not what it should be.
    Failed,
    /// It cannot be tried on this host: a program is missing, for example.
    Impossible,
}

impl Verdict {
    /// `proven`, `failed` or `impossible`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::Failed => "failed",
            Self::Impossible => "impossible",
        }
    }

    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "proven" => Self::Proven,
            "impossible" => Self::Impossible,
            _ => Self::Failed,
        }
    }
}

/// The snapshot that was drilled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drilled {
    /// Its id.
    pub id: String,
    /// When it was taken.
    pub taken: Timestamp,
    /// The host it was made on.
    pub host: String,
    /// What it is of.
    pub path: String,
    /// Files in it.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

impl Drilled {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        Self {
            id: snapshot.id.clone(),
            taken: snapshot.time,
            host: snapshot.host.clone(),
            path: snapshot.path.display().to_string(),
            files: snapshot.files,
            bytes: snapshot.bytes,
        }
    }
}

/// A step, measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What was done.
    pub what: String,
    /// How long it took.
    pub milliseconds: u64,
    /// Whether a restore in need has this step too.
    pub restores: bool,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Something that must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Of what.
    pub what: String,
    /// How it should be.
    pub expected: String,
    /// How it is.
    pub found: String,
    /// Whether that is well.
    pub holds: bool,
}

/// What a drill did and found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillReport {
    /// The form of this report, 1.
    pub format: u32,
    /// The program that made it.
    pub made_by: String,
    /// The backup.
    pub backup: String,
    /// What that backs up: `sqlite /srv/shop.db`.
    pub source: String,
    /// The host the drill was on.
    pub host: String,
    /// The repository that was restored from, if it came so far.
    pub repository: Option<String>,
    /// The snapshot, if it came so far.
    pub snapshot: Option<Drilled>,
    /// The program of the scratch server, and its version in its own words.
    pub server: Option<String>,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// What it showed.
    pub verdict: Verdict,
    /// Why nothing is proven.
    pub why: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
    /// How long the steps took that a restore in need has too.
    pub restore_milliseconds: u64,
    /// How long all took.
    pub milliseconds: u64,
    /// The steps, in their order.
    pub steps: Vec<Step>,
    /// What must hold.
    pub checks: Vec<Check>,
    /// Things worth knowing that are no failures.
    pub notes: Vec<String>,
}

impl DrillReport {
    pub(super) fn new(backup: &BackupConfig, host: &str, began: Timestamp) -> Self {
        Self {
            format: FORMAT,
            made_by: format!("mainstay {}", env!("CARGO_PKG_VERSION")),
            backup: backup.name.clone(),
            source: format!("{} {}", backup.source.kind(), backup.source.place()),
            host: host.to_owned(),
            repository: None,
            snapshot: None,
            server: None,
            began,
            ended: began,
            verdict: Verdict::Failed,
            why: None,
            help: None,
            restore_milliseconds: 0,
            milliseconds: 0,
            steps: Vec::new(),
            checks: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Whether a restore is proven.
    pub fn is_proven(&self) -> bool {
        self.verdict == Verdict::Proven
    }

    /// Draws the conclusion.
    pub(super) fn end(&mut self, at: Timestamp, took: Duration, error: Option<Error>) {
        self.ended = at;
        self.milliseconds = super::millis(took);
        self.restore_milliseconds = (self.steps.iter())
            .filter(|step| step.restores)
            .map(|step| step.milliseconds)
            .sum();
        let broken: Vec<&Check> = self.checks.iter().filter(|check| !check.holds).collect();
        (self.verdict, self.why, self.help) = match (error, broken.as_slice()) {
            (Some(error), _) => (
                match error.kind() {
                    ErrorKind::NoServer => Verdict::Impossible,
                    _ => Verdict::Failed,
                },
                Some(error.to_string()),
                error.help().map(str::to_owned),
            ),
            // Without a check nothing was shown.
            (None, []) if self.checks.is_empty() => (
                Verdict::Failed,
                Some("nothing was checked".to_owned()),
                None,
            ),
            (None, []) => (Verdict::Proven, None, None),
            (None, [first, more @ ..]) => {
                let mut why = format!(
                    "{}: expected {}, found {}",
                    first.what,
                    shown(&first.expected),
                    shown(&first.found)
                );
                if !more.is_empty() {
                    why = format!("{why} (and {} more)", more.len());
                }
                let help = format!(
                    "look at the whole report: `mainstay backup drill --show {}`; an older snapshot is drilled with `--snapshot ID` (`mainstay backup list {}`)",
                    self.backup, self.backup
                );
                (Verdict::Failed, Some(why), Some(help))
            }
        };
    }
}

fn shown(text: &str) -> String {
    if text.is_empty() {
        "nothing".to_owned()
    } else {
        text.replace('\n', "⏎")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::SourceConfig;
    use crate::retention::Keep;

    pub(in super::super) fn report() -> DrillReport {
        let backup = BackupConfig {
            name: "db".into(),
            source: SourceConfig::Sqlite {
                path: "/srv/shop.db".into(),
            },
            at: None,
            delay: Duration::ZERO,
            keep: Keep::default(),
            to: vec!["local".into()],
            restore_stop: Vec::new(),
            drill: None,
            shrunken_percent: 50,
        };
        DrillReport::new(&backup, "shop1", "2026-11-26T05:00:00Z".parse().unwrap())
    }

    #[test]
    fn nothing_is_proven_by_itself() {
        let good = Check {
            what: "rows of `orders`".to_owned(),
            expected: "2".to_owned(),
            found: "2".to_owned(),
            holds: true,
        };
        let bad = Check {
            found: String::new(),
            holds: false,
            ..good.clone()
        };
        let missing = Error::new(ErrorKind::NoServer, "drill", "no redis-server");
        let damaged = Error::new(ErrorKind::Damaged, "drill", "a pack");
        for (checks, error, verdict, why) in [
            (vec![], None, Verdict::Failed, "nothing was checked"),
            (vec![good.clone()], None, Verdict::Proven, ""),
            (
                vec![good.clone(), bad.clone(), bad.clone()],
                None,
                Verdict::Failed,
                "expected 2, found nothing (and 1 more)",
            ),
            (
                vec![good.clone()],
                Some(missing),
                Verdict::Impossible,
                "no redis-server",
            ),
            (vec![good], Some(damaged), Verdict::Failed, "a pack"),
        ] {
            let mut ended = report();
            ended.checks = checks;
            let step = |milliseconds, restores| Step {
                what: "x".to_owned(),
                milliseconds,
                restores,
                error: None,
            };
            ended.steps = vec![step(30, true), step(100, false), step(12, true)];
            ended.end(ended.began, Duration::from_secs(1), error);
            assert_eq!(ended.verdict, verdict, "{ended:#?}");
            assert_eq!(ended.restore_milliseconds, 42);
            let said = ended.why.unwrap_or_default();
            assert!(said.contains(why), "{said}");
            assert_eq!(said.is_empty(), verdict == Verdict::Proven);
            assert_eq!(Verdict::parse(verdict.as_str()), verdict);
        }
    }
}
