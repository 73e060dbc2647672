//! Syslog: messages by RFC 5424 or as `/dev/log` has them, over unix datagrams, UDP (RFC 5426), TCP
//! (RFC 6587) and TLS (RFC 5425).
//!
//! A [`SyslogFormat`] renders a record, header included, where it is written; a [`StreamSink`] made by
//! [`SyslogConfig::open`] sends it.

use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::sync::Arc;

use mainstay_base::Clock;
use mainstay_base::tls::Tls;

use super::connection::Timeouts;
use super::endpoint::Net;
use super::stream::{Framing, StreamConfig, StreamSink};
use super::text::{self, Raw};
use crate::error::Error;
use crate::level::Level;
use crate::record::Record;
use crate::stamp::Stamp;

/// Where the syslog daemon of the machine listens.
pub const LOCAL: &str = "/dev/log";

/// Where syslog messages go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyslogConfig {
    /// How.
    pub transport: Transport,
    /// `host:port`, or for [`Transport::Local`] a path.
    pub address: String,
    /// How long to wait for the peer.
    pub timeouts: Timeouts,
}

/// How syslog messages travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams to a unix socket.
    Local,
    /// RFC 5426; port 514.
    Udp,
    /// RFC 6587; port 601 or 514. Octet counting is understood by rsyslog and syslog-ng; lines by all.
    Tcp(Framing),
    /// RFC 5425; port 6514.
    Tls(Tls),
}

impl Default for SyslogConfig {
    /// The daemon of this machine.
    fn default() -> Self {
        Self {
            transport: Transport::Local,
            address: LOCAL.to_owned(),
            timeouts: Timeouts::default(),
        }
    }
}

impl SyslogConfig {
    /// The same as a stream or datagrams.
    pub fn stream(&self) -> StreamConfig {
        let (net, framing, tls) = match &self.transport {
            Transport::Local => (Net::UnixDatagram, Framing::Newline, None),
            Transport::Udp => (Net::Udp, Framing::Newline, None),
            Transport::Tcp(framing) => (Net::Tcp, *framing, None),
            Transport::Tls(tls) => (Net::Tcp, Framing::OctetCounting, Some(tls.clone())),
        };
        StreamConfig {
            tls,
            framing,
            timeouts: self.timeouts,
            ..StreamConfig::new(net, self.address.clone())
        }
    }

    /// The sink. It sends what a [`SyslogFormat`] rendered.
    pub fn open(&self, clock: Arc<dyn Clock>) -> Result<StreamSink, Error> {
        StreamSink::open(self.stream(), clock)
    }

    /// What fits this transport: the local form for the daemon of the machine, RFC 5424 otherwise;
    /// 2048 bytes over UDP (RFC 5426, 3.2), 8192 over others (RFC 5425, 4.3.1); several lines where
    /// lines are not the framing.
    pub fn format(&self) -> SyslogFormat {
        let dialect = match self.transport {
            Transport::Local => Dialect::Local,
            _ => Dialect::Rfc5424,
        };
        SyslogFormat {
            dialect,
            largest: if self.transport == Transport::Udp {
                2048
            } else {
                8192
            },
            ..SyslogFormat::default()
        }
    }
}

/// How a message is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// RFC 5424, with fields as structured data.
    Rfc5424,
    /// RFC 3164 as hosts send it: `<PRI>Nov 22 14:00:00 host app[pid]: message key="value"`.
    Rfc3164,
    /// What syslog(3) writes to `/dev/log`: the same without the host. journald understands no other.
    Local,
}

/// When a message begins with a byte order mark (RFC 5424, 6.4: one in UTF-8 must).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bom {
    /// Never: for receivers that show it.
    Never,
    /// When there is more than ASCII in it. Without one it is a message of unknown encoding, which
    /// ASCII always may be.
    BeyondAscii,
}

/// What part of a system speaks (RFC 5424, table 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Facility(u8);

const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];

impl Facility {
    /// Processes in the background.
    pub const DAEMON: Self = Self(3);

    /// The name, as in rsyslog.conf(5).
    pub fn name(self) -> &'static str {
        FACILITIES[usize::from(self.0)]
    }
}

