//! The scratch directory of a demo and the daemon that runs in it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::http::{self, Body};
use crate::run;

/// How long the daemon may take to come up, and to stop.
const PATIENCE: Duration = Duration::from_mins(1);

/// How often a condition that is waited for is looked at.
const PAUSE: Duration = Duration::from_millis(100);

/// The shops of the demo.
pub(super) struct Shop {
    /// Its name in the config.
    pub(super) name: &'static str,
    pub(super) port: u16,
    /// What starts it.
    command: Vec<PathBuf>,
    /// Its database and its uploads.
    pub(super) data: PathBuf,
}

/// A daemon with its config in a directory of its own; both are gone when this is dropped.
pub(super) struct Scene {
    directory: PathBuf,
    pub(super) shops: Vec<Shop>,
    /// The port of the third party that the shops hand their feedback to.
    pub(super) partner: u16,
    daemon: Option<Child>,
}

impl Scene {
    /// Lays everything out and starts the daemon; returns when the shops answer and there is a
    /// repository to back up into.
    pub(super) fn open(binaries: &Path, stop: &dyn Fn() -> bool) -> Result<Scene, String> {
        let mut scene = Scene {
            directory: scratch_directory()?,
            shops: Vec::new(),
            partner: free_port()?,
            daemon: None,
        };
        scene.lay_out(binaries)?;
        scene.start(stop)?;
        run::run(
            scene
                .mainstay(&["backup", "init", "local"])
                .stdout(Stdio::null()),
        )?;
        Ok(scene)
    }

    fn lay_out(&mut self, binaries: &Path) -> Result<(), String> {
        let failed = |what: &Path, why| format!("cannot write {}: {why}", what.display());
        let link = self.file("mainstay");
        symlink(binaries.join("mainstay"), &link).map_err(|why| failed(&link, why))?;

        self.shops.push(Shop {
            name: "shop",
            port: free_port()?,
            command: vec![binaries.join("shop")],
            data: self.file("shop"),
        });
        if let Some(python) = python() {
            self.shops.push(Shop {
                name: "twin",
                port: free_port()?,
                command: vec![python, run::root().join("examples/shop/python/shop.py")],
                data: self.file("twin"),
            });
        }
        let password = self.file("repository.password");
        write_private(&password, &random_password()?).map_err(|why| failed(&password, why))?;
        let config = self.file("mainstay.toml");
        write_private(
            &config,
            &config_text(&self.directory, &self.shops, self.partner),
        )
        .map_err(|why| failed(&config, why))
    }

    /// Starts the daemon and waits until the shops answer. What an earlier daemon that was killed
    /// has left running is taken over.
    pub(super) fn start(&mut self, stop: &dyn Fn() -> bool) -> Result<(), String> {
        let output = self.file("mainstay.out");
        let log = File::create(&output)
            .map_err(|why| format!("cannot write {}: {why}", output.display()))?;
        let twin = log
            .try_clone()
            .map_err(|why| format!("cannot share a file: {why}"))?;
        // A process group of its own: Ctrl-C reaches us alone, and we stop it in order.
        let daemon = self
            .mainstay(&["run", "-c", "mainstay.toml"])
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(twin)
            .spawn()
            .map_err(|why| format!("cannot start mainstay: {why}"))?;
        self.daemon = Some(daemon);
        let shops: Vec<u16> = self.shops.iter().map(|shop| shop.port).collect();
        self.wait("the shops to answer", || {
            if stop() {
                return Err("stopped".to_owned());
            }
            Ok(shops.iter().all(|port| answers(*port)))
        })
        .map_err(|why| match std::fs::read_to_string(&output) {
            Ok(said) if !said.trim().is_empty() => format!("{why}; mainstay said:\n{said}"),
            _ => why,
        })
    }

    /// Waits until `condition` holds; fails when it fails, when the daemon ends, or at last.
    pub(super) fn wait(
        &mut self,
        what: &str,
        mut condition: impl FnMut() -> Result<bool, String>,
    ) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while !condition()? {
            if let Some(status) = self.daemon_ended()? {
                return Err(format!("mainstay ended with {status} before {what}"));
            }
            if Instant::now() > deadline {
                return Err(format!("waited {} s for {what}", PATIENCE.as_secs()));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// How the daemon ended, if it has.
    pub(super) fn daemon_ended(&mut self) -> Result<Option<ExitStatus>, String> {
        self.daemon
            .as_mut()
            .map_or(Ok(None), Child::try_wait)
            .map_err(|why| format!("cannot ask about mainstay: {why}"))
    }

    /// The path of a file in the scratch directory.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The scratch directory.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// A `mainstay` command line, run in the scratch directory, where its config is found.
    pub(super) fn mainstay(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.file("mainstay"));
        command
            .args(args)
            .current_dir(&self.directory)
            .stdin(Stdio::null());
        command
    }

    /// Stops the daemon as an administrator would and waits for its end.
    pub(super) fn close(&mut self) -> Result<ExitStatus, String> {
        let Some(mut daemon) = self.daemon.take() else {
            return Err("mainstay does not run".to_owned());
        };
        let failed = |why: std::io::Error| format!("cannot ask about mainstay: {why}");
        if let Some(status) = daemon.try_wait().map_err(failed)? {
            return Ok(status);
        }
        // Not yet waited for, so the number cannot mean another process.
        signal("TERM", daemon.id())?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = daemon.try_wait().map_err(failed)? {
                return Ok(status);
            }
            std::thread::sleep(PAUSE);
        }
        let pid = daemon.id();
        self.daemon = Some(daemon);
        Err(format!(
            "mainstay (pid {pid}) has not stopped within {} s",
            PATIENCE.as_secs()
        ))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if self.daemon.is_some()
            && let Err(why) = self.close()
        {
            eprintln!("warning: {why}; {} stays", self.directory.display());
            return;
        }
        if let Err(why) = std::fs::remove_dir_all(&self.directory) {
            eprintln!("warning: cannot remove {}: {why}", self.directory.display());
        }
    }
}

