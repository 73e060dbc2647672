//! `mainstay status`

use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainstay_base::fs;
use mainstay_control::wire::{Desired, ProcessStatus, State, StatusDocument};
use mainstay_control::{Kind, metrics};

use crate::cli::Cli;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::{command, render};

/// Asks the daemon and draws its answer.
pub(crate) fn run(cli: &Cli, output: &Output, names: &[String]) -> Result<Exit, Failure> {
    let client = command::client(cli)?;
    let mut document = match command::ask(async { Ok(client.status().await) })? {
        Ok(document) => document,
        Err(error) => {
            if error.kind == Kind::NotReachable && names.is_empty() && !output.json {
                backups_alone(cli, output);
            }
            return Err(error.into());
        }
    };
    if !names.is_empty() {
        let known: Vec<&str> = document.programs.iter().map(|p| p.name.as_str()).collect();
        if let Some(unknown) = names
            .iter()
            .find(|n| !document.programs.iter().any(|p| is_meant(n, p)))
        {
            return Err(Failure::unknown_name("program", unknown, &known, ""));
        }
        document
            .programs
            .retain(|p| names.iter().any(|name| is_meant(name, p)));
        let shown = |program: &String| document.programs.iter().any(|p| p.program == *program);
        document.new_faults.retain(|program, _| shown(program));
        document.backups.clear();
        document.disks.clear();
    }
    if output.json {
        output.document(&document);
    } else {
        let paint = output.paint(TimeZone::system());
        output.print(&render::status(&document, Timestamp::now(), &paint));
    }
    Ok(verdict(&document))
}

/// How the backups are is known without a daemon too: cron may run them.
fn backups_alone(cli: &Cli, output: &Output) {
    // That there is no daemon is said in any case, and is what the command fails with.
    let known = command::load(cli, output).and_then(|config| command::backup::statuses(&config));
    if let Ok(backups) = known
        && !backups.is_empty()
    {
        let paint = output.paint(TimeZone::system());
        output.print(&render::backups(&backups, Timestamp::now(), &paint));
    }
}

/// Asks the daemon for the same in numbers, and shows them or leaves them in a file.
pub(crate) fn metrics(cli: &Cli, output: &Output, to: Option<&Path>) -> Result<Exit, Failure> {
    let client = command::client(cli)?;
    let document = command::ask(async { Ok(client.status().await?) })?;
    if let Some(path) = to {
        // Others are to read it: it has no secrets.
        let text = metrics::exposition(&document);
        fs::replace(path, text.as_bytes(), 0o644).map_err(|error| {
            Failure::new(
                Exit::Failed,
                format!("cannot write {}: {error}", path.display()),
            )
            .help("check that its directory exists and that this user may write to it")
        })?;
    } else if output.json {
        output.document(&metrics::metrics(&document));
    } else {
        output.print(&metrics::exposition(&document));
    }
    Ok(Exit::Done)
}

/// Whether a name from the command line means this process: itself, its program, its group or all.
pub(crate) fn is_meant(name: &str, process: &ProcessStatus) -> bool {
    name == "all"
        || name == process.name
        || name == process.program
        || name.strip_suffix(":*").is_some_and(|group| {
            group == process.program || process.group.as_deref() == Some(group)
        })
}

/// [`Exit::Done`] only when everything is as it should be.
fn verdict(document: &StatusDocument) -> Exit {
    let down = |process: &ProcessStatus| {
        !matches!(process.state, State::Running | State::Starting)
            || process.desired == Desired::Down
    };
    if document.programs.iter().any(down) || document.backups.iter().any(render::needs_attention) {
        Exit::Partly
    } else {
        Exit::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_know_every_level_and_severity() {
        let names = |text: &str| [(text.to_owned(), 7)];
        let status = |level: &str, severity: &str| -> StatusDocument {
            serde_json::from_value(serde_json::json!({
                "schema": 1, "host": "h", "version": "1",
                "daemon": {"pid": 1, "started": "2026-11-22T06:00:00Z", "uptime_seconds": 1},
                "log": [{
                    "name": "s", "delivered": 0, "errors": 0, "waiting": 0,
                    "lost": std::collections::BTreeMap::from(names(level)),
                }],
                "alerts": {
                    "firing": 1, "muted": 0, "silences": 0, "channels": 0, "undelivered": 0,
                    "open": std::collections::BTreeMap::from(names(severity)),
                },
            }))
            .unwrap()
        };
        for level in mainstay_log::Level::ALL {
            let text = metrics::exposition(&status(level.name(), ""));
            let line = format!("lost_total{{level=\"{}\",sink=\"s\"}} 7\n", level.name());
            assert!(text.contains(&line), "{text}");
        }
        for severity in mainstay_alert::Severity::ALL {
            let text = metrics::exposition(&status("", severity.name()));
            let line = format!("alerts_open{{severity=\"{}\"}} 7\n", severity.name());
            assert!(text.contains(&line), "{text}");
        }
    }

    #[test]
    fn names_and_what_they_mean() {
        let mut process = ProcessStatus::new("web:1", "web", State::Running);
        process.group = Some("shop".to_owned());
        for (name, meant) in [
            ("web:1", true),
            ("web", true),
            ("web:*", true),
            ("shop:*", true),
            ("all", true),
            ("web:0", false),
            ("shop", false),
            ("we", false),
        ] {
            assert_eq!(is_meant(name, &process), meant, "{name}");
        }
    }
}
