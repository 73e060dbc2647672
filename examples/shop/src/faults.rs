//! The ways in which this shop can be told to fail.
//!
//! What may be asked for is decided by [`Fault::parse`], the same for a request and for the
//! environment; [`Faults`] does it. Faults that end the process do so at once, in the middle of the
//! request that asked for them, as a real one would.

use std::collections::HashMap;
use std::io::{self, BufWriter, Write};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// One way to fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Die by SIGABRT.
    Crash,
    /// Panic: in a request it costs that request, and with `process` the whole process (exit
    /// code 101).
    Panic { process: bool },
    /// Answer no request any more.
    Hang,
    /// Take this much memory and never give it back.
    Leak { mb: usize },
    /// Write this many lines of this many bytes each, not counting the line break.
    Log {
        lines: u64,
        bytes: usize,
        stderr: bool,
    },
    /// Leave with this code.
    Exit { code: i32 },
    /// What the built-in partner does with feedback from now on.
    Partner(Mood),
    /// Answer every request this much later.
    Slow { ms: u64 },
    /// Take no notice of SIGTERM.
    IgnoreTerm,
    /// Wait this long before listening. Only at start.
    SlowStart { seconds: u64 },
}

/// How the built-in partner behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It takes what it gets.
    Well,
    /// It refuses what it gets.
    Refusing,
    /// It does what it is asked to, and never answers.
    Silent,
    /// The same, and it gives nothing back.
    Greedy,
}

const NAMES: &str =
    "crash, panic, hang, leak, log, exit, partner-fail, slow, ignore-term, slow-start";

/// The longest line that `log` writes, in bytes.
const LONGEST_LINE: usize = 1 << 20;

impl Fault {
    /// Reads a fault from its name and its parameters; an unknown or malformed one is refused with
    /// words for the person who asked.
    pub(crate) fn parse(name: &str, given: &HashMap<String, String>) -> Result<Fault, String> {
        let (allowed, fault): (&[&str], Fault) = match name {
            "crash" => (&[], Fault::Crash),
            "panic" => (
                &["panic"],
                Fault::Panic {
                    process: match text(given, "panic", "request") {
                        "request" => false,
                        "process" => true,
                        other => return Err(format!("panic={other}: expected request or process")),
                    },
                },
            ),
            "hang" => (&[], Fault::Hang),
            "leak" => (
                &["mb"],
                Fault::Leak {
                    mb: number(given, "mb", 16)?,
                },
            ),
            "log" => (
                &["lines", "bytes", "to"],
                Fault::Log {
                    lines: number(given, "lines", 1000)?,
                    bytes: number(given, "bytes", 100)?,
                    stderr: match text(given, "to", "stdout") {
                        "stdout" => false,
                        "stderr" => true,
                        other => return Err(format!("to={other}: expected stdout or stderr")),
                    },
                },
            ),
            "exit" => (
                &["code"],
                Fault::Exit {
                    code: number::<u8>(given, "code", 1)?.into(),
                },
            ),
            "partner-fail" => (
                &["how"],
                Fault::Partner(match text(given, "how", "refuse") {
                    "refuse" => Mood::Refusing,
                    "silent" => Mood::Silent,
                    "keep" => Mood::Greedy,
                    "off" => Mood::Well,
                    other => {
                        return Err(format!("how={other}: expected refuse, silent, keep or off"));
                    }
                }),
            ),
            "slow" => (
                &["ms"],
                Fault::Slow {
                    ms: number(given, "ms", 1000)?,
                },
            ),
            "ignore-term" => (&[], Fault::IgnoreTerm),
            "slow-start" => (
                &["seconds"],
                Fault::SlowStart {
                    seconds: number(given, "seconds", 5)?,
                },
            ),
            "" => return Err(format!("do= is missing; there are: {NAMES}")),
            other => return Err(format!("there is no fault {other}; there are: {NAMES}")),
        };
        for key in given.keys() {
            if key != "do" && !allowed.contains(&key.as_str()) {
                return Err(format!("{name} takes no {key}"));
            }
        }
        match fault {
            Fault::Log { bytes, .. } if bytes > LONGEST_LINE => {
                Err(format!("bytes={bytes}: {LONGEST_LINE} at most"))
            }
            fault => Ok(fault),
        }
    }

    /// Reads the faults to start with: `crash`, `exit:3`, `log:1000000`, several with commas. The
    /// value after the colon is the first parameter of that fault.
    pub(crate) fn parse_list(list: &str) -> Result<Vec<Fault>, String> {
        list.split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(|item| {
                let Some((name, value)) = item.split_once(':') else {
                    return Fault::parse(item, &HashMap::new());
                };
                let key = match name {
                    "panic" => "panic",
                    "leak" => "mb",
                    "log" => "lines",
                    "exit" => "code",
                    "partner-fail" => "how",
                    "slow" => "ms",
                    "slow-start" => "seconds",
                    _ => "a value",
                };
                Fault::parse(name, &HashMap::from([(key.to_owned(), value.to_owned())]))
            })
            .collect()
    }
}

