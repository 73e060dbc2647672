//! `mainstay check`

use mainstay_alert::Target;
use mainstay_base::Diagnostic;
use mainstay_supervise::preflight;
use serde_json::json;

use crate::cli::Cli;
use crate::command;
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::http::shown;
use crate::output::Output;
use crate::render::plain;

/// Reads the config as `run` would, and shows what it comes to and what would keep programs from
/// starting here. Secrets are looked at, never shown.
pub(crate) fn run(cli: &Cli, output: &Output) -> Result<Exit, Failure> {
    let mut config = command::load(cli, output)?;
    let environment = config.resolver.public_environment();
    let hindrances = preflight(&config.programs, &environment, &config.resolver);
    let secrets: Vec<Diagnostic> = config
        .backup
        .repositories
        .iter()
        .filter_map(|repository| {
            let error = repository.password.resolve(&config.resolver).err()?;
            let message = format!("repository {} cannot be opened: {error}", repository.name);
            Some(Diagnostic::warning(message).help(error.help()))
        })
        .collect();
    config.warnings.extend(secrets);
    if let Err(error) = config.log.clone().with_secrets(&config.resolver) {
        config.warnings.push(Diagnostic::warning(error.to_string()));
    }
    if let Err(error) = config.control.http.servers(&config.resolver) {
        config.warnings.push(
            Diagnostic::warning(format!("HTTP cannot be served: {error}")).help(error.help()),
        );
    }
    if let Some(group) = &config.control.group
        && !matches!(mainstay_sys::users::group(group), Ok(Some(_)))
    {
        config.warnings.push(
            Diagnostic::warning(format!("there is no group `{group}` on this host"))
                .help("make it (groupadd), or correct [control] socket.group"),
        );
    }
    config
        .warnings
        .extend(hindrances.into_iter().map(Diagnostic::warning));
    if output.json {
        output.document(&document(&config));
    } else {
        for warning in &config.warnings {
            output.print_error(&format!("{warning}\n"));
        }
        output.say(&text(&config));
    }
    Ok(Exit::Done)
}

fn document(config: &Config) -> serde_json::Value {
    json!({
        "schema": 1,
        "config": config.path,
        "host": config.host.name,
        "state": config.host.state,
        "socket": config.control.socket,
        "http": config.control.http.listen.iter().map(shown).collect::<Vec<_>>(),
        "log": config.log.directory,
        "programs": config.programs.iter().map(|program| json!({
            "name": program.name,
            "processes": program.processes.iter().map(|p| &p.process).collect::<Vec<_>>(),
            "command": program.processes.first().map(|p| p.command.iter().map(ToString::to_string).collect::<Vec<_>>()),
            "dir": program.dir,
            "user": program.user,
            "autostart": program.autostart,
        })).collect::<Vec<_>>(),
        "repositories": config.backup.repositories.iter().map(|r| json!({ "name": r.name, "path": r.place.path(), "place": r.place.shown() })).collect::<Vec<_>>(),
        "backups": config.backup.backups.iter().map(|b| json!({
            "name": b.name,
            "source": b.source.kind(),
            "path": b.source.path(),
            "at": b.at.as_ref().map(ToString::to_string),
            "to": b.to,
        })).collect::<Vec<_>>(),
        "alerts": config.alert.iter().flat_map(|alert| &alert.channels).map(|channel| json!({
            "name": channel.name,
            "by": by(&channel.target),
            "from": channel.when.severity.name(),
        })).collect::<Vec<_>>(),
        "warnings": config.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn text(config: &Config) -> String {
    let mut lines = vec![
        format!("{} is good", config.path.display()),
        format!("  state   {}", config.host.state.display()),
        format!("  socket  {}", config.control.socket.display()),
        format!("  logs    {}", config.log.directory.display()),
    ];
    for address in &config.control.http.listen {
        lines.push(format!("  http    {}", shown(address)));
    }
    for program in &config.programs {
        let command: Vec<String> = program
            .processes
            .first()
            .map(|p| p.command.iter().map(ToString::to_string).collect())
            .unwrap_or_default();
        let times = match program.processes.len() {
            1 => String::new(),
            n => format!(" × {n}"),
        };
        lines.push(format!(
            "  program {}{times}: {}",
            program.name,
            plain(&command.join(" "))
        ));
    }
    for backup in &config.backup.backups {
        let at = backup
            .at
            .as_ref()
            .map_or_else(|| "by hand".to_owned(), ToString::to_string);
        lines.push(format!(
            "  backup  {}: {} {}, {at}, to {}",
            backup.name,
            backup.source.kind(),
            backup.source.place(),
            backup.to.join(" ")
        ));
    }
    for channel in config.alert.iter().flat_map(|alert| &alert.channels) {
        lines.push(format!(
            "  alert   {}: {}, from {} up",
            channel.name,
            by(&channel.target),
            channel.when.severity
        ));
    }
    lines.join("\n")
}

/// By what a channel brings messages, without what is secret.
fn by(target: &Target) -> String {
    match target {
        Target::Mail(mail) => format!("mail to {}", mail.to.join(", ")),
        Target::Webhook(hook) => format!("webhook of {}", hook.dialect.name()),
        Target::Exec(exec) => format!(
            "program {}",
            exec.command.first().map_or("", String::as_str)
        ),
        Target::Custom(_) => "a channel of its own".to_owned(),
    }
}
