//! A connection: from the greeting to the end, one statement at a time.

use std::fmt;
use std::io::Read;

use mainstay_base::Secret;
use mainstay_base::tls::{self, Tls};

use crate::auth::{Act, Exchange, Method, ServerKey, unsupported};
use crate::channel::{Channel, Packet};
use crate::error::{Error, ErrorKind};
use crate::handshake::{Done, Greeting, Response, Switch, can, request_tls, server_error};
use crate::row::{Column, Param, Row};
use crate::stream::{Endpoint, Stream, Timeouts, Transport};
use crate::version::Version;
use crate::wire::Bytes;

/// What a stranger may send at once before the user is let in.
const BEFORE_LOGIN: usize = 64 << 10;
/// What a server may send at once: the most that `max_allowed_packet` can be, and a header.
const LIMIT: usize = (1 << 30) + (1 << 16);
/// Columns of one result. Servers have at most 4096 in a table.
const COLUMNS: u64 = 1 << 16;
/// What the descriptions of all columns of one result may take.
const COLUMN_BYTES: usize = 64 << 20;
/// What is read of the caller's data and sent at once.
const PIECE: usize = 1 << 20;
/// Authentications are over after two or three turns.
const TURNS: usize = 16;

mod command {
    pub(super) const QUIT: u8 = 0x01;
    pub(super) const QUERY: u8 = 0x03;
    pub(super) const PING: u8 = 0x0e;
    pub(super) const PREPARE: u8 = 0x16;
    pub(super) const EXECUTE: u8 = 0x17;
    pub(super) const CLOSE: u8 = 0x19;
    pub(super) const RESET: u8 = 0x1f;
}

/// How to reach a server, and as whom.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// The user.
    pub user: String,
    /// The user's password; empty if there is none.
    pub password: Secret,
    /// The database that names without one are looked for in.
    pub database: Option<String>,
    /// TLS. With it a server that has none is an error.
    pub tls: Option<Tls>,
    /// Where the key comes from that a password is encrypted with where there is no TLS.
    pub server_key: ServerKey,
    /// How long is waited.
    pub timeouts: Timeouts,
    /// Whether [`Connection::load`] may be used. The server never gets anything but what is given to
    /// that call.
    pub local_infile: bool,
    /// Whether a statement may be several, with `;` between them.
    pub multi_statements: bool,
    /// What is shown as `program_name` in the server's list of connections.
    pub program: String,
}

