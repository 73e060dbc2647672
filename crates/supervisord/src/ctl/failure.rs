//! Why an action could not be done.

use std::fmt;
use std::io;

use crate::conf::quote;
use crate::xmlrpc::Fault;

/// Why an action could not be done. `Display` is what stands behind `error: `.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server answered with a fault that the action has no words for.
    Fault(Fault),
    /// The server answered with another status than 200.
    Http { status: u16, reason: String },
    /// There was no connection.
    Connect(io::Error),
    /// The connection broke, or the server was silent for too long.
    Io(io::Error),
    /// The answer was not what was asked for.
    Protocol(String),
    /// The terminal, or what stands in for it, is gone.
    Output(io::Error),
    /// The person at the terminal has had enough.
    Interrupted,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The original shows the Python exception; people look for the second half.
            Self::Fault(fault) => write!(
                f,
                "<class 'xmlrpc.client.Fault'>, <Fault {}: {}>",
                fault.code,
                quote(&fault.text)
            ),
            // The original never says which server it was.
            Self::Http { status, reason } => write!(
                f,
                "<class 'xmlrpc.client.ProtocolError'>, \
                 <ProtocolError for 127.0.0.1/RPC2: {status} {reason}>"
            ),
            Self::Connect(why) | Self::Io(why) => match (why.kind(), why.raw_os_error()) {
                (io::ErrorKind::ConnectionRefused, Some(number)) => write!(
                    f,
                    "<class 'ConnectionRefusedError'>, [Errno {number}] Connection refused"
                ),
                (io::ErrorKind::NotFound, Some(number)) => write!(
                    f,
                    "<class 'FileNotFoundError'>, [Errno {number}] No such file or directory"
                ),
                (io::ErrorKind::PermissionDenied, Some(number)) => write!(
                    f,
                    "<class 'PermissionError'>, [Errno {number}] Permission denied"
                ),
                (io::ErrorKind::UnexpectedEof, _) => {
                    f.write_str("the server closed the connection before it answered")
                }
                (io::ErrorKind::TimedOut, _) => f.write_str("the server does not answer"),
                _ => write!(f, "<class 'OSError'>, {why}"),
            },
            Self::Protocol(why) => f.write_str(why),
            Self::Output(why) => write!(f, "cannot write the output: {why}"),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}
