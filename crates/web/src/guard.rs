//! The guard as the app holds it: what it is made of, its start and its end.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::Response;
use mainstay_fault::{Asked, Class, Fault};
use mainstay_sys::limits::{self, Resource};
use tokio::task::JoinHandle;

use crate::disk::Watch;
use crate::error::{Error, ErrorKind};
use crate::gate::Gate;
use crate::layer::GuardLayer;
use crate::listener::{Listener, Socket};
use crate::page::{Render, Source};
use crate::panics;
use crate::report::{Notice, Reporter, TARGET, Tell};
#[cfg(feature = "journal")]
use crate::report::{STUCK, WORK};
use crate::scope::Scope;
use crate::storm::Storm;
use crate::tally::Rhythm;
use crate::work;

/// How long a request waits for room, if nothing else was said.
const PATIENCE: Duration = Duration::from_secs(2);

/// A guard that is being put together.
pub struct Builder {
    directory: Option<PathBuf>,
    language: String,
    render: Option<Render>,
    tell: Vec<Tell>,
    #[cfg(feature = "daemon")]
    daemon: Option<PathBuf>,
    #[cfg(feature = "daemon")]
    release: Option<String>,
    #[cfg(all(feature = "alert", feature = "daemon"))]
    has_alerts: bool,
    rhythm: Rhythm,
    deadline: Option<Duration>,
    limit: usize,
    patience: Duration,
    raise: bool,
    disk: Option<PathBuf>,
    storm: Option<Storm>,
    #[cfg(feature = "journal")]
    journal: Option<mainstay_journal::Builder>,
    #[cfg(feature = "journal")]
    policy: Option<crate::replay::Policy>,
    #[cfg(feature = "database")]
    pool: Option<Box<dyn crate::transaction::Pool>>,
}

