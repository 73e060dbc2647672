//! The HTTP server, spec sections 1.5 and 1.8: who gets in, how many at once, how slow they may be.
//!
//! [`serve`] takes a socket that is bound already and serves until it is told to stop. Each
//! connection is a task of its own, so that one that stalls holds up nobody else, and there are
//! [`Limits`] to everything that a client can make long. When there are too many connections, the
//! one that has been idle for longest makes room.
//!
//! Where the original does what any page on the web makes a browser ask for, this server refuses;
//! what is refused, and what is let through, stands in `origin.rs`.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout};

use crate::conf::values::Level;
use crate::rpc::{Host, Rpc, Supervision};

mod action;
mod answer;
mod auth;
mod body;
mod follow;
mod form;
mod origin;
mod pace;
mod route;

pub use auth::Login;
use pace::{Pace, Paced};

/// What a client can make long, and how long it may be.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at the same time.
    pub connections: usize,
    /// Bytes of the head of a request. Not less than 8192.
    pub head: usize,
    /// How long the head may take.
    pub head_time: Duration,
    /// Bytes of the body of a request.
    pub body: usize,
    /// How long the body may take.
    pub body_time: Duration,
    /// How long a connection may be idle between two requests. Long, because `supervisorctl` takes
    /// it for an error when its connection ends while a person thinks.
    pub idle: Duration,
    /// How long a client may take nothing of an answer.
    pub stall: Duration,
    /// How long those that are being answered have to end when the server stops.
    pub farewell: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            head: 16 * 1024,
            head_time: Duration::from_secs(10),
            body: 1 << 20,
            body_time: Duration::from_secs(30),
            idle: Duration::from_mins(30),
            stall: Duration::from_secs(30),
            farewell: Duration::from_secs(3),
        }
    }
}

/// A socket that listens.
#[derive(Debug)]
pub enum Socket {
    /// In the file system.
    Unix(std::os::unix::net::UnixListener),
    /// On the network.
    Tcp(std::net::TcpListener),
}

/// One server of the config.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub socket: Socket,
    /// Who may ask. Without it, everyone who can connect.
    pub login: Option<Login>,
    /// More names, without a port, by which a server on a loopback address without a password may
    /// be called; `localhost` and addresses always are.
    pub names: Vec<String>,
    /// What is too much.
    pub limits: Limits,
}

/// What all connections of a server share.
struct House<S, H> {
    rpc: Arc<Rpc<S, H>>,
    login: Option<Login>,
    is_loopback: bool,
    names: Vec<String>,
    limits: Limits,
    throttle: Throttle,
    /// All connections, by number.
    guests: Mutex<HashMap<u64, Arc<Pace>>>,
}

/// How long those who give a wrong password wait for the answer.
#[derive(Debug, Default)]
struct Throttle(Mutex<Option<(Instant, Instant, u32)>>);

/// Failures are forgotten after so long without another one.
const FORGIVEN: Duration = Duration::from_mins(1);

/// How often wrong passwords are written to the log.
const SAID: Duration = Duration::from_secs(10);

/// How often it is written to the log that no connection can be accepted.
const DEAF: Duration = Duration::from_mins(1);

impl Throttle {
    /// Counts a failure: how long to wait, and whether to say it.
    fn failed(&self) -> (Duration, bool) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let (said, count) = match *state {
            Some((last, said, count)) if now - last < FORGIVEN => (Some(said), count + 1),
            _ => (None, 1),
        };
        let say = said.is_none_or(|said| now - said >= SAID);
        let said = said.filter(|_| !say).unwrap_or(now);
        *state = Some((now, said, count));
        (penalty(count), say)
    }
}

/// A tenth of a second more for every failure, up to two.
fn penalty(failures: u32) -> Duration {
    Duration::from_millis(100) * failures.min(20)
}

enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

enum Stream {
    Unix(tokio::net::UnixStream),
    Tcp(tokio::net::TcpStream),
}

impl Listener {
    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(socket) => Ok(Stream::Unix(socket.accept().await?.0)),
            Self::Tcp(socket) => Ok(Stream::Tcp(socket.accept().await?.0)),
        }
    }
}

