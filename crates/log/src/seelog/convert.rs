//! A config of seelog as text of a `mainstay.toml`.

use std::fmt::Write as _;
use std::time::Duration;

use crate::level::{Level, LevelSet};
use crate::seelog::import::is_composed;
use crate::seelog::{
    ArchiveKind, Buffered, Config, Conn, FormatUse, Leaf, LoggerType, NameMode, Password, Receiver,
    RollWhen, Rolling, Smtp,
};

impl Config {
    /// The same as the `[log]` section of a `mainstay.toml`, with the routes, sinks and exceptions it
    /// needs. What has no counterpart there stands in a comment; passwords are left out.
    pub fn to_toml(&self) -> String {
        let mut out = String::from("schema = 1\n\n[log]\n");
        let gate = self.gate();
        match lowest(gate.possible()) {
            Some(level) => line(&mut out, "level", &quoted(level.name())),
            None => out.push_str("# levels = off: nothing is ever written\nlevel = \"critical\"\n"),
        }
        let general = self.levels.set;
        let is_plain = lowest(general).is_some_and(|level| LevelSet::from(level) == general);
        if !self.exceptions.is_empty() || !is_plain {
            out.push_str("exceptions = [\n");
            for exception in &self.exceptions {
                let _ = writeln!(
                    out,
                    "  {{ func = {}, file = {}, levels = {} }},",
                    quoted(exception.function.as_str()),
                    quoted(exception.file.as_str()),
                    levels(exception.levels.set)
                );
            }
            let _ = writeln!(out, "  {{ levels = {} }},\n]", levels(general));
        }
        let leaves = self.leaves();
        for (number, leaf) in leaves.iter().enumerate() {
            self.write_sink(number + 1, leaf, &mut out);
        }
        // The default route would write the daemon's own file too.
        let own = ["default".to_owned()];
        let names = own.into_iter().chain((2..).map(|n| format!("route{n}")));
        for (leaf, (number, name)) in leaves.iter().zip((1..).zip(names)) {
            let _ = writeln!(out, "\n[log.route.{name}]");
            if leaf.levels != LevelSet::ALL {
                let _ = writeln!(out, "when = {{ levels = {} }}", levels(leaf.levels));
            }
            let _ = writeln!(out, "to = [\"sink{number}\"]");
            line(&mut out, "format", &quoted(&self.format_text(leaf.format)));
        }
        let mails = leaves.iter().filter_map(|leaf| match innermost(leaf) {
            Receiver::Smtp(smtp) => Some((smtp, leaf.levels)),
            _ => None,
        });
        for (number, (smtp, levels)) in (1..).zip(mails) {
            channel(number, smtp, levels, &mut out);
        }
        out
    }

    fn write_sink(&self, number: usize, leaf: &Leaf<'_>, out: &mut String) {
        let _ = writeln!(out, "\n[log.sink.sink{number}]");
        let mut queue = match self.logger {
            LoggerType::Sync => None,
            LoggerType::AsyncLoop => Some(String::new()),
            LoggerType::AsyncTimer { interval } => Some(linger(interval)),
            LoggerType::Adaptive { min, max, .. } => Some(linger(min.max(max))),
        };
        let mut receiver = leaf.receiver;
        while let Receiver::Buffered(Buffered {
            size, flush, inner, ..
        }) = receiver
        {
            let bytes = size.saturating_mul(2).clamp(1 << 20, 1 << 30);
            let linger = flush.map_or_else(|| "linger = \"365d\"".to_owned(), linger);
            queue = Some(format!("bytes = {bytes}, {linger}"));
            receiver = inner;
        }
        match receiver {
            Receiver::Console => {
                out.push_str("type = \"console\"\nstream = \"stdout\"\ncolours = false\n");
            }
            Receiver::File(file) => {
                out.push_str("type = \"file\"\n");
                line(out, "path", &quoted(&file.path.to_string_lossy()));
            }
            Receiver::Rolling(rolling) => rolling_file(rolling, out),
            Receiver::Smtp(_) => {
                // What is around it is for sinks that wait; alerts have their own.
                queue = None;
                out.push_str("type = \"alert\"\n");
            }
            Receiver::Conn(conn) if stream_type(&conn.network).is_some() => connection(conn, out),
            other => {
                let _ = writeln!(
                    out,
                    "# <{}> at {} has no counterpart yet; the file stands in for it\ntype = \"file\"\npath = \"sink{number}.log\"",
                    other.element(),
                    leaf.place
                );
            }
        }
        match queue.as_deref() {
            None => {}
            Some("") => out.push_str("queue = {}\n"),
            Some(queue) => {
                let _ = writeln!(out, "queue = {{ {queue} }}");
            }
        }
    }

    /// The format as text that a `format` key takes.
    fn format_text(&self, format: &FormatUse) -> String {
        let Some(id) = &format.id else {
            return DEFAULT.to_owned();
        };
        let own = self.formats.iter().rev().find(|known| known.id == *id);
        own.map_or_else(|| id.clone(), |known| known.text.clone())
    }
}

/// seelog's format for what names none.
const DEFAULT: &str = "%Ns [%Level] %Msg%n";

/// The receiver without what is around it.
fn innermost<'a>(leaf: &Leaf<'a>) -> &'a Receiver {
    let mut receiver = leaf.receiver;
    while let Receiver::Buffered(Buffered { inner, .. }) = receiver {
        receiver = inner;
    }
    receiver
}

