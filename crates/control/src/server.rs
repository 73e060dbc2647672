//! Serving the API on the control socket: who gets in, how many at once, how slow they may be, and how
//! it ends.
//!
//! Strangers never reach the HTTP parser: the kernel says who connects before a byte is read, and what
//! they send is thrown away unread. They have a waiting room of their own, so that they cannot take a
//! connection from anybody. Of the connections some are kept for admins, so that operators who leave
//! followers running cannot lock root out.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::auth::{Actor, Role, Verb, role_of};
use crate::bind::{Listener, Place};
use crate::daemon::{AuditEntry, AuditOutcome, Daemon, Notice};
use crate::error::{Error, Kind};
use crate::router::{Peer, Terms, router, stranger};
use crate::throttle::Throttle;
use crate::wire::ErrorDocument;

/// How much the server gives to its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections served at once by callers of any role.
    pub connections: usize,
    /// Connections beside those that only admins can use.
    pub reserve: usize,
    /// Connections that may wait for one of those to become free.
    pub waiting: usize,
    /// How long they wait before they are sent away.
    pub wait: Duration,
    /// Strangers that are told so at once; more of them are cut off without a word.
    pub strangers: usize,
    /// How long the head of a request may take to arrive, and a connection may stay idle.
    pub head: Duration,
    /// How long the body of a request may take to arrive.
    pub body: Duration,
    /// How long requests under way may take once the server ends.
    pub grace: Duration,
    /// The same stranger is written into the audit once in this time.
    pub stranger_audit: Duration,
}

impl Default for Limits {
    /// 112 connections, 16 more for admins, 128 waiting for 5 s, 16 strangers; 10 s for a head, 10 s
    /// for a body, 5 s at the end; a stranger is written down once a minute.
    fn default() -> Self {
        Self {
            connections: 112,
            reserve: 16,
            waiting: 128,
            wait: Duration::from_secs(5),
            strangers: 16,
            head: Duration::from_secs(10),
            body: Duration::from_secs(10),
            grace: Duration::from_secs(5),
            stranger_audit: Duration::from_mins(1),
        }
    }
}

/// What the server did, told when it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Served {
    /// Connections accepted from callers with a role.
    pub connections: u64,
    /// Connections of strangers.
    pub strangers: u64,
    /// Callers cut off at once because even the waiting room was full.
    pub cut_off: u64,
    /// Connections that were still busy when the grace at the end was over.
    pub unfinished: usize,
}

/// How long a connection that is turned away may take to read why.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long to wait after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A full house, and that nobody could be let in, are reported once in this time.
const NOTICE: Duration = Duration::from_mins(1);

/// Serves the API until `shutdown` resolves, then removes the socket, ends followers, gives requests
/// under way [`Limits::grace`] to finish, and cuts what is left.
///
/// Must run inside a tokio runtime with time and I/O, which the caller provides. Calls of the daemon
/// that are still running when this returns go on in that runtime. A daemon that wants to answer
/// `status` while it stops its programs resolves `shutdown` after they have ended.
///
/// # Errors
/// [`Kind::Failed`] if the socket cannot be handed to the runtime; nothing was served then.
pub async fn serve(
    listener: Listener,
    daemon: Arc<dyn Daemon>,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) -> Result<Served, Error> {
    let Listener { socket, place } = listener;
    let socket = socket
        .set_nonblocking(true)
        .and_then(|()| UnixListener::from_std(socket))
        .map_err(|why| {
            Error::new(
                Kind::Failed,
                format!("cannot serve the control socket: {why}"),
            )
            .help("check the limit of open files (ulimit -n)")
        })?;
    let (closing, closed) = watch::channel(false);
    let mut house = House {
        routes: router(Arc::clone(&daemon)),
        daemon,
        limits,
        doors: Doors::new(&limits),
        closing: closed,
        tasks: JoinSet::new(),
        throttle: Throttle::new(limits.stranger_audit),
        opened: Instant::now(),
        full_reported: None,
        deaf_reported: None,
        served: Served::default(),
    };
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = house.tasks.join_next() => house.reap(ended),
            accepted = socket.accept() => match accepted {
                Ok((stream, _)) => house.receive(stream, &place),
                Err(why) => {
                    house.report_deaf(&why);
                    tokio::select! {
                        () = &mut shutdown => break,
                        () = sleep(ACCEPT_PAUSE) => {}
                    }
                }
            },
        }
    }
    drop(place);
    drop(socket);
    closing.send_replace(true);
    // The time being over is the other way for this to end, and the next lines deal with it.
    let _ = timeout(limits.grace, async {
        while let Some(ended) = house.tasks.join_next().await {
            house.reap(ended);
        }
    })
    .await;
    house.served.unfinished = house.tasks.len();
    house.tasks.shutdown().await;
    Ok(house.served)
}

