//! A daemon that pretends, a server around it, and a client that speaks bytes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use mainstay_control::wire::{
    ActionDocument, ActionRequest, ActionResult, AlertCounts, AlertStatus, AlertsDocument,
    DaemonStatus, Desired, DoneDocument, FaultDocument, FaultQuery, FaultStatus, FaultsDocument,
    ForgetRequest, LogLevelRequest, LogQuery, Order, OrderRequest, OrderStatus, OrderedDocument,
    Outcome, ProcessStatus, RaiseRequest, SCHEMA, SignalRequest, SilenceRequest, SilencedDocument,
    State, StatusDocument, TriedChannel, TriedDocument, UnsilenceRequest, VersionDocument,
};
use mainstay_control::{
    Answer, AuditEntry, ByteStream, Bytes, Caller, Client, Daemon, Error, Kind, Limits, Notice,
    Served, Verb, bind, serve,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

/// Nothing here takes this long unless it hangs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Pretends. What it does depends on the name it is asked for:
/// `web` works, `nobody` is unknown, `panic` panics, `slow` waits for a permit in `gate`.
pub(crate) struct Fake {
    pub(crate) audit: Mutex<Vec<AuditEntry>>,
    pub(crate) notices: Mutex<Vec<Notice>>,
    pub(crate) callers: Mutex<Vec<Caller>>,
    pub(crate) gate: Semaphore,
    /// Followers that have not been dropped.
    pub(crate) followers: Arc<AtomicUsize>,
}

impl Fake {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            audit: Mutex::default(),
            notices: Mutex::default(),
            callers: Mutex::default(),
            gate: Semaphore::new(0),
            followers: Arc::default(),
        })
    }

    /// The audit as lines, without who it was.
    pub(crate) fn audited(&self) -> Vec<String> {
        let audit = self.audit.lock().unwrap();
        audit
            .iter()
            .map(|entry| {
                let line = entry.to_string();
                line[line.find('(').unwrap()..].to_owned()
            })
            .collect()
    }

    async fn act(
        &self,
        caller: Caller,
        verb: Verb,
        names: &[String],
        outcome: Outcome,
    ) -> Result<ActionDocument, Error> {
        self.callers.lock().unwrap().push(caller);
        let mut results = Vec::new();
        for name in names {
            match name.as_str() {
                "nobody" if names.len() == 1 => {
                    return Err(Error::new(Kind::UnknownName, "no program is called nobody")
                        .help("there is web"));
                }
                "nobody" => results.push(ActionResult::new(name, Outcome::UnknownName)),
                "panic" => panic!("asked to"),
                "slow" => {
                    self.gate.acquire().await.unwrap().forget();
                    results.push(ActionResult::new(name, outcome));
                }
                _ => results.push(ActionResult {
                    state: Some(State::Running),
                    ..ActionResult::new(name, outcome)
                }),
            }
        }
        Ok(ActionDocument::new(verb, results))
    }
}

/// Counts a follower for as long as its stream lives.
struct Following(Arc<AtomicUsize>);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Daemon for Fake {
    fn version(&self) -> VersionDocument {
        VersionDocument {
            schema: SCHEMA,
            version: "1.2.3".into(),
            pid: 77,
            run: String::new(),
        }
    }

