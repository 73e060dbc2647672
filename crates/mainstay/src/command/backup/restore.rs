//! `mainstay backup restore`: the plan, the question, the programs around it.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::Ordering;

use mainstay_backup::{Issue, RestoreReport, RestoreRequest, Selector, Target, Weight};
use mainstay_base::{Size, counted};
use mainstay_control::wire::ActionRequest;
use mainstay_control::{Client, Kind};
use serde_json::json;

use super::Session;
use crate::cli::IntoServer;
use crate::command;
use crate::exit::{Exit, Failure};
use crate::render::plain;

/// What `backup restore` was asked.
pub(super) struct Wanted<'a> {
    pub(super) name: &'a str,
    pub(super) snapshot: &'a str,
    pub(super) to: Option<&'a Path>,
    pub(super) repository: Option<&'a str>,
    pub(super) dry_run: bool,
    pub(super) yes: bool,
    pub(super) server: &'a IntoServer,
}

impl Session<'_> {
    pub(super) fn restore(&self, wanted: &Wanted<'_>) -> Result<Exit, Failure> {
        if self.is_into_server(wanted)? {
            return self.restore_server(wanted);
        }
        let target = match wanted.to {
            Some(path) => Target::Into(std::path::absolute(path).map_err(|e| {
                Failure::new(
                    Exit::Usage,
                    format!("cannot restore into {}: {e}", path.display()),
                )
            })?),
            None => Target::InPlace,
        };
        let in_place = wanted.to.is_none();
        let request = RestoreRequest {
            backup: wanted.name.to_owned(),
            snapshot: Selector::from(wanted.snapshot),
            repository: wanted.repository.map(str::to_owned),
            target,
            only: Vec::new(),
        };
        let plan = self.backups.plan_restore(&request, &self.progress)?;
        let programs = if in_place {
            self.programs_to_stop(wanted.name)?
        } else {
            Stops::default()
        };
        let mut text = plan.to_string().trim_end().to_owned();
        for line in programs.lines() {
            text.push('\n');
            text.push_str(&line);
        }
        if wanted.dry_run {
            if self.output.json {
                self.output
                    .document(&json!({ "schema": 1, "plan": text, "stop": programs.running }));
            } else {
                self.output.print(&format!("{text}\n"));
            }
            return Ok(Exit::Done);
        }
        if in_place && !wanted.yes {
            self.output.print_error(&format!("{text}\n"));
            ask(wanted.name)?;
        } else {
            self.output.say(&text);
        }
        let stopped = programs.stop()?;
        let restored = self.backups.restore(&plan, &self.progress);
        // The programs come back whether it worked or not: what was there before still is.
        let started = stopped.start();
        let report = restored?;
        if self.output.json {
            self.output.document(&json!({
                "schema": 1,
                "backup": wanted.name,
                "snapshot": plan.from.snapshot.id,
                "target": report.target,
                "set_aside": report.set_aside.iter().map(|aside| json!({ "from": aside.from, "to": aside.to })).collect::<Vec<_>>(),
                "files": report.files,
                "bytes": report.bytes,
                "next": report.next,
                "checked": report.checked,
                "issues": report.issues.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "stopped_and_started": programs.running,
            }));
        } else {
            self.tell_restored(&report);
        }
        started?;
        Ok(ended(&report.issues))
    }

    /// The programs that must not run while this backup is restored in place, as they are now.
    pub(super) fn programs_to_stop(&self, name: &str) -> Result<Stops, Failure> {
        let meant: Vec<String> = self
            .config
            .backup
            .backup(name)
            .map(|backup| {
                backup
                    .restore_stop
                    .iter()
                    .map(|stop| stop.value.clone())
                    .collect()
            })
            .unwrap_or_default();
        if meant.is_empty() {
            return Ok(Stops::default());
        }
        let client = command::client(self.cli)?;
        let status = match command::ask(async { Ok(client.status().await) })? {
            Ok(status) => status,
            Err(error) if error.kind == Kind::NotReachable => {
                return Ok(Stops {
                    absent: true,
                    ..Stops::default()
                });
            }
            Err(error) => return Err(error.into()),
        };
        let running = status
            .programs
            .into_iter()
            .filter(|process| meant.contains(&process.program) && process.pid.is_some())
            .map(|process| process.name)
            .collect();
        Ok(Stops {
            client: Some(client),
            running,
            absent: false,
        })
    }

    fn tell_restored(&self, report: &RestoreReport) {
        self.output.say(&format!(
            "restored {} ({}, {}); {}",
            report.target.display(),
            counted(report.files, "file"),
            Size(report.bytes).human(),
            report.checked
        ));
        for issue in &report.issues {
            self.output.warn(&plain(&issue.to_string()));
        }
        for aside in &report.set_aside {
            self.output
                .say(&format!("the old one is at {}", aside.to.display()));
        }
        if let Some(removal) = report.removal() {
            self.output
                .say(&format!("when it is not needed any more: {removal}"));
        }
        if let Some(next) = &report.next {
            self.output.say(next);
        }
    }
}

