//! `mainstay version`

use crate::cli::Cli;
use crate::command;
use crate::exit::Exit;
use crate::output::Output;

/// The version of this binary, and of the daemon if one answers.
pub(crate) fn run(cli: &Cli, output: &Output) -> Exit {
    let own = env!("CARGO_PKG_VERSION");
    // Without a config or a daemon there is still a version to show.
    let daemon = command::client(cli)
        .ok()
        .and_then(|client| command::ask(async { Ok(client.version().await?) }).ok());
    if output.json {
        output.document(&serde_json::json!({
            "schema": 1,
            "version": own,
            "daemon": daemon.as_ref().map(|d| serde_json::json!({ "version": d.version, "pid": d.pid })),
        }));
    } else {
        output.print(&format!("mainstay {own}\n"));
        if let Some(daemon) = daemon {
            output.say(&format!("daemon {} (pid {})", daemon.version, daemon.pid));
        }
    }
    Exit::Done
}
