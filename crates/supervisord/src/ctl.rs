//! `supervisorctl` as a library: a line goes in, texts come out, and an exit status is left.
//!
//! It asks a server over XML-RPC and HTTP, on a unix socket or on TCP, whether that is ours or the
//! original. It reads no arguments, environment or terminal and prints nothing: what it needs of
//! those comes as [`Settings`], a [`Console`] and a writer.
//!
//! Texts and exit statuses are the original's, spec section 1.6, because scripts read them. What
//! differs:
//! - a wrong password is one line, not two;
//! - an error that the original shows as a Python exception with a file and a line number has the
//!   exception, but no place in a source that is not ours;
//! - a result that the original has no words for is shown with the server's, and the names that
//!   follow are still obeyed;
//! - `tail -f` of what is not there exits with 1, not 0;
//! - groups that `update` does not know are named in the order in which they were given.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mainstay_base::secret::Secret;

use self::failure::Failure;
use self::server::Server;
use self::session::Session;

mod actions;
mod complete;
mod failure;
mod follow;
mod help;
mod http;
pub mod options;
mod server;
mod session;

pub use complete::word_start;
pub use options::{Options, Surroundings, UsageError};

/// What a line of input does to the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// The next line can come.
    Continue,
    /// The shell is left: `quit`, `exit`, `EOF`.
    Quit,
}

/// How the server is reached, and how the shell looks.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `unix:///path` or `http://host:port`.
    pub serverurl: String,
    /// Who asks. Without one of the two there is no authentication.
    pub username: Option<String>,
    /// The password to it.
    pub password: Option<Secret>,
    /// What stands before `> ` in the shell.
    pub prompt: String,
    /// Whether somebody is there to be asked: for a password, and before a shutdown.
    pub interactive: bool,
    /// Where the lines of the shell are kept, as an absolute path.
    pub history_file: Option<String>,
    /// What the person should know about the config, each a line.
    pub notes: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            serverurl: "http://localhost:9001".to_owned(),
            username: None,
            password: None,
            prompt: "supervisor".to_owned(),
            interactive: false,
            history_file: None,
            notes: Vec::new(),
        }
    }
}

/// The person at the terminal, or what stands in for one.
pub trait Console {
    /// Shows the prompt and reads a line, without its end. `None` when there are no more lines, or
    /// the person interrupts.
    fn ask(&mut self, prompt: &str) -> Option<String>;

    /// As [`ask`](Self::ask), but what is typed is not shown.
    fn ask_secret(&mut self, prompt: &str) -> Option<Secret>;
}

/// Obeys one line after the other.
pub struct Ctl {
    settings: Settings,
    console: Box<dyn Console>,
    interrupt: Arc<AtomicBool>,
    status: i32,
    /// What the server has, as group and name, for completion between two lines.
    known: Option<Vec<(String, String)>>,
}

impl Ctl {
    /// Connects to nothing yet. Setting `interrupt` ends a wait within a fraction of a second, and
    /// with it the action, but not the shell; the next line clears it.
    pub fn new(settings: Settings, console: Box<dyn Console>, interrupt: Arc<AtomicBool>) -> Self {
        Self {
            settings,
            console,
            interrupt,
            status: 0,
            known: None,
        }
    }

    /// The settings; `open` changes the URL.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Obeys lines until there are no more or one of them quits. As in the original the first is
    /// `status`, and the exit status of all this is 0.
    ///
    /// `read` shows the prompt, also where it is no terminal, and reads a line. Where it completes
    /// words it does so with a `Ctl` of its own, made anew from these settings for each line.
    pub fn shell(
        &mut self,
        mut read: impl FnMut(&Self, &str) -> Option<String>,
        out: &mut (dyn Write + Send),
    ) {
        let mut line = Some("status".to_owned());
        while self.line(line.as_deref().unwrap_or("EOF"), out) == Flow::Continue {
            line = read(self, &self.prompt());
        }
    }

    /// What the shell shows before each line.
    pub fn prompt(&self) -> String {
        format!("{}> ", self.settings.prompt)
    }

    /// The exit status of the last line. The shell itself always exits with 0.
    pub fn status(&self) -> i32 {
        self.status
    }

    /// Obeys a line, and writes to `out` what there is to say. Each line of output is written and
    /// flushed as one piece; a list is one piece.
    pub fn line(&mut self, line: &str, out: &mut (dyn Write + Send)) -> Flow {
        self.interrupt.store(false, Ordering::Relaxed);
        self.known = None;
        self.status = 0;
        let line = line.trim();
        if line.is_empty() {
            return Flow::Continue;
        }
        loop {
            match self.obey(line, out) {
                Ok(flow) => return flow,
                Err(Failure::Http { status: 401, .. }) => {
                    self.status = 1;
                    if !self.settings.interactive {
                        say(out, "Server requires authentication");
                        return Flow::Continue;
                    }
                    say(out, "Server requires authentication");
                    if !self.log_in(out) {
                        return Flow::Continue;
                    }
                    self.status = 0;
                }
                Err(Failure::Interrupted) => {
                    self.status = 1;
                    say(out, "");
                    return Flow::Continue;
                }
                Err(failure) => {
                    self.status = 1;
                    if !matches!(failure, Failure::Output(_)) {
                        say(out, &self.explain(&failure));
                    }
                    return Flow::Continue;
                }
            }
        }
    }

    fn obey(&mut self, line: &str, out: &mut (dyn Write + Send)) -> Result<Flow, Failure> {
        let (action, argument, line) = split_line(line);
        let mut session = Session {
            server: None,
            settings: &mut self.settings,
            console: self.console.as_mut(),
            interrupt: &self.interrupt,
            status: &mut self.status,
            out,
        };
        session.obey(action, argument, &line)
    }

    fn log_in(&mut self, out: &mut (dyn Write + Send)) -> bool {
        let Some(username) = self.console.ask("Username:") else {
            return false;
        };
        let Some(password) = self.console.ask_secret("Password:") else {
            return false;
        };
        say(out, "");
        self.settings.username = Some(username);
        self.settings.password = Some(password);
        true
    }

    fn explain(&self, failure: &Failure) -> String {
        match failure {
            Failure::Connect(_) => format!("error: {failure}: {}", self.settings.serverurl),
            _ => format!("error: {failure}"),
        }
    }

    fn server(&self) -> Result<Server, Failure> {
        Server::new(&self.settings, self.interrupt.clone())
    }
}

/// Says a line where nothing more can be done if that fails.
fn say(out: &mut (dyn Write + Send), text: &str) {
    let _ = out.write_all(format!("{text}\n").as_bytes());
    let _ = out.flush();
}

/// The action, its argument, and the line as messages show it: what Python's `cmd` makes of it.
/// An action that is empty is unknown.
fn split_line(line: &str) -> (&str, &str, std::borrow::Cow<'_, str>) {
    if let Some(topic) = line.strip_prefix('?') {
        return ("help", topic.trim(), format!("help {topic}").into());
    }
    let end = line
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(line.len());
    (&line[..end], line[end..].trim(), line.into())
}

/// How a process is called: by its name alone where the group has the same.
fn full_name(group: &str, name: &str) -> String {
    if group == name {
        name.to_owned()
    } else {
        format!("{group}:{name}")
    }
}

/// Group and process of a name. Without the process it is the whole group: `g:*`, `g:`.
fn split_name(name: &str) -> (&str, Option<&str>) {
    match name.split_once(':') {
        Some((group, "" | "*")) => (group, None),
        Some((group, process)) => (group, Some(process)),
        None => (name, Some(name)),
    }
}

#[cfg(test)]
mod tests;