impl FromStr for Facility {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        FACILITIES
            .iter()
            .zip(0..)
            .find(|(name, _)| **name == text)
            .map(|(_, number)| Self(number))
            .ok_or_else(|| {
                format!(
                    "`{}` is no facility; facilities are {}",
                    text.escape_debug(),
                    FACILITIES.join(", ")
                )
            })
    }
}

/// How records become syslog messages.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SyslogFormat {
    /// How a message is laid out.
    pub dialect: Dialect,
    /// What speaks.
    pub facility: Facility,
    /// The name of this machine; empty if it is not known.
    pub hostname: String,
    /// The name of this program. Output of a captured program has that program's.
    pub app_name: String,
    /// The process id.
    pub pid: Option<u32>,
    /// The id of the structured data that fields go into: `name@number`, the number of an enterprise
    /// (RFC 5424, 6.3.2).
    pub sd_id: String,
    /// A longer message is cut between characters, and its end says how much is missing, in bytes.
    pub largest: usize,
    /// When a message begins with a byte order mark.
    pub bom: Bom,
    /// Keeps line feeds inside a message. Otherwise they are written `#012`, as rsyslog shows them; a
    /// peer that takes lines would see two messages.
    pub multiline: bool,
}

impl Default for SyslogFormat {
    /// RFC 5424, daemon, `mainstay`, at most 8192 bytes. `fields@32473` stands for no enterprise: the
    /// number is the one for examples (RFC 5612).
    fn default() -> Self {
        Self {
            dialect: Dialect::Rfc5424,
            facility: Facility::DAEMON,
            hostname: String::new(),
            app_name: "mainstay".to_owned(),
            pid: None,
            sd_id: "fields@32473".to_owned(),
            largest: 8192,
            bom: Bom::BeyondAscii,
            multiline: false,
        }
    }
}

/// A message is at least allowed so much, whatever the config says: header, and words for what was
/// cut (RFC 5424, 6.1 asks of receivers to take 480).
const LEAST: usize = 480;

impl SyslogFormat {
    /// Appends the record as one message, without a line feed at its end.
    pub fn render(&self, record: &Record<'_>, stamp: &mut Stamp, out: &mut Vec<u8>) {
        let start = out.len();
        let most = self.largest.max(LEAST);
        let mut left_out = 0;
        // Writing to memory cannot fail, here and below.
        let _ = write!(
            Raw(out),
            "<{}>",
            self.facility.0 * 8 + severity(record.level)
        );
        match self.dialect {
            Dialect::Rfc5424 => {
                out.extend_from_slice(b"1 ");
                stamp.full(record.time, out);
                out.push(b' ');
                word(&self.hostname, 255, out);
                out.push(b' ');
                word(record.program.unwrap_or(&self.app_name), 48, out);
                out.push(b' ');
                match self.pid {
                    Some(pid) if record.program.is_none() => drop(write!(Raw(out), "{pid}")),
                    _ => out.push(b'-'),
                }
                out.push(b' ');
                let kind = record.stream.map_or(record.target, |stream| stream.name());
                word(kind, 32, out);
                out.push(b' ');
                left_out = self.structured(record, start + most / 2, out);
                out.push(b' ');
            }
            Dialect::Rfc3164 | Dialect::Local => {
                old_time(record, stamp, out);
                if self.dialect == Dialect::Rfc3164 {
                    out.push(b' ');
                    word(&self.hostname, 255, out);
                }
                out.push(b' ');
                tag(record.program.unwrap_or(&self.app_name), out);
                if let (Some(pid), None) = (self.pid, record.program) {
                    let _ = write!(Raw(out), "[{pid}]");
                }
                out.extend_from_slice(b": ");
            }
        }
        let body = out.len();
        let mut clean = Clean::new(out, self.multiline);
        text::message(record.message, &mut clean);
        if self.dialect != Dialect::Rfc5424 {
            for (key, value) in record.fields {
                let _ = write!(clean, " {key}=\"");
                text::value(*value, &mut Quoted(&mut clean));
                let _ = clean.write_char('"');
            }
        }
        if self.dialect == Dialect::Rfc5424
            && self.bom == Bom::BeyondAscii
            && !out[body..].is_ascii()
        {
            out.splice(body..body, "\u{feff}".bytes());
        }
        shorten(out, start, most, left_out);
    }

