//! What reaches the terminal. Everything the binary says goes through here.

use std::io::{self, IsTerminal, Write};

use jiff::tz::TimeZone;
use serde::Serialize;

use crate::cli::{Cli, ColorChoice};
use crate::exit::{Exit, Failure};
use crate::render::{Paint, Tone};

/// How this invocation talks.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    color_out: bool,
    color_err: bool,
}

impl Output {
    /// From the flags, the terminal and `NO_COLOR` (no-color.org).
    pub(crate) fn new(cli: &Cli) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let wants = |terminal: bool| match cli.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal && !no_color,
        };
        Self {
            json: cli.json,
            quiet: cli.quiet,
            color_out: wants(io::stdout().is_terminal()),
            color_err: wants(io::stderr().is_terminal()),
        }
    }

    /// How to draw on standard output.
    pub(crate) fn paint(&self, zone: TimeZone) -> Paint {
        Paint {
            color: self.color_out,
            zone,
        }
    }

    /// Whether standard error takes colours.
    pub(crate) fn color_err(&self) -> bool {
        self.color_err
    }

    /// Writes to standard output. A reader that went away (`| head`) is no fault.
    #[allow(
        clippy::unused_self,
        reason = "all that is said goes through a value one can pass on"
    )]
    pub(crate) fn print(&self, text: &str) {
        let _ = io::stdout().lock().write_all(text.as_bytes());
    }

    /// A line for people, left out with `--json` and `--quiet`.
    pub(crate) fn say(&self, line: &str) {
        if !self.json && !self.quiet {
            self.print(&format!("{line}\n"));
        }
    }

    /// A document for machines.
    pub(crate) fn document<T: Serialize>(&self, document: &T) {
        match serde_json::to_string(document) {
            Ok(text) => self.print(&format!("{text}\n")),
            Err(error) => self.warn(&format!("cannot write JSON: {error}")),
        }
    }

    /// Writes to standard error.
    #[allow(clippy::unused_self, reason = "as print")]
    pub(crate) fn print_error(&self, text: &str) {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }

    /// Something a person should know, on standard error.
    pub(crate) fn warn(&self, text: &str) {
        let paint = Paint {
            color: self.color_err,
            zone: TimeZone::UTC,
        };
        let _ = writeln!(
            io::stderr().lock(),
            "{} {text}",
            paint.tone(Tone::Busy, "warning:")
        );
    }

    /// The end of a command that failed: what, why, what next.
    pub(crate) fn failure(&self, failure: &Failure) {
        if self.json {
            self.document(&serde_json::json!({
                "schema": 1,
                "error": { "message": failure.message, "help": failure.help, "exit_code": failure.exit as u8 },
            }));
        }
        self.failure_text(failure);
    }

    /// What failed, on standard error only: for one of several things a command does.
    pub(crate) fn failure_text(&self, failure: &Failure) {
        let paint = Paint {
            color: self.color_err,
            zone: TimeZone::UTC,
        };
        let mut stderr = io::stderr().lock();
        // A diagnostic brings its own `file:line:column: error:`.
        let diagnosed = failure.exit == Exit::Usage && failure.message.contains(": error: ");
        let lead = if diagnosed || failure.message.starts_with("error:") {
            String::new()
        } else {
            format!("{} ", paint.tone(Tone::Bad, "error:"))
        };
        let _ = writeln!(stderr, "{lead}{}", failure.message);
        if let Some(help) = &failure.help {
            let _ = writeln!(stderr, "{} {help}", paint.tone(Tone::Strong, "help:"));
        }
    }
}
