//! An SMTP server that does what the test says, with and without TLS.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ServerConfig;

use crate::tls::Secured;

/// How the server behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    Accept,
    /// Refuses these recipients for good.
    RefuseRecipient(String),
    /// Refuses these recipients for now.
    DeferRecipient(String),
    /// Answers every message with this line.
    Reply(&'static str),
    /// Takes connections and never says a word.
    Stall,
    /// Closes the connection in the middle of the message.
    DieInData,
    /// Takes the whole message and closes the connection instead of saying so.
    DieAfterDot,
    /// Sends a byte now and then, and never the end of a line.
    Drip,
    /// Says line after line, and never the last.
    Babble,
    /// Speaks on in the clear after it agreed to TLS.
    SpeakBeforeTls,
}

/// Which protection it offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrap {
    Plain,
    StartTls,
    Implicit,
}

/// One mail that was taken.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) to: Vec<String>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) user: Option<String>,
    pub(crate) encrypted: bool,
}

struct State {
    mode: Mutex<Mode>,
    taken: Mutex<Vec<Taken>>,
    closed: AtomicBool,
    login: Option<(String, String)>,
    mechanisms: &'static str,
    tls: Arc<ServerConfig>,
    wrap: Wrap,
}

pub(crate) struct Smtp {
    pub(crate) address: SocketAddr,
    pub(crate) ca: PathBuf,
    state: Arc<State>,
    _secured: Secured,
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

impl Smtp {
    pub(crate) fn start(wrap: Wrap, login: Option<(&str, &str)>, mechanisms: &'static str) -> Self {
        Self::at("127.0.0.1:0", wrap, login, mechanisms)
    }

    pub(crate) fn plain() -> Self {
        Self::start(Wrap::Plain, None, "PLAIN")
    }

    pub(crate) fn at(
        address: &str,
        wrap: Wrap,
        login: Option<(&str, &str)>,
        mechanisms: &'static str,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let secured = crate::tls::secured();
        let state = Arc::new(State {
            mode: Mutex::new(Mode::Accept),
            taken: Mutex::default(),
            closed: AtomicBool::new(false),
            login: login.map(|(user, password)| (user.to_owned(), password.to_owned())),
            mechanisms,
            tls: Arc::clone(&secured.config),
            wrap,
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.closed.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(stream), shared) = (stream, Arc::clone(&shared)) else {
                    continue;
                };
                std::thread::spawn(move || drop(serve(stream, &shared)));
            }
        });
        Self {
            address,
            ca: secured.ca.clone(),
            state,
            _secured: secured,
        }
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.state.mode.lock().unwrap() = mode;
    }

    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.state.taken.lock().unwrap().clone()
    }
}

impl Drop for Smtp {
    fn drop(&mut self) {
        self.state.closed.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: TcpStream, state: &State) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_mins(2)))?;
    if *state.mode.lock().unwrap() == Mode::Stall {
        let mut stream = stream;
        let _ = stream.read(&mut [0; 1]);
        return Ok(());
    }
    if state.wrap == Wrap::Implicit {
        return converse(secure(stream, state), state, true, true);
    }
    let again = stream.try_clone()?;
    converse(Box::new(stream), state, false, true)?;
    // The conversation ends here only when STARTTLS was agreed on.
    converse(secure(again, state), state, true, false)
}

fn secure(stream: TcpStream, state: &State) -> Box<dyn Stream> {
    Box::new(crate::tls::accept(&state.tls, stream))
}

fn over() -> std::io::Error {
    std::io::ErrorKind::UnexpectedEof.into()
}

fn decode(text: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut held, mut out) = (0_u32, 0, Vec::new());
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let digit = ALPHABET.iter().position(|letter| *letter == byte).unwrap();
        bits = bits << 6 | u32::try_from(digit).unwrap();
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held & 0xff) as u8);
        }
    }
    String::from_utf8(out).unwrap()
}

