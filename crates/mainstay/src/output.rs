//! What reaches the terminal. Everything the binary says goes through here.

use std::io::{self, IsTerminal, Write};

use std::sync::atomic::{AtomicBool, Ordering};

use jiff::tz::TimeZone;
use mainstay_base::{Diagnostic, Severity, counted};
use serde::Serialize;

use crate::cli::{Cli, ColorChoice};
use crate::exit::{Exit, Failure};
use crate::render::{Paint, Tone};

/// Whether something that was to be said could not be written.
static UNWRITTEN: AtomicBool = AtomicBool::new(false);

/// Whether standard output took all that was said. Nobody listening any more is no fault.
pub(crate) fn all_was_said() -> bool {
    !UNWRITTEN.load(Ordering::Relaxed)
}

/// Writes to standard output at once, for those who talk as somebody else does. A reader that went
/// away is no fault.
pub(crate) fn show(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// As [`show`], to standard error.
pub(crate) fn complain(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// A diagnostic for machines.
fn diagnostic(diagnostic: &Diagnostic) -> serde_json::Value {
    let place = diagnostic.place.as_ref();
    let position = place.map(|place| place.source.line_column(place.span.start));
    serde_json::json!({
        "severity": match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        "message": diagnostic.message,
        "file": place.map(|place| place.source.path()),
        "line": position.map(|(line, _)| line),
        "column": position.map(|(_, column)| column),
        "label": diagnostic.label,
        "help": diagnostic.help,
    })
}

/// A command line that makes no sense, for machines: here there is no [`Output`] yet.
pub(crate) fn usage_document(message: &str) {
    let document = serde_json::json!({
        "schema": 1,
        "error": {
            "message": message.trim_end(),
            "help": "mainstay --help",
            "exit_code": Exit::Usage as u8,
            "diagnostics": [],
        },
    });
    let _ = writeln!(io::stdout().lock(), "{document}");
}

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
        let mut stdout = io::stdout().lock();
        if let Err(error) = stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            UNWRITTEN.store(true, Ordering::Relaxed);
        }
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
        complain(text);
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
            let message = match failure.diagnostics.len() {
                0 => failure.message.clone(),
                n => format!("the config is wrong in {}", counted(n, "place")),
            };
            self.document(&serde_json::json!({
                "schema": 1,
                "error": {
                    "message": message,
                    "help": failure.help,
                    "exit_code": failure.exit as u8,
                    "diagnostics": failure.diagnostics.iter().map(diagnostic).collect::<Vec<_>>(),
                },
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
