//! Real servers, started by a test in its own directory and on its own ports.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mainstay_backup::source::redis::resp::{self, Value};
pub(crate) use testbed::free_port;

const PATIENCE: Duration = Duration::from_mins(2);

/// A server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    pub(crate) directory: PathBuf,
}

/// Waits until something is there.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether there is a server to test with; says so if not.
pub(crate) fn is_here() -> bool {
    let here = Command::new("redis-server")
        .arg("--version")
        .output()
        .is_ok();
    if !here {
        eprintln!("SKIPPED: redis-server is not installed");
    }
    here
}

impl Server {
    /// Starts one with its data in this directory, which is created. Diskless transfers begin at once.
    pub(crate) fn start(directory: &Path, options: &[&str]) -> Self {
        let port = free_port();
        Self::start_at(directory, port, options)
    }

    pub(crate) fn start_at(directory: &Path, port: u16, options: &[&str]) -> Self {
        let server = Self::spawn(directory, port, options);
        let mut cli = server.cli_in(PATIENCE);
        wait_for("the server has loaded its data", || {
            matches!(cli.raw(&["PING"]), Value::Simple(_)).then_some(())
        });
        server
    }

    /// Starts one that may not answer to everybody.
    pub(crate) fn spawn(directory: &Path, port: u16, options: &[&str]) -> Self {
        fs::create_dir_all(directory).unwrap();
        let log = fs::File::create(directory.join(format!("log-{port}"))).unwrap();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--enable-debug-command", "yes"])
            .args(["--repl-diskless-sync-delay", "0", "--dir"])
            .arg(directory)
            .args(options)
            .stdout(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            port,
            directory: directory.to_owned(),
        }
    }

    /// A Sentinel with this config file, which it writes to.
    pub(crate) fn sentinel(config: &Path, port: u16) -> Self {
        let directory = config.parent().unwrap().to_owned();
        let log = fs::File::create(directory.join(format!("log-{port}"))).unwrap();
        let child = Command::new("redis-server")
            .arg(config)
            .arg("--sentinel")
            .stdout(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            port,
            directory,
        }
    }

    fn cli_in(&self, patience: Duration) -> Cli {
        let begun = Instant::now();
        loop {
            match TcpStream::connect(("127.0.0.1", self.port)) {
                Ok(stream) => return Cli::new(stream),
                Err(error) => {
                    let log = self.directory.join(format!("log-{}", self.port));
                    assert!(
                        begun.elapsed() < patience,
                        "{error}\n{}",
                        fs::read_to_string(log).unwrap_or_default()
                    );
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn cli(&self) -> Cli {
        self.cli_in(PATIENCE)
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Ends it as an administrator does, without a last save.
    pub(crate) fn stop(mut self) {
        let _ = self.cli().write(&["SHUTDOWN", "NOSAVE"]);
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A connection to a server.
pub(crate) struct Cli(BufReader<TcpStream>);

impl Cli {
    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    pub(crate) fn write(&mut self, parts: &[&str]) -> std::io::Result<()> {
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
        self.0.get_mut().write_all(&resp::command(&parts))
    }

    /// The answer, whatever it is.
    pub(crate) fn raw(&mut self, parts: &[&str]) -> Value {
        self.write(parts).unwrap();
        resp::read(&mut self.0).unwrap()
    }

    /// The answer, which is no refusal.
    pub(crate) fn ask(&mut self, parts: &[&str]) -> Value {
        match self.raw(parts) {
            Value::Error(error) => panic!("{parts:?}: {error}"),
            value => value,
        }
    }

    /// A command as a line of words.
    pub(crate) fn line(&mut self, line: &str) -> Value {
        let parts: Vec<&str> = line.split(' ').collect();
        self.ask(&parts)
    }

    pub(crate) fn number(&mut self, line: &str) -> i64 {
        match self.line(line) {
            Value::Integer(number) => number,
            other => other.text().unwrap().parse().unwrap(),
        }
    }

    /// A value of INFO.
    pub(crate) fn info(&mut self, name: &str) -> String {
        let text = self.line("INFO all").text().unwrap();
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .unwrap_or_default()
            .to_owned()
    }

    fn names(&mut self) -> Vec<String> {
        let mut cursor = "0".to_owned();
        let mut names = Vec::new();
        loop {
            let answer = self.ask(&["SCAN", &cursor, "COUNT", "1000"]);
            let [next, found] = answer.items() else {
                panic!("{answer:?}");
            };
            names.extend(found.items().iter().filter_map(Value::text));
            cursor = next.text().unwrap();
            if cursor == "0" {
                return names;
            }
        }
    }

    /// Everything that two servers with the same data have in common: the digest and the time of every
    /// key, streams with their groups, and the functions.
    pub(crate) fn state(&mut self) -> BTreeMap<String, String> {
        let mut state = BTreeMap::new();
        for database in 0..16 {
            self.ask(&["SELECT", &database.to_string()]);
            for name in self.names() {
                let mut seen = format!(
                    "{:?} {:?}",
                    self.ask(&["DEBUG", "DIGEST-VALUE", &name]),
                    self.ask(&["PEXPIRETIME", &name])
                );
                if self.ask(&["TYPE", &name]) == Value::Simple("stream".into()) {
                    let whole = self.ask(&["XINFO", "STREAM", &name, "FULL"]);
                    let _ = write!(seen, "{whole:?}");
                }
                state.insert(format!("{database} {name}"), seen);
            }
        }
        self.ask(&["SELECT", "0"]);
        let functions = self.ask(&["FUNCTION", "DUMP"]);
        state.insert("functions".to_owned(), format!("{functions:?}"));
        state
    }
}
