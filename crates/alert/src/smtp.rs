//! The words of SMTP (RFC 5321) with one server, each answer and all of it within a time limit: a
//! server that sends a byte now and then holds up nobody for longer than that, and one that does not
//! stop talking takes no memory.

use std::fmt;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstay_base::{Secret, base64, net, tls};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// The longest line of an answer (RFC 5321 section 4.5.3.1.5 asks for 512).
const LINE: usize = 4096;
/// The most lines of one answer.
const LINES: usize = 128;
/// All of a delivery may take so many times what one answer may.
const DELIVERY: u32 = 4;
/// How long the answer to the farewell is waited for: the mail is delivered then.
const FAREWELL: Duration = Duration::from_secs(5);

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Its code, 200 to 599.
    pub(crate) code: u16,
    /// Its lines without the code.
    pub(crate) lines: Vec<String>,
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        let text: String = self
            .lines
            .join(" ")
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(300)
            .collect();
        if !text.trim().is_empty() {
            write!(f, " {}", text.trim())?;
        }
        Ok(())
    }
}

/// Why a conversation does not go on.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The server said no, and the conversation can go on.
    Refused(Reply),
    /// TLS with it does not come about: why, and what to do.
    Tls(String, &'static str),
    /// It took too long.
    Late,
    /// The connection broke, or what was said is no SMTP.
    Broken(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reply) => reply.fmt(f),
            Self::Late => f.write_str("no answer in time"),
            Self::Tls(why, _) | Self::Broken(why) => f.write_str(why),
        }
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        if let Some(fault) = tls::fault(&error) {
            return Self::Tls(fault.to_string(), tls::help(fault));
        }
        match error.kind() {
            // A time limit of a socket shows as either.
            std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock => Self::Late,
            std::io::ErrorKind::UnexpectedEof => {
                Self::Broken("the server closed the connection".to_owned())
            }
            _ => Self::Broken(error.to_string()),
        }
    }
}

type Timed = net::Timed<TcpStream>;

enum Wire {
    Plain(Timed),
    Tls(Box<StreamOwned<ClientConnection, Timed>>),
}

