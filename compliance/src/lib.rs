//! Black-box checks: the built binary, real programs, real clients, nothing from the inside.
//!
//! A [`Sandbox`] is a directory with a config of its own in which a daemon can be started. Whatever
//! a check starts in it is ended when it is dropped, also when the check failed. Nothing outside the
//! sandbox is touched, and no two checks share a port.
//!
//! The binaries are the ones cargo built beside the tests (`cargo build --workspace --bins` first;
//! `cargo xtask test` does it).
//!
//! ```no_run
//! let sandbox = compliance::Sandbox::new("[program.web]\ncommand = \"sleep 1000\"\n");
//! let daemon = sandbox.start();
//! let status = sandbox.json(&["status"]);
//! assert_eq!(status["programs"][0]["state"], "RUNNING");
//! drop(daemon);
//! ```
#![allow(clippy::unwrap_used, reason = "a check that cannot go on has failed")]

mod mail;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

pub use mail::MailServer;

/// How long anything may take before a check gives up on it. Generous: it is no measurement.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// The lowest port [`free_port`] gives.
const FIRST_PORT: u16 = 10_000;

/// The binary of that name that cargo built beside the tests.
pub fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let directory = own.ancestors().nth(2).unwrap();
    let path = directory.join(name);
    assert!(
        path.exists(),
        "{} is not built: cargo build --workspace --bins",
        path.display()
    );
    path
}

/// A program of the system, or `None` with a line that says what is skipped.
pub fn installed(name: &str) -> Option<PathBuf> {
    let found = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/bin", "/sbin"]
        .iter()
        .map(|directory| Path::new(directory).join(name))
        .find(|path| path.exists());
    if found.is_none() {
        #[allow(clippy::print_stdout, reason = "the test runner collects these lines")]
        {
            println!("SKIPPED: {name} is not installed (cargo xtask test installs it)");
        }
    }
    found
}

/// A loopback port that was free a moment ago and that this process has not given out before.
///
/// It is below the range the kernel takes the ports of outgoing connections from: those come and
/// go by the thousand in the tests that run beside this one.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let lowest: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
    let room = lowest - FIRST_PORT;
    // Each test binary of a run begins elsewhere.
    let start = u16::try_from(std::process::id() * 97 % u32::from(room)).unwrap();
    loop {
        let step = GIVEN.fetch_add(1, Ordering::Relaxed);
        let port = FIRST_PORT + start.wrapping_add(step) % room;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits until the condition gives a value.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a process with this id exists and is not a zombie.
pub fn alive(pid: u64) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or("")
            .trim_start()
            .starts_with('Z')
    })
}

/// One HTTP/1.0 exchange: status and body.
pub fn http(port: u16, request: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .ok()?;
    let kind = if body.is_empty() {
        ""
    } else {
        "Content-Type: application/x-www-form-urlencoded\r\n"
    };
    write!(
        stream,
        "{request} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let body = answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned())
        .unwrap_or_default();
    Some((status, body))
}

/// A directory with a config, in which a daemon can run.
#[derive(Debug)]
pub struct Sandbox {
    directory: tempfile::TempDir,
}

impl Sandbox {
    /// A sandbox whose config is `schema = 1` and this text. `@DIR@` in it is the sandbox's directory.
    pub fn new(config: &str) -> Self {
        let sandbox = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        sandbox.config(&format!("schema = 1\n{config}"));
        sandbox
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Replaces the config by exactly this text.
    pub fn config(&self, text: &str) {
        let text = text.replace("@DIR@", &self.path().display().to_string());
        std::fs::write(self.path().join("mainstay.toml"), text).unwrap();
    }

    /// A command of the binary for this sandbox's config.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary("mainstay"));
        command
            .arg("-c")
            .arg(self.path().join("mainstay.toml"))
            .args(arguments);
        command
            .env_remove("MAINSTAY_CONFIG")
            .current_dir(self.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(self.command(arguments).output().unwrap())
    }

    /// Runs a command that must succeed.
    pub fn done(&self, arguments: &[&str]) -> Outcome {
        let outcome = self.run(arguments);
        assert_eq!(outcome.code, 0, "{arguments:?}: {outcome:?}");
        outcome
    }

    /// Runs a command with `--json` and reads its document, whatever its exit code.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut with_json = vec!["--json"];
        with_json.extend(arguments);
        let outcome = self.run(&with_json);
        serde_json::from_str(&outcome.out)
            .unwrap_or_else(|e| panic!("{arguments:?} gave no JSON ({e}): {outcome:?}"))
    }

    /// Starts the daemon in the foreground and waits until it answers.
    pub fn start(&self) -> Daemon<'_> {
        let log = std::fs::File::create(self.path().join("daemon.err")).unwrap();
        let child = self
            .command(&["run"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut daemon = Daemon {
            sandbox: self,
            child,
        };
        wait_for("the daemon to answer", || {
            if let Some(status) = daemon.child.try_wait().unwrap() {
                panic!("the daemon ended ({status}): {}", daemon.said());
            }
            let outcome = self.run(&["status"]);
            (outcome.code == 0 || outcome.code == 3).then_some(())
        });
        daemon
    }

    /// The status of one process.
    pub fn process(&self, name: &str) -> Value {
        let status = self.json(&["status"]);
        status["programs"]
            .as_array()
            .and_then(|programs| programs.iter().find(|p| p["name"] == name))
            .unwrap_or_else(|| panic!("{name} is not in {status}"))
            .clone()
    }

    /// Waits until a process is in a state, and gives its status.
    pub fn in_state(&self, name: &str, state: &str) -> Value {
        wait_for(&format!("{name} to be {state}"), || {
            let process = self.process(name);
            (process["state"] == state).then_some(process)
        })
    }
}

/// A daemon in a sandbox; ended with everything it runs when dropped.
#[derive(Debug)]
pub struct Daemon<'s> {
    sandbox: &'s Sandbox,
    child: Child,
}

impl Daemon<'_> {
    /// Its process id.
    pub fn pid(&self) -> u64 {
        u64::from(self.child.id())
    }

    /// What it wrote to standard error.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.sandbox.path().join("daemon.err")).unwrap_or_default()
    }

    /// Sends it a signal by name.
    pub fn signal(&self, signal: &str) {
        signal_pid(self.pid(), signal);
    }

    /// Waits for its end and gives its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        wait_for("the daemon to end", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.signal("TERM");
            let end = Instant::now() + PATIENCE;
            while self.child.try_wait().is_ok_and(|status| status.is_none()) {
                if Instant::now() > end {
                    let _ = self.child.kill();
                    let _ = self.child.wait();
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// Sends a signal by name, with kill(1).
pub fn signal_pid(pid: u64, signal: &str) {
    let status = Command::new("kill")
        .arg(format!("-{signal}"))
        .arg(pid.to_string())
        .status()
        .unwrap();
    assert!(status.success(), "kill -{signal} {pid}: {status}");
}

/// How a command ended and what it said.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code, -1 for a signal.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Outcome {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