fn converse(
    stream: Box<dyn Stream>,
    state: &State,
    encrypted: bool,
    greet: bool,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let say = |stream: &mut BufReader<Box<dyn Stream>>, line: &str| {
        stream
            .get_mut()
            .write_all(format!("{line}\r\n").as_bytes())?;
        stream.get_mut().flush()
    };
    let hear = |stream: &mut BufReader<Box<dyn Stream>>| {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(over());
        }
        Ok(line.trim_end().to_owned())
    };
    let mode = state.mode.lock().unwrap().clone();
    while let Mode::Drip | Mode::Babble = mode {
        let bytes: &[u8] = match mode {
            Mode::Drip => b"2",
            _ => b"220-and another thing\r\n",
        };
        stream.get_mut().write_all(bytes)?;
        stream.get_mut().flush()?;
        if mode == Mode::Drip {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    if greet {
        say(&mut stream, "220 sink ready")?;
    }
    let mut to = Vec::new();
    let mut user = None;
    loop {
        let line = hear(&mut stream)?;
        let mode = state.mode.lock().unwrap().clone();
        let upper = line.to_ascii_uppercase();
        if upper.starts_with("EHLO") {
            let mut offers = vec!["sink".to_owned()];
            if state.wrap == Wrap::StartTls && !encrypted {
                offers.push("STARTTLS".to_owned());
            }
            if state.login.is_some() {
                offers.push(format!("AUTH {}", state.mechanisms));
            }
            offers.push("8BITMIME".to_owned());
            let last = offers.len() - 1;
            for (index, offer) in offers.iter().enumerate() {
                let dash = if index == last { ' ' } else { '-' };
                say(&mut stream, &format!("250{dash}{offer}"))?;
            }
        } else if upper == "STARTTLS" && state.wrap == Wrap::StartTls {
            if mode == Mode::SpeakBeforeTls {
                say(&mut stream, "220 go\r\n250-injected\r\n250 AUTH PLAIN")?;
                return Err(over());
            }
            say(&mut stream, "220 go")?;
            return Ok(());
        } else if let Some(plain) = line.strip_prefix("AUTH PLAIN ") {
            let text = decode(plain);
            let mut parts = text.split('\0').skip(1);
            let given = (
                parts.next().unwrap_or_default().to_owned(),
                parts.next().unwrap_or_default().to_owned(),
            );
            if state.login.as_ref() == Some(&given) {
                user = Some(given.0);
                say(&mut stream, "235 welcome")?;
            } else {
                say(&mut stream, "535 5.7.8 no")?;
            }
        } else if line == "AUTH LOGIN" {
            say(&mut stream, "334 VXNlcm5hbWU6")?;
            let name = decode(&hear(&mut stream)?);
            say(&mut stream, "334 UGFzc3dvcmQ6")?;
            let given = (name, decode(&hear(&mut stream)?));
            if state.login.as_ref() == Some(&given) {
                user = Some(given.0);
                say(&mut stream, "235 welcome")?;
            } else {
                say(&mut stream, "535 5.7.8 no")?;
            }
        } else if upper.starts_with("MAIL FROM") {
            if state.login.is_some() && user.is_none() {
                say(&mut stream, "530 5.7.0 log in first")?;
            } else {
                to.clear();
                say(&mut stream, "250 ok")?;
            }
        } else if upper.starts_with("RCPT TO") {
            let name = line
                .split_once('<')
                .and_then(|(_, rest)| rest.split_once('>'))
                .map(|(name, _)| name.to_owned())
                .unwrap();
            match &mode {
                Mode::RefuseRecipient(refused) if *refused == name => {
                    say(&mut stream, "550 5.1.1 no such user")?;
                }
                Mode::DeferRecipient(deferred) if *deferred == name => {
                    say(&mut stream, "451 4.2.1 later")?;
                }
                _ => {
                    to.push(name);
                    say(&mut stream, "250 ok")?;
                }
            }
        } else if upper == "DATA" {
            say(&mut stream, "354 go on")?;
            let mut bytes = Vec::new();
            loop {
                let mut line = Vec::new();
                if stream.read_until(b'\n', &mut line)? == 0 {
                    return Err(over());
                }
                if mode == Mode::DieInData {
                    return Err(over());
                }
                if line == b".\r\n" {
                    break;
                }
                let stuffed = line.starts_with(b"..");
                bytes.extend_from_slice(&line[usize::from(stuffed)..]);
            }
            if let Mode::Reply(reply) = mode {
                say(&mut stream, reply)?;
            } else {
                if mode == Mode::DieAfterDot {
                    *state.mode.lock().unwrap() = Mode::Accept;
                }
                state.taken.lock().unwrap().push(Taken {
                    to: to.clone(),
                    bytes,
                    user: user.clone(),
                    encrypted,
                });
                if mode == Mode::DieAfterDot {
                    return Err(over());
                }
                say(&mut stream, "250 taken")?;
            }
        } else if upper == "QUIT" {
            say(&mut stream, "221 bye")?;
            return Err(over());
        } else {
            say(&mut stream, "500 what?")?;
        }
    }
}
