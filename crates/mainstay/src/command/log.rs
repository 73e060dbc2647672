//! `mainstay log`: configs of logs, and the levels of the running daemon.

use std::fs::File;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use mainstay_base::config::Document;
use mainstay_base::{Diagnostics, Resolver, Secrets, parse_duration};
use mainstay_control::wire::LogLevelRequest;
use mainstay_log::seelog::{self, Dialect, Options};
use mainstay_log::{Config, Defaults, Format, Level, Question, Retention, Stream};
use serde_json::json;

use crate::cli::{Cli, Log, OneStream};
use crate::command;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::own_log::own_log_sink;

/// Does it.
pub(crate) fn run(cli: &Cli, output: &Output, log: &Log) -> Result<Exit, Failure> {
    match log {
        Log::Check { file, strict } => check(output, file, *strict),
        Log::Explain {
            file,
            level,
            source,
            func,
            target,
            program,
            stream,
        } => {
            let question = Question {
                level: Some(*level),
                target: target.clone(),
                function: func.clone(),
                file: source.clone(),
                program: program.clone(),
                stream: Some(match stream {
                    OneStream::Stdout => Stream::Stdout,
                    OneStream::Stderr => Stream::Stderr,
                }),
            };
            explain(output, file, &question)
        }
        Log::Convert { file } => {
            let config = seelog(file, Dialect::Extended)?;
            warn(output, &config.warnings);
            output.print(&config.to_toml());
            Ok(Exit::Done)
        }
        Log::Level { setting, time } => level(cli, output, setting, time),
    }
}

/// What a file holds.
enum Loaded {
    Seelog(Box<seelog::Config>),
    Toml(Box<Config>, Diagnostics),
}

fn check(output: &Output, file: &Path, strict: bool) -> Result<Exit, Failure> {
    let (warnings, what) = match load(file, strict)? {
        Loaded::Seelog(config) => {
            let mut warnings = config.warnings.clone();
            if !strict {
                let (Ok((_, more)) | Err(more)) = config.to_pipeline(directory()?, TimeZone::UTC);
                warnings.extend(more);
            }
            let receivers = config.leaves().len();
            (warnings, format!("{receivers} receivers"))
        }
        Loaded::Toml(config, warnings) => (
            warnings,
            format!(
                "{} routes, {} sinks",
                config.routes.len(),
                config.sinks.len()
            ),
        ),
    };
    if output.json {
        output.document(&json!({
            "schema": 1,
            "file": file,
            "holds": what,
            "warnings": warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }));
    } else {
        warn(output, &warnings);
        output.say(&format!("{} is good: {what}", file.display()));
    }
    Ok(Exit::Done)
}

fn explain(output: &Output, file: &Path, question: &Question) -> Result<Exit, Failure> {
    let (text, reaches) = match load(file, false)? {
        Loaded::Seelog(config) => {
            let explanation = config.explain(
                question.level.unwrap_or(Level::Info),
                question.function.as_deref().unwrap_or(""),
                question.file.as_deref().unwrap_or(""),
            );
            let reaches = explanation.reached().next().is_some();
            (explanation.to_string(), reaches)
        }
        Loaded::Toml(config, _) => {
            let answer = config.explain(question);
            (answer.to_string(), answer.reaches())
        }
    };
    if output.json {
        output.document(&json!({ "schema": 1, "reaches": reaches, "text": text }));
    } else {
        output.say(&text);
    }
    Ok(Exit::Done)
}

fn level(cli: &Cli, output: &Output, setting: &str, time: &[String]) -> Result<Exit, Failure> {
    let seconds = match time {
        [] => None,
        [word, time] if word == "for" => {
            let time =
                parse_duration(time).map_err(|e| Failure::new(Exit::Usage, e.to_string()))?;
            Some(time.as_secs().max(1))
        }
        _ => {
            return Err(Failure::new(
                Exit::Usage,
                "after the level comes nothing, or `for` and a time",
            )
            .help("for example: mainstay log level web=debug for 10m"));
        }
    };
    let (target, level) = match setting.rsplit_once('=') {
        Some((target, level)) => (Some(target.to_owned()), level),
        None => (None, setting),
    };
    let client = command::client(cli)?;
    let request = LogLevelRequest::new(target, level, seconds);
    let document = command::ask(async { Ok(client.log_level(&request).await?) })?;
    if output.json {
        output.document(&document);
    } else {
        output.say(document.detail.as_deref().unwrap_or("done"));
    }
    Ok(Exit::Done)
}

fn warn(output: &Output, warnings: &Diagnostics) {
    for warning in warnings.iter() {
        output.print_error(&format!("{warning}\n"));
    }
}

fn directory() -> Result<PathBuf, Failure> {
    std::env::current_dir().map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("cannot tell the working directory: {error}"),
        )
    })
}

fn is_xml(file: &Path) -> bool {
    file.extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("xml"))
}

fn load(file: &Path, strict: bool) -> Result<Loaded, Failure> {
    if is_xml(file) {
        let dialect = if strict {
            Dialect::Strict
        } else {
            Dialect::Extended
        };
        return Ok(Loaded::Seelog(Box::new(seelog(file, dialect)?)));
    }
    toml(file).map(|(config, warnings)| Loaded::Toml(Box::new(config), warnings))
}

fn seelog(file: &Path, dialect: Dialect) -> Result<seelog::Config, Failure> {
    let source = File::open(file).map_err(|error| {
        Failure::new(
            Exit::Usage,
            format!("cannot read {}: {error}", file.display()),
        )
        .help("check the path and that you may read the file")
    })?;
    let variables = command::environment();
    let environment = |name: &str| variables.get(name).cloned();
    let directory = directory()?;
    let directory = directory.to_string_lossy();
    let options = Options::new()
        .dialect(dialect)
        .environment(&environment)
        .directory(&directory);
    seelog::Config::read(file, source, &options).map_err(|said| command::config_failure(&said))
}

/// The `[log]` of a config of mainstay, or a file that is such a section itself.
fn toml(file: &Path) -> Result<(Config, Diagnostics), Failure> {
    let failed = |said: Diagnostics| command::config_failure(&said);
    let document = Document::load(file).map_err(failed)?;
    let defaults = Defaults {
        directory: directory()?,
        zone: TimeZone::system(),
        colours: false,
        sinks: vec![(own_log_sink(Retention::default()), Format::text())],
        resolver: Resolver::new(Secrets::default(), command::environment()),
    };
    let mut root = document.root();
    let config = match root.section("log") {
        Some(section) => Config::read(section, &defaults),
        None if root.value("schema").is_some() => Config::standard(&defaults),
        None => Config::read(document.root(), &defaults),
    };
    let said = document.take_diagnostics();
    if said.has_errors() {
        return Err(failed(said));
    }
    Ok((config, said))
}
