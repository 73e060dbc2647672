//! `mysql = { … }` of a backup.

use std::path::{Path, PathBuf};

use mainstay_base::config::{FromValue, Section, Value, one_of};
use mainstay_base::tls::{Check, Tls};
use mainstay_base::{Credential, Diagnostic, Pattern};
use mainstay_mysql::{Endpoint, ServerKey};

use super::{SourceConfig, read_path, read_tls};
use crate::source::mysql::Selection;

/// How a server is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Engine {
    /// Over its own protocol, row by row.
    #[default]
    Dump,
    /// By its files, which the program `mariadb-backup` reads.
    MariadbBackup,
}

impl Engine {
    const ALL: [Self; 2] = [Self::Dump, Self::MariadbBackup];

    fn name(self) -> &'static str {
        match self {
            Self::Dump => "dump",
            Self::MariadbBackup => "mariadb-backup",
        }
    }
}

impl FromValue for Engine {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        one_of(value, "engine", &Self::ALL, Self::name)
    }
}

/// `mysql` of a `[backup.x]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MysqlConfig {
    /// The path that its snapshots are of: there is none in the file system.
    pub path: PathBuf,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// The user.
    pub user: String,
    /// Where the user's password comes from; there is none if it is absent.
    pub password: Option<Credential>,
    /// TLS.
    pub tls: Option<Tls>,
    /// Where the key comes from that a password is encrypted with where there is no TLS.
    pub server_key: ServerKey,
    /// Which databases are read.
    pub selection: Selection,
    /// Whether users and grants are read.
    pub users: bool,
    /// How many connections, or threads of the program, read at once.
    pub connections: usize,
    /// How it is read.
    pub engine: Engine,
    /// The program `mariadb-backup`, where it is none that is found by its usual name.
    pub program: Option<PathBuf>,
}

/// Reads the section.
pub(super) fn read(mut server: Section<'_>) -> Option<SourceConfig> {
    let socket = read_path(&mut server, "socket", false);
    let host = server.get::<String>("host");
    let port = server.get_spanned::<u16>("port");
    let endpoint = match (socket, host) {
        (Some(socket), None) => {
            if let Some(port) = port {
                server.report(Diagnostic::error("a socket has no port").at(&port.place));
            }
            Some(Endpoint::Unix(socket))
        }
        (None, Some(host)) => Some(Endpoint::Tcp {
            host,
            port: port.map_or(3306, |port| port.value),
        }),
        (Some(_), Some(_)) => {
            server.report(
                Diagnostic::error(format!("[{}] has both `socket` and `host`", server.path()))
                    .at(server.place()),
            );
            None
        }
        (None, None) => {
            server.report(
                Diagnostic::error(format!(
                    "[{}] does not say where the server is",
                    server.path()
                ))
                .at(server.place())
                .help("write `socket = \"/run/mysqld/mysqld.sock\"`, or `host = \"…\"`"),
            );
            None
        }
    };
    let user = server.required::<String>("user");
    let password = server.get_spanned::<Credential>("password");
    if let Some(password) = &password
        && !password.value.refers()
    {
        server.report(
            Diagnostic::error("a password is not written into the config")
                .at(&password.place)
                .help(
                    "write `password = \"${secret.NAME}\"` and say in [secret] where NAME is kept",
                ),
        );
    }
    let patterns = |names: Option<Vec<String>>| -> Vec<Pattern> {
        names
            .unwrap_or_default()
            .into_iter()
            .map(Pattern::new)
            .collect()
    };
    let selection = Selection {
        databases: patterns(server.get("databases")),
        exclude: patterns(server.get("exclude")),
    };
    let users = server.get::<bool>("users").unwrap_or(true);
    let connections = server.get_spanned::<u8>("connections");
    if let Some(connections) = &connections
        && !(1..=64).contains(&connections.value)
    {
        server.report(
            Diagnostic::error("`connections` is a number from 1 to 64").at(&connections.place),
        );
    }
    let server_key = match read_path(&mut server, "server_key", false) {
        Some(path) => ServerKey::File(path),
        None => ServerKey::AskOnThisMachine,
    };
    let tls = read_tls(&mut server, read_any_name);
    let engine = server.get::<Engine>("engine").unwrap_or_default();
    let program = read_path(&mut server, "program", false);
    check_engine(&mut server, engine);
    server.finish();
    let (endpoint, user) = (endpoint?, user?);
    let place = match &endpoint {
        Endpoint::Tcp { host, port } => format!("{}:{port}", host.replace('/', "_")),
        Endpoint::Unix(path) => path.to_string_lossy().trim_start_matches('/').to_owned(),
    };
    Some(SourceConfig::Mysql(Box::new(MysqlConfig {
        path: Path::new("/mysql").join(place),
        endpoint,
        user,
        password: password.map(|password| password.value),
        tls,
        server_key,
        selection,
        users,
        connections: connections.map_or(2, |connections| connections.value.into()),
        engine,
        program,
    })))
}