impl Wire {
    fn timed(&mut self) -> &mut Timed {
        match self {
            Self::Plain(timed) => timed,
            Self::Tls(stream) => &mut stream.sock,
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(timed) => timed.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(timed) => timed.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(timed) => timed.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// How TLS is made: whom to believe, and which name the certificate must be for.
pub(crate) struct Protection {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) name: ServerName<'static>,
}

/// A conversation with a server that has greeted us.
pub(crate) struct Conversation {
    wire: BufReader<Wire>,
    timeout: Duration,
    deadline: Instant,
    offers: Vec<String>,
    hello: String,
}

impl Conversation {
    /// Connects, with TLS from the first byte where `tls` is given, and says who we are. Each answer
    /// may take `timeout`, and everything until the end four times that.
    pub(crate) fn begin(
        host: &str,
        port: u16,
        timeout: Duration,
        hello: String,
        tls: Option<&Protection>,
    ) -> Result<Self, Trouble> {
        let deadline = Instant::now() + timeout.saturating_mul(DELIVERY);
        let addresses: Vec<_> = (host, port).to_socket_addrs()?.collect();
        let socket = net::connect(&addresses, Instant::now() + timeout)?;
        let until = Instant::now() + timeout;
        let mut wire = Wire::Plain(Timed { socket, until });
        if let Some(tls) = tls {
            wire = secured(wire, tls)?;
        }
        let mut conversation = Self {
            wire: BufReader::new(wire),
            timeout,
            deadline,
            offers: Vec::new(),
            hello,
        };
        conversation.expect(220)?;
        conversation.say_hello()?;
        Ok(conversation)
    }

    fn say_hello(&mut self) -> Result<(), Trouble> {
        let hello = self.hello.clone();
        match self.command(&format!("EHLO {hello}"), 250) {
            Ok(reply) => {
                // The first line is the server's name.
                self.offers = reply.lines.into_iter().skip(1).collect();
                Ok(())
            }
            // One that is older than extensions (RFC 5321 section 4.1.4).
            Err(Trouble::Refused(reply)) if matches!(reply.code, 500 | 502) => {
                self.offers.clear();
                self.command(&format!("HELO {hello}"), 250).map(drop)
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// The parameters of an extension that the server offers.
    pub(crate) fn offer(&self, extension: &str) -> Option<&str> {
        self.offers.iter().find_map(|line| {
            let (name, parameters) = line.split_once([' ', '=']).unwrap_or((line, ""));
            name.eq_ignore_ascii_case(extension).then_some(parameters)
        })
    }

    /// Begins TLS (RFC 3207), and forgets all that was said before it.
    pub(crate) fn start_tls(mut self, tls: &Protection) -> Result<Self, Trouble> {
        self.command("STARTTLS", 220)?;
        if !self.wire.buffer().is_empty() {
            // Somebody put words in between, to be taken for the server's under TLS.
            return Err(Trouble::Tls(
                "the server spoke on before TLS began".to_owned(),
                "use `tls = \"implicit\"` with port 465: somebody may sit in between",
            ));
        }
        let mut wire = self.wire.into_inner();
        wire.timed().until = self.deadline.min(Instant::now() + self.timeout);
        self.wire = BufReader::new(secured(wire, tls)?);
        self.say_hello()?;
        Ok(self)
    }

    /// Logs in by what the server offers of PLAIN (RFC 4616) and LOGIN.
    pub(crate) fn log_in(&mut self, user: &str, password: &Secret) -> Result<(), Trouble> {
        let offered = self.offer("AUTH").unwrap_or_default().to_ascii_uppercase();
        let offers = |name: &str| offered.split_ascii_whitespace().any(|word| word == name);
        if offers("PLAIN") {
            let text = Secret::new(format!("\0{user}\0{}", password.expose()));
            let line = Secret::new(format!("AUTH PLAIN {}", base64(text.expose().as_bytes())));
            self.command(line.expose(), 235)?;
        } else if offers("LOGIN") {
            self.command("AUTH LOGIN", 334)?;
            self.command(&base64(user.as_bytes()), 334)?;
            let line = Secret::new(base64(password.expose().as_bytes()));
            self.command(line.expose(), 235)?;
        } else {
            return Err(Trouble::Broken(if offered.is_empty() {
                "it offers no login".to_owned()
            } else {
                format!("it offers no login but {offered}, and mainstay knows PLAIN and LOGIN")
            }));
        }
        Ok(())
    }

    /// Says one line and hears the answer, which is this code or a refusal.
    pub(crate) fn command(&mut self, line: &str, expected: u16) -> Result<Reply, Trouble> {
        if line.contains(['\r', '\n', '\0']) {
            // Addresses are checked long before; this is where a second command would be made.
            return Err(Trouble::Broken(
                "a command has more than one line".to_owned(),
            ));
        }
        self.grant(self.timeout);
        let line = Secret::new(format!("{line}\r\n"));
        self.wire.get_mut().write_all(line.expose().as_bytes())?;
        self.wire.get_mut().flush()?;
        self.expect(expected)
    }

    /// Hands over a whole mail, after which the server has it or not.
    pub(crate) fn data(&mut self, mail: &[u8]) -> Result<Reply, Trouble> {
        self.command("DATA", 354)?;
        self.grant(self.timeout.saturating_mul(DELIVERY));
        self.wire.get_mut().write_all(&stuffed(mail))?;
        self.wire.get_mut().flush()?;
        self.expect(250)
    }

    /// Says farewell. The mail is delivered, so that nothing depends on the answer.
    pub(crate) fn end(mut self) {
        self.timeout = self.timeout.min(FAREWELL);
        let _ = self.command("QUIT", 221);
    }

    /// So long the next thing may take, at most to the end of all.
    fn grant(&mut self, time: Duration) {
        let until = self.deadline.min(Instant::now() + time);
        self.wire.get_mut().timed().until = until;
    }

    fn expect(&mut self, code: u16) -> Result<Reply, Trouble> {
        self.grant(self.timeout);
        let reply = self.hear()?;
        if reply.code == code || (code == 250 && reply.code == 251) {
            Ok(reply)
        } else {
            Err(Trouble::Refused(reply))
        }
    }

    /// An answer of one or more lines (RFC 5321 section 4.2.1).
    fn hear(&mut self) -> Result<Reply, Trouble> {
        let nonsense = || Trouble::Broken("what it says is not SMTP".to_owned());
        let mut lines = Vec::new();
        while lines.len() < LINES {
            let mut line = Vec::new();
            let most = LINE as u64;
            (&mut self.wire).take(most).read_until(b'\n', &mut line)?;
            if line.is_empty() {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
            }
            if line.last() != Some(&b'\n') {
                return Err(if line.len() < LINE {
                    std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()
                } else {
                    nonsense()
                });
            }
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end();
            let code = line
                .get(..3)
                .and_then(|code| code.parse().ok())
                .filter(|code| (200..600).contains(code))
                .ok_or_else(nonsense)?;
            let more = match line.as_bytes().get(3) {
                None | Some(b' ') => false,
                Some(b'-') => true,
                Some(_) => return Err(nonsense()),
            };
            lines.push(line.get(4..).unwrap_or_default().to_owned());
            if !more {
                return Ok(Reply { code, lines });
            }
        }
        Err(Trouble::Broken("its answer does not end".to_owned()))
    }
}

/// TLS over a connection, with the handshake done.
fn secured(wire: Wire, protection: &Protection) -> Result<Wire, Trouble> {
    let timed = match wire {
        Wire::Plain(timed) => timed,
        Wire::Tls(_) => return Ok(wire),
    };
    let stream = tls::begin(
        Arc::clone(&protection.config),
        protection.name.clone(),
        timed,
    )?;
    Ok(Wire::Tls(Box::new(stream)))
}

/// A mail as it goes over the wire (RFC 5321 section 4.5.2): a dot before each line that begins with
/// one, and the lonely dot at the end. Line ends are made to be CR LF: a bare one is an end for some
/// servers and none for others, and what follows would be a mail of its own for the former.
fn stuffed(mail: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(mail.len() + 64);
    let mut at_start = true;
    let mut bytes = mail.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\r' | b'\n' => {
                if byte == b'\r' {
                    bytes.next_if_eq(&b'\n');
                }
                out.extend_from_slice(b"\r\n");
                at_start = true;
            }
            byte => {
                if at_start && byte == b'.' {
                    out.push(b'.');
                }
                out.push(byte);
                at_start = false;
            }
        }
    }
    if !at_start {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn mails_on_the_wire() {
        for (mail, expected) in [
            ("", ".\r\n"),
            ("a", "a\r\n.\r\n"),
            ("a\r\n", "a\r\n.\r\n"),
            (".", "..\r\n.\r\n"),
            ("a\n.\nQUIT\n", "a\r\n..\r\nQUIT\r\n.\r\n"),
            ("a\r.\rb", "a\r\n..\r\nb\r\n.\r\n"),
            ("a\r\n..b\r\n\r\n", "a\r\n...b\r\n\r\n.\r\n"),
        ] {
            let out = stuffed(mail.as_bytes());
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{mail:?}");
        }
    }

    proptest! {
        /// No mail ends before its end, whatever is in it.
        #[test]
        fn no_mail_can_end_early(mail in "[.\r\na]{0,60}") {
            let out = String::from_utf8(stuffed(mail.as_bytes())).unwrap();
            let before = out.strip_suffix(".\r\n").unwrap();
            prop_assert!(before.is_empty() || before.ends_with("\r\n"));
            for line in before.split("\r\n") {
                prop_assert!(line != "." && !line.contains(['\r', '\n']), "{:?}", out);
            }
        }
    }
}