impl Builder {
    /// The directory with the app's error pages: `404.html`, `error.html`, `5xx.zh-Hant.html` and so
    /// on, as docs/errors.md says. They are read again when they change; without it, or where a page
    /// is not there or can't be used, those that are built in are sent.
    #[must_use]
    pub fn pages(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// The language of built-in pages for those who read none of them: `en`, `zh-Hant`, `zh-Hans`.
    #[must_use]
    pub fn language(mut self, tag: &str) -> Self {
        tag.clone_into(&mut self.language);
        self
    }

    /// Pages of the app's own making, for those faults and clients that it answers. The status stays
    /// that of the fault. When it panics, it is passed over.
    #[must_use]
    pub fn render(
        mut self,
        render: impl Fn(&Asked, &Fault) -> Option<Response<Vec<u8>>> + Send + Sync + 'static,
    ) -> Self {
        self.render = Some(Box::new(render));
        self
    }

    /// Called with each [`Notice`], in a thread of its own: it may block, and a panic of it is only
    /// logged. Here mails begin.
    #[must_use]
    pub fn on_fault(mut self, tell: impl Fn(&Notice) + Send + Sync + 'static) -> Self {
        self.tell.push(Box::new(tell));
        self
    }

    /// Each [`Notice`] becomes an alert of this app, beside what [`Builder::on_fault`] does.
    #[cfg(feature = "alert")]
    #[must_use]
    pub fn alerts(self, alerts: Arc<mainstay_alert::Alerts>, app: &str) -> Self {
        let app = app.to_owned();
        let guard = self.on_fault(move |notice| crate::alerting::raise(&alerts, &app, notice));
        #[cfg(feature = "daemon")]
        let guard = Self {
            has_alerts: true,
            ..guard
        };
        guard
    }

    /// Tells the daemon that this process runs under of its faults, and carries out what people order
    /// there about works that are stuck: `mainstay faults`. It tells people, unless
    /// [`Builder::alerts`] does.
    ///
    /// The socket is what the daemon says in the environment of its programs; without it nothing
    /// happens: `.daemon(std::env::var_os(mainstay_web::REPORT_VARIABLE))`.
    #[cfg(feature = "daemon")]
    #[must_use]
    pub fn daemon(mut self, socket: Option<impl Into<PathBuf>>) -> Self {
        self.daemon = socket.map(Into::into);
        self
    }

    /// The release of the app, so that the daemon can say which one brought a fault.
    #[cfg(feature = "daemon")]
    #[must_use]
    pub fn release(mut self, release: impl Into<String>) -> Self {
        self.release = Some(release.into());
        self
    }

    /// How long faults of a kind are gathered before the first notice, and between one and the next:
    /// a second and a minute.
    #[must_use]
    pub fn gather(mut self, first: Duration, period: Duration) -> Self {
        self.rhythm = Rhythm { first, period };
        self
    }

    /// How long a handler may take to the head of its answer; without it, as long as it likes.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// How many requests may run at once, to the heads of their answers. As many may wait, for two
    /// seconds, or not at all when others have waited for longer than that; the rest is answered with
    /// 503 and `Retry-After`.
    #[must_use]
    pub fn shed(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// How long a request may wait for room.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The database of the requests' transactions: [`Work::tx`](crate::Work::tx).
    #[cfg(feature = "database")]
    #[must_use]
    pub fn database<D>(mut self, pool: sqlx::Pool<D>) -> Self
    where
        D: crate::Database,
        for<'c> &'c mut D::Connection: sqlx::Executor<'c, Database = D>,
    {
        self.pool = Some(Box::new(pool));
        self
    }

    /// The journal of steps outside of the database, with its undos and actions registered. With
    /// [`Builder::database`] it must be in the same database, on a pool of its own. A work that is
    /// stuck is a fault of the guard's: the journal's own `on_stuck` is not called.
    #[cfg(feature = "journal")]
    #[must_use]
    pub fn journal(mut self, journal: mainstay_journal::Builder) -> Self {
        self.journal = Some(journal);
        self
    }

    /// Takes idempotency keys: a request with the header `Idempotency-Key` that comes twice is done
    /// once, and its good answer is kept so long and given twice. Asks for [`Builder::journal`].
    ///
    /// `owner` says whose key it is, so that users do not meet: the user's id, from a token that was
    /// checked, as 1 to 96 printable characters without a space. `None`: the header does not count.
    #[cfg(feature = "journal")]
    #[must_use]
    pub fn idempotency(
        mut self,
        keep: Duration,
        owner: impl Fn(&http::request::Parts) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.policy = Some(crate::replay::Policy {
            owner: Box::new(owner),
            keep,
        });
        self
    }

    /// Watches the disk that a path lies on: while it has less than two in a hundred of its room left,
    /// or less than 200 MB if that is less, the guard is [read-only](Guard::set_read_only), and until
    /// there is twice as much again. Files that a file system can hold are counted the same way, by a
    /// thousand. It is looked at every five seconds. A person is told once, and when it is over.
    #[must_use]
    pub fn disk(mut self, path: impl Into<PathBuf>) -> Self {
        self.disk = Some(path.into());
        self
    }

    /// Asks for a restart after more than so many panics within a minute, in requests, tasks or
    /// threads: [`Guard::restart_wanted`]. What a process has in memory may be broken then, and a
    /// fresh one has none of it. Without it, nothing is asked for.
    #[must_use]
    pub fn restart_after(mut self, panics: u32) -> Self {
        self.storm = Some(Storm::new(panics));
        self
    }

    /// Lets the process open as many files as the system allows it (`RLIMIT_NOFILE`: the soft limit is
    /// raised to the hard one at the start), and says so in the log. Programs that the app starts
    /// inherit it; one that still uses select(2) must not have more than 1024.
    #[must_use]
    pub fn raise_open_files(mut self) -> Self {
        self.raise = true;
        self
    }

    /// Starts it: reads the pages, has the process's panics watched, starts a thread for notices, and
    /// the journal, which resumes what a crash left behind. Call it inside of tokio's runtime.
    #[cfg_attr(
        not(feature = "journal"),
        expect(clippy::unused_async, reason = "the same for all features")
    )]
    pub async fn start(self) -> Result<Guard, Error> {
        #[cfg(feature = "daemon")]
        let post = self.daemon.is_some().then(crate::post::Post::new);
        let reporter = Reporter::start(
            self.rhythm,
            self.storm,
            self.tell,
            #[cfg(feature = "daemon")]
            post.clone(),
        )
        .map_err(|error| {
            Error::caused(
                ErrorKind::Start,
                "start the thread for notices of faults",
                "see whether the process may have more threads",
                error,
            )
        })?;
        let reporter = Arc::new(reporter);
        panics::watch();
        if self.raise {
            raise_open_files();
        }
        if cfg!(panic = "abort") {
            log::warn!(
                target: TARGET,
                "this program is built with panic = \"abort\": a panic ends it, and only a supervisor can help"
            );
        }
        #[cfg(feature = "journal")]
        let journal = match self.journal {
            Some(journal) => Some(start(journal, &reporter).await?),
            None => None,
        };
        #[cfg(feature = "journal")]
        if journal.is_none() && self.policy.is_some() {
            return Err(Error::new(
                ErrorKind::Start,
                "take idempotency keys",
                "there is no journal to keep their answers in",
                "give the guard one: Guard::builder().journal(Journal::with(store))",
            ));
        }
        #[cfg(feature = "database")]
        if let (Some(pool), Some(_)) = (&self.pool, &journal) {
            pool.has_journal().await.map_err(|error| {
                Error::caused(
                    ErrorKind::Start,
                    "find the journal in the database of the transactions",
                    "open the journal's store on a pool of the same database",
                    error,
                )
            })?;
        }
        #[cfg(feature = "daemon")]
        let courier = match (post, self.daemon) {
            (Some(post), Some(socket)) => Some(crate::courier::start(
                post,
                socket,
                self.release,
                #[cfg(feature = "alert")]
                self.has_alerts,
                #[cfg(feature = "journal")]
                journal.as_ref(),
            )),
            _ => None,
        };
        let disk_is_full = match self.disk {
            Some(path) => watched(path, &reporter)?,
            None => Arc::default(),
        };
        Ok(Guard {
            shared: Arc::new(Shared {
                source: Source::new(self.directory.as_deref(), &self.language, self.render),
                reporter,
                gate: Gate::new(self.limit, self.patience),
                come_back: self.patience.max(Duration::from_secs(1)),
                deadline: self.deadline,
                #[cfg(feature = "daemon")]
                courier,
                read_only: AtomicBool::new(false),
                disk_is_full,
                #[cfg(feature = "journal")]
                journal,
                #[cfg(feature = "journal")]
                policy: self.policy,
                #[cfg(feature = "database")]
                pool: self.pool,
            }),
        })
    }
}