/// Everything the accept loop holds.
struct House {
    daemon: Arc<dyn Daemon>,
    routes: axum::Router,
    limits: Limits,
    doors: Doors,
    closing: watch::Receiver<bool>,
    tasks: JoinSet<()>,
    throttle: Throttle,
    opened: Instant,
    full_reported: Option<Instant>,
    deaf_reported: Option<Instant>,
    served: Served,
}

impl House {
    fn reap(&mut self, ended: Result<(), tokio::task::JoinError>) {
        if ended.is_err_and(|why| why.is_panic()) {
            self.daemon.notice(Notice::Panicked);
        }
    }

    /// Finds out who connected and sees to them.
    fn receive(&mut self, stream: UnixStream, place: &Place) {
        // Without credentials nobody can be let in; the kernel has them for every unix socket.
        let Ok(found) = mainstay_sys::peer::credentials(&stream) else {
            return;
        };
        let actor = Actor {
            uid: found.uid,
            gid: found.gid,
            pid: found.pid,
        };
        let peer = Peer {
            actor,
            policy: place.policy(),
        };
        match role_of(&peer.policy, &actor) {
            Some(role) => self.welcome(stream, peer, role),
            None => self.turn_away(stream, actor),
        }
    }

    fn turn_away(&mut self, stream: UnixStream, actor: Actor) {
        self.served.strangers += 1;
        if let Some(passed_over) = self.throttle.knock(actor.uid, self.opened.elapsed()) {
            self.daemon.audit(AuditEntry {
                actor,
                role: None,
                verb: Verb::Connect,
                object: String::new(),
                outcome: AuditOutcome::Denied,
                passed_over,
            });
        }
        if let Ok(room) = Arc::clone(&self.doors.strangers).try_acquire_owned() {
            self.tasks.spawn(async move {
                dismiss(stream, stranger(&actor)).await;
                drop(room);
            });
        }
    }

    fn welcome(&mut self, stream: UnixStream, peer: Peer, role: Role) {
        let terms = Terms {
            closing: self.closing.clone(),
            body: self.limits.body,
        };
        if let Some(permit) = self.doors.enter_now(role) {
            self.served.connections += 1;
            let talk = converse(stream, self.routes.clone(), peer, terms, self.limits.head);
            self.tasks.spawn(async move {
                talk.await;
                drop(permit);
            });
            return;
        }
        let Ok(chair) = Arc::clone(&self.doors.waiting).try_acquire_owned() else {
            self.served.cut_off += 1;
            self.report_full();
            return;
        };
        self.served.connections += 1;
        self.report_full();
        let doors = self.doors.clone();
        let routes = self.routes.clone();
        let Limits { wait, head, .. } = self.limits;
        self.tasks.spawn(async move {
            let permit = timeout(wait, doors.enter(role)).await;
            match permit {
                Ok(Some(permit)) => {
                    drop(chair);
                    converse(stream, routes, peer, terms, head).await;
                    drop(permit);
                }
                Ok(None) | Err(_) => dismiss(stream, busy(wait)).await,
            }
        });
    }

    fn report_full(&mut self) {
        if is_due(&mut self.full_reported) {
            self.daemon.notice(Notice::Full);
        }
    }

    fn report_deaf(&mut self, why: &io::Error) {
        if is_due(&mut self.deaf_reported) {
            self.daemon.notice(Notice::AcceptFailed(why.to_string()));
        }
    }
}

