//! `start`, `stop`, `restart`, `signal`, `shutdown`, `reopen-logs`

use std::time::Duration;

use mainstay_control::wire::{ActionDocument, ActionRequest, DoneDocument, SignalRequest};
use mainstay_control::{Client, Verb};

use crate::cli::{Cli, Names};
use crate::command;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::render::plain;

/// Starts, stops or restarts.
pub(crate) fn act(cli: &Cli, output: &Output, verb: Verb, names: &Names) -> Result<Exit, Failure> {
    let client = command::client(cli)?;
    let request = ActionRequest::new(names.names.iter().cloned(), !names.no_wait);
    let document = command::ask(async {
        Ok(match verb {
            Verb::Start => client.start(&request).await?,
            Verb::Stop => client.stop(&request).await?,
            _ => client.restart(&request).await?,
        })
    })?;
    Ok(report(output, &document))
}

/// Sends a signal.
pub(crate) fn signal(
    cli: &Cli,
    output: &Output,
    signal: &str,
    names: &[String],
) -> Result<Exit, Failure> {
    let client = command::client(cli)?;
    let request = SignalRequest::new(names.iter().cloned(), signal);
    let document = command::ask(async { Ok(client.signal(&request).await?) })?;
    Ok(report(output, &document))
}

fn report(output: &Output, document: &ActionDocument) -> Exit {
    if output.json {
        output.document(document);
    } else {
        for result in &document.results {
            let state = result
                .state
                .map(|state| format!(" ({state})"))
                .unwrap_or_default();
            let detail = result
                .detail
                .as_deref()
                .map(|d| format!(": {}", plain(d)))
                .unwrap_or_default();
            let line = format!("{}: {}{state}{detail}", result.name, result.outcome);
            if result.outcome.is_done(document.verb) {
                output.say(&line);
            } else {
                output.print(&format!("{line}\n"));
            }
        }
    }
    Exit::from_code(document.exit_code())
}

/// How long a shutdown may take before the command stops waiting: programs have their own limits.
const SHUTDOWN: Duration = Duration::from_mins(10);

/// Ends the daemon and waits until it is gone.
pub(crate) fn shutdown(cli: &Cli, output: &Output) -> Result<Exit, Failure> {
    let client = command::client(cli)?;
    command::ask(async {
        let process = client.process().await;
        client.shutdown().await?;
        Ok(client.gone(process, SHUTDOWN).await?)
    })?;
    // A daemon that ends in order takes its socket with it.
    if client.path().exists() {
        return Err(Failure::new(
            Exit::Unreachable,
            "the daemon is gone before it had stopped everything: programs may go on",
        )
        .help(
            "start it again (mainstay run --daemon): it takes over what runs; then shut it down",
        ));
    }
    done(
        output,
        &DoneDocument::with("every program has ended, and the daemon with them"),
    );
    Ok(Exit::Done)
}

/// How long the new binary may take to answer.
const UPGRADE: Duration = Duration::from_mins(1);

/// Lets the binary on disk take over, and waits until it answers.
pub(crate) fn upgrade(cli: &Cli, output: &Output) -> Result<Exit, Failure> {
    let client = command::client(cli)?;
    let version = command::ask(async {
        let before = client.version().await?;
        client.upgrade().await?;
        let deadline = std::time::Instant::now() + UPGRADE;
        loop {
            // A connection may be cut while the binaries change; the socket stays.
            match client.version().await {
                Ok(now) if now.run != before.run => return Ok(now),
                _ if std::time::Instant::now() > deadline => {
                    return Err(
                        Failure::new(Exit::Unreachable, "the new binary does not answer")
                            .help("look at the daemon's log: mainstay logs mainstay"),
                    );
                }
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    })?;
    done(
        output,
        &DoneDocument::with(format!(
            "mainstay {} has taken over (pid {})",
            version.version, version.pid
        )),
    );
    Ok(Exit::Done)
}

/// Lets the daemon open its log files anew.
pub(crate) fn reopen_logs(cli: &Cli, output: &Output) -> Result<Exit, Failure> {
    let client: Client = command::client(cli)?;
    let document = command::ask(async { Ok(client.reopen_logs().await?) })?;
    done(output, &document);
    Ok(Exit::Done)
}

fn done(output: &Output, document: &DoneDocument) {
    if output.json {
        output.document(document);
    } else {
        output.say(document.detail.as_deref().unwrap_or("done"));
    }
}