/// How a restore ended: what is not as it should be is not restored.
pub(super) fn ended(issues: &[Issue]) -> Exit {
    if issues.iter().any(|issue| issue.weight == Weight::Missing) {
        Exit::Partly
    } else {
        Exit::Done
    }
}

/// Programs that are stopped for a restore and started after it.
#[derive(Default)]
pub(super) struct Stops {
    client: Option<Client>,
    pub(super) running: Vec<String>,
    absent: bool,
}

impl Stops {
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.absent {
            lines.push("no daemon answers, so that no program is stopped for it".to_owned());
        }
        lines
    }

    pub(super) fn stop(&self) -> Result<Stopped<'_>, Failure> {
        if let (Some(client), false) = (&self.client, self.running.is_empty()) {
            let request = ActionRequest::new(self.running.iter().cloned(), true);
            let document = command::ask(async { Ok(client.stop(&request).await?) })?;
            if document.exit_code() != 0 {
                let stopped = Stopped(self);
                stopped.start()?;
                return Err(Failure::new(
                    Exit::Failed,
                    format!(
                        "cannot stop {} for the restore; nothing was restored",
                        self.running.join(", ")
                    ),
                )
                .help("see: mainstay status"));
            }
        }
        Ok(Stopped(self))
    }
}

/// What was stopped and is owed a start.
pub(super) struct Stopped<'a>(&'a Stops);

impl Stopped<'_> {
    pub(super) fn start(&self) -> Result<(), Failure> {
        let Stops {
            client: Some(client),
            running,
            ..
        } = self.0
        else {
            return Ok(());
        };
        if running.is_empty() {
            return Ok(());
        }
        let request = ActionRequest::new(running.iter().cloned(), true);
        let document = command::ask(async { Ok(client.start(&request).await?) })?;
        if document.exit_code() == 0 {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Partly,
            format!("not all of {} could be started again", running.join(", ")),
        )
        .help("see: mainstay status"))
    }
}

/// Asks a person at a terminal; without one, says how to go on.
pub(super) fn ask(name: &str) -> Result<(), Failure> {
    let no = |message: &str| {
        Failure::new(Exit::Usage, message.to_owned()).help(format!(
            "add --yes to do it without asking, or --to DIR to look at it first: mainstay backup restore {name} --yes"
        ))
    };
    if !std::io::stdin().is_terminal() {
        return Err(no(
            "a restore in place asks first, and there is no terminal to ask",
        ));
    }
    super::ASKING.store(true, Ordering::SeqCst);
    if super::CANCELLED.load(Ordering::SeqCst) {
        return Err(no("nothing was restored"));
    }
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "Restore now? [y/N] ").and_then(|()| stderr.flush());
    let mut answer = String::new();
    let _ = std::io::stdin().lock().read_line(&mut answer);
    super::ASKING.store(false, Ordering::SeqCst);
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(no("nothing was restored"))
    }
}