impl Options {
    /// This user at this endpoint, without a password; all else as is usual.
    pub fn new(endpoint: Endpoint, user: impl Into<String>) -> Self {
        Self {
            endpoint,
            user: user.into(),
            password: Secret::new(""),
            database: None,
            tls: None,
            server_key: ServerKey::default(),
            timeouts: Timeouts::default(),
            local_infile: false,
            multi_statements: false,
            program: "mainstay".to_owned(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A statement can be sent.
    Ready,
    /// There is more of an answer to read.
    Reading,
    /// Nobody knows what comes next.
    Broken,
}

/// A connection to a server. It is closed when it is dropped, with a goodbye if that is possible, so
/// that the server does not count one that was aborted.
pub struct Connection {
    channel: Channel<Stream>,
    peer: String,
    version: Version,
    id: u32,
    capabilities: u32,
    state: State,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.state == State::Ready {
            let _ = self.send(command::QUIT, &[]);
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.peer)
            .field("version", &self.version)
            .field("id", &self.id)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects, and has the user let in.
    pub fn open(options: &Options) -> Result<Self, Error> {
        let attempt = || format!("connect to {} as `{}`", options.endpoint, options.user);
        let opened = || {
            let stream = Stream::open(&options.endpoint, options.timeouts)?;
            Self::greet(stream, options)
        };
        opened().map_err(|error| error.attempting(attempt))
    }

    /// The same over a stream that is connected already; the endpoint only names it then. There is
    /// no TLS and no time limit but what the stream has itself, and nothing is known of who can read it.
    pub fn over(stream: Box<dyn Transport>, options: &Options) -> Result<Self, Error> {
        let attempt = || format!("connect to {} as `{}`", options.endpoint, options.user);
        Self::greet(Stream::Given(stream), options).map_err(|error| error.attempting(attempt))
    }

    fn greet(stream: Stream, options: &Options) -> Result<Self, Error> {
        let mut channel = Channel::new(stream, BEFORE_LOGIN);
        let packet = channel.read()?;
        let greeting = Greeting::parse(channel.payload(packet))?;
        let capabilities = capabilities(&greeting, options)?;
        if options.tls.is_some() {
            channel = start_tls(channel, capabilities, options)?;
        }
        log_in(&mut channel, &greeting, capabilities, options)?;
        channel.limit = LIMIT;
        channel.stream.relax().map_err(Error::of_stream)?;
        Ok(Self {
            channel,
            peer: options.endpoint.to_string(),
            version: Version::parse(&greeting.version),
            id: greeting.connection_id,
            capabilities,
            state: State::Ready,
        })
    }

    /// Which server it is.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The number by which another connection may `KILL` this one.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Whether another statement can be sent: the last one was read to its end, and nothing broke.
    pub fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// Sends a statement. Its rows are text, and are read one at a time.
    pub fn query(&mut self, statement: &str) -> Result<Results<'_>, Error> {
        self.query_bytes(statement.as_bytes())
    }

    /// The same for a statement that has other bytes than text in it, as those of dumps have.
    pub fn query_bytes(&mut self, statement: &[u8]) -> Result<Results<'_>, Error> {
        self.send(command::QUERY, statement)?;
        self.results(false, None)
    }

    /// Sends a statement and reads all of its rows, which must fit into memory.
    pub fn fetch(&mut self, statement: &str) -> Result<Vec<Vec<Option<Vec<u8>>>>, Error> {
        let mut results = self.query(statement)?;
        let mut rows = Vec::new();
        while let Some(row) = results.next()? {
            rows.push(row.to_texts()?);
        }
        results.finish()?;
        Ok(rows)
    }

    /// Sends a statement that gives no rows, or whose rows are of no interest.
    pub fn run(&mut self, statement: &str) -> Result<Done, Error> {
        self.query(statement)?.finish()
    }

    /// The same with a statement in the character set of the session, `character_set_client`.
    pub fn run_bytes(&mut self, statement: &[u8]) -> Result<Done, Error> {
        self.send(command::QUERY, statement)?;
        self.results(false, None)?.finish()
    }

    /// Sends a `LOAD DATA LOCAL INFILE`, whose file is `data`, whatever name the statement has for it.
    ///
    /// If `data` cannot be read to its end the connection is closed, so that the server takes back
    /// what it had of it (in tables that can: `MyISAM` cannot).
    pub fn load(&mut self, statement: &str, data: &mut dyn Read) -> Result<Done, Error> {
        self.send(command::QUERY, statement.as_bytes())?;
        let results = self.results(false, Some(data))?;
        if !results.loaded {
            results.finish()?;
            return Err(Error::new(
                ErrorKind::Setup,
                "the statement asks for no data: it is no LOAD DATA LOCAL INFILE",
            )
            .attempting(|| self.attempt()));
        }
        results.finish()
    }

    /// Prepares a statement. The server keeps it until [`Connection::close`], or until the end.
    pub fn prepare(&mut self, statement: &str) -> Result<Statement, Error> {
        self.send(command::PREPARE, statement.as_bytes())?;
        self.attempting(|connection| {
            let packet = connection.channel.read()?;
            let payload = connection.channel.payload(packet);
            match payload.first() {
                Some(0) => {}
                Some(0xff) => return Err(connection.refused(packet)),
                _ => return Err(Error::protocol("no answer to a prepare")),
            }
            let mut bytes = Bytes(&payload[1..]);
            let id = bytes.u32()?;
            let columns = bytes.u16()?;
            let params = bytes.u16()?;
            connection.columns(params.into())?;
            connection.columns(columns.into())?;
            connection.state = State::Ready;
            Ok(Statement { id, params })
        })
    }

    /// Runs a prepared statement. Its rows are binary: numbers are exact, and cost the server less.
    pub fn execute(
        &mut self,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<Results<'_>, Error> {
        if params.len() != usize::from(statement.params) {
            return Err(Error::new(
                ErrorKind::Setup,
                format!(
                    "{} values were given, and the statement has {} places for them",
                    params.len(),
                    statement.params
                ),
            )
            .attempting(|| self.attempt()));
        }
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(&statement.id.to_le_bytes());
        out.push(0); // no cursor: rows are streamed
        out.extend_from_slice(&1u32.to_le_bytes());
        if !params.is_empty() {
            let mut nulls = vec![0u8; params.len().div_ceil(8)];
            for (at, param) in params.iter().enumerate() {
                if matches!(param, Param::Null) {
                    nulls[at / 8] |= 1 << (at % 8);
                }
            }
            out.extend_from_slice(&nulls);
            out.push(1);
            for param in params {
                out.extend_from_slice(&param.kind());
            }
            for param in params {
                param.put(&mut out);
            }
        }
        self.send(command::EXECUTE, &out)?;
        self.results(true, None)
    }

    /// Has the server forget a prepared statement. There is no answer to that.
    pub fn close(&mut self, statement: Statement) -> Result<(), Error> {
        self.send(command::CLOSE, &statement.id.to_le_bytes())?;
        self.state = State::Ready;
        Ok(())
    }

    /// Asks whether the server is there.
    pub fn ping(&mut self) -> Result<(), Error> {
        self.send(command::PING, &[])?;
        self.results(false, None)?.finish().map(drop)
    }

    /// Has the session be as new: transactions are rolled back; variables, locks, temporary tables and
    /// prepared statements are gone. The default database stays.
    pub fn reset(&mut self) -> Result<(), Error> {
        self.send(command::RESET, &[])?;
        self.results(false, None)?.finish().map(drop)
    }

    fn attempt(&self) -> String {
        format!("run a statement on {}", self.peer)
    }

    /// Does something with the channel. What goes wrong leaves nothing usable, unless the server
    /// itself refused.
    fn attempting<T>(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let done = act(self);
        done.map_err(|error| {
            if error.kind() == ErrorKind::Server {
                self.state = State::Ready;
            } else {
                self.state = State::Broken;
                self.channel.stream = Stream::Closed;
            }
            error.attempting(|| self.attempt())
        })
    }

    /// The error in a packet.
    fn refused(&self, packet: Packet) -> Error {
        match server_error(self.channel.payload(packet)) {
            Ok(error) => Error::of_server(error),
            Err(error) => error,
        }
    }

    fn send(&mut self, command: u8, argument: &[u8]) -> Result<(), Error> {
        let why = match self.state {
            State::Ready => None,
            State::Reading => Some("the rows of the statement before were not read to their end"),
            State::Broken => Some("the connection broke at an earlier statement"),
        };
        if let Some(why) = why {
            return Err(Error::new(ErrorKind::Unusable, why)
                .with_help("open a new connection")
                .attempting(|| self.attempt()));
        }
        self.state = State::Reading;
        self.attempting(|connection| {
            connection.channel.restart();
            let mut packet = Vec::with_capacity(argument.len() + 1);
            packet.push(command);
            packet.extend_from_slice(argument);
            connection.channel.write(&packet)
        })
    }

    fn results<'c>(
        &'c mut self,
        binary: bool,
        data: Option<&mut dyn Read>,
    ) -> Result<Results<'c>, Error> {
        let mut loaded = false;
        let head = self.attempting(|connection| {
            let head = connection.head(data)?;
            loaded = head.loaded;
            Ok(head)
        })?;
        Ok(Results {
            connection: self,
            columns: head.columns,
            done: head.done,
            binary,
            loaded,
        })
    }

    /// The beginning of an answer.
    fn head(&mut self, data: Option<&mut dyn Read>) -> Result<Head, Error> {
        let packet = self.channel.read()?;
        let payload = self.channel.payload(packet);
        match payload.first() {
            None => Err(Error::protocol("an answer of no bytes")),
            Some(0xff) => Err(self.refused(packet)),
            Some(0) => {
                let done = Done::parse_ok(payload)?;
                self.ended(&done);
                Ok(Head::ended(done))
            }
            Some(0xfb) => {
                self.give(data)?;
                let packet = self.channel.read()?;
                let payload = self.channel.payload(packet);
                match payload.first() {
                    Some(0xff) => Err(self.refused(packet)),
                    Some(0) => {
                        let done = Done::parse_ok(payload)?;
                        self.ended(&done);
                        Ok(Head {
                            loaded: true,
                            ..Head::ended(done)
                        })
                    }
                    _ => Err(Error::protocol("no answer to data")),
                }
            }
            Some(_) => {
                let mut bytes = Bytes(payload);
                let count = bytes.lenenc()?;
                if count == 0 || !bytes.is_empty() {
                    return Err(Error::protocol("no number of columns"));
                }
                Ok(Head {
                    columns: self.columns(count)?,
                    done: None,
                    loaded: false,
                })
            }
        }
    }

    /// Sends the caller's data to a server that asked for a file. One that asks for a file when it was
    /// not told to load one gets none, and is not talked to any more.
    fn give(&mut self, data: Option<&mut dyn Read>) -> Result<(), Error> {
        let Some(data) = data else {
            return Err(Error::protocol(
                "the server asks for a file, and nobody offered it one",
            ));
        };
        let mut piece = vec![0; PIECE];
        loop {
            let mut length = 0;
            while length < PIECE {
                match data.read(&mut piece[length..]) {
                    Ok(0) => break,
                    Ok(read) => length += read,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        return Err(Error::new(
                            ErrorKind::Input,
                            format!("the data to load cannot be read: {error}"),
                        )
                        .with_source(error));
                    }
                }
            }
            // A packet of no bytes is the end.
            self.channel.write(&piece[..length])?;
            if length == 0 {
                return Ok(());
            }
        }
    }

    fn columns(&mut self, count: u64) -> Result<Vec<Column>, Error> {
        if count > COLUMNS {
            return Err(Error::new(
                ErrorKind::Limit,
                format!("the server says that a result has {count} columns"),
            ));
        }
        let mut columns = Vec::new();
        let mut bytes = 0;
        for _ in 0..count {
            let packet = self.channel.read()?;
            let payload = self.channel.payload(packet);
            bytes += payload.len();
            if bytes > COLUMN_BYTES {
                return Err(Error::new(
                    ErrorKind::Limit,
                    "the descriptions of the columns are too long",
                ));
            }
            if payload.first() == Some(&0xff) {
                return Err(self.refused(packet));
            }
            columns.push(Column::parse(payload)?);
        }
        if count > 0 && self.capabilities & can::DEPRECATE_EOF == 0 {
            let packet = self.channel.read()?;
            if self.channel.payload(packet).first() != Some(&0xfe) {
                return Err(Error::protocol("no end of the columns"));
            }
        }
        Ok(columns)
    }

    fn ended(&mut self, done: &Done) {
        self.state = if done.has_more() {
            State::Reading
        } else {
            State::Ready
        };
    }

    /// The next row, or how the rows ended.
    fn row(&mut self) -> Result<Result<Packet, Done>, Error> {
        let packet = self.channel.read()?;
        let payload = self.channel.payload(packet);
        let as_ok = self.capabilities & can::DEPRECATE_EOF != 0;
        // A cell of 16 MiB begins with the same byte; a packet with one is longer.
        let short = if as_ok {
            payload.len() < crate::channel::LONGEST
        } else {
            payload.len() < 9
        };
        match payload.first() {
            Some(0xff) => Err(self.refused(packet)),
            Some(0xfe) if short => {
                let done = if as_ok {
                    Done::parse_ok(payload)?
                } else {
                    Done::parse_eof(payload)?
                };
                self.ended(&done);
                Ok(Err(done))
            }
            _ => Ok(Ok(packet)),
        }
    }
}

