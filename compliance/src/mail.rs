//! A mail server that takes everything, without TLS.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The server; it ends when it is dropped.
#[derive(Debug)]
pub struct MailServer {
    port: u16,
    taken: Arc<Mutex<Vec<Vec<u8>>>>,
    closed: Arc<AtomicBool>,
}

impl MailServer {
    /// A server at this loopback port, as [`free_port`](crate::free_port) gives one.
    pub fn at(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let taken = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let closed = Arc::new(AtomicBool::new(false));
        let (shared, over) = (Arc::clone(&taken), Arc::clone(&closed));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(stream), shared) = (stream, Arc::clone(&shared)) else {
                    continue;
                };
                std::thread::spawn(move || drop(converse(&stream, &shared)));
            }
        });
        Self {
            port,
            taken,
            closed,
        }
    }

    /// The mails that came, each with its headers, in the order they came.
    pub fn taken(&self) -> Vec<Vec<u8>> {
        self.taken.lock().unwrap().clone()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        // It wakes up to see it.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// SMTP (RFC 5321) as far as one that takes everything needs it.
fn converse(stream: &TcpStream, taken: &Mutex<Vec<Vec<u8>>>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_mins(2)))?;
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    writer.write_all(b"220 sink\r\n")?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let verb = line.to_ascii_uppercase();
        if verb.starts_with("QUIT") {
            return writer.write_all(b"221 bye\r\n");
        }
        if !verb.starts_with("DATA") {
            writer.write_all(b"250 ok\r\n")?;
            continue;
        }
        writer.write_all(b"354 go on\r\n")?;
        let mut mail = Vec::new();
        loop {
            let mut line = Vec::new();
            if reader.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            if line == b".\r\n" {
                break;
            }
            let stuffed = line.starts_with(b"..");
            mail.extend_from_slice(&line[usize::from(stuffed)..]);
        }
        taken.lock().unwrap().push(mail);
        writer.write_all(b"250 taken\r\n")?;
    }
}
