//! `mainstay`: one binary that runs, logs and backs up a web app.
//!
//! Nothing but glue: the command line, the config as a whole, the daemon's composition and the text
//! people see. What decides and what acts is in the crates below.

mod alerting;
mod cli;
mod command;
mod config;
mod daemon;
mod exit;
mod facade;
mod faults;
mod http;
mod jobs;
mod output;
mod own_log;
mod progress;
mod records;
mod render;
mod supervisorctl;
mod supervisord;
mod timetable;
#[cfg(test)]
mod traceback_tests;
mod upgrade;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use mainstay_control::Verb;

use crate::cli::{Cli, Command};
use crate::exit::{Exit, Failure};
use crate::output::Output;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    if let Some((program, rest)) = command::called(&words, "supervisord") {
        return supervisord::run(&program, rest);
    }
    if let Some((program, rest)) = command::called(&words, "supervisorctl") {
        return supervisorctl::run(&program, rest);
    }
    if let [_, word, state] = &std::env::args_os().collect::<Vec<_>>()[..]
        && word == "keep"
    {
        // Before anything else, as it is to be small. One that fails goes on to say so.
        if mainstay_supervise::keep(Path::new(state)).is_ok() {
            return Exit::Done.into();
        }
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
                output::usage_document(&error.to_string());
            }
            // Help and version are no errors; clap knows where each is printed.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage.into()
            } else {
                Exit::Done.into()
            };
        }
    };
    let output = Output::new(&cli);
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| dispatch(&cli, &output)));
    let exit = match ended {
        Ok(Ok(exit)) => exit,
        Ok(Err(failure)) => {
            output.failure(&failure);
            failure.exit
        }
        Err(_) => {
            output.failure(
                &Failure::new(Exit::Bug, "this is a fault of mainstay itself")
                    .help("please report it with the lines above and what you did"),
            );
            Exit::Bug
        }
    };
    // A daemon that is up is up, whoever heard of it.
    let matters = !matches!(cli.command, Command::Run { .. });
    if exit == Exit::Done && matters && !output::all_was_said() {
        output.failure_text(&Failure::new(
            Exit::Failed,
            "cannot write to standard output",
        ));
        return Exit::Failed.into();
    }
    exit.into()
}

fn dispatch(cli: &Cli, output: &Output) -> Result<Exit, Failure> {
    match &cli.command {
        Command::Run { daemon } => daemon::run(command::load(cli, output)?, output, *daemon),
        Command::Status { names } => command::status::run(cli, output, names),
        Command::Metrics { to } => command::status::metrics(cli, output, to.as_deref()),
        Command::Start(names) => command::program::act(cli, output, Verb::Start, names),
        Command::Stop(names) => command::program::act(cli, output, Verb::Stop, names),
        Command::Restart(names) => command::program::act(cli, output, Verb::Restart, names),
        Command::Signal { signal, names } => command::program::signal(cli, output, signal, names),
        Command::Logs(logs) => command::logs::run(cli, output, logs),
        Command::Log(log) => command::log::run(cli, output, log),
        Command::Alert(alert) => command::alert::run(cli, output, alert),
        Command::Faults(asked) => command::faults::run(cli, output, asked),
        Command::Check => command::check::run(cli, output),
        Command::Backup(backup) => command::backup::run(cli, output, backup),
        Command::Shutdown => command::program::shutdown(cli, output),
        // Dispatched before the command line is parsed: it is not ours.
        Command::Supervisord { .. } | Command::Supervisorctl { .. } => Ok(Exit::Usage),
        Command::Keep { .. } => Err(Failure::new(
            Exit::Usage,
            "the keeper of output cannot work without the socket that a daemon gives it",
        )
        .help("it is started by `mainstay run`, when there is something to keep")),
        Command::Upgrade => command::program::upgrade(cli, output),
        Command::SelfCheck { arguments } => command::self_check(output, arguments),
        Command::ReopenLogs => command::program::reopen_logs(cli, output),
        Command::Version => Ok(command::version::run(cli, output)),
        Command::Completions { shell } => Ok(command::generate::completions(output, *shell)),
        Command::Man { directory } => command::generate::man(output, directory),
    }
}