fn capabilities(greeting: &Greeting, options: &Options) -> Result<u32, Error> {
    let mut wanted = can::LONG_PASSWORD
        | can::LONG_FLAG
        | can::NEEDED
        | can::TRANSACTIONS
        | can::MULTI_RESULTS
        | can::PS_MULTI_RESULTS
        | can::CONNECT_ATTRS
        | can::PLUGIN_AUTH_LENENC
        | can::DEPRECATE_EOF;
    for (asked, capability) in [
        (options.database.is_some(), can::CONNECT_WITH_DB),
        (options.local_infile, can::LOCAL_FILES),
        (options.multi_statements, can::MULTI_STATEMENTS),
        (options.tls.is_some(), can::SSL),
    ] {
        if asked {
            wanted |= capability;
        }
    }
    if options.tls.is_some() && greeting.capabilities & can::SSL == 0 {
        return Err(Error::new(ErrorKind::Tls, "the server has no TLS").with_help(
            "give the server a certificate (`ssl_cert`, `ssl_key`), or leave TLS out of the config if the way to it is safe",
        ));
    }
    if options.local_infile && greeting.capabilities & can::LOCAL_FILES == 0 {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "the server does not allow LOAD DATA LOCAL",
        )
        .with_help("`SET GLOBAL local_infile = ON`"));
    }
    // MariaDB says by the absence of the first bit who it is, and takes it all the same.
    Ok(wanted & (greeting.capabilities | can::LONG_PASSWORD))
}