fn text<'a>(given: &'a HashMap<String, String>, key: &str, default: &'a str) -> &'a str {
    given.get(key).map_or(default, String::as_str)
}

fn number<T: FromStr>(given: &HashMap<String, String>, key: &str, default: T) -> Result<T, String> {
    match given.get(key) {
        None => Ok(default),
        Some(value) => value
            .parse()
            .map_err(|_| format!("{key}={value}: not a number that fits")),
    }
}

/// A line of noise: numbered, and exactly `bytes` long where the number leaves room for that.
fn noise(number: u64, of: u64, bytes: usize) -> String {
    let mut line = format!("noise {number} of {of} ");
    let missing = bytes.saturating_sub(line.len());
    line.extend(std::iter::repeat_n('.', missing));
    line
}

/// Whether the next panic takes the process with it. Not part of [`Faults`], because the panic
/// hook belongs to the process.
static PANIC_ENDS_PROCESS: AtomicBool = AtomicBool::new(false);

/// Makes `panic=process` work; called once, before anything can panic.
pub(crate) fn install_panic_hook() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        if PANIC_ENDS_PROCESS.load(Ordering::SeqCst) {
            // What a Rust program whose main thread panics leaves with.
            std::process::exit(101);
        }
    }));
}

/// The faults in force.
pub(crate) struct Faults {
    /// Whether requests may ask for faults at all.
    pub(crate) by_request: bool,
    hanging: AtomicBool,
    slow_ms: AtomicU64,
    mood: AtomicU8,
    ignoring_term: AtomicBool,
    leaked: Mutex<Vec<Vec<u8>>>,
}

impl Faults {
    /// No fault in force.
    pub(crate) fn new(by_request: bool) -> Faults {
        Faults {
            by_request,
            hanging: AtomicBool::new(false),
            slow_ms: AtomicU64::new(0),
            mood: AtomicU8::new(0),
            ignoring_term: AtomicBool::new(false),
            leaked: Mutex::new(Vec::new()),
        }
    }

    /// Whether no request is to be answered.
    pub(crate) fn hanging(&self) -> bool {
        self.hanging.load(Ordering::SeqCst)
    }

    /// How much later every request is answered.
    pub(crate) fn delay(&self) -> Duration {
        Duration::from_millis(self.slow_ms.load(Ordering::SeqCst))
    }

    /// How the built-in partner behaves.
    pub(crate) fn mood(&self) -> Mood {
        match self.mood.load(Ordering::SeqCst) {
            0 => Mood::Well,
            1 => Mood::Refusing,
            2 => Mood::Silent,
            _ => Mood::Greedy,
        }
    }

    /// Whether SIGTERM is to be ignored.
    pub(crate) fn ignoring_term(&self) -> bool {
        self.ignoring_term.load(Ordering::SeqCst)
    }

    /// Does it, or puts it in force, and says so. Blocks for `log`, `leak` and `slow-start`; does
    /// not return from `crash`, `exit` and `panic`.
    pub(crate) fn act(&self, fault: &Fault) -> Result<String, String> {
        log::error!("fault asked for: {fault:?}");
        Ok(match *fault {
            Fault::Crash => std::process::abort(),
            Fault::Exit { code } => std::process::exit(code),
            Fault::Panic { process: false } => panic!("asked to"),
            Fault::Panic { process: true } => {
                PANIC_ENDS_PROCESS.store(true, Ordering::SeqCst);
                // Outside of the request, in which a panic costs no more than that.
                let thread = std::thread::spawn(|| panic!("asked to"));
                return thread.join().map_err(|_| "it goes on".to_owned());
            }
            Fault::Hang => {
                self.hanging.store(true, Ordering::SeqCst);
                "hanging from now on".to_owned()
            }
            Fault::Leak { mb } => {
                let total = self.leak(mb)?;
                format!("{mb} MB leaked, {total} MB in all")
            }
            Fault::Log {
                lines,
                bytes,
                stderr,
            } => {
                let written = if stderr {
                    spam(io::stderr().lock(), lines, bytes)
                } else {
                    spam(io::stdout().lock(), lines, bytes)
                };
                written.map_err(|error| format!("cannot write the lines: {error}"))?;
                format!("{lines} lines written")
            }
            Fault::Partner(mood) => {
                self.mood.store(mood as u8, Ordering::SeqCst);
                format!("the partner is {mood:?} from now on").to_lowercase()
            }
            Fault::Slow { ms } => {
                self.slow_ms.store(ms, Ordering::SeqCst);
                format!("{ms} ms slower from now on")
            }
            Fault::IgnoreTerm => {
                self.ignoring_term.store(true, Ordering::SeqCst);
                "deaf to SIGTERM from now on".to_owned()
            }
            Fault::SlowStart { .. } => return Err("slow-start works only at start".to_owned()),
        })
    }