/// Sends a signal by the shell's own `kill`, which is on every machine.
pub(super) fn signal(name: &str, pid: u32) -> Result<(), String> {
    run::run(
        Command::new("sh")
            .arg("-c")
            .arg(format!("kill -{name} {pid}")),
    )
}

/// Whether the shop on this port answers.
pub(super) fn answers(port: u16) -> bool {
    http::ask(port, "GET", "/up", &Body::Nothing).is_ok_and(|answer| answer.status == 200)
}

/// A new directory that nobody else can look into.
fn scratch_directory() -> Result<PathBuf, String> {
    let directory = std::env::temp_dir().join(format!("mainstay-demo-{}", std::process::id()));
    DirBuilder::new()
        .mode(0o700)
        .create(&directory)
        .map_err(|why| format!("cannot create {}: {why}", directory.display()))?;
    Ok(directory)
}

/// A port that nobody listens on right now.
fn free_port() -> Result<u16, String> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|why| format!("cannot find a free port: {why}"))
}

/// The Python that is really run where `python3` is only a front for it.
fn python() -> Option<PathBuf> {
    let script = "import sqlite3, sys; print(sys.executable)";
    let output = Command::new("python3")
        .args(["-c", script])
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !path.trim().is_empty()).then(|| PathBuf::from(path.trim()))
}

fn random_password() -> Result<String, String> {
    let mut bytes = [0; 24];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(|why| format!("cannot read random bytes: {why}"))?;
    let mut text = String::new();
    for byte in bytes {
        text += &format!("{byte:02x}");
    }
    Ok(text)
}

/// Writes a file that only its owner can read.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{text}")
}

/// A path as a string of TOML (a basic string, with its two escapes that paths need).
fn quoted(path: &Path) -> String {
    let text = path
        .to_string_lossy()
        .replace('\\', "\\\\")
        .replace('"', "\\\"");
    format!("\"{text}\"")
}

/// The config of the demo.
fn config_text(directory: &Path, shops: &[Shop], partner: u16) -> String {
    let mut text = format!(
        "schema = 1

[host]
name = \"demo\"
state = {state}

[secret]
repository = {{ file = {password} }}

[repository.local]
path = {repository}
password = \"${{secret.repository}}\"
",
        state = quoted(&directory.join("state")),
        password = quoted(&directory.join("repository.password")),
        repository = quoted(&directory.join("repository")),
    );
    for shop in shops {
        let command: Vec<String> = shop.command.iter().map(|word| quoted(word)).collect();
        text += &format!(
            "
[program.{name}]
command = [{command}]
start_secs = 1

[program.{name}.env]
SHOP_LISTEN = \"127.0.0.1:{port}\"
SHOP_DATA = {data}
SHOP_PAGES = {pages}
SHOP_PARTNER_URL = \"http://127.0.0.1:{partner}/partner/feedback\"
SHOP_LEASE_MS = \"3000\"
",
            name = shop.name,
            command = command.join(", "),
            port = shop.port,
            data = quoted(&shop.data),
            pages = quoted(&run::root().join("examples/shop/tmpl")),
        );
    }
    if let Some(binary) = shops.first().and_then(|shop| shop.command.first()) {
        text += &format!(
            "
[program.partner]
command = [{}, \"partner\", \"--listen\", \"127.0.0.1:{partner}\"]
start_secs = 1
",
            quoted(binary)
        );
    }
    if let Some(shop) = shops.first() {
        text += &format!(
            "
[backup.db]
sqlite = {{ path = {database} }}
at = \"0 3 * * *\"
keep = {{ last = 3, daily = 7, weekly = 4 }}
to = [\"local\"]
restore = {{ stop = [\"{name}\"] }}

[backup.uploads]
files = {{ path = {uploads} }}
at = \"30 3 * * *\"
keep = {{ last = 10 }}
to = [\"local\"]
",
            database = quoted(&shop.data.join("shop.db")),
            uploads = quoted(&shop.data.join("uploads")),
            name = shop.name,
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_is_valid_toml() {
        let shop = |name, command: &[&str]| Shop {
            name,
            port: 8080,
            command: command.iter().map(PathBuf::from).collect(),
            data: PathBuf::from("/srv/a \"b\"/data"),
        };
        let shops = [
            shop("shop", &["/bin/shop"]),
            shop("twin", &["/bin/python3", "/srv/shop.py"]),
        ];
        let text = config_text(Path::new("/srv/demo"), &shops, 8081);
        let table = toml::de::DeTable::parse(&text).expect("valid TOML");
        let section = |name: &str, key: &str| {
            table
                .get_ref()
                .get(name)
                .and_then(|value| value.get_ref().as_table()?.get(key))
                .is_some()
        };
        for (name, key) in [
            ("program", "shop"),
            ("program", "twin"),
            ("program", "partner"),
            ("backup", "db"),
            ("backup", "uploads"),
            ("repository", "local"),
            ("secret", "repository"),
        ] {
            assert!(section(name, key), "[{name}.{key}] in\n{text}");
        }
    }

    #[test]
    fn passwords_differ_and_are_long() {
        let one = random_password().expect("random bytes");
        assert_eq!(one.len(), 48);
        assert_ne!(one, random_password().expect("random bytes"));
    }
}
