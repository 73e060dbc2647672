//! Servers of the tests' own, and our client to them.

use mainstay_mysql::{Connection, Endpoint, Options};

/// A running server that lets users in; it ends with this.
pub(crate) struct Server(testbed::Server);

/// `MariaDB`, if it is installed, with these options besides the usual ones.
pub(crate) fn mariadb(options: &[&str]) -> Option<Server> {
    testbed::mariadb(options).map(Server::ready)
}

/// The same, with a data directory that is made with options of its own.
#[allow(dead_code, reason = "for backups of its files")]
pub(crate) fn mariadb_made(made: &[&str], options: &[&str]) -> Option<Server> {
    testbed::mariadb_made(made, options).map(Server::ready)
}

/// The same on the data directory `data` that is in this directory already.
#[allow(dead_code, reason = "for restores of its files")]
pub(crate) fn mariadb_on(directory: tempfile::TempDir, options: &[&str]) -> Option<Server> {
    testbed::mariadb_on(directory, options).map(Server::ready)
}

/// `MySQL`, if it is installed or unpacked somewhere.
pub(crate) fn mysql(options: &[&str]) -> Option<Server> {
    testbed::mysql(options).map(Server::ready)
}

impl Server {
    fn ready(server: testbed::Server) -> Self {
        let mut server = Self(server);
        server.wait();
        server
    }

    /// Waits until it lets users in.
    fn wait(&mut self) {
        let options = self.options();
        self.0.wait(|| Connection::open(&options));
    }

    /// Its process.
    #[allow(
        dead_code,
        reason = "for restores, which are tested with these servers too"
    )]
    pub(crate) fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Where it keeps its data.
    #[allow(dead_code, reason = "for backups of its files")]
    pub(crate) fn data(&self) -> std::path::PathBuf {
        self.0.directory().join("data")
    }

    /// Kills it; [`Self::restart`] starts it again.
    #[allow(dead_code, reason = "for restores in the place of its files")]
    pub(crate) fn stop(&mut self) {
        self.0.kill();
    }

    /// Kills it, if nobody else did, and starts it again with these options besides.
    #[allow(
        dead_code,
        reason = "for restores, which are tested with these servers too"
    )]
    pub(crate) fn restart(&mut self, options: &[&str]) {
        self.0.restart(options);
        self.wait();
    }

    /// As root over the socket.
    pub(crate) fn options(&self) -> Options {
        Options::new(Endpoint::Unix(self.0.directory().join("s")), "root")
    }

    /// As this user over TCP.
    pub(crate) fn tcp(&self, user: &str) -> Options {
        let endpoint = Endpoint::Tcp {
            host: "127.0.0.1".to_owned(),
            port: self.0.port(),
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
