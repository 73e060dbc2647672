//! `mainstay status`

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainstay_control::wire::{Desired, ProcessStatus, State, StatusDocument};

use crate::cli::Cli;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::{command, render};

/// Asks the daemon and draws its answer.
pub(crate) fn run(cli: &Cli, output: &Output, names: &[String]) -> Result<Exit, Failure> {
    let client = command::client(cli)?;
    let mut document = command::ask(async { Ok(client.status().await?) })?;
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
