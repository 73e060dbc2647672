//! supervisord's own log: one line for each thing, in its format, into a rolling file, to syslog,
//! and in the foreground to the terminal.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jiff::tz::TimeZone;
use mainstay_base::{Clock, SystemClock};
use mainstay_log::{Retention, RollingFile};
use mainstay_supervisord::words::{Level, format_line};

/// The log, shared by all who write to it.
#[derive(Clone)]
pub(crate) struct MainLog(Arc<Inner>);

struct Inner {
    lowest: Level,
    zone: TimeZone,
    clock: SystemClock,
    file: Option<Mutex<RollingFile>>,
    syslog: Option<Syslog>,
    /// Whether lines go to standard output too.
    echo: bool,
}

impl MainLog {
    /// Opens it. `path` is `syslog` for the system's log.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub(crate) fn open(
        path: &str,
        retention: Retention,
        lowest: Level,
        echo: bool,
    ) -> Result<Self, String> {
        let to_syslog = path.eq_ignore_ascii_case("syslog");
        let file = if to_syslog {
            None
        } else {
            let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
            let file =
                RollingFile::open(path, retention, clock).map_err(|error| error.to_string())?;
            Some(Mutex::new(file))
        };
        Ok(Self(Arc::new(Inner {
            lowest,
            zone: TimeZone::system(),
            clock: SystemClock::new(),
            file,
            syslog: to_syslog.then(Syslog::default),
            echo,
        })))
    }

    /// Where it is, if it is a file.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        let file = self.0.file.as_ref()?;
        let file = file.lock().unwrap_or_else(PoisonError::into_inner);
        Some(file.path().to_owned())
    }

    /// Writes a line, if it is grave enough.
    pub(crate) fn say(&self, level: Level, text: &str) {
        self.say_all(&[(level, text)]);
    }

    /// Writes those of the lines that are grave enough, in one go.
    pub(crate) fn say_all(&self, lines: &[(Level, impl AsRef<str>)]) {
        let mut written = String::new();
        let now = self.0.clock.now();
        for (level, text) in lines {
            if *level < self.0.lowest {
                continue;
            }
            let line = format_line(now, &self.0.zone, *level, text.as_ref());
            if let Some(syslog) = &self.0.syslog {
                syslog.send("supervisord", &line);
            }
            written += &line;
            written.push('\n');
        }
        if written.is_empty() {
            return;
        }
        // There is nobody left to tell that the log cannot be written; programs go on.
        if let Some(file) = &self.0.file {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = file.write(written.as_bytes());
        }
        if self.0.echo {
            let mut out = io::stdout().lock();
            let _ = out.write_all(written.as_bytes());
            let _ = out.flush();
        }
    }

    /// Opens the file anew, after something else moved it.
    pub(crate) fn reopen(&self) {
        self.with_file(|file| file.reopen().map_err(|error| error.to_string()));
    }

    /// Empties the file.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn clear(&self) -> io::Result<()> {
        let Some(file) = &self.0.file else {
            return Ok(());
        };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        file.clear().map_err(io::Error::other)
    }

    fn with_file(&self, act: impl FnOnce(&mut RollingFile) -> Result<(), String>) {
        let Some(file) = &self.0.file else { return };
        let result = act(&mut file.lock().unwrap_or_else(PoisonError::into_inner));
        if let Err(why) = result {
            self.say(Level::Error, &why);
        }
    }

    /// Takes the records of mainstay's own code from now on, in place of an earlier log.
    pub(crate) fn take_records(&self) {
        static CURRENT: OnceLock<Bridge> = OnceLock::new();
        let bridge = CURRENT.get_or_init(|| Bridge(Mutex::new(None)));
        *bridge.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.clone());
        // Set by an earlier turn already, or by a test.
        if log::set_logger(bridge).is_ok() {
            log::set_max_level(log::LevelFilter::Debug);
        }
    }
}

/// What the code of mainstay itself logs. What is only of interest is a level lower here, because
/// people compare this log with that of the original.
struct Bridge(Mutex<Option<MainLog>>);

impl log::Log for Bridge {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("mainstay") || !metadata.target().contains("::")
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = match record.level() {
            log::Level::Error => Level::Error,
            log::Level::Warn => Level::Warn,
            log::Level::Info => Level::Debug,
            log::Level::Debug => Level::Trace,
            log::Level::Trace => Level::Blather,
        };
        let log = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(log) = log {
            log.say(level, &record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// The system's log, RFC 3164 as local programs write it to its socket.
#[derive(Default)]
pub(crate) struct Syslog(Mutex<Option<UnixDatagram>>);

/// Facility "user", severity "informational".
const PRIORITY: u8 = 14;

impl Syslog {
    /// Sends a text, a datagram for each of its lines. Without a system log it is lost, as there.
    pub(crate) fn send(&self, tag: &str, text: &str) {
        let mut socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let at = jiff::Zoned::now().strftime("%b %e %H:%M:%S").to_string();
            let message = format!("<{PRIORITY}>{at} {tag}: {}", line.trim_end());
            if socket.is_none() {
                *socket = connect(Path::new("/dev/log"));
            }
            if let Some(open) = &*socket
                && open.send(message.as_bytes()).is_err()
            {
                *socket = connect(Path::new("/dev/log"));
                if let Some(open) = &*socket {
                    let _ = open.send(message.as_bytes());
                }
            }
        }
    }
}

fn connect(path: &Path) -> Option<UnixDatagram> {
    let socket = UnixDatagram::unbound().ok()?;
    socket.connect(path).ok()?;
    // A system log that does not read must not hold up who writes.
    socket.set_nonblocking(true).ok()?;
    Some(socket)
}
