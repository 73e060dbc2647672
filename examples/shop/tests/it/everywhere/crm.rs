//! A partner that misbehaves as it is told, and knows what it holds.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};

/// What it does with feedback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It does it, and says so.
    Works,
    /// It says no.
    Refuses,
    /// It does it, and says nothing until the other side has hung up.
    TimesOut,
    /// It hangs up before it does anything.
    DiesBefore,
    /// It does it and hangs up.
    DiesAfter,
}

/// Where the world can be stopped at the partner's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    BeforeItActs,
    AfterItActed,
    BeforeThanks,
    AfterThanks,
}

/// What it holds of one key.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) message: String,
    pub(crate) reference: String,
    pub(crate) thanks: u32,
}

#[derive(Default)]
struct Books {
    /// `None`: taken back, or closed before it came.
    entries: BTreeMap<String, Option<Record>>,
    stop: Option<Stop>,
    stopped: bool,
    mood: Option<Mood>,
    /// Keys that were thanked while there was nothing to thank for.
    thanked_for_nothing: u32,
}

/// The partner. What stops at it goes on when [`Crm::go_on`] is called.
#[derive(Clone)]
pub(crate) struct Crm {
    shared: Arc<(Mutex<Books>, Condvar)>,
    pub(crate) url: String,
}

impl Crm {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/customers", listener.local_addr().unwrap());
        let crm = Self {
            shared: Arc::default(),
            url,
        };
        let own = crm.clone();
        // Ends with the test's process; nothing of it outlives that.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let crm = own.clone();
                std::thread::spawn(move || crm.serve(stream));
            }
        });
        crm
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.shared.0.lock().unwrap()
    }

    pub(crate) fn set(&self, mood: Mood, stop: Option<Stop>) {
        let mut books = self.books();
        books.mood = Some(mood);
        books.stop = stop;
    }

    /// Whether the world stands still here.
    pub(crate) fn is_stopped(&self) -> bool {
        self.books().stopped
    }

    pub(crate) fn go_on(&self) {
        let mut books = self.books();
        books.stop = None;
        books.stopped = false;
        self.shared.1.notify_all();
    }

    /// What it holds of this message, with its keys.
    pub(crate) fn records(&self, message: &str) -> Vec<(String, Record)> {
        let books = self.books();
        let held = books.entries.iter();
        held.filter_map(|(key, entry)| Some((key.clone(), entry.clone()?)))
            .filter(|(_, record)| record.message == message)
            .collect()
    }

    pub(crate) fn thanked_for_nothing(&self) -> u32 {
        self.books().thanked_for_nothing
    }

    /// Stands still, if this is the place for it; then whether the other side is gone does not matter.
    fn pass(&self, stop: Stop) {
        let mut books = self.books();
        if books.stop == Some(stop) {
            books.stopped = true;
            while books.stopped {
                books = self.shared.1.wait(books).unwrap();
            }
        }
    }

    fn serve(&self, mut stream: TcpStream) {
        let Some((method, path, key, body)) = read(&stream) else {
            return;
        };
        let rest = path.strip_prefix("/customers").unwrap_or_default();
        let answer = match (method.as_str(), rest.rsplit_once('/')) {
            ("POST", None) => self.create(&stream, &key, &body),
            ("POST", Some((of, "close"))) => Some(self.close(of.trim_start_matches('/'))),
            ("POST", Some((of, "thanks"))) => {
                self.pass(Stop::BeforeThanks);
                let answer = self.thank(of.trim_start_matches('/'));
                self.pass(Stop::AfterThanks);
                Some(answer)
            }
            ("DELETE", Some((_, of))) => {
                self.books().entries.insert(of.to_owned(), None);
                Some((204, Value::Null))
            }
            _ => Some((400, Value::Null)),
        };
        let Some((status, body)) = answer else { return };
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status} So\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        let _ = stream.write_all((head + &body).as_bytes());
    }

    fn create(&self, stream: &TcpStream, key: &str, body: &Value) -> Option<(u16, Value)> {
        let mood = self.books().mood.unwrap_or(Mood::Works);
        self.pass(Stop::BeforeItActs);
        match mood {
            Mood::Refuses => return Some((422, Value::Null)),
            Mood::DiesBefore => return None,
            Mood::Works | Mood::TimesOut | Mood::DiesAfter => {}
        }
        let reference = {
            let mut books = self.books();
            let number = books.entries.len() + 1;
            let entry = books.entries.entry(key.to_owned()).or_insert_with(|| {
                Some(Record {
                    message: body["message"].as_str().unwrap_or_default().to_owned(),
                    reference: format!("C-{number}"),
                    thanks: 0,
                })
            });
            entry.as_ref().map(|record| record.reference.clone())
        };
        self.pass(Stop::AfterItActed);
        match mood {
            Mood::TimesOut => {
                // Until the other side hangs up.
                let mut stream = stream;
                let _ = stream.read(&mut [0]);
                None
            }
            Mood::DiesAfter => None,
            _ => Some(match reference {
                Some(reference) => (200, json!({ "reference": reference })),
                None => (410, Value::Null),
            }),
        }
    }

    fn close(&self, key: &str) -> (u16, Value) {
        let mut books = self.books();
        let there = books.entries.entry(key.to_owned()).or_insert(None);
        (200, json!({ "there": there.is_some() }))
    }

    fn thank(&self, key: &str) -> (u16, Value) {
        let mut books = self.books();
        if let Some(Some(record)) = books.entries.get_mut(key) {
            record.thanks += 1;
            return (204, Value::Null);
        }
        books.thanked_for_nothing += 1;
        (404, Value::Null)
    }
}

/// Method, path, idempotency key and body of a request.
fn read(stream: &TcpStream) -> Option<(String, String, String, Value)> {
    stream.set_read_timeout(Some(Duration::from_mins(1))).ok()?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut key, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "idempotency-key" => value.clone_into(&mut key),
            "content-length" => length = value.parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = serde_json::from_slice(&body).unwrap_or_default();
    Some((method, path, key, body))
}
