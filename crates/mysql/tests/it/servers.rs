//! Servers of the tests' own, each in a directory of its own, on a socket in it and on a port of
//! this machine.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mainstay_mysql::{Connection, Endpoint, Options};
use tempfile::TempDir;

/// A user without rights, for servers that refuse to run as root.
const NOBODY: u32 = 65534;

/// Where the packages of a `MySQL` were unpacked, in tests on systems that have only `MariaDB`:
/// `apt-get download mysql-server-core` and what it depends on, `dpkg -x` each into this directory.
const MYSQL: &str = "MAINSTAY_TEST_MYSQL";

/// A running server; it ends with this.
pub(crate) struct Server {
    command: Command,
    child: Child,
    directory: TempDir,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory that a server's user owns.
pub(crate) fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    give(directory.path());
    directory
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Gives a file to the user that servers run as.
pub(crate) fn give(path: &Path) {
    if is_root() {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
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

/// A port that nobody has at the moment.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// `MariaDB`, if it is installed, with these options besides the usual ones.
pub(crate) fn mariadb(options: &[&str]) -> Option<Server> {
    let (Some(server), Some(install)) = (find("mariadbd"), find("mariadb-install-db")) else {
        println!("SKIPPED: no mariadbd and mariadb-install-db on this machine");
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
        ]));
    let mut command = humble(&server, &directory);
    command.args(["--no-defaults", &data, "--skip-name-resolve"]);
    Some(start(command, directory, options))
}

/// `MySQL`, if it is installed or unpacked somewhere.
pub(crate) fn mysql(options: &[&str]) -> Option<Server> {
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
    Some(start(server, directory, options))
}

fn start(mut command: Command, directory: TempDir, options: &[&str]) -> Server {
    let log = std::fs::File::create(directory.path().join("log")).unwrap();
    let port = free_port();
    command
        .arg(format!("--socket={}", directory.path().join("s").display()))
        .arg(format!(
            "--pid-file={}",
            directory.path().join("pid").display()
        ))
        .arg(format!("--port={port}"))
        .args(["--bind-address=127.0.0.1", "--innodb-buffer-pool-size=32M"])
        .args(options)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    let mut server = Server {
        child: command.spawn().unwrap(),
        command,
        directory,
        port,
    };
    server.wait();
    server
}

impl Server {
    /// Waits until it lets users in.
    fn wait(&mut self) {
        let begun = Instant::now();
        while let Err(why) = Connection::open(&self.options()) {
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && begun.elapsed() < Duration::from_mins(3),
                "{why}; {ended:?}\n{}",
                std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Its process.
    #[allow(
        dead_code,
        reason = "for restores, which are tested with these servers too"
    )]
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, if nobody else did, and starts it again with these options besides.
    #[allow(
        dead_code,
        reason = "for restores, which are tested with these servers too"
    )]
    pub(crate) fn restart(&mut self, options: &[&str]) {
        // The last one of an option counts.
        self.command.args(options);
        let _ = self.child.kill();
        self.child.wait().unwrap();
        self.child = self.command.spawn().unwrap();
        self.wait();
    }

    /// As root over the socket.
    pub(crate) fn options(&self) -> Options {
        Options::new(Endpoint::Unix(self.directory.path().join("s")), "root")
    }

    /// As this user over TCP.
    pub(crate) fn tcp(&self, user: &str) -> Options {
        let endpoint = Endpoint::Tcp {
            host: "127.0.0.1".to_owned(),
            port: self.port,
        };
        Options::new(endpoint, user)
    }

    /// A connection as root.
    pub(crate) fn root(&self) -> Connection {
        Connection::open(&self.options()).unwrap()
    }
}

/// Runs these statements.
pub(crate) fn all(connection: &mut Connection, statements: &[&str]) {
    for statement in statements {
        if let Err(error) = connection.run(statement) {
            panic!("{statement}: {error}");
        }
    }
}