    /// Fields as structured data, as far as `end` of `out` allows. Returns how many were left out.
    fn structured(&self, record: &Record<'_>, end: usize, out: &mut Vec<u8>) -> usize {
        if record.fields.is_empty() {
            out.push(b'-');
            return 0;
        }
        out.push(b'[');
        sd_name(&self.sd_id, out);
        let mut left_out = 0;
        for (key, value) in record.fields {
            let before = out.len();
            out.push(b' ');
            sd_name(key, out);
            out.extend_from_slice(b"=\"");
            let mut clean = Clean::new(out, self.multiline);
            text::value(*value, &mut Quoted(&mut clean));
            out.push(b'"');
            if out.len() > end {
                out.truncate(before);
                left_out += 1;
            }
        }
        out.push(b']');
        left_out
    }
}

/// The severity of RFC 5424, table 2.
pub(super) const fn severity(level: Level) -> u8 {
    match level {
        Level::Trace | Level::Debug => 7,
        Level::Info => 6,
        Level::Warn => 4,
        Level::Error => 3,
        Level::Critical => 2,
    }
}

/// Cuts what is too long and says so at its end.
fn shorten(out: &mut Vec<u8>, start: usize, most: usize, left_out: usize) {
    let mut words = String::new();
    if left_out > 0 {
        let _ = write!(words, " [{left_out} fields left out]");
    }
    let length = out.len() - start;
    if length + words.len() > most {
        // The words are made for the largest number that they can have to say.
        let room = most.saturating_sub(words.len() + " [ bytes cut]".len() + digits(length));
        let kept = text::cut(&out[start..], room).len();
        let _ = write!(words, " [{} bytes cut]", length - kept);
        out.truncate(start + kept);
    }
    out.extend_from_slice(words.as_bytes());
}

fn digits(number: usize) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// Printable ASCII without spaces, at most so much of it; `-` for nothing (RFC 5424, 6).
fn word(text: &str, most: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend(text.bytes().take(most).map(|byte| match byte {
        33..=126 => byte,
        _ => b'_',
    }));
    if out.len() == start {
        out.push(b'-');
    }
}

/// A tag of RFC 3164: what would end it is written `_`.
fn tag(text: &str, out: &mut Vec<u8>) {
    out.extend(text.bytes().take(48).map(|byte| match byte {
        b':' | b'[' | b']' => b'_',
        33..=126 => byte,
        _ => b'_',
    }));
}

/// An SD-NAME (RFC 5424, 6.3): at most 32 characters, without `=`, space, `]` and `"`.
fn sd_name(text: &str, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend(text.bytes().take(32).map(|byte| match byte {
        b'=' | b']' | b'"' => b'_',
        33..=126 => byte,
        _ => b'_',
    }));
    if out.len() == start {
        out.push(b'_');
    }
}

/// `Nov 22 14:00:00`, the day padded with a space (RFC 3164, 4.1.2).
fn old_time(record: &Record<'_>, stamp: &mut Stamp, out: &mut Vec<u8>) {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let start = out.len();
    stamp.full(record.time, out);
    // `2026-11-22T14:00:00.123+08:00`, or with a sign and more digits for years that are no years of
    // ours.
    let digit = |at: usize| {
        out.get(start + at)
            .map_or(0, |byte| byte.wrapping_sub(b'0'))
    };
    let month = usize::from(digit(5)) * 10 + usize::from(digit(6));
    let month = MONTHS.get(month.wrapping_sub(1)).copied().unwrap_or("Jan");
    let day = [out[start + 8], out[start + 9]];
    let time: [u8; 8] = std::array::from_fn(|at| out[start + 11 + at]);
    out.truncate(start);
    out.extend_from_slice(month.as_bytes());
    out.push(b' ');
    out.push(if day[0] == b'0' { b' ' } else { day[0] });
    out.push(day[1]);
    out.push(b' ');
    out.extend_from_slice(&time);
}