fn start_tls(
    mut channel: Channel<Stream>,
    capabilities: u32,
    options: &Options,
) -> Result<Channel<Stream>, Error> {
    let Some(tls) = &options.tls else {
        return Ok(channel);
    };
    let host = match &options.endpoint {
        Endpoint::Tcp { host, .. } => host.as_str(),
        Endpoint::Unix(_) => "localhost",
    };
    let client = tls.client()?;
    let name = tls.name(host)?;
    // What came in clear behind the greeting would be read as if it had come under TLS.
    if channel.has_unread() {
        return Err(Error::protocol(
            "something came between the greeting and TLS",
        ));
    }
    channel.write(&request_tls(capabilities))?;
    let Stream::Clear(socket) = std::mem::replace(&mut channel.stream, Stream::Closed) else {
        return Err(Error::new(
            ErrorKind::Setup,
            "there is no TLS over a stream that somebody else has opened",
        ));
    };
    let stream = tls::begin(client, name, socket).map_err(Error::of_stream)?;
    channel.stream = Stream::Tls(Box::new(stream));
    Ok(channel)
}

fn log_in(
    channel: &mut Channel<Stream>,
    greeting: &Greeting,
    capabilities: u32,
    options: &Options,
) -> Result<(), Error> {
    let begin = |method, nonce, privacy| {
        Exchange::new(
            method,
            nonce,
            &options.password,
            privacy,
            &options.server_key,
        )
    };
    let privacy = channel.stream.privacy();
    // Many servers greet with a default that is not the user's own; what cannot be said at once is
    // asked for again.
    let method = Method::named(&greeting.plugin).filter(|method| *method != Method::Clear);
    let mut exchange = begin(
        method.unwrap_or(Method::Native),
        greeting.nonce.clone(),
        privacy,
    );
    let auth = match method {
        Some(_) => exchange.first()?,
        None => zeroize::Zeroizing::new(Vec::new()),
    };
    let response = Response {
        capabilities,
        user: &options.user,
        auth: &auth,
        database: options.database.as_deref(),
        plugin: exchange.method.name(),
        attributes: &[
            ("_client_name", "mainstay-mysql"),
            ("_client_version", env!("CARGO_PKG_VERSION")),
            ("program_name", &options.program),
        ],
    };
    if options.user.contains('\0')
        || options
            .database
            .as_ref()
            .is_some_and(|name| name.contains('\0'))
    {
        return Err(Error::new(
            ErrorKind::Setup,
            "the name of a user or of a database has no zero byte in it",
        ));
    }
    channel.write(&response.bytes())?;
    for _ in 0..TURNS {
        let packet = channel.read()?;
        let payload = channel.payload(packet);
        let answer = match payload.first() {
            Some(0) => return Ok(()),
            Some(0xff) => return Err(denied(payload)),
            Some(0xfe) => {
                let switch = Switch::parse(payload)?;
                let method =
                    Method::named(&switch.plugin).ok_or_else(|| unsupported(&switch.plugin))?;
                exchange = begin(method, switch.nonce, privacy);
                exchange.first()?
            }
            Some(1) => match exchange.more(&payload[1..])? {
                Act::Send(answer) => answer,
                Act::Wait => continue,
            },
            _ => return Err(Error::protocol("no answer to a login")),
        };
        channel.write(&answer)?;
    }
    Err(Error::protocol("an authentication without an end"))
}