#[cfg(feature = "journal")]
async fn start(
    journal: mainstay_journal::Builder,
    reporter: &Arc<Reporter>,
) -> Result<mainstay_journal::Journal, Error> {
    let reporter = Arc::downgrade(reporter);
    let journal = journal.on_stuck(move |stuck| {
        let fault = Fault::told(mainstay_fault::Class::Internal, &stuck.to_string())
            .at(mainstay_fault::Frame::default())
            // Each waits for a person.
            .with_fingerprint(format!("{STUCK}{}", stuck.work))
            .with(WORK, &stuck.work);
        if let Some(reporter) = reporter.upgrade() {
            reporter.report(fault, None);
        }
    });
    Ok(journal.start().await?)
}

/// What all layers of a guard share.
pub(crate) struct Shared {
    pub(crate) source: Source,
    pub(crate) reporter: Arc<Reporter>,
    pub(crate) gate: Arc<Gate>,
    /// When one who was turned away may come again.
    pub(crate) come_back: Duration,
    pub(crate) deadline: Option<Duration>,
    #[cfg(feature = "daemon")]
    courier: Option<crate::courier::Handle>,
    read_only: AtomicBool,
    disk_is_full: Arc<AtomicBool>,
    #[cfg(feature = "journal")]
    pub(crate) journal: Option<mainstay_journal::Journal>,
    #[cfg(feature = "journal")]
    pub(crate) policy: Option<crate::replay::Policy>,
    #[cfg(feature = "database")]
    pub(crate) pool: Option<Box<dyn crate::transaction::Pool>>,
}

impl Shared {
    /// Why nothing may be changed now, if that is so.
    pub(crate) fn read_only(&self) -> Option<Class> {
        if self.disk_is_full.load(Ordering::Relaxed) {
            Some(Class::DiskFull)
        } else {
            self.read_only
                .load(Ordering::Relaxed)
                .then_some(Class::Overload)
        }
    }
}

/// The guard of a web app. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Guard {
    shared: Arc<Shared>,
}

impl Guard {
    /// Begins one.
    pub fn builder() -> Builder {
        Builder {
            directory: None,
            language: "en".to_owned(),
            render: None,
            tell: Vec::new(),
            #[cfg(feature = "daemon")]
            daemon: None,
            #[cfg(feature = "daemon")]
            release: None,
            #[cfg(all(feature = "alert", feature = "daemon"))]
            has_alerts: false,
            rhythm: Rhythm {
                first: Duration::from_secs(1),
                period: Duration::from_mins(1),
            },
            deadline: None,
            limit: usize::MAX,
            patience: PATIENCE,
            raise: false,
            disk: None,
            storm: None,
            #[cfg(feature = "journal")]
            journal: None,
            #[cfg(feature = "journal")]
            policy: None,
            #[cfg(feature = "database")]
            pool: None,
        }
    }

