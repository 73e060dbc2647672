//! All or nothing, whatever the partner does and wherever the shop is killed: a row in the database and
//! a record at the partner are both there or neither, after the next shop has gone on with it.
//!
//! The shop is the real program; the world is stopped from outside (the partner holds its answer, a
//! proxy holds a message to or from the database), the shop is killed by SIGKILL meanwhile, and started
//! again.

mod crm;
mod gate;

use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::{MySqlPool, PgPool, SqlitePool};

use self::crm::{Crm, Mood, Stop};
use self::gate::{Gate, Side, Trap};
use crate::running::{Running, shop, wait};
use crate::servers;

const MOODS: [Mood; 5] = [
    Mood::Works,
    Mood::Refuses,
    Mood::TimesOut,
    Mood::DiesBefore,
    Mood::DiesAfter,
];

/// The database, by a way that is never stopped.
enum Direct {
    Sqlite(SqlitePool),
    MySql(MySqlPool),
    Postgres(PgPool),
}

/// The same statement on whichever database.
macro_rules! fetch {
    ($direct:expr, $text:expr) => {
        match $direct {
            Direct::Sqlite(pool) => sqlx::query_as($text).fetch_all(pool).await,
            Direct::MySql(pool) => sqlx::query_as($text).fetch_all(pool).await,
            Direct::Postgres(pool) => sqlx::query_as($text).fetch_all(pool).await,
        }
        .unwrap()
    };
}

/// A form that was sent.
struct Form {
    /// Its message, which is its idempotency key too.
    name: String,
    mood: Mood,
    /// None: the shop was killed before it answered.
    status: Option<u16>,
}

struct World {
    crm: Crm,
    gate: Option<Gate>,
    direct: Direct,
    environment: Vec<(&'static str, String)>,
    /// Always there but for the moment in which another takes its place.
    shop: Option<Running>,
    forms: Vec<Form>,
    kills: u32,
}

impl World {
    fn new(
        direct: Direct,
        gate: Option<Gate>,
        database: Option<String>,
        directory: tempfile::TempDir,
    ) -> Self {
        let crm = Crm::start();
        let mut environment = vec![
            ("SHOP_PARTNER_URL", crm.url.clone()),
            ("SHOP_PARTNER_TIMEOUT_MS", "400".to_owned()),
            ("SHOP_LEASE_MS", "1500".to_owned()),
        ];
        environment.extend(database.map(|url| ("SHOP_DATABASE", url)));
        let mut world = Self {
            crm,
            gate,
            direct,
            environment,
            shop: None,
            forms: Vec::new(),
            kills: 0,
        };
        world.start(directory);
        world
    }

    fn start(&mut self, directory: tempfile::TempDir) {
        let environment: Vec<(&str, &str)> = self
            .environment
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let running = Running::start_in(directory, shop(), &environment);
        self.shop = Some(running.until_listening());
    }

    fn shop(&self) -> &Running {
        self.shop.as_ref().unwrap()
    }

    /// Kills the shop where it stands, lets the world go on, and starts another one.
    fn kill(&mut self) {
        let mut shop = self.shop.take().unwrap();
        shop.kill();
        self.kills += 1;
        self.crm.go_on();
        if let Some(gate) = &self.gate {
            gate.go_on();
        }
        self.start(shop.into_dir());
    }