    fn status(&self, caller: Caller) -> Answer<'_, StatusDocument> {
        Box::pin(async move {
            self.callers.lock().unwrap().push(caller);
            Ok(StatusDocument {
                schema: SCHEMA,
                host: "shop1".into(),
                version: "1.2.3".into(),
                daemon: DaemonStatus {
                    pid: 77,
                    started: "2026-11-22T06:00:00Z".parse().unwrap(),
                    uptime_seconds: 12,
                },
                programs: vec![ProcessStatus {
                    desired: Desired::Up,
                    pid: Some(812),
                    ..ProcessStatus::new("web", "web", State::Running)
                }],
                backups: Vec::new(),
                disks: Vec::new(),
                alerts: None,
                new_faults: BTreeMap::from([("web".to_owned(), 2)]),
                log: Vec::new(),
                warnings: vec!["the clock is off".into()],
            })
        })
    }

    fn start(&self, caller: Caller, request: ActionRequest) -> Answer<'_, ActionDocument> {
        Box::pin(async move {
            self.act(caller, Verb::Start, &request.names, Outcome::Started)
                .await
        })
    }

    fn stop(&self, caller: Caller, request: ActionRequest) -> Answer<'_, ActionDocument> {
        Box::pin(async move {
            self.act(caller, Verb::Stop, &request.names, Outcome::Stopped)
                .await
        })
    }

    fn restart(&self, caller: Caller, request: ActionRequest) -> Answer<'_, ActionDocument> {
        Box::pin(async move {
            self.act(caller, Verb::Restart, &request.names, Outcome::Restarted)
                .await
        })
    }

    fn signal(&self, caller: Caller, request: SignalRequest) -> Answer<'_, ActionDocument> {
        Box::pin(async move {
            if request.signal != "HUP" {
                return Err(Error::new(Kind::Usage, "no such signal"));
            }
            self.act(caller, Verb::Signal, &request.names, Outcome::Signalled)
                .await
        })
    }

    fn logs(&self, caller: Caller, query: LogQuery) -> Answer<'_, ByteStream> {
        Box::pin(async move {
            self.callers.lock().unwrap().push(caller);
            let first = Bytes::from(format!(
                "{} {} {:?}\n",
                query.name,
                query.stream.name(),
                query.lines
            ));
            let stream: ByteStream = match (query.name.as_str(), query.follow) {
                ("nobody", _) => {
                    return Err(Error::new(Kind::UnknownName, "no program is called nobody"));
                }
                ("broken", _) => Box::pin(stream::iter([
                    Ok(first),
                    Err(io::Error::other("the disk is gone")),
                ])),
                (_, false) => Box::pin(stream::iter([
                    Ok(first),
                    Ok(Bytes::from_static(b"\xff\x00raw\n")),
                ])),
                (_, true) => {
                    self.followers.fetch_add(1, Ordering::SeqCst);
                    let following = Following(Arc::clone(&self.followers));
                    let endless = stream::pending().map(move |never: Bytes| {
                        let _ = &following;
                        Ok(never)
                    });
                    Box::pin(stream::iter([Ok(first)]).chain(endless))
                }
            };
            Ok(stream)
        })
    }

    fn reopen_logs(&self, _: Caller) -> Answer<'_, DoneDocument> {
        Box::pin(async { Ok(DoneDocument::with("3 files")) })
    }

    fn log_level(&self, _: Caller, request: LogLevelRequest) -> Answer<'_, DoneDocument> {
        Box::pin(async move { Ok(DoneDocument::with(request.level)) })
    }

    fn alerts(&self, _: Caller) -> Answer<'_, AlertsDocument> {
        let alert = AlertStatus {
            key: "blog/x".to_owned(),
            app: "blog".to_owned(),
            fingerprint: "x".to_owned(),
            severity: "critical".to_owned(),
            title: "it broke".to_owned(),
            host: String::new(),
            state: "firing".to_owned(),
            muted_by: None,
            since: Timestamp::UNIX_EPOCH,
            last: Timestamp::UNIX_EPOCH,
            count: 3,
            waiting: 1,
        };
        Box::pin(async move {
            Ok(AlertsDocument {
                schema: SCHEMA,
                alerts: vec![alert],
                silences: Vec::new(),
                channels: Vec::new(),
                messages: Vec::new(),
                counts: AlertCounts::default(),
                trouble: None,
            })
        })
    }

    fn raise_alert(&self, _: Caller, request: RaiseRequest) -> Answer<'_, DoneDocument> {
        Box::pin(async move { Ok(DoneDocument::with(request.title)) })
    }

    fn silence_alerts(&self, _: Caller, request: SilenceRequest) -> Answer<'_, SilencedDocument> {
        let until = i64::try_from(request.seconds).unwrap();
        let until = Timestamp::from_second(until).unwrap();
        Box::pin(async move { Ok(SilencedDocument::new(7, until)) })
    }

    fn unsilence_alerts(&self, _: Caller, request: UnsilenceRequest) -> Answer<'_, DoneDocument> {
        Box::pin(async move {
            if request.id == 7 {
                return Ok(DoneDocument::new());
            }
            Err(Error::new(Kind::UnknownName, "there is no such silence"))
        })
    }

    fn test_alerts(&self, _: Caller) -> Answer<'_, TriedDocument> {
        let tried = |channel: &str, error: Option<&str>| TriedChannel {
            channel: channel.to_owned(),
            recipient: "ops".to_owned(),
            error: error.map(str::to_owned),
            help: None,
        };
        let tried = vec![tried("mail", None), tried("chat", Some("no answer"))];
        Box::pin(async move { Ok(TriedDocument::new(tried)) })
    }

    fn faults(&self, _: Caller, query: FaultQuery) -> Answer<'_, FaultsDocument> {
        let mut fault = fault();
        fault.app = query.app.unwrap_or_default();
        fault.severity = query.severity.unwrap_or_default();
        fault.first = query.since.unwrap_or_default();
        fault.count = query.limit.unwrap_or_default() as u64;
        Box::pin(async move {
            Ok(FaultsDocument {
                schema: SCHEMA,
                faults: vec![fault],
                more: 3,
                trouble: None,
            })
        })
    }

    fn fault(&self, _: Caller, code: String) -> Answer<'_, FaultDocument> {
        Box::pin(async move {
            if code != "k7q29 xwd4m" {
                return Err(Error::new(Kind::UnknownName, "there is no such fault"));
            }
            Ok(FaultDocument {
                schema: SCHEMA,
                fault: fault(),
                occurrence: None,
                last: Vec::new(),
                orders: Vec::new(),
                trouble: None,
            })
        })
    }

    fn order_fault(&self, caller: Caller, request: OrderRequest) -> Answer<'_, OrderedDocument> {
        Box::pin(async move {
            Ok(OrderedDocument {
                schema: SCHEMA,
                order: OrderStatus {
                    order: Order {
                        id: 7,
                        code: request.code,
                        work: "w1".into(),
                        act: request.act,
                        step: request.step,
                        by: format!("uid {}", caller.actor.uid),
                        reason: request.reason,
                    },
                    at: Timestamp::UNIX_EPOCH,
                    state: "waiting".into(),
                    ended: None,
                    detail: None,
                },
                app: "web".into(),
                runs: false,
            })
        })
    }

    fn forget_faults(&self, _: Caller, request: ForgetRequest) -> Answer<'_, DoneDocument> {
        Box::pin(async move { Ok(DoneDocument::with(request.codes.join(" "))) })
    }

    fn shutdown(&self, _: Caller) -> Answer<'_, DoneDocument> {
        Box::pin(async { Ok(DoneDocument::new()) })
    }

    fn upgrade(&self, _: Caller) -> Answer<'_, DoneDocument> {
        Box::pin(async { Ok(DoneDocument::new()) })
    }

    fn audit(&self, entry: AuditEntry) {
        self.audit.lock().unwrap().push(entry);
    }

    fn notice(&self, notice: Notice) {
        self.notices.lock().unwrap().push(notice);
    }
}