    /// Its layer. All layers of a guard count together.
    pub fn layer(&self) -> GuardLayer {
        GuardLayer::new(&self.shared)
    }

    /// A listener that goes on when the process has no descriptors left, for `axum::serve` or a server
    /// of your own. It keeps four of them for that.
    pub fn listener<S: Socket>(&self, socket: S) -> Listener<S> {
        Listener::new(socket, &self.shared)
    }

    /// Spawns a task that belongs to no request. Its panic is a fault under this name; shutdown waits
    /// for it.
    pub fn spawn<F>(&self, name: &str, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        work::spawn(Scope::of_task(&self.shared, None, name), future)
    }

    /// The journal, for what a person can do about works that are stuck.
    #[cfg(feature = "journal")]
    pub fn journal(&self) -> Option<&mainstay_journal::Journal> {
        self.shared.journal.as_ref()
    }

    /// From now on, requests that may change something are answered with 503 and `Retry-After`, or no
    /// longer: for a database that is being moved. What [`Builder::disk`] has found full stays so.
    pub fn set_read_only(&self, on: bool) {
        self.shared.read_only.store(on, Ordering::Relaxed);
    }

    /// Whether nothing is to be changed now, by [`Guard::set_read_only`] or because the disk is full:
    /// for what the app does by itself.
    pub fn is_read_only(&self) -> bool {
        self.shared.read_only().is_some()
    }

    /// Ends when there were more panics than [`Builder::restart_after`] allows: a reason for the app to
    /// end as it does at SIGTERM, and to be started again by who supervises it.
    pub async fn restart_wanted(&self) {
        // The sender is in the reporter, which lives as long as this guard.
        let _ = self
            .shared
            .reporter
            .restart()
            .wait_for(|wanted| *wanted)
            .await;
    }

    /// What the process ends with: 75 (`EX_TEMPFAIL` of sysexits.h) if a restart is wanted, else 0.
    pub fn exit_code(&self) -> u8 {
        if *self.shared.reporter.restart().borrow() {
            75
        } else {
            0
        }
    }

    /// Whether this process wants requests: what a load balancer asks. False once it is shutting down.
    pub fn is_ready(&self) -> bool {
        !self.shared.gate.is_draining()
    }

    /// Begins the shutdown: not [ready](Self::is_ready) any more, and every client is asked to open a
    /// new connection for its next request (`Connection: close`). Requests are still answered.
    pub fn drain(&self) {
        self.shared.gate.drain();
    }

    /// Ends it, after the server has stopped: waits, at most so long, for requests that go on without
    /// their clients, tasks, the journal and notices. Says how many requests and tasks still run; with
    /// them, what they have not committed is rolled back and undone, here or by another process.
    pub async fn shutdown(&self, patience: Duration) -> usize {
        let end = Instant::now() + patience;
        self.drain();
        let left = self.shared.gate.idle(patience).await;
        let rest = || end.saturating_duration_since(Instant::now());
        #[cfg(feature = "journal")]
        if let Some(journal) = &self.shared.journal {
            journal.shutdown(rest()).await;
        }
        // Notices are short, and the last ones tell why.
        self.shared
            .reporter
            .end(rest().max(Duration::from_secs(1)))
            .await;
        #[cfg(feature = "daemon")]
        if let Some(courier) = &self.shared.courier {
            courier.end(rest().max(Duration::from_secs(1))).await;
        }
        left
    }
}

fn raise_open_files() {
    match limits::lift(Resource::Nofile) {
        Ok((soft, hard)) => log::info!(
            target: TARGET,
            "this process may open {hard} files, as the system allows; it was {soft} before"
        ),
        Err(error) => log::warn!(
            target: TARGET,
            "cannot raise the limit of open files: {error}; raise it where the process is started (ulimit -n, LimitNOFILE=)"
        ),
    }
}

/// Has a disk watched, from the first request on.
fn watched(path: PathBuf, reporter: &Arc<Reporter>) -> Result<Arc<AtomicBool>, Error> {
    let attempt = format!("watch the disk of {}", path.display());
    let begun = Watch::begin(path, reporter).and_then(|watch| {
        let is_full = watch.is_full();
        watch.run(reporter).map(|()| is_full)
    });
    begun.map_err(|error| {
        let help = "name a file or a directory that exists, on the disk that the app writes to";
        Error::caused(ErrorKind::Start, attempt, help, error)
    })
}
