//! Calls of the server, one after the other on one connection.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::Settings;
use super::failure::Failure;
use super::http::{Address, Connection, Credentials};
use crate::xmlrpc::{self, Value};

/// How long the server may be silent before it answers a call that waits for nothing.
const PATIENCE: Duration = Duration::from_mins(1);

/// The server, as long as one line is obeyed.
pub(super) struct Server {
    address: Address,
    credentials: Option<Credentials>,
    connection: Option<Connection>,
    interrupt: Arc<AtomicBool>,
}

impl Server {
    /// Connects to nothing yet.
    pub(super) fn new(settings: &Settings, interrupt: Arc<AtomicBool>) -> Result<Self, Failure> {
        let credentials = settings.username.clone().zip(settings.password.clone());
        Ok(Self {
            address: Address::parse(&settings.serverurl)?,
            credentials: credentials.map(|(username, password)| Credentials { username, password }),
            connection: None,
            interrupt,
        })
    }

    /// Calls `supervisor.METHOD`. Calls that may wait for programs have no end but an interruption.
    pub(super) fn call(&mut self, method: &str, params: &[Value]) -> Result<Value, Failure> {
        let waits = method.starts_with("start")
            || method.starts_with("stop")
            || method.ends_with("ProcessGroup");
        let mut body = Vec::new();
        xmlrpc::write_call(&format!("supervisor.{method}"), params, &mut body);
        let answer = self.post(&body, (!waits).then_some(PATIENCE))?;
        xmlrpc::parse_response(&answer)
            .map_err(|why| Failure::Protocol(why.to_string()))?
            .map_err(Failure::Fault)
    }

    fn post(&mut self, body: &[u8], patience: Option<Duration>) -> Result<Vec<u8>, Failure> {
        loop {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => Connection::open(&self.address, self.interrupt.clone())?,
            };
            let was_used = connection.is_used();
            match connection.post(body, self.credentials.as_ref(), patience) {
                Ok((answer, keep)) => {
                    self.connection = keep.then_some(connection);
                    return Ok(answer);
                }
                // The server closed it while it was idle, so it has not read the call.
                Err(Failure::Io(why)) if was_used && why.kind() == io::ErrorKind::BrokenPipe => {}
                Err(why) => return Err(why),
            }
        }
    }

    /// Hands what is appended to a log to `each`, until the server ends or an interruption.
    pub(super) fn follow(
        &self,
        path: &str,
        interrupt: Arc<AtomicBool>,
        each: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let connection = Connection::open(&self.address, interrupt)?;
        connection.follow(&escaped(path), self.credentials.as_ref(), each)
    }
}

/// A path for the request line: what could end it, or begin a query, is written as `%XX`.
fn escaped(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_graphic() && !b"%?#\"<>\\^`{|}".contains(&byte) {
            out.push(char::from(byte));
        } else {
            use std::fmt::Write as _;
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn a_name_stays_one_request_line() {
        assert_eq!(escaped("/logtail/g:p_1/stdout"), "/logtail/g:p_1/stdout");
        assert_eq!(escaped("/a b\r\n?ü%"), "/a%20b%0D%0A%3F%C3%BC%25");
    }
}