    /// Sends a form, and waits until the world is stopped or all of it is over. Says whether it is
    /// stopped.
    async fn send(&mut self, mood: Mood, is_stopped: impl Fn() -> bool) -> bool {
        let name = format!("form {}", self.forms.len());
        let (mut answered, mut stopped) = (None, false);
        std::thread::scope(|scope| {
            let this = &*self;
            let asked = scope.spawn(|| this.ask(&name));
            let begin = Instant::now();
            while !(asked.is_finished() || is_stopped()) {
                assert!(begin.elapsed() < Duration::from_mins(1), "{name} {mood:?}");
                std::thread::sleep(Duration::from_millis(1));
            }
            stopped = is_stopped();
            if stopped {
                // Its connection breaks with this, and the thread ends.
                this.shop().kill_by_signal();
            }
            answered = asked.join().unwrap();
        });
        // What comes after the answer: undos, thanks, and the journal's own writes.
        let begin = Instant::now();
        while !stopped && !self.is_over(&name).await {
            assert!(begin.elapsed() < Duration::from_mins(1), "{name} {mood:?}");
            stopped = is_stopped();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.forms.push(Form {
            name,
            mood,
            status: answered,
        });
        stopped
    }

    fn ask(&self, name: &str) -> Option<u16> {
        let headers = [
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Idempotency-Key", &name.replace(' ', "-")),
        ];
        let body = format!(
            "rating=5&mail=a@b.example&message={}",
            name.replace(' ', "+")
        );
        let answer = self
            .shop()
            .try_ask("POST", "/feedback", &headers, body.as_bytes());
        answer.map(|answer| answer.status)
    }

    /// Whether nothing more happens for this form.
    async fn is_over(&self, name: &str) -> bool {
        for (key, _) in self.crm.records(name) {
            let id = key.rsplit_once('.').unwrap().0.to_owned();
            let works: Vec<(String, String)> = fetch!(
                &self.direct,
                "SELECT id, status FROM mainstay_journal WHERE kind = 'work'"
            );
            if works
                .iter()
                .any(|(work, status)| *work == id && status != "ended")
            {
                return false;
            }
        }
        true
    }

    /// Everything that one partner's mood and the stops at the partner make.
    async fn at_the_partner(&mut self) {
        for mood in MOODS {
            self.crm.set(mood, None);
            assert!(!self.send(mood, || false).await);
            for stop in [
                Stop::BeforeItActs,
                Stop::AfterItActed,
                Stop::BeforeThanks,
                Stop::AfterThanks,
            ] {
                self.crm.set(mood, Some(stop));
                let crm = self.crm.clone();
                if self.send(mood, || crm.is_stopped()).await {
                    self.kill();
                }
                self.crm.go_on();
            }
        }
    }

    /// Kills the shop at every message to its database, one form for each.
    async fn at_the_database(&mut self, gate: &Gate) {
        for mood in MOODS {
            for side in [Side::Before, Side::After] {
                let mut number = 0;
                loop {
                    number += 1;
                    assert!(number < 200, "it never ends");
                    self.crm.set(mood, None);
                    gate.stop_at(number, side);
                    let stopped = self.send(mood, || gate.is_stopped()).await;
                    if !stopped {
                        gate.go_on();
                        break;
                    }
                    self.kill();
                }
            }
        }
    }

    /// Kills the shop at every write to its file, one form for each.
    async fn at_the_file(&mut self) {
        for mood in MOODS {
            let mut number = 0;
            loop {
                number += 1;
                assert!(number < 200, "it never ends");
                self.crm.set(mood, None);
                let trap = Trap::set(&self.shop().data(), number, self.shop().pid());
                if !self.send(mood, || trap.is_sprung()).await {
                    break;
                }
                self.kill();
            }
        }
    }

    /// Looks at everything when nobody is at anything any more.
    async fn check(&mut self, store: &str) {
        self.crm.set(Mood::Works, None);
        self.settled().await;
        self.both_or_neither().await;
        // A client that had no answer sends it again with the same key: it is there once.
        let unanswered: Vec<String> = self
            .forms
            .iter()
            .filter(|form| form.status.is_none())
            .map(|form| form.name.clone())
            .collect();
        for name in &unanswered {
            wait("an answer to what is sent again", || {
                (self.ask(name) == Some(303)).then_some(())
            });
        }
        self.settled().await;
        for form in &mut self.forms {
            if unanswered.contains(&form.name) {
                form.status = Some(303);
            }
        }
        self.both_or_neither().await;
        println!(
            "{store}: killed {} times between {} forms; {} sent again",
            self.kills,
            self.forms.len(),
            unanswered.len()
        );
    }

    async fn settled(&self) {
        let begin = Instant::now();
        loop {
            let left: Vec<(String, String)> = fetch!(
                &self.direct,
                "SELECT id, status FROM mainstay_journal WHERE kind = 'work' AND status <> 'ended'"
            );
            if left.is_empty() {
                return;
            }
            assert!(
                begin.elapsed() < Duration::from_mins(2),
                "works that never end: {left:?}; {}",
                self.shop().err()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn both_or_neither(&self) {
        let rows: Vec<(String, String)> =
            fetch!(&self.direct, "SELECT message, reference FROM feedback");
        for form in &self.forms {
            let what = format!("{} {:?} {:?}", form.name, form.mood, form.status);
            let rows: Vec<&String> = rows
                .iter()
                .filter(|(message, _)| *message == form.name)
                .map(|(_, reference)| reference)
                .collect();
            let records = self.crm.records(&form.name);
            let references: Vec<&String> = records
                .iter()
                .map(|(_, record)| &record.reference)
                .collect();
            assert_eq!(rows, references, "{what}");
            assert!(rows.len() <= 1, "{what}");
            match form.status {
                Some(303) => assert_eq!(rows.len(), 1, "{what}"),
                Some(400..) => assert_eq!(rows.len(), 0, "{what}"),
                _ => {}
            }
            assert!(
                records.iter().all(|(_, record)| record.thanks > 0),
                "{what}"
            );
        }
        assert_eq!(self.crm.thanked_for_nothing(), 0);
    }
}

#[tokio::test]
async fn sqlite() {
    let directory = tempfile::tempdir().unwrap();
    // The first shop makes the file, before anybody else looks at it.
    let file = directory.path().join("data/shop.db");
    let mut running = Running::start_in(directory, shop(), &[]).until_listening();
    running.kill();
    let directory = running.into_dir();
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(&file)
        .busy_timeout(Duration::from_secs(30));
    let direct = Direct::Sqlite(SqlitePool::connect_with(options).await.unwrap());
    let mut world = World::new(direct, None, None, directory);
    world.at_the_partner().await;
    world.at_the_file().await;
    assert!(world.kills > 30, "{}", world.kills);
    world.check("SQLite").await;
}

#[tokio::test]
async fn mariadb() {
    let Some(mut server) = testbed::mariadb(&["--skip-networking"]) else {
        return;
    };
    let direct = Direct::MySql(servers::mariadb_pool(&mut server).await);
    let socket = server.directory().join("s");
    behind_a_gate(direct, &socket, "MariaDB", |port| {
        format!("mysql://root@127.0.0.1:{port}/mysql")
    })
    .await;
}

#[tokio::test]
async fn postgres() {
    let Some(mut server) = testbed::postgres() else {
        return;
    };
    let direct = Direct::Postgres(servers::postgres_pool(&mut server).await);
    let socket = server.directory().join(".s.PGSQL.5432");
    behind_a_gate(direct, &socket, "PostgreSQL", |port| {
        format!("postgres://postgres@127.0.0.1:{port}/postgres")
    })
    .await;
}

async fn behind_a_gate(direct: Direct, socket: &Path, name: &str, url: impl Fn(u16) -> String) {
    let gate = Gate::before(socket.to_owned());
    let mut world = World::new(
        direct,
        Some(gate.clone()),
        Some(url(gate.port)),
        tempfile::tempdir().unwrap(),
    );
    world.at_the_partner().await;
    world.at_the_database(&gate).await;
    assert!(world.kills > 100, "{}", world.kills);
    world.check(name).await;
}