/// Whether something that was last reported then is to be reported again; notes it if it is.
fn is_due(last: &mut Option<Instant>) -> bool {
    let now = Instant::now();
    let due = last.is_none_or(|last| now.duration_since(last) >= NOTICE);
    if due {
        *last = Some(now);
    }
    due
}

fn busy(wait: Duration) -> Error {
    Error::new(
        Kind::TryLater,
        format!(
            "all control connections are in use, and none became free in {} s",
            wait.as_secs_f32()
        ),
    )
    .help("end clients that follow logs, or ask again as root, for whom some are kept")
}

/// The places there are.
#[derive(Clone)]
struct Doors {
    general: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
}

impl Doors {
    fn new(limits: &Limits) -> Self {
        Self {
            general: Arc::new(Semaphore::new(limits.connections)),
            reserve: Arc::new(Semaphore::new(limits.reserve)),
            waiting: Arc::new(Semaphore::new(limits.waiting)),
            strangers: Arc::new(Semaphore::new(limits.strangers)),
        }
    }

    fn enter_now(&self, role: Role) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.general).try_acquire_owned() {
            return Some(permit);
        }
        (role == Role::Admin)
            .then(|| Arc::clone(&self.reserve).try_acquire_owned().ok())
            .flatten()
    }

    /// Waits for a place. `None` only if the places were closed, which nobody does.
    async fn enter(&self, role: Role) -> Option<OwnedSemaphorePermit> {
        let general = Arc::clone(&self.general).acquire_owned();
        if role != Role::Admin {
            return general.await.ok();
        }
        tokio::select! {
            permit = general => permit.ok(),
            permit = Arc::clone(&self.reserve).acquire_owned() => permit.ok(),
        }
    }
}

/// One connection of somebody who is let in, to its end. `who` is put into each request's extensions.
pub(crate) async fn converse<W: Clone + Send + Sync + 'static>(
    stream: UnixStream,
    routes: axum::Router,
    who: W,
    terms: Terms,
    head: Duration,
) {
    let ending = terms.clone();
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(who.clone());
        request.extensions_mut().insert(terms.clone());
        routes.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // How a connection ends is the client's affair: one that broke off or sent no HTTP has had its
    // answer, if one was possible.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = ending.ended() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

/// Answers whatever is asked with that error, without looking at the question.
pub(crate) async fn dismiss(mut stream: UnixStream, error: Error) {
    let text = farewell(error);
    // Whether it arrives is up to them; it must only not take long.
    let _ = timeout(FAREWELL, async move {
        // An HTTP client takes an answer before its question for an error, so wait for it to begin.
        let mut rubbish = [0u8; 4096];
        if stream.read(&mut rubbish).await? == 0 {
            return Ok(());
        }
        stream.write_all(&text).await?;
        stream.shutdown().await?;
        // Closing while there is something unread would reset the connection under the answer.
        while stream.read(&mut rubbish).await? > 0 {}
        io::Result::Ok(())
    })
    .await;
}

/// A whole HTTP response with that error.
fn farewell(error: Error) -> Vec<u8> {
    let status = hyper::StatusCode::from_u16(error.kind.status())
        .unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_string(&ErrorDocument::from(error))
        .expect("a document of numbers and strings always has a JSON form");
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_farewell_is_a_response() {
        let text = String::from_utf8(farewell(Error::new(Kind::Denied, "not you"))).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{head}");
        assert!(
            head.contains(&format!("content-length: {}\r\n", body.len())),
            "{head}"
        );
        let document: ErrorDocument = serde_json::from_str(body).unwrap();
        assert_eq!(document.error, Error::new(Kind::Denied, "not you"));
    }

    #[test]
    fn some_places_are_kept_for_admins() {
        let doors = Doors::new(&Limits {
            connections: 1,
            reserve: 1,
            ..Limits::default()
        });
        let first = doors.enter_now(Role::Operator);
        assert!(first.is_some());
        assert!(doors.enter_now(Role::Operator).is_none());
        let second = doors.enter_now(Role::Admin);
        assert!(second.is_some());
        assert!(doors.enter_now(Role::Admin).is_none());
        drop(first);
        assert!(doors.enter_now(Role::Operator).is_some());
    }
}
