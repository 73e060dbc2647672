//! `MariaDB` and `PostgreSQL` of the tests' own, in a directory of their own, on a socket in it.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sqlx::mysql::{MySqlConnectOptions, MySqlPool, MySqlPoolOptions};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use tempfile::TempDir;

/// A user without rights, for servers that refuse to run as root.
const NOBODY: u32 = 65534;

/// A running server; it ends with this.
pub(crate) struct Server {
    child: Child,
    directory: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What the server wrote, for when it does not come up.
    fn log(&self) -> String {
        std::fs::read_to_string(self.directory().join("log")).unwrap_or_default()
    }
}

fn find(name: &str, directories: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    directories
        .iter()
        .cloned()
        .chain(std::env::split_paths(&path))
        .chain(["/usr/local/sbin", "/usr/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

/// Where Debian has the programs of `PostgreSQL`: one directory for each version.
fn postgres_directories() -> Vec<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let mut found: Vec<PathBuf> = versions
        .flatten()
        .map(|version| version.path().join("bin"))
        .collect();
    found.sort();
    found.reverse();
    found
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
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

fn place(command: &mut Command, directory: &TempDir) -> Child {
    let log = std::fs::File::create(directory.path().join("log")).unwrap();
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// A directory that the server's user owns.
fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    if is_root() {
        std::os::unix::fs::chown(directory.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    directory
}

/// `MariaDB`, if it is installed.
pub(crate) fn mariadb() -> Option<Server> {
    let (Some(server), Some(install)) = (find("mariadbd", &[]), find("mariadb-install-db", &[]))
    else {
        println!("SKIPPED: no mariadbd and mariadb-install-db on this machine");
        return None;
    };
    let directory = directory();
    let data = directory.path().join("data");
    let data = format!("--datadir={}", data.display());
    run(humble(&install, &directory)
        .args(["--no-defaults", &data])
        .args([
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
        ]));
    let socket = directory.path().join("s");
    let child = place(
        humble(&server, &directory)
            .args([
                "--no-defaults",
                &data,
                "--skip-networking",
                "--skip-log-bin",
            ])
            .arg(format!("--socket={}", socket.display()))
            .arg(format!(
                "--pid-file={}",
                directory.path().join("pid").display()
            ))
            .args([
                "--innodb-buffer-pool-size=32M",
                "--innodb-flush-log-at-trx-commit=1",
            ]),
        &directory,
    );
    Some(Server { child, directory })
}

/// `PostgreSQL`, if it is installed.
pub(crate) fn postgres() -> Option<Server> {
    let directories = postgres_directories();
    let (Some(server), Some(install)) =
        (find("postgres", &directories), find("initdb", &directories))
    else {
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
    let child = place(
        humble(&server, &directory)
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(directory.path())
            .args(["-c", "listen_addresses=", "-c", "shared_buffers=16MB"])
            .current_dir(directory.path()),
        &directory,
    );
    Some(Server { child, directory })
}

/// How many connections a pool of the tests has at most.
const CONNECTIONS: u32 = 20;

pub(crate) fn mariadb_options(directory: &Path) -> MySqlConnectOptions {
    MySqlConnectOptions::new()
        .socket(directory.join("s"))
        .username("root")
        .database("mysql")
}

pub(crate) fn postgres_options(directory: &Path) -> PgConnectOptions {
    PgConnectOptions::new()
        .host(&directory.display().to_string())
        .username("postgres")
        .database("postgres")
}

/// Tries until it works, as long as a server under load may take to come up.
async fn eventually<T, E: std::fmt::Display>(
    server: &Server,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let begin = Instant::now();
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) if begin.elapsed() > Duration::from_mins(2) => {
                panic!("no answer from the server: {error}\n{}", server.log())
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

pub(crate) async fn mariadb_pool(server: &Server) -> MySqlPool {
    let options = mariadb_options(server.directory());
    let pool = eventually(server, async || {
        MySqlPoolOptions::new()
            .max_connections(CONNECTIONS)
            .connect_with(options.clone())
            .await
    });
    pool.await
}

pub(crate) async fn postgres_pool(server: &Server) -> PgPool {
    let options = postgres_options(server.directory());
    let pool = eventually(server, async || {
        PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .connect_with(options.clone())
            .await
    });
    pool.await
}

/// What a process of its own needs to find the server.
pub(crate) fn directory_of(server: &Server) -> PathBuf {
    server.directory().to_owned()
}
