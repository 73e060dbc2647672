//! A shop that runs, and the few words of HTTP that are needed to talk to it.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// More than anything here takes, on any machine.
const DEADLINE: Duration = Duration::from_mins(1);

/// Waits until `done` returns something.
pub(crate) fn wait<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(it) = done() {
            return it;
        }
        assert!(began.elapsed() < DEADLINE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The Rust shop.
pub(crate) fn shop() -> Command {
    Command::new(env!("CARGO_BIN_EXE_shop"))
}

/// A running shop. It is killed when dropped.
pub(crate) struct Running {
    child: Child,
    /// `host:port`.
    pub(crate) address: String,
    /// Its data is in `data` below this, its output in `out` and `err`.
    pub(crate) dir: TempDir,
}

/// What came back of a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

impl Running {
    /// Starts a program that behaves as the shop, in a new directory.
    pub(crate) fn start(command: Command, environment: &[(&str, &str)]) -> Running {
        Running::start_in(tempfile::tempdir().unwrap(), command, environment)
    }

    /// Starts it in a directory that may hold data already; its output begins anew.
    pub(crate) fn start_in(
        dir: TempDir,
        mut command: Command,
        environment: &[(&str, &str)],
    ) -> Running {
        let create = |name: &str| std::fs::File::create(dir.path().join(name)).unwrap();
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SHOP_")) {
            command.env_remove(name);
        }
        let child = command
            .env("SHOP_LISTEN", "127.0.0.1:0")
            .env("SHOP_DATA", dir.path().join("data"))
            .envs(environment.iter().copied())
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(create("out"))
            .stderr(create("err"))
            .spawn()
            .unwrap();
        Running {
            child,
            address: String::new(),
            dir,
        }
    }

    /// Starts it and waits until it listens.
    pub(crate) fn listening(command: Command, environment: &[(&str, &str)]) -> Running {
        Running::start(command, environment).until_listening()
    }

    pub(crate) fn until_listening(mut self) -> Running {
        self.address = wait("the shop to listen", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the shop ended with {status}: {}", self.err());
            }
            let out = self.out();
            let (_, address) = out.split_once("listening on http://")?;
            Some(address.split_once('\n')?.0.to_owned())
        });
        self
    }

    /// Its directory, when it has ended.
    pub(crate) fn into_dir(mut self) -> TempDir {
        assert!(self.child.try_wait().unwrap().is_some(), "it still runs");
        std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap())
    }

    pub(crate) fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn out(&self) -> String {
        read(&self.dir.path().join("out"))
    }

    pub(crate) fn err(&self) -> String {
        read(&self.dir.path().join("err"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until it ends by itself; its exit code or the signal that killed it.
    pub(crate) fn ended(&mut self) -> Result<i32, i32> {
        let status: ExitStatus = wait("the shop to end", || self.child.try_wait().unwrap());
        status.code().ok_or_else(|| status.signal().unwrap())
    }

    /// Kills it, and sees it dead.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGKILL.
    pub(crate) fn kill_by_signal(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }

    /// Sends SIGTERM.
    pub(crate) fn term(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Sends a request; none: there was no answer.
    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Option<Answer> {
        self.try_ask(method, path, headers, body)
    }

    /// The same, of a shop that may be dead already.
    pub(crate) fn try_ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Option<Answer> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n",
            self.address,
            body.len()
        );
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        head.push_str("\r\n");
        // Who breaks off while we send may still have answered.
        let _ = stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body));
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        understand(&bytes)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"").unwrap()
    }

    /// Sends a form, URL-encoded.
    pub(crate) fn form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{name}={}", encode(value)))
            .collect();
        let kind = [("Content-Type", "application/x-www-form-urlencoded")];
        self.ask("POST", path, &kind, body.join("&").as_bytes())
            .unwrap()
    }

    /// Sends a file as a browser would.
    pub(crate) fn upload(&self, name: &str, bytes: &[u8]) -> Answer {
        let mut body = format!(
            "--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        )
        .into_bytes();
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n--edge--\r\n");
        let kind = [("Content-Type", "multipart/form-data; boundary=edge")];
        self.ask("POST", "/uploads", &kind, &body).unwrap()
    }

    /// Asks for a fault; none: there was no answer, as from a process that died of it.
    pub(crate) fn fault(&self, query: &str) -> Option<Answer> {
        self.ask("POST", &format!("/admin/fault?{query}"), &[], b"")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

fn encode(value: &str) -> String {
    let mut out = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").unwrap();
        }
    }
    out
}

/// Reads an answer whose end is the end of the connection; that it is as long as it says is
/// checked.
fn understand(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().unwrap();
    let headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let answer = Answer {
        status,
        headers,
        body: bytes[end + 4..].to_vec(),
    };
    let length: usize = answer.header("content-length").parse().unwrap();
    assert_eq!(length, answer.body.len(), "the answer was cut off");
    Some(answer)
}
