//! A third party, over TCP: it takes orders, refuses, does and says nothing, or hangs up before it
//! does anything. `crm` takes an order once for each key; `bank` takes it as often as it comes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use mainstay_journal::Failure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[derive(Default)]
struct Books {
    /// How many orders stand, by house and reference.
    standing: BTreeMap<(String, String), u32>,
    /// Keys that were taken.
    keys: BTreeSet<String>,
    /// How often each reference was to be deleted.
    deletions: BTreeMap<(String, String), u32>,
    mails: BTreeMap<String, u32>,
}

/// The third party.
pub(crate) struct Crm {
    books: Arc<Mutex<Books>>,
    pub(crate) address: SocketAddr,
}

impl Crm {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let books = Arc::new(Mutex::new(Books::default()));
        let shared = Arc::clone(&books);
        // Ends with the test's process; nothing of it outlives that.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let books = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &books));
            }
        });
        Self { books, address }
    }

    pub(crate) fn standing(&self, house: &str, reference: &str) -> u32 {
        let books = self.books.lock().unwrap();
        let key = (house.to_owned(), reference.to_owned());
        books.standing.get(&key).copied().unwrap_or(0)
    }

    pub(crate) fn mails(&self, reference: &str) -> u32 {
        let books = self.books.lock().unwrap();
        books.mails.get(reference).copied().unwrap_or(0)
    }
}

/// One line in, one line out: `verb house reference key mode`.
fn serve(mut stream: TcpStream, books: &Mutex<Books>) {
    let mut line = String::new();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    if reader.read_line(&mut line).is_err() {
        return;
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let [verb, house, reference, key, mode] = words[..] else {
        return;
    };
    if mode == "dead" {
        return;
    }
    let answer = {
        let mut books = books.lock().unwrap();
        answer(&mut books, verb, house, reference, key, mode)
    };
    if mode != "lost" {
        let _ = stream.write_all(answer.as_bytes());
    }
}

fn answer(
    books: &mut Books,
    verb: &str,
    house: &str,
    reference: &str,
    key: &str,
    mode: &str,
) -> &'static str {
    let place = (house.to_owned(), reference.to_owned());
    match verb {
        "create" if mode == "refuse" => "refused\n",
        "create" => {
            let known = !books.keys.insert(key.to_owned());
            if house == "bank" || !known {
                *books.standing.entry(place).or_default() += 1;
            }
            "ok\n"
        }
        "delete" => {
            let tried = books.deletions.entry(place.clone()).or_default();
            *tried += 1;
            if mode == "flaky" && *tried <= 2 {
                return "busy\n";
            }
            match books.standing.remove(&place) {
                Some(_) => "ok\n",
                None => "absent\n",
            }
        }
        "find" => match books.standing.get(&place) {
            Some(_) => "ok\n",
            None => "absent\n",
        },
        "mail" => {
            *books.mails.entry(reference.to_owned()).or_default() += 1;
            "ok\n"
        }
        _ => "what?\n",
    }
}

/// Asks the third party. What it does not answer is unknown.
pub(crate) async fn ask(address: SocketAddr, words: &str) -> Result<String, Failure> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.write_all(format!("{words}\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    match answer.trim_end() {
        "" => Err(Failure::unknown("it hung up without an answer")),
        "refused" => Err(Failure::refused("it said no")),
        "busy" => Err(Failure::unknown("it is busy")),
        answer => Ok(answer.to_owned()),
    }
}