/// A channel of alerts, which sends what `<smtp>` would.
fn channel(number: usize, smtp: &Smtp, levels: LevelSet, out: &mut String) {
    let _ = writeln!(out, "\n[alert.to.mail{number}]");
    let severity = match lowest(levels) {
        Some(Level::Critical) => "critical",
        Some(Level::Error) => "error",
        Some(Level::Warn) => "warning",
        _ => "info",
    };
    let _ = writeln!(out, "when = {{ severity = \"{severity}\" }}");
    let _ = writeln!(out, "\n[alert.to.mail{number}.mail]");
    let to: Vec<String> = smtp.recipients.iter().map(|to| quoted(to)).collect();
    let _ = writeln!(out, "to = [{}]", to.join(", "));
    let name = smtp.sender_name.replace('\\', "\\\\").replace('"', "\\\"");
    let from = if name.is_empty() {
        smtp.sender_address.clone()
    } else {
        format!("\"{name}\" <{}>", smtp.sender_address)
    };
    line(out, "from", &quoted(&from));
    let server = format!("{}:{}", smtp.host, smtp.port);
    line(out, "server", &quoted(&server));
    let tls = if smtp.port == 465 {
        "implicit"
    } else {
        "opportunistic"
    };
    line(out, "tls", &quoted(tls));
    if let Some(login) = &smtp.login {
        line(out, "user", &quoted(&login.user));
        match &login.password {
            Password::File(file) => {
                line(out, "password_file", &quoted(&file.to_string_lossy()));
            }
            Password::Value(_) => out.push_str(
                "# put the password into this file, which only its owner may read\npassword_file = \"smtp.password\"\n",
            ),
        }
    }
    line(out, "subject", &quoted(&smtp.subject));
    for directory in &smtp.ca_directories {
        let _ = writeln!(
            out,
            "# ca = [the *.pem of {}]",
            quoted(&directory.to_string_lossy())
        );
    }
    let headers = smtp.headers.iter().filter(|header| !is_composed(header));
    let headers: Vec<String> = headers
        .map(|header| format!("{} = {}", quoted(&header.name), quoted(&header.value)))
        .collect();
    if !headers.is_empty() {
        let _ = writeln!(out, "headers = {{ {} }}", headers.join(", "));
    }
}

/// The type of sink for a network of seelog, if there is one.
fn stream_type(network: &str) -> Option<&'static str> {
    ["tcp", "udp", "unix", "unixgram"]
        .into_iter()
        .find(|name| *name == network)
}

fn connection(conn: &Conn, out: &mut String) {
    let kind = stream_type(&conn.network).unwrap_or("tcp");
    line(out, "type", &quoted(kind));
    line(out, "address", &quoted(&conn.address));
    if matches!(kind, "tcp" | "unix") {
        out.push_str("framing = \"none\"\n");
    }
    if conn.reconnect {
        out.push_str("reconnect = true\n");
    }
    if let Some(tls) = conn.tls {
        let _ = writeln!(out, "tls = {{ insecure_skip_verify = {} }}", !tls.verify);
    }
}

fn rolling_file(rolling: &Rolling, out: &mut String) {
    out.push_str("type = \"rolling\"\n");
    line(out, "path", &quoted(&rolling.path.to_string_lossy()));
    let mut retain = Vec::new();
    match &rolling.when {
        RollWhen::Size { max } => {
            out.push_str("names = \"growing\"\n");
            retain.push(format!("size = {}", max.unwrap_or(0)));
        }
        RollWhen::Date { pattern, full_name } => {
            out.push_str("names = \"date\"\n");
            line(out, "date", &quoted(pattern.text()));
            retain.push("size = 0".to_owned());
            if *full_name {
                out.push_str("current = true\n");
            }
        }
    }
    if rolling.names == NameMode::Prefix {
        out.push_str("prefix = true\n");
    }
    let files = rolling
        .max_rolls
        .map_or(u32::MAX, |rolls| u32::try_from(rolls).unwrap_or(u32::MAX));
    retain.push(format!("files = {files}"));
    let _ = writeln!(out, "retain = {{ {} }}", retain.join(", "));
    if let Some(archive) = &rolling.archive {
        let kind = match archive.kind {
            ArchiveKind::Zip => "zip",
            ArchiveKind::Gzip => "gzip",
        };
        let _ = writeln!(
            out,
            "archive = {{ type = \"{kind}\", path = {}, exploded = {} }}",
            quoted(&archive.path.to_string_lossy()),
            archive.exploded
        );
    }
}

fn line(out: &mut String, key: &str, value: &str) {
    let _ = writeln!(out, "{key} = {value}");
}

fn lowest(set: LevelSet) -> Option<Level> {
    set.min()
}

fn levels(set: LevelSet) -> String {
    let all = Level::ALL.into_iter().filter(|level| set.contains(*level));
    let all: Vec<String> = all.map(|level| quoted(level.name())).collect();
    format!("[{}]", all.join(", "))
}

fn linger(time: Duration) -> String {
    // Queues linger for whole milliseconds.
    format!("linger = \"{}ms\"", time.as_millis().max(1))
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            char if char.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(char));
            }
            char => out.push(char),
        }
    }
    out.push('"');
    out
}