/// Access denied (1045), to a database (1044), by a plugin (1698).
const DENIED: [u16; 3] = [1044, 1045, 1698];

fn denied(payload: &[u8]) -> Error {
    let error = match server_error(payload) {
        Ok(error) => error,
        Err(error) => return error,
    };
    let code = error.code;
    let made = Error::of_server(error);
    if DENIED.contains(&code) {
        made.with_help("check the user, its password, and from where the user may come (`SELECT user, host FROM mysql.user`)")
    } else {
        made
    }
}

struct Head {
    columns: Vec<Column>,
    done: Option<Done>,
    loaded: bool,
}

impl Head {
    fn ended(done: Done) -> Self {
        Self {
            columns: Vec::new(),
            done: Some(done),
            loaded: false,
        }
    }
}

/// A statement that the server has prepared, for the connection that it was prepared on.
#[derive(Debug)]
pub struct Statement {
    id: u32,
    params: u16,
}

/// The answer to a statement: rows that are read one at a time, straight from the server.
///
/// The connection is of no use until [`Results::next`] gave `None` (and, where a procedure gives
/// several results, [`Results::next_result`] gave `false`), or [`Results::finish`] was called.
#[derive(Debug)]
pub struct Results<'c> {
    connection: &'c mut Connection,
    columns: Vec<Column>,
    /// How the rows ended.
    done: Option<Done>,
    binary: bool,
    loaded: bool,
}