/// Text without control characters but tab: each becomes `#` and three octal digits.
struct Clean<'a> {
    out: &'a mut Vec<u8>,
    multiline: bool,
    /// Line feeds seen and not yet written: those at the end are dropped.
    breaks: usize,
}

impl<'a> Clean<'a> {
    fn new(out: &'a mut Vec<u8>, multiline: bool) -> Self {
        Self {
            out,
            multiline,
            breaks: 0,
        }
    }
}

impl fmt::Write for Clean<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.breaks += 1;
                continue;
            }
            for _ in 0..std::mem::take(&mut self.breaks) {
                if self.multiline {
                    self.out.push(b'\n');
                } else {
                    self.out.extend_from_slice(b"#012");
                }
            }
            match byte {
                b'\t' | 0x20..=0x7e | 0x80.. => self.out.push(byte),
                _ => {
                    let octal = [byte >> 6, byte >> 3 & 7, byte & 7].map(|digit| b'0' + digit);
                    self.out.push(b'#');
                    self.out.extend_from_slice(&octal);
                }
            }
        }
        Ok(())
    }
}

/// The inside of a PARAM-VALUE (RFC 5424, 6.3.3): `"`, `\` and `]` after a backslash.
struct Quoted<'a, W>(&'a mut W);

impl<W: fmt::Write> fmt::Write for Quoted<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(['"', '\\', ']']) {
            match part.char_indices().next_back() {
                Some((at, last @ ('"' | '\\' | ']'))) => {
                    self.0.write_str(&part[..at])?;
                    self.0.write_char('\\')?;
                    self.0.write_char(last)?;
                }
                _ => self.0.write_str(part)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::*;
    use crate::record::{Stream, Value};

    fn time() -> Timestamp {
        "2026-11-02T06:00:00.123Z".parse().unwrap()
    }

    fn render(format: &SyslogFormat, record: &Record<'_>) -> String {
        let mut stamp = Stamp::new(TimeZone::get("Asia/Taipei").unwrap());
        let mut out = b"before".to_vec();
        format.render(record, &mut stamp, &mut out);
        String::from_utf8(out).unwrap().split_off("before".len())
    }

    fn format(dialect: Dialect) -> SyslogFormat {
        SyslogFormat {
            dialect,
            hostname: "web 1".to_owned(),
            pid: Some(7),
            ..SyslogFormat::default()
        }
    }

    #[test]
    fn messages() {
        let fields = [
            ("user", Value::Text("a \"b\" [c] \\d\n")),
            ("odd key=\"]\u{e9}", 3.into()),
            ("", Value::Null),
        ];
        let record = Record::new(time(), Level::Error, "app::db", "down\n\tnow\x1b\n");
        let with = record.fields(&fields);
        let of_program =
            Record::new(time(), Level::Warn, "web", "hot").program("web:1", Stream::Stderr);
        let taipei = Record::new(time(), Level::Critical, "t", "\u{53f0}\u{5317}");
        let head = "<27>1 2026-11-02T14:00:00.123+08:00 web_1 mainstay 7 app::db";
        let table: [(&str, Dialect, Record<'_>, String); 8] = [
            (
                "plain",
                Dialect::Rfc5424,
                record,
                format!("{head} - down#012\tnow#033"),
            ),
            (
                "fields",
                Dialect::Rfc5424,
                with,
                format!(
                    "{head} [fields@32473 user=\"a \\\"b\\\" [c\\] \\\\d\" odd_key_____=\"3\" \
                     _=\"null\"] down#012\tnow#033"
                ),
            ),
            (
                "output of a program",
                Dialect::Rfc5424,
                of_program,
                "<28>1 2026-11-02T14:00:00.123+08:00 web_1 web:1 - stderr - hot".to_owned(),
            ),
            (
                "beyond ASCII",
                Dialect::Rfc5424,
                taipei,
                "<26>1 2026-11-02T14:00:00.123+08:00 web_1 mainstay 7 t - \u{feff}\u{53f0}\u{5317}"
                    .to_owned(),
            ),
            (
                "RFC 3164",
                Dialect::Rfc3164,
                record,
                "<27>Nov  2 14:00:00 web_1 mainstay[7]: down#012\tnow#033".to_owned(),
            ),
            (
                "local",
                Dialect::Local,
                with,
                "<27>Nov  2 14:00:00 mainstay[7]: down#012\tnow#033#012 user=\"a \\\"b\\\" \
                 [c\\] \\\\d#012\" odd key=\"]\u{e9}=\"3\" =\"null\""
                    .to_owned(),
            ),
            (
                "local, of a program",
                Dialect::Local,
                of_program,
                "<28>Nov  2 14:00:00 web_1: hot".to_owned(),
            ),
            (
                "nothing known",
                Dialect::Rfc5424,
                Record::new(time(), Level::Debug, "", ""),
                "<31>1 2026-11-02T14:00:00.123+08:00 web_1 mainstay 7 - - ".to_owned(),
            ),
        ];
        for (name, dialect, record, expected) in table {
            assert_eq!(render(&format(dialect), &record), expected, "{name}");
        }
        let multiline = SyslogFormat {
            multiline: true,
            bom: Bom::Never,
            ..format(Dialect::Rfc5424)
        };
        assert_eq!(
            render(&multiline, &record),
            format!("{head} - down\n\tnow#033")
        );
        assert!(render(&multiline, &taipei).ends_with(" - \u{53f0}\u{5317}"));
    }

    #[test]
    fn what_is_too_long_says_how_much_is_missing() {
        let long = "\u{e9}".repeat(1000);
        let fields = [
            ("short", Value::Text("kept")),
            ("long", Value::Text(&long)),
            ("last", Value::Text("kept too")),
        ];
        let format = SyslogFormat {
            largest: 600,
            ..format(Dialect::Rfc5424)
        };
        let record = Record::new(time(), Level::Info, "t", long.as_str());
        let text = render(&format, &record);
        assert!(text.len() <= 600 && text.len() > 590, "{}", text.len());
        let kept = text.matches('\u{e9}').count();
        let missing = format!(" [{} bytes cut]", 2000 - 2 * kept);
        assert!(text.ends_with(&missing), "{text}");
        let text = render(
            &format,
            &Record::new(time(), Level::Info, "t", "m").fields(&fields),
        );
        assert!(
            text.ends_with("[fields@32473 short=\"kept\" last=\"kept too\"] m [1 fields left out]"),
            "{text}"
        );
    }

    #[test]
    fn facilities_and_formats_of_transports() {
        assert_eq!("local7".parse(), Ok(Facility(23)));
        assert_eq!("daemon".parse(), Ok(Facility::DAEMON));
        assert_eq!(Facility(10).name(), "authpriv");
        assert!("DAEMON".parse::<Facility>().unwrap_err().contains("local0"));
        assert_eq!(SyslogConfig::default().format().dialect, Dialect::Local);
        let udp = SyslogConfig {
            transport: Transport::Udp,
            address: "h:514".to_owned(),
            ..SyslogConfig::default()
        };
        assert_eq!(
            (udp.format().dialect, udp.format().largest),
            (Dialect::Rfc5424, 2048)
        );
        let tls = SyslogConfig {
            transport: Transport::Tls(Tls::default()),
            ..udp
        };
        assert_eq!(tls.stream().framing, Framing::OctetCounting);
    }

    proptest! {
        #[test]
        fn a_message_is_one_line_of_bounded_length(
            message in any::<Vec<u8>>(),
            key in any::<String>(),
            value in any::<String>(),
            largest in 0_usize..2000,
        ) {
            let fields = [(key.as_str(), Value::Text(&value))];
            let record = Record::new(time(), Level::Info, &value, message.as_slice()).fields(&fields);
            for dialect in [Dialect::Rfc5424, Dialect::Rfc3164] {
                let format = SyslogFormat { largest, ..format(dialect) };
                let text = render(&format, &record);
                prop_assert!(text.len() <= largest.max(LEAST), "{}", text.len());
                prop_assert!(!text.bytes().any(|byte| byte < 0x20 && byte != b'\t'), "{:?}", text);
            }
        }
    }
}