/// That nothing is said that the engine could not keep.
fn check_engine(server: &mut Section<'_>, engine: Engine) {
    let (keys, why, help): (&[&str], _, _) = match engine {
        Engine::Dump => (
            &["program"],
            "is for the engine `mariadb-backup` alone",
            "add `engine = \"mariadb-backup\"`, or remove it",
        ),
        Engine::MariadbBackup => (
            &["host", "databases", "exclude", "users", "server_key", "tls"],
            "does not go with the engine `mariadb-backup`",
            "that engine reads the data directory of a server on this machine, whole: name its `socket`, or leave `engine` out",
        ),
    };
    for key in keys {
        if let Some(value) = server.value(key) {
            server.report(value.error(format!("`{key}` {why}")).help(help));
        }
    }
}

/// Certificates that a server made for itself have no name of a host.
fn read_any_name(section: &mut Section<'_>, tls: &mut Tls) {
    let Some(any_name) = section.get_spanned::<bool>("any_name") else {
        return;
    };
    if any_name.value {
        tls.check = Check::AnyName;
    }
    if any_name.value && tls.ca.is_empty() {
        section.report(
            Diagnostic::error("any name is taken only from an authority of one's own")
                .at(&any_name.place)
                .help("name the file with the server's own authority in `ca`"),
        );
    }
}

#[cfg(test)]
mod tests {
    use mainstay_base::config::Document;

    use super::*;

    fn said(keys: &str) -> (Option<SourceConfig>, String) {
        let text = format!("mysql = {{ user = \"b\", {keys} }}");
        let document = Document::parse("mainstay.toml", text).unwrap();
        let mut root = document.root();
        let source = root.section("mysql").and_then(read);
        root.finish();
        (source, document.take_diagnostics().to_string())
    }

    #[test]
    fn an_engine_is_one_of_two() {
        for (keys, engine, program) in [
            ("socket = \"/s\"", Engine::Dump, None),
            (
                "socket = \"/s\", engine = \"dump\", users = false",
                Engine::Dump,
                None,
            ),
            (
                "socket = \"/s\", connections = 4, engine = \"mariadb-backup\", program = \"/opt/mb\"",
                Engine::MariadbBackup,
                Some(Path::new("/opt/mb")),
            ),
        ] {
            let (source, said) = said(keys);
            assert_eq!(said, "");
            let Some(SourceConfig::Mysql(server)) = source else {
                panic!("{keys}")
            };
            assert_eq!(
                (server.engine, server.program.as_deref()),
                (engine, program)
            );
        }
    }

    #[test]
    fn what_an_engine_does_not_have_is_refused() {
        let physical = "engine = \"mariadb-backup\"";
        for (keys, expected) in [
            (
                "socket = \"/s\", engine = \"mariadb-backups\"",
                "did you mean `mariadb-backup`?",
            ),
            (
                "socket = \"/s\", engine = \"xtra\"",
                "`xtra` is no engine; there are dump, mariadb-backup",
            ),
            (
                "socket = \"/s\", program = \"/p\"",
                "`program` is for the engine `mariadb-backup` alone",
            ),
            (
                &format!("host = \"db\", {physical}"),
                "`host` does not go with the engine",
            ),
            (
                &format!("socket = \"/s\", users = true, {physical}"),
                "`users` does not go with the engine",
            ),
            (
                &format!("socket = \"/s\", databases = [\"a\"], {physical}"),
                "`databases` does not go with the engine",
            ),
            (
                &format!("socket = \"/s\", enginee = \"dump\", {physical}"),
                "did you mean `engine`?",
            ),
        ] {
            let (_, said) = said(keys);
            assert!(said.contains(expected), "{keys}: {said}");
            assert!(said.contains("mainstay.toml:1:"), "{said}");
        }
    }
}
