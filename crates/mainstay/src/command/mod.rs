//! What each command does. A command returns its exit code or a [`Failure`]; it never exits by itself.

pub(crate) mod alert;
pub(crate) mod backup;
pub(crate) mod check;
pub(crate) mod faults;
pub(crate) mod generate;
pub(crate) mod log;
pub(crate) mod logs;
pub(crate) mod program;
pub(crate) mod status;
pub(crate) mod version;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;
use mainstay_base::Diagnostics;
use mainstay_control::Client;

use crate::cli::Cli;
use crate::config;
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// The environment, for `${env.NAME}` and secret references. Names or values that are not UTF-8
/// can't be referenced from a TOML file and are left out.
pub(crate) fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        // For this process alone.
        .filter(|(name, _)| name != crate::upgrade::VARIABLE && name != crate::upgrade::NOFILE)
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// A config that is wrong: every diagnostic, and exit 2.
pub(crate) fn config_failure(diagnostics: &Diagnostics) -> Failure {
    let mut failure = Failure::new(Exit::Usage, diagnostics.to_string());
    failure.diagnostics = diagnostics.iter().cloned().collect();
    failure
}

/// The config of this invocation, read and checked.
pub(crate) fn load(cli: &Cli, output: &Output) -> Result<config::Config, Failure> {
    let path = config::locate(cli.config.as_deref())?;
    config::load(&path, environment(), output.color_err())
        .map_err(|diagnostics| config_failure(&diagnostics))
}

/// Where the daemon of this invocation listens.
pub(crate) fn socket(cli: &Cli) -> Result<PathBuf, Failure> {
    if let Some(socket) = &cli.socket {
        return Ok(socket.clone());
    }
    let path = config::locate(cli.config.as_deref())?;
    config::socket(&path).map_err(|diagnostics| config_failure(&diagnostics))
}

/// The program's name and the words behind it, if this is a call under another name, as of
/// `supervisord`: by a link of that name, or as `mainstay supervisord`.
pub(crate) fn called<'a>(words: &'a [String], name: &str) -> Option<(String, &'a [String])> {
    let (program, rest) = words.split_first()?;
    if std::path::Path::new(program).file_name()? == name {
        // What is found by PATH is known to the original by its whole path, which it shows, and looks
        // for its config from there.
        let found = mainstay_sys::proc::executed_file();
        let whole = found.filter(|found| found.ends_with(&format!("/{program}")));
        return Some((whole.unwrap_or_else(|| program.clone()), rest));
    }
    match rest.split_first() {
        Some((word, rest)) if word == name => Some((format!("{program} {name}"), rest)),
        _ => None,
    }
}

/// Reads what a daemon called like this would read, and says that it could take over.
pub(crate) fn self_check(output: &Output, arguments: &[OsString]) -> Result<Exit, Failure> {
    let words: Vec<String> = arguments
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    if let Some((program, rest)) = called(&words, "supervisord") {
        crate::supervisord::self_check(&program, rest)
            .map_err(|text| Failure::new(Exit::Usage, text))?;
        output.print(&format!("{}\n", crate::upgrade::answer()));
        return Ok(Exit::Done);
    }
    let cli = Cli::try_parse_from(arguments)
        .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    load(&cli, output)?;
    output.print(&format!("{}\n", crate::upgrade::answer()));
    Ok(Exit::Done)
}

/// A client for the daemon of this invocation.
pub(crate) fn client(cli: &Cli) -> Result<Client, Failure> {
    socket(cli).map(Client::new)
}

/// What the daemon refused, as the end of a command.
impl From<mainstay_control::Error> for Failure {
    fn from(error: mainstay_control::Error) -> Self {
        let exit = Exit::from_code(error.exit_code());
        Self::new(exit, error.message).help_if(error.help)
    }
}

/// Runs a client's request to its end. The runtime lives only that long.
pub(crate) fn ask<T>(request: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(Exit::Failed, format!("cannot start the client: {e}")))?
        .block_on(request)
}
