//! `supervisorctl` at a terminal: what the library of that name does not do itself.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mainstay_base::Secret;
use mainstay_supervisord::ctl::options::{self, Wanted};
use mainstay_supervisord::ctl::{Console, Ctl, Settings, Surroundings, word_start};
use mainstay_supervisord::rpc::COMPATIBLE_VERSION;
use mainstay_sys::Errno;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Context, Editor, Helper, Highlighter, Hinter, Validator};

use crate::output::{complain, show};

/// Runs `supervisorctl` with these words of the command line.
pub(crate) fn run(program: &str, words: &[String]) -> ExitCode {
    let read = options::parse(words).and_then(|options| {
        let settings = options::settings(&options, &surroundings(program))?;
        Ok((options, settings))
    });
    let given = options::parse(words).ok().and_then(|options| options.wants);
    match given {
        Some(Wanted::Help) => {
            show(&options::usage(program));
            return ExitCode::SUCCESS;
        }
        Some(Wanted::Version) => {
            show(&format!("{COMPATIBLE_VERSION}\n"));
            return ExitCode::SUCCESS;
        }
        None => {}
    }
    let (options, settings) = match read {
        Ok(read) => read,
        Err(error) => {
            complain(&error.text(program));
            return 2.into();
        }
    };
    for note in &settings.notes {
        complain(&format!("{note}\n"));
    }
    let interrupt = Arc::new(AtomicBool::new(false));
    let flag = signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&interrupt));
    if let Err(error) = flag {
        complain(&format!("Ctrl-C will end this at once: {error}\n"));
    }
    let history = settings.history_file.clone().map(PathBuf::from);
    let mut ctl = Ctl::new(
        settings,
        Box::new(Terminal(Arc::clone(&interrupt))),
        Arc::clone(&interrupt),
    );
    let mut out = std::io::stdout();
    if let Some(line) = options.line() {
        ctl.line(&line, &mut out);
        let status = u8::try_from(ctl.status()).unwrap_or(1);
        return status.into();
    }
    let edits = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    match Shell::new(history) {
        Ok(mut shell) => {
            let read = |ctl: &Ctl, prompt: &str| {
                if edits {
                    shell.read(ctl, prompt)
                } else {
                    shell.read_plainly(prompt, &interrupt)
                }
            };
            ctl.shell(read, &mut out);
            shell.save();
        }
        Err(error) => {
            complain(&format!("no line editing here: {error}\n"));
            ctl.shell(|_, prompt| plain_line(prompt, &interrupt), &mut out);
        }
    }
    ExitCode::SUCCESS
}

fn surroundings(program: &str) -> Surroundings {
    Surroundings {
        program: program.to_owned(),
        directory: std::env::current_dir().unwrap_or_default(),
        home: std::env::var_os("HOME").map(PathBuf::from),
        variables: crate::command::environment().into_iter().collect(),
    }
}

/// How often it is looked whether Ctrl-C was pressed while a line is waited for.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// Shows the prompt, also where nobody sees it, and reads a line. `None` at the end of the input, or
/// when `interrupt` is set meanwhile.
fn plain_line(prompt: &str, interrupt: &AtomicBool) -> Option<String> {
    show(prompt);
    let stdin = rustix::stdio::stdin();
    let mut line = Vec::new();
    loop {
        let mut ready = [PollFd::new(&stdin, PollFlags::IN)];
        let waited = poll(&mut ready, Some(&LOOK));
        if interrupt.load(Ordering::Relaxed) {
            return None;
        }
        match waited {
            Ok(0) | Err(Errno::INTR) => continue,
            Ok(_) => {}
            Err(_) => return None,
        }
        // One at a time, so that what belongs to the next reader stays where it is.
        let mut byte = [0];
        match rustix::io::read(stdin, &mut byte) {
            Ok(0) if line.is_empty() => return None,
            Ok(0) => break,
            Ok(_) if byte[0] == b'\n' => break,
            Ok(_) => line.push(byte[0]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => return None,
        }
    }
    let text = String::from_utf8_lossy(&line);
    Some(text.trim_end_matches('\r').to_owned())
}

/// The person at the terminal.
struct Terminal(Arc<AtomicBool>);

impl Console for Terminal {
    fn ask(&mut self, prompt: &str) -> Option<String> {
        plain_line(prompt, &self.0)
    }

    fn ask_secret(&mut self, prompt: &str) -> Option<Secret> {
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin).ok();
        if let Some(before) = &before {
            let mut quiet = before.clone();
            quiet.local_modes.remove(LocalModes::ECHO);
            let _ = tcsetattr(&stdin, OptionalActions::Flush, &quiet);
        }
        let line = plain_line(prompt, &self.0);
        if let Some(before) = &before {
            let _ = tcsetattr(&stdin, OptionalActions::Flush, before);
            show("\n");
        }
        line.map(Secret::new)
    }
}

/// A line editor that completes what the server has.
struct Shell {
    editor: Editor<Words, FileHistory>,
    history: Option<PathBuf>,
}

impl Shell {
    fn new(history: Option<PathBuf>) -> rustyline::Result<Self> {
        let config = Config::builder().auto_add_history(true).build();
        let mut editor = Editor::with_config(config)?;
        if let Some(path) = &history {
            // There is none the first time.
            let _ = editor.load_history(path);
        }
        Ok(Self { editor, history })
    }

    fn read(&mut self, ctl: &Ctl, prompt: &str) -> Option<String> {
        self.editor.set_helper(Some(Words::new(ctl.settings())));
        match self.editor.readline(prompt) {
            Ok(line) => Some(line),
            // Ctrl-C gives the line up, not the shell.
            Err(ReadlineError::Interrupted) => Some(String::new()),
            Err(_) => None,
        }
    }

    /// A line from what is no terminal. It is kept all the same.
    fn read_plainly(&mut self, prompt: &str, interrupt: &AtomicBool) -> Option<String> {
        let line = plain_line(prompt, interrupt)?;
        // One that is empty or repeated is not.
        let _ = self.editor.add_history_entry(&line);
        Some(line)
    }

    fn save(&mut self) {
        if let Some(path) = &self.history
            && let Err(error) = self.editor.save_history(path)
        {
            complain(&format!(
                "the history was not saved to {}: {error}\n",
                path.display()
            ));
        }
    }
}

/// Completion by a client of its own: it must not disturb the one that obeys.
#[derive(Helper, Hinter, Highlighter, Validator)]
struct Words(std::cell::RefCell<Ctl>);

impl Words {
    fn new(settings: &Settings) -> Self {
        let interrupt = Arc::new(AtomicBool::new(false));
        interrupt.store(false, Ordering::Relaxed);
        Self(Ctl::new(settings.clone(), Box::new(Nobody), interrupt).into())
    }
}

impl Completer for Words {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let found = self.0.borrow_mut().complete(line, position);
        Ok((word_start(line, position), found))
    }
}

/// Nobody is asked while words are completed.
struct Nobody;

impl Console for Nobody {
    fn ask(&mut self, _prompt: &str) -> Option<String> {
        None
    }

    fn ask_secret(&mut self, _prompt: &str) -> Option<Secret> {
        None
    }
}