impl Results<'_> {
    /// The columns; none if the statement gives no rows.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The next row, or `None` at their end.
    #[allow(
        clippy::should_implement_trait,
        reason = "a row is lent until the next one is read, which an iterator cannot say"
    )]
    pub fn next(&mut self) -> Result<Option<Row<'_>>, Error> {
        if self.done.is_some() {
            return Ok(None);
        }
        match self.connection.attempting(Connection::row)? {
            Err(done) => {
                self.done = Some(done);
                Ok(None)
            }
            Ok(packet) => Ok(Some(Row {
                payload: self.connection.channel.payload(packet),
                columns: &self.columns,
                binary: self.binary,
            })),
        }
    }

    /// Reads what is left of this result and goes on to the next one; `false` if there is none.
    pub fn next_result(&mut self) -> Result<bool, Error> {
        while self.next()?.is_some() {}
        if !self.done.as_ref().is_some_and(Done::has_more) {
            return Ok(false);
        }
        let head = self
            .connection
            .attempting(|connection| connection.head(None))?;
        self.columns = head.columns;
        self.done = head.done;
        Ok(true)
    }

    /// Reads all that is left; says how the last result ended.
    pub fn finish(mut self) -> Result<Done, Error> {
        while self.next_result()? {}
        Ok(self.done.unwrap_or_default())
    }
}