fn fault() -> FaultStatus {
    FaultStatus {
        code: "K7Q29-XWD4M".into(),
        app: "web".into(),
        fingerprint: "0123456789ab".into(),
        class: "panic".into(),
        status: 500,
        severity: "critical".into(),
        title: "it broke".into(),
        place: None,
        count: 1,
        first: Timestamp::UNIX_EPOCH,
        last: Timestamp::UNIX_EPOCH,
        introduced: None,
        release: None,
        undo: None,
    }
}

/// A running server.
pub(crate) struct Rig {
    dir: TempDir,
    pub(crate) path: PathBuf,
    pub(crate) daemon: Arc<Fake>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Result<Served, Error>>,
}

/// A directory that everybody can enter, so that only the socket's own mode decides.
pub(crate) fn open_dir() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

impl Rig {
    pub(crate) fn start() -> Self {
        Self::with(Limits::default(), 0o600, None)
    }

    pub(crate) fn with(limits: Limits, mode: u32, group: Option<u32>) -> Self {
        let dir = open_dir();
        let path = dir.path().join("control.sock");
        let listener = bind(&path, mode, group).unwrap();
        let daemon = Fake::new();
        let (stop, stopped) = oneshot::channel();
        let behind: Arc<dyn Daemon> = Arc::<Fake>::clone(&daemon);
        let server = tokio::spawn(serve(listener, behind, limits, async move {
            stopped.await.unwrap();
        }));
        Self {
            dir,
            path,
            daemon,
            stop,
            server,
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.path)
    }

    /// Ends the server and returns what it did; checks that it left nothing behind.
    pub(crate) async fn end(self) -> Served {
        self.stop.send(()).unwrap();
        let served = tokio::time::timeout(DEADLINE, self.server)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert!(!self.path.exists(), "the socket is gone");
        assert_eq!(
            fs::read_dir(self.dir.path()).unwrap().count(),
            0,
            "and nothing else is left"
        );
        served
    }

    /// Waits until `condition` holds for the daemon.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Fake) -> bool) {
        tokio::time::timeout(DEADLINE, async {
            while !condition(&self.daemon) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("never happened: {what}"));
    }
}

/// Sends bytes and returns everything that comes back until the server closes.
pub(crate) async fn raw(path: &Path, bytes: &[u8]) -> String {
    tokio::time::timeout(DEADLINE, async {
        let mut stream = UnixStream::connect(path).await.unwrap();
        // The server may refuse before it has read everything.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    })
    .await
    .unwrap()
}

/// A request with a JSON body, after which the server closes.
pub(crate) fn post(path: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The status and the error of a response.
pub(crate) fn refusal(response: &str) -> (u16, Error) {
    let status = response
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|digits| digits.parse().ok())
        .unwrap_or_else(|| panic!("not a response: {response:?}"));
    let (_, body) = response.split_once("\r\n\r\n").unwrap();
    let document: mainstay_control::wire::ErrorDocument = serde_json::from_str(body)
        .unwrap_or_else(|why| panic!("not an error document: {why}: {response:?}"));
    assert_eq!(document.schema, SCHEMA);
    assert!(!document.error.message.is_empty());
    (status, document.error)
}