/// Ends when the server is to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error says that whoever could say it is gone.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Serves until `stop` becomes true, or its sender is gone. Requests that are being answered then
/// have [`Limits::farewell`] to end.
///
/// # Errors
/// The system's, when the socket cannot be made ready.
pub async fn serve<S: Supervision, H: Host>(
    server: Server,
    rpc: Arc<Rpc<S, H>>,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let (listener, is_loopback) = match server.socket {
        Socket::Unix(socket) => {
            socket.set_nonblocking(true)?;
            (Listener::Unix(UnixListener::from_std(socket)?), false)
        }
        Socket::Tcp(socket) => {
            socket.set_nonblocking(true)?;
            let is_loopback = socket.local_addr()?.ip().is_loopback();
            (Listener::Tcp(TcpListener::from_std(socket)?), is_loopback)
        }
    };
    let limits = server.limits;
    let places = Arc::new(Semaphore::new(limits.connections));
    let house = Arc::new(House {
        rpc,
        login: server.login,
        is_loopback,
        names: server.names,
        limits,
        throttle: Throttle::default(),
        guests: Mutex::new(HashMap::new()),
    });
    let mut tasks = JoinSet::new();
    let mut number = 0;
    let mut deaf: Option<Instant> = None;
    loop {
        let place = tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            Some(ended) = tasks.join_next() => {
                house.ended(ended);
                continue;
            }
            place = house.place(&places) => place,
        };
        // Those who come while there is no place wait in the queue of the socket.
        let Some(place) = place else { break };
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            Some(ended) = tasks.join_next() => {
                house.ended(ended);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        number += 1;
        match accepted {
            Ok(Stream::Unix(stream)) => {
                tasks.spawn(converse(
                    Arc::clone(&house),
                    stream,
                    number,
                    place,
                    stop.clone(),
                ));
            }
            Ok(Stream::Tcp(stream)) => {
                // Answers are written whole; waiting for more would only delay them.
                let _ = stream.set_nodelay(true);
                tasks.spawn(converse(
                    Arc::clone(&house),
                    stream,
                    number,
                    place,
                    stop.clone(),
                ));
            }
            // Mostly there are no descriptors left. That passes, and must not become a busy loop.
            Err(error) => {
                if deaf.is_none_or(|said| said.elapsed() >= DEAF) {
                    deaf = Some(Instant::now());
                    let text = format!(
                        "the HTTP server could not accept a connection: {error}; trying again in a moment"
                    );
                    house.rpc.host().log(Level::Warn, &text);
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    let farewell = async { while tasks.join_next().await.is_some() {} };
    let _ = timeout(house.limits.farewell, farewell).await;
    Ok(())
}

impl<S: Supervision, H: Host> House<S, H> {
    fn ended(&self, ended: Result<(), JoinError>) {
        if ended.is_err_and(|why| why.is_panic()) {
            let text = "an HTTP request was given up because of a fault in mainstay";
            self.rpc.host().log(Level::Critical, text);
        }
    }

    /// Waits for a place. The connection that has been idle for longest is asked for its own.
    async fn place(&self, places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        loop {
            if let Ok(place) = Arc::clone(places).try_acquire_owned() {
                return Some(place);
            }
            let oldest = self
                .guests
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .values()
                .filter_map(|pace| Some((pace.idle_since()?, Arc::clone(pace))))
                .min_by_key(|(since, _)| *since);
            if let Some((_, pace)) = oldest {
                pace.dismiss();
            }
            // Also looked at again when nobody leaves: another one may have become idle.
            let place = Arc::clone(places).acquire_owned();
            if let Ok(place) = timeout(Duration::from_secs(1), place).await {
                return place.ok();
            }
        }
    }
}

/// One connection to its end.
async fn converse<S: Supervision, H: Host>(
    house: Arc<House<S, H>>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    number: u64,
    place: OwnedSemaphorePermit,
    mut stop: watch::Receiver<bool>,
) {
    let pace = Pace::new();
    house
        .guests
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(number, Arc::clone(&pace));
    let guest = Guest {
        house: Arc::clone(&house),
        number,
        _place: place,
    };
    let limits = house.limits.clone();
    let service = {
        let (pace, stop) = (Arc::clone(&pace), stop.clone());
        service_fn(move |request| {
            let (house, stop) = (Arc::clone(&house), stop.clone());
            let work = pace.work();
            async move {
                let mut reply = answer::answer(&house, request, stop).await;
                reply.body_mut().work = Some(work);
                Ok::<_, Infallible>(reply)
            }
        })
    };
    let stream = TokioIo::new(Paced::new(stream, Arc::clone(&pace), limits.stall));
    let connection = http1::Builder::new()
        .max_buf_size(limits.head)
        .title_case_headers(true)
        .serve_connection(stream, service);
    let mut connection = std::pin::pin!(connection);
    let mut ending = false;
    // How a connection ends is the client's affair: one that broke off or sent no HTTP has had its
    // answer, if one was possible.
    loop {
        tokio::select! {
            _ = connection.as_mut() => break,
            () = pace.overdue(limits.head_time, limits.idle) => break,
            // If a request has come meanwhile, it is answered before the end.
            () = pace.dismissed() => connection.as_mut().graceful_shutdown(),
            () = stopped(&mut stop), if !ending => {
                if !pace.is_busy() {
                    break;
                }
                ending = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
    drop(guest);
}

/// A connection's entry among all; it goes with it, also when its task panics.
struct Guest<S, H> {
    house: Arc<House<S, H>>,
    number: u64,
    _place: OwnedSemaphorePermit,
}

impl<S, H> Drop for Guest<S, H> {
    fn drop(&mut self) {
        self.house
            .guests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn penalties_grow_and_end() {
        for (failures, expected) in [(1, 100), (2, 200), (20, 2000), (u32::MAX, 2000)] {
            assert_eq!(penalty(failures), Duration::from_millis(expected));
        }
    }

    #[test]
    fn wrong_passwords_are_said_once_in_a_while() {
        let throttle = Throttle::default();
        assert_eq!(throttle.failed(), (Duration::from_millis(100), true));
        assert_eq!(throttle.failed(), (Duration::from_millis(200), false));
    }
}