    fn leak(&self, mb: usize) -> Result<usize, String> {
        let mut block = Vec::new();
        let bytes = mb.checked_mul(1_000_000).ok_or("mb is too large")?;
        block
            .try_reserve_exact(bytes)
            .map_err(|error| format!("cannot leak {mb} MB: {error}"))?;
        // Written, so that the kernel really has to find the pages.
        block.resize(bytes, 0xa5);
        let mut leaked = self.leaked.lock().unwrap_or_else(PoisonError::into_inner);
        leaked.push(block);
        Ok(leaked.iter().map(Vec::len).sum::<usize>() / 1_000_000)
    }
}

fn spam(to: impl Write, lines: u64, bytes: usize) -> io::Result<()> {
    let mut to = BufWriter::with_capacity(64 << 10, to);
    for number in 1..=lines {
        writeln!(to, "{}", noise(number, lines, bytes))?;
    }
    to.flush()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashMap;

    use super::{Fault, Faults, Mood, noise};

    fn given(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn faults_of_requests() {
        for (name, pairs, want) in [
            ("crash", &[][..], Fault::Crash),
            ("panic", &[], Fault::Panic { process: false }),
            (
                "panic",
                &[("panic", "process")],
                Fault::Panic { process: true },
            ),
            ("leak", &[("mb", "3")], Fault::Leak { mb: 3 }),
            (
                "log",
                &[],
                Fault::Log {
                    lines: 1000,
                    bytes: 100,
                    stderr: false,
                },
            ),
            (
                "log",
                &[
                    ("do", "log"),
                    ("lines", "5"),
                    ("bytes", "40"),
                    ("to", "stderr"),
                ],
                Fault::Log {
                    lines: 5,
                    bytes: 40,
                    stderr: true,
                },
            ),
            ("exit", &[("code", "255")], Fault::Exit { code: 255 }),
            ("partner-fail", &[], Fault::Partner(Mood::Refusing)),
            (
                "partner-fail",
                &[("how", "silent")],
                Fault::Partner(Mood::Silent),
            ),
            ("slow", &[("ms", "0")], Fault::Slow { ms: 0 }),
        ] {
            assert_eq!(Fault::parse(name, &given(pairs)), Ok(want), "{name}");
        }
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        for (name, pairs, want) in [
            ("", &[][..], "do= is missing"),
            ("crsh", &[], "there is no fault crsh; there are: crash,"),
            (
                "exit",
                &[("code", "256")],
                "code=256: not a number that fits",
            ),
            ("exit", &[("code", "x")], "code=x: not a number that fits"),
            ("leak", &[("mb", "-1")], "mb=-1: not a number that fits"),
            ("crash", &[("mb", "1")], "crash takes no mb"),
            (
                "log",
                &[("bytes", "1048577")],
                "bytes=1048577: 1048576 at most",
            ),
            (
                "log",
                &[("to", "disk")],
                "to=disk: expected stdout or stderr",
            ),
            (
                "panic",
                &[("panic", "all")],
                "panic=all: expected request or process",
            ),
        ] {
            let got = Fault::parse(name, &given(pairs)).unwrap_err();
            assert!(got.starts_with(want), "{got}");
        }
    }

    #[test]
    fn faults_of_the_environment() {
        for (list, want) in [
            ("", vec![]),
            ("crash", vec![Fault::Crash]),
            ("exit:3", vec![Fault::Exit { code: 3 }]),
            (
                "log:1000000",
                vec![Fault::Log {
                    lines: 1_000_000,
                    bytes: 100,
                    stderr: false,
                }],
            ),
            ("hang, ignore-term", vec![Fault::Hang, Fault::IgnoreTerm]),
            ("slow-start:5", vec![Fault::SlowStart { seconds: 5 }]),
            ("partner-fail:silent", vec![Fault::Partner(Mood::Silent)]),
        ] {
            assert_eq!(Fault::parse_list(list), Ok(want), "{list}");
        }
        for list in ["crash:1", "exit:", "nonsense", "hang,nonsense"] {
            assert!(Fault::parse_list(list).is_err(), "{list}");
        }
    }

    #[test]
    fn noise_is_as_long_as_asked() {
        for (number, of, bytes, want) in [
            (7, 10, 100, 100),
            (10, 10, 16, 16),
            (1_000_000, 1_000_000, 5, 25),
        ] {
            let line = noise(number, of, bytes);
            assert_eq!(line.len(), want, "{line}");
        }
    }

    #[test]
    fn faults_in_force() {
        let faults = Faults::new(true);
        assert!(!faults.hanging());
        faults.act(&Fault::Hang).unwrap();
        assert!(faults.hanging());
        for mood in [Mood::Refusing, Mood::Silent, Mood::Greedy, Mood::Well] {
            faults.act(&Fault::Partner(mood)).unwrap();
            assert_eq!(faults.mood(), mood);
        }
        faults.act(&Fault::Slow { ms: 20 }).unwrap();
        assert_eq!(faults.delay().as_millis(), 20);
        faults.act(&Fault::Leak { mb: 1 }).unwrap();
        assert_eq!(
            faults.act(&Fault::Leak { mb: 2 }).unwrap(),
            "2 MB leaked, 3 MB in all"
        );
        assert!(faults.act(&Fault::SlowStart { seconds: 1 }).is_err());
    }
}
