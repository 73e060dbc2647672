//! Servers of databases that tests start for themselves: each in a directory of its own, on a socket in
//! it and a port of this machine, as a user without rights where the test is root. They end with their
//! value, also when a test fails. Where a server is not installed, a line says what is skipped.
//!
//! Nothing here speaks with them: the clients are what is tested.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "the test runner collects these lines")]

use std::fmt::Display;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a server under load may take to come up.
const PATIENCE: Duration = Duration::from_mins(3);

/// A user without rights, for servers that refuse to run as root.
const NOBODY: u32 = 65534;

/// Where the packages of a `MySQL` were unpacked, in tests on systems that have only `MariaDB`:
/// `apt-get download mysql-server-core` and what it depends on, `dpkg -x` each into this directory.
const MYSQL: &str = "MAINSTAY_TEST_MYSQL";

/// A running server; it ends with this.
pub struct Server {
    command: Command,
    child: Child,
    directory: TempDir,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Server {
    fn start(mut command: Command, directory: TempDir, port: u16) -> Self {
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        command
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        Self {
            child: command.spawn().unwrap(),
            command,
            directory,
            port,
        }
    }

    /// Where all of it is. The socket of `MariaDB` and `MySQL` is `s` in it, that of `PostgreSQL` has
    /// its usual name.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its port on 127.0.0.1; `PostgreSQL` listens at none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether there is any use in waiting for it; if not, the test fails with what the server wrote.
    pub fn expect_more(&mut self, since: Instant, why: &dyn Display) {
        let ended = self.child.try_wait().unwrap();
        assert!(
            ended.is_none() && since.elapsed() < PATIENCE,
            "{why}; {ended:?}\n{}",
            std::fs::read_to_string(self.directory().join("log")).unwrap_or_default()
        );
    }

    /// Tries until it works.
    pub fn wait<T, E: Display>(&mut self, mut attempt: impl FnMut() -> Result<T, E>) -> T {
        let begun = Instant::now();
        loop {
            match attempt() {
                Ok(done) => return done,
                Err(why) => self.expect_more(begun, &why),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Kills it.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Kills it, if nobody else did, and starts it again with these options besides.
    pub fn restart(&mut self, options: &[&str]) {
        // The last one of an option counts.
        self.command.args(options);
        self.kill();
        self.child = self.command.spawn().unwrap();
    }
}

/// A directory that a server's user owns.
pub fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    give(directory.path());
    directory
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Gives a file to the user that servers run as.
pub fn give(path: &Path) {
    if is_root() {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

/// A program in one of these directories or where programs and servers are.
fn find_in(directories: Vec<PathBuf>, name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    directories
        .into_iter()
        .chain(std::env::split_paths(&path))
        .chain(["/usr/local/sbin", "/usr/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

/// A program where programs and servers are.
pub fn find(name: &str) -> Option<PathBuf> {
    find_in(Vec::new(), name)
}

/// A port that nobody has at the moment.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A command that runs as nobody where this is root, with temporary files of its own: a server that
/// starts removes what others left in the directory for them, and takes a running one's for left.
fn humble(program: &Path, directory: &TempDir) -> Command {
    let mut command = Command::new(program);
    command.env("TMPDIR", directory.path());
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// `MariaDB`, if it is installed, with these options besides the usual ones.
pub fn mariadb(options: &[&str]) -> Option<Server> {
    mariadb_made(&[], options)
}

/// The same, with a data directory that is made with options of its own.
pub fn mariadb_made(made: &[&str], options: &[&str]) -> Option<Server> {
    let Some(install) = find("mariadb-install-db") else {
        println!("SKIPPED: no mariadb-install-db on this machine");
        return None;
    };
    let directory = directory();
    let data = format!("--datadir={}", directory.path().join("data").display());
    run(humble(&install, &directory)
        .args(["--no-defaults", &data])
        .args([
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
        ])
        .args(made));
    let options: Vec<&str> = made.iter().chain(options).copied().collect();
    mariadb_on(directory, &options)
}

/// `MariaDB` on the data directory `data` that is in this directory already.
pub fn mariadb_on(directory: TempDir, options: &[&str]) -> Option<Server> {
    let Some(server) = find("mariadbd") else {
        println!("SKIPPED: no mariadbd on this machine");
        return None;
    };
    let data = format!("--datadir={}", directory.path().join("data").display());
    let mut command = humble(&server, &directory);
    command.args(["--no-defaults", &data, "--skip-name-resolve"]);
    Some(start_mysql(command, directory, options))
}

/// `MySQL`, if it is installed or unpacked somewhere.
pub fn mysql(options: &[&str]) -> Option<Server> {
    let directory = directory();
    let command = || -> Option<Command> {
        let Some(root) = std::env::var_os(MYSQL).map(PathBuf::from) else {
            let server = find("mysqld")?;
            let version = Command::new(&server).arg("--version").output().ok()?;
            let said = String::from_utf8_lossy(&version.stdout).into_owned();
            return (!said.contains("MariaDB")).then(|| humble(&server, &directory));
        };
        let libraries = root.join("usr/lib/x86_64-linux-gnu");
        let mut command = humble(&libraries.join("ld-linux-x86-64.so.2"), &directory);
        command
            .arg("--library-path")
            .arg(&libraries)
            .arg(root.join("usr/sbin/mysqld"))
            .arg("--no-defaults");
        for (option, path) in [
            ("lc-messages-dir", "usr/share/mysql"),
            ("character-sets-dir", "usr/share/mysql/charsets"),
            ("plugin-dir", "usr/lib/mysql/plugin"),
        ] {
            command.arg(format!("--{option}={}", root.join(path).display()));
        }
        command.arg("--secure-file-priv=");
        Some(command)
    };
    let (Some(mut install), Some(mut server)) = (command(), command()) else {
        println!("SKIPPED: no MySQL on this machine, and {MYSQL} names none");
        return None;
    };
    let data = format!("--datadir={}", directory.path().join("data").display());
    run(install.args(["--initialize-insecure", &data]));
    server.args([&data, "--mysqlx=OFF"]);
    Some(start_mysql(server, directory, options))
}

fn start_mysql(mut command: Command, directory: TempDir, options: &[&str]) -> Server {
    let path = |name: &str| directory.path().join(name).display().to_string();
    let port = free_port();
    command
        .arg(format!("--socket={}", path("s")))
        .arg(format!("--pid-file={}", path("pid")))
        .arg(format!("--port={port}"))
        .args(["--bind-address=127.0.0.1", "--innodb-buffer-pool-size=32M"])
        .args(options);
    Server::start(command, directory, port)
}

/// `PostgreSQL`, if it is installed; on its socket alone.
pub fn postgres() -> Option<Server> {
    // Where Debian has its programs: one directory for each version.
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .collect();
    versions.sort();
    versions.reverse();
    let find = |name| find_in(versions.clone(), name);
    let (Some(server), Some(install)) = (find("postgres"), find("initdb")) else {
        println!("SKIPPED: no postgres and initdb on this machine");
        return None;
    };
    let directory = directory();
    let data = directory.path().join("data");
    run(humble(&install, &directory)
        .arg("--pgdata")
        .arg(&data)
        .args(["--username=postgres", "--auth=trust", "--no-sync"])
        .args(["--encoding=UTF8", "--locale=C"])
        .current_dir(directory.path()));
    let mut command = humble(&server, &directory);
    command
        .arg("-D")
        .arg(&data)
        .arg("-k")
        .arg(directory.path())
        .args(["-c", "listen_addresses=", "-c", "shared_buffers=16MB"]);
    Some(Server::start(command, directory, 0))
}
