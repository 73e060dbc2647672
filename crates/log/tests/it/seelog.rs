//! What the config language of seelog takes, refuses and means, in tables: `tests/seelog/*.txt`.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::tz::TimeZone;
use mainstay_base::{Diagnostic, Severity};
use mainstay_log::seelog::{
    Config, DateLayout, Dialect, Formatters, LoggerType, Options, Password, Receiver, RollWhen,
};
use mainstay_log::{Format, Level, LevelSet, Location, Pattern, Record, Spans, Stamp, Value};

const BOTH: [Dialect; 2] = [Dialect::Strict, Dialect::Extended];

fn environment(name: &str) -> Option<String> {
    let known = [("LEVEL", "warn"), ("DIR", "/logs"), ("PW", "hunter2")];
    known
        .into_iter()
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value.to_owned())
}

fn options(dialect: Dialect) -> Options<'static> {
    Options::new()
        .dialect(dialect)
        .environment(&environment)
        .receivers(&["known", "other"])
        .directory("/srv/app")
}

/// A line of a table, split at its number for messages.
fn lines(table: &str) -> impl Iterator<Item = (usize, &str)> {
    table
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

#[derive(Default)]
struct Row {
    line: usize,
    name: String,
    document: String,
    /// Dialect, line of the table, what.
    expected: Vec<(Dialect, String)>,
}

fn rows(table: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for (number, line) in table.lines().enumerate() {
        if let Some(name) = line.strip_prefix("= ") {
            rows.push(Row {
                line: number + 1,
                name: name.to_owned(),
                ..Row::default()
            });
        }
        let Some(row) = rows.last_mut().filter(|_| !line.starts_with("= ")) else {
            continue;
        };
        if let Some(expected) = line.strip_prefix("> ") {
            for dialect in BOTH {
                let (own, other) = match dialect {
                    Dialect::Strict => ("strict ", "extended "),
                    Dialect::Extended => ("extended ", "strict "),
                };
                if !expected.starts_with(other) {
                    let what = expected.strip_prefix(own).unwrap_or(expected);
                    row.expected.push((dialect, what.to_owned()));
                }
            }
        } else if row.expected.is_empty() {
            row.document.push_str(line);
            row.document.push('\n');
        }
    }
    rows
}

fn levels(levels: LevelSet) -> String {
    let names: Vec<&str> = Level::ALL
        .into_iter()
        .filter(|level| levels.contains(*level))
        .map(Level::name)
        .collect();
    if names.is_empty() {
        "(none)".to_owned()
    } else {
        names.join(",")
    }
}

fn receiver(receiver: &Receiver) -> String {
    match receiver {
        Receiver::Console => "console".to_owned(),
        Receiver::File(file) => format!("file {}", file.path.display()),
        Receiver::Rolling(rolling) => {
            let when = match &rolling.when {
                RollWhen::Size { max: Some(max) } => format!("size={max}"),
                RollWhen::Size { max: None } => "size=never".to_owned(),
                RollWhen::Date { pattern, full_name } => {
                    let full_name = if *full_name { " fullname" } else { "" };
                    format!("date={}{full_name}", pattern.text())
                }
            };
            let keep = rolling
                .max_rolls
                .map_or("all".to_owned(), |n| n.to_string());
            let archive = rolling
                .archive
                .as_ref()
                .map_or("none".to_owned(), |archive| {
                    let exploded = if archive.exploded { " exploded" } else { "" };
                    let kind = format!("{:?}", archive.kind).to_lowercase();
                    format!("{kind} {}{exploded}", archive.path.display())
                });
            let names = format!("{:?}", rolling.names).to_lowercase();
            let path = rolling.path.display();
            format!("rolling {path} {when} {names} keep={keep} archive={archive}")
        }
        Receiver::Buffered(buffered) => {
            let flush = buffered
                .flush
                .map_or("never".to_owned(), |f| format!("{f:?}"));
            format!(
                "buffered {} {flush} ({})",
                buffered.size,
                self::receiver(&buffered.inner)
            )
        }
        Receiver::Conn(conn) => {
            let reconnect = if conn.reconnect { " reconnect" } else { "" };
            let tls = match conn.tls {
                None => "",
                Some(tls) if tls.verify => " tls",
                Some(_) => " tls unverified",
            };
            format!("conn {} {}{reconnect}{tls}", conn.network, conn.address)
        }
        Receiver::Smtp(smtp) => {
            let login = match &smtp.login {
                None => "nobody".to_owned(),
                Some(login) => match &login.password {
                    Password::Value(_) => format!("user={} password", login.user),
                    Password::File(path) => {
                        format!("user={} password in {}", login.user, path.display())
                    }
                },
            };
            let folders: Vec<String> = smtp
                .ca_directories
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            let headers: Vec<String> = smtp
                .headers
                .iter()
                .map(|header| format!("{}:{}", header.name, header.value))
                .collect();
            format!(
                "smtp {} <{}> {}:{} {login} subject={:?} to={} ca={} headers={}",
                smtp.sender_name,
                smtp.sender_address,
                smtp.host,
                smtp.port,
                smtp.subject,
                smtp.recipients.join(","),
                folders.join(","),
                headers.join(",")
            )
        }
        Receiver::Custom(custom) => {
            let data = custom
                .data
                .iter()
                .fold(String::new(), |mut data, parameter| {
                    let _ = write!(data, " {}={}", parameter.name, parameter.value.expose());
                    data
                });
            format!("custom {}{data}", custom.name)
        }
        other => panic!("{other:?} has no words here"),
    }
}

/// Everything a config says, in lines.
fn described(config: &Config) -> Vec<String> {
    let mut said = vec![format!("levels {}", levels(config.levels.set))];
    said.push(match config.logger {
        LoggerType::Sync => "logger sync".to_owned(),
        LoggerType::AsyncLoop => "logger asyncloop".to_owned(),
        LoggerType::AsyncTimer { interval } => format!("logger asynctimer {interval:?}"),
        LoggerType::Adaptive {
            min,
            max,
            critical_count,
        } => format!("logger adaptive {min:?} {max:?} {critical_count}"),
    });
    for exception in &config.exceptions {
        let (function, file) = (&exception.function, &exception.file);
        let levels = levels(exception.levels.set);
        said.push(format!("exception {function} {file} {levels}"));
    }
    for format in &config.formats {
        let text = format.text.replace('\n', "\\n").replace('\t', "\\t");
        said.push(format!("format {} {text}", format.id));
    }
    for leaf in config.leaves() {
        let path: Vec<&str> = leaf.path.iter().map(|step| step.element).collect();
        said.push(format!(
            "leaf {} | {} | {} | {}",
            path.join("/"),
            levels(leaf.levels),
            leaf.format.id.as_deref().unwrap_or("(default)"),
            receiver(leaf.receiver)
        ));
    }
    said
}

fn short(diagnostic: &Diagnostic) -> String {
    let severity = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let place = diagnostic.place.as_ref().map_or("-".to_owned(), |place| {
        let (line, column) = place.source.line_column(place.span.start);
        format!("{line}:{column}")
    });
    format!("{severity} {place} {}", diagnostic.message)
}

#[test]
fn configs() {
    let rows = rows(include_str!("../seelog/configs.txt"));
    assert!(rows.len() > 150, "{}", rows.len());
    let mut wrong = String::new();
    for row in &rows {
        for dialect in BOTH {
            let read = Config::parse("c.xml", &row.document, &options(dialect));
            let (said, diagnostics) = match &read {
                Ok(config) => (described(config), &config.warnings),
                Err(diagnostics) => (Vec::new(), diagnostics),
            };
            let mut told: Vec<String> = diagnostics.iter().map(short).collect();
            let mut complain = |what: String| {
                let _ = writeln!(wrong, "{}: {} ({dialect:?}): {what}", row.line, row.name);
            };
            let mut spoken_of = false;
            for (_, expected) in row.expected.iter().filter(|(of, _)| *of == dialect) {
                if let Some(line) = expected.strip_prefix("says ") {
                    if !said.iter().any(|said| said == line) {
                        complain(format!(
                            "it does not say: {line}\nbut:\n{}",
                            said.join("\n")
                        ));
                    }
                    continue;
                }
                spoken_of = true;
                if expected == "ok" {
                    continue;
                }
                let (head, part) = expected.match_indices(' ').nth(1).map_or_else(
                    || panic!("{}: {expected} is no expectation", row.line),
                    |(at, _)| (&expected[..at], &expected[at + 1..]),
                );
                let fits = |told: &String| {
                    told.strip_prefix(head)
                        .is_some_and(|rest| rest.starts_with(' ') && rest.contains(part))
                };
                match told.iter().position(fits) {
                    Some(at) => drop(told.remove(at)),
                    None => complain(format!("it was not told: {expected}")),
                }
            }
            if !spoken_of {
                complain("the row does not say what becomes of it".to_owned());
            }
            for told in told {
                complain(format!("it was told: {told}"));
            }
            for diagnostic in diagnostics.iter() {
                if diagnostic.severity == Severity::Error && diagnostic.help.is_none() {
                    // Errors of the XML itself need no other word than that.
                    let message = &diagnostic.message;
                    let syntax = [
                        "is closed",
                        "is not closed",
                        "twice",
                        "prefix",
                        "second",
                        "no value",
                        "ignored",
                    ];
                    if !syntax.iter().any(|part| message.contains(part)) {
                        complain(format!("it was not said what to do about: {message}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Splits a row at its arrow and reads both sides as JSON; what is no JSON stays as it is.
fn pair(line: &str) -> (String, String) {
    let (left, right) = line
        .split_once(" => ")
        .unwrap_or_else(|| panic!("{line} has no arrow"));
    let read = |side: &str| serde_json::from_str(side).unwrap_or_else(|_| side.to_owned());
    (read(left.trim()), read(right.trim()))
}

fn formatters() -> Formatters {
    use std::sync::Arc;
    let mut formatters = Formatters::new();
    formatters
        .register("Host", |name| {
            let name = format!("<{name}>");
            Arc::new(move |_, out| out.extend_from_slice(name.as_bytes()))
        })
        .unwrap();
    formatters
        .register("Upper", |_| {
            Arc::new(|record, out| {
                out.extend_from_slice(record.level.name().to_uppercase().as_bytes());
            })
        })
        .unwrap();
    formatters
}

/// 2026-11-22 14:05:06.123456789 in Taipei.
const TIME: &str = "2026-11-22T06:05:06.123456789Z";

fn stamp() -> Stamp {
    Stamp::new(TimeZone::get("Asia/Taipei").unwrap())
}

fn rendered(format: &Format, record: &Record<'_>) -> String {
    let mut line = Vec::new();
    format.render(record, &mut stamp(), &mut line);
    String::from_utf8(line).unwrap()
}

#[test]
fn formats() {
    let formatters = formatters();
    let (mut wrong, mut count) = (String::new(), 0);
    let mut message = "the disk is \"full\" <&>".to_owned();
    let mut level = Level::Warn;
    for (number, line) in lines(include_str!("../seelog/formats.txt")) {
        // What holds for the rows below.
        if let Some(text) = line.strip_prefix("message ") {
            message = serde_json::from_str(text).unwrap();
            continue;
        }
        if let Some(name) = line.strip_prefix("level ") {
            level = name.parse().unwrap();
            continue;
        }
        count += 1;
        let (dialects, row) = match line.split_once(' ') {
            Some(("strict", row)) => (&BOTH[..1], row),
            Some(("extended", row)) => (&BOTH[1..], row),
            _ => (&BOTH[..], line),
        };
        let (text, expected) = pair(row);
        let fields = [("free", Value::Unsigned(12))];
        let record = Record::new(TIME.parse().unwrap(), level, "shop::disk", message.as_str())
            .fields(&fields)
            .spans(Some(Spans {
                text: "request{id=7}",
                json: "{\"name\":\"request\",\"id\":7}",
                root: 1,
            }))
            .location(Some(Location {
                file: "/srv/app/src/disk.rs",
                line: 42,
                function: Some("shop::disk::Check.run"),
            }));
        for dialect in dialects {
            let options = options(*dialect).formatters(&formatters);
            let actual = match Format::seelog(&text, &options) {
                Ok(format) => rendered(&format, &record),
                Err(diagnostic) => format!("error: {}", diagnostic.message),
            };
            let fits = match expected.strip_prefix("error") {
                Some(part) => actual.starts_with("error: ") && actual.contains(part.trim()),
                None => actual == expected,
            };
            if !fits {
                let _ = writeln!(
                    wrong,
                    "{number}: {dialect:?} {text:?}: {actual:?}, not {expected:?}"
                );
            }
        }
    }
    assert!(count > 100, "{count}");
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn layouts() {
    let (mut wrong, mut count) = (String::new(), 0);
    let (mut time, mut zone) = (TIME.parse().unwrap(), TimeZone::UTC);
    for (number, line) in lines(include_str!("../seelog/layouts.txt")) {
        if let Some(text) = line.strip_prefix("at ") {
            let (moment, name) = text.split_once(' ').unwrap();
            time = moment.parse().unwrap();
            zone = TimeZone::get(name).unwrap();
            continue;
        }
        count += 1;
        let (text, expected) = pair(line);
        let actual = DateLayout::compile(&text).format(time, &zone);
        if actual != expected {
            let _ = writeln!(wrong, "{number}: {text:?}: {actual:?}, not {expected:?}");
        }
        // The cache of a stamp gives the same, at first and afterwards.
        let record = Record::new(time, Level::Info, "t", "m");
        if !text.contains(')') && !text.is_empty() {
            let format = Format::seelog(&format!("%Date({text})"), &Options::new()).unwrap();
            let mut stamp = Stamp::new(zone.clone());
            for _ in 0..2 {
                let mut line = Vec::new();
                format.render(&record, &mut stamp, &mut line);
                assert_eq!(String::from_utf8_lossy(&line), expected, "{number}");
            }
        }
    }
    assert!(count > 60, "{count}");
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn patterns() {
    for (number, line) in lines(include_str!("../seelog/patterns.txt")) {
        let (head, expected) = pair(line);
        let sides: (String, String) = serde_json::from_str(&head).unwrap();
        let pattern = Pattern::new(sides.0.as_str());
        assert_eq!(pattern.matches(&sides.1).to_string(), expected, "{number}");
    }
}

/// What the root lets through, and gates with exceptions.
#[test]
fn gates() {
    let mut gate = None;
    let mut count = 0;
    for (number, line) in lines(include_str!("../seelog/gates.txt")) {
        if line.starts_with('<') {
            gate = Some(
                Config::parse("c.xml", line, &Options::new())
                    .unwrap()
                    .gate(),
            );
            continue;
        }
        count += 1;
        let (head, expected) = pair(line);
        let (function, file) = head.split_once(' ').unwrap();
        let gate = gate.as_ref().unwrap();
        let allowed: LevelSet = Level::ALL
            .into_iter()
            .filter(|level| gate.allows(*level, function, file))
            .collect();
        assert_eq!(levels(allowed), expected, "{number}");
        assert_eq!(levels(gate.levels_at(function, file)), expected, "{number}");
        assert_eq!(gate.possible().union(allowed), gate.possible(), "{number}");
    }
    assert!(count > 15, "{count}");
}

#[test]
fn root_levels() {
    let mut wrong = String::new();
    for (number, line) in lines(include_str!("../seelog/levels.txt")) {
        let (attributes, expected) = pair(line);
        for dialect in BOTH {
            // The root and an exception speak the same.
            for document in [
                format!("<seelog {attributes}/>"),
                format!("<seelog><exceptions><exception {attributes}/></exceptions></seelog>"),
            ] {
                let actual = match Config::parse("c.xml", &document, &options(dialect)) {
                    Ok(config) => match config.exceptions.first() {
                        Some(exception) => levels(exception.levels.set),
                        None => levels(config.levels.set),
                    },
                    Err(wrong) => format!("error {wrong}"),
                };
                let fits = match expected.strip_prefix("error ") {
                    Some(part) => actual.starts_with("error ") && actual.contains(part),
                    None => actual == expected,
                };
                if !fits {
                    let _ = writeln!(wrong, "{number}: {document}: {actual}, not {expected}");
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

const TREE: &str = r#"<seelog minlevel="warn">
  <exceptions>
    <exception funcpattern="api.*" minlevel="debug"/>
  </exceptions>
  <outputs formatid="std:debug">
    <rollingfile type="size" filename="all.log" maxsize="100MB"/>
    <filter levels="error,critical">
      <buffered size="4KiB" flushperiod="1s"><file path="errors.log"/></buffered>
      <filter levels="critical">
        <smtp senderaddress="log@example.org" sendername="Log" hostname="mx" hostport="25" username="u" password="hunter2">
          <recipient address="ops@example.org"/>
        </smtp>
      </filter>
    </filter>
  </outputs>
</seelog>"#;

#[test]
fn a_record_is_explained() {
    let config = Config::parse("seelog.xml", TREE, &Options::new()).unwrap();
    let explained = config.explain(Level::Error, "web.Get", "src/web.rs");
    assert_eq!(explained.reached().count(), 2);
    assert_eq!(
        explained.to_string(),
        "error from web.Get in src/web.rs\n\
         passes: no exception matches, <seelog> lets through warn and above (seelog.xml:1:19)\n  \
           reaches rolling file all.log by size, 100000000 bytes, format std:debug (seelog.xml:6:5)\n    \
             by outputs > rollingfile\n  \
           reaches file errors.log, buffered, format std:debug (seelog.xml:8:7)\n    \
             by outputs > filter > buffered > file\n  \
           not     mail to ops@example.org by mx:25, format std:debug (seelog.xml:10:9)\n    \
             by outputs > filter > filter > smtp: the filter lets through critical (seelog.xml:9:23)"
    );
    let explained = config.explain(Level::Info, "web.Get", "").to_string();
    assert!(explained.starts_with("info from web.Get in (not given)\nstopped: no exception"));
    assert_eq!(explained.matches("reaches").count(), 0);
    let explained = config.explain(Level::Debug, "api.Get", "a").to_string();
    assert!(explained.contains(
        "passes: exception funcpattern=\"api.*\" filepattern=\"*\" lets through debug and above (seelog.xml:3:5)"
    ));
    assert!(explained.contains("the filter lets through error and above (seelog.xml:7:21)"));
}

#[test]
fn a_password_is_seen_nowhere() {
    let config = Config::parse("seelog.xml", TREE, &Options::new()).unwrap();
    let shown = format!(
        "{config:?} {} {:?}",
        config.warnings,
        config.explain(Level::Error, "", "")
    );
    assert!(!shown.contains("hunter2"));
    let broken = [
        TREE.replace("username", "usrname"),
        TREE.replace(" password=", " pasword="),
        TREE.replace("password=\"hunter2\"", "password=\"hunter2"),
        TREE.replace("password=\"hunter2\"", "password=hunter2"),
        TREE.replace("password=\"hunter2\"", "password=\"hunter2&\""),
        TREE.replace(
            "password=\"hunter2\"",
            "password=\"hunter2\" password=\"hunter2\"",
        ),
        TREE.replace("<smtp", "<smpt"),
    ];
    for text in broken {
        let wrong = Config::parse("seelog.xml", &text, &Options::new()).unwrap_err();
        assert!(wrong.has_errors());
        let shown = format!("{wrong} {wrong:?}");
        assert!(!shown.contains("hunter2"), "{wrong}");
    }
}

/// A source that would give bytes for ever, and says how many were taken.
struct Endless {
    head: &'static [u8],
    taken: usize,
}

impl std::io::Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        for (at, byte) in buffer.iter_mut().enumerate() {
            *byte = *self.head.get(self.taken + at).unwrap_or(&b'a');
        }
        self.taken += buffer.len();
        Ok(buffer.len())
    }
}

#[test]
fn what_is_too_large_is_not_loaded() {
    let mut endless = Endless {
        head: b"<seelog minlevel=\"",
        taken: 0,
    };
    let wrong = Config::read("big.xml", &mut endless, &Options::new()).unwrap_err();
    assert!(wrong.to_string().contains("has more than 4 MiB"), "{wrong}");
    assert!(endless.taken <= 5 << 20, "{}", endless.taken);

    let deep = "<splitter>".repeat(10_000);
    let wrong = Config::parse(
        "c.xml",
        &format!("<seelog><outputs>{deep}"),
        &Options::new(),
    );
    assert!(
        wrong
            .unwrap_err()
            .to_string()
            .contains("nested more than 64 deep")
    );
    let long = format!("<seelog minlevel=\"{}\"/>", "a".repeat(1 << 20));
    let wrong = Config::parse("c.xml", &long, &Options::new()).unwrap_err();
    assert!(wrong.to_string().contains("is longer than 65536 bytes"));
    // So many faults are not all worth a line.
    let many = format!(
        "<seelog><outputs>{}</outputs></seelog>",
        "<x/>".repeat(9_000)
    );
    let wrong = Config::parse("c.xml", &many, &Options::new()).unwrap_err();
    assert!(wrong.iter().count() <= 101);

    let bytes: &[u8] = b"<seelog>\n<!-- \xff --></seelog>";
    let wrong = Config::read("c.xml", bytes, &Options::new()).unwrap_err();
    assert!(
        wrong
            .to_string()
            .starts_with("c.xml:2:6: error: the file is not in UTF-8"),
        "{wrong}"
    );
    let wide: Vec<u8> = "<seelog/>"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    assert!(Config::read("c.xml", wide.as_slice(), &Options::new()).is_err());
    let marked: &[u8] = b"\xef\xbb\xbf<?xml version=\"1.0\"?><seelog/>";
    assert!(Config::read("c.xml", marked, &Options::new()).is_ok());
}

#[test]
fn what_a_format_needs_is_known() {
    let formatters = formatters();
    let options = Options::new().formatters(&formatters);
    // Format, whether less than a second shows, whether the place in the code does.
    let table = [
        ("%Msg%n", false, false),
        ("%Date %Time %UTCTime", false, false),
        ("%Date(15:04:05.000)", true, false),
        ("%UTCDate(05,999)", true, false),
        ("%Ns", true, false),
        ("%UTCNs", true, false),
        ("%Line", false, true),
        ("%Func", false, true),
        ("%FuncShort %File %RelFile %FullPath", false, true),
        ("%Host", true, true),
        ("std:debug-short", false, false),
        ("std:debug", false, true),
        ("std:json", true, false),
    ];
    for (text, subseconds, location) in table {
        let format = Format::seelog(text, &options).unwrap();
        assert_eq!(format.needs_subseconds(), subseconds, "{text}");
        assert_eq!(format.needs_location(), location, "{text}");
    }
    for (format, subseconds, location) in [
        (Format::text(), true, false),
        (Format::short(), false, false),
        (Format::json(), true, true),
    ] {
        assert_eq!(format.needs_subseconds(), subseconds);
        assert_eq!(format.needs_location(), location);
    }
    let plain = Format::seelog("%Ns [%Level] %Msg%n", &options).unwrap();
    assert_eq!(plain, Format::seelog_default(&options));
    assert_ne!(
        plain,
        Format::seelog("%Ns [%Level] %Msg", &options).unwrap()
    );
}

#[test]
fn places_in_the_code_that_are_not_known() {
    let options = Options::new().directory("/srv/app");
    let format =
        Format::seelog("%FullPath|%RelFile|%File|%Line|%Func|%FuncShort", &options).unwrap();
    let record = Record::new(TIME.parse().unwrap(), Level::Info, "shop::disk", "m");
    assert_eq!(rendered(&format, &record), "-|-|-|-|shop::disk|disk");
    let table = [
        (
            "src/a.rs",
            "/srv/app/src/a.rs|src/a.rs|a.rs|1|shop::disk|disk",
        ),
        (
            "/other/a.rs",
            "/other/a.rs|/other/a.rs|a.rs|1|shop::disk|disk",
        ),
        ("/srv/app/a.rs", "/srv/app/a.rs|a.rs|a.rs|1|shop::disk|disk"),
        (
            "/srv/apple/a.rs",
            "/srv/apple/a.rs|/srv/apple/a.rs|a.rs|1|shop::disk|disk",
        ),
    ];
    for (file, expected) in table {
        let record = record.location(Some(Location {
            file,
            line: 1,
            function: None,
        }));
        assert_eq!(rendered(&format, &record), expected);
    }
}

#[test]
fn standard_json_is_json_in_the_extended_dialect() {
    let message = "say \"hi\"\n\\ \u{1} <&> \u{fffe}";
    let record = Record::new(TIME.parse().unwrap(), Level::Error, "t", message);
    for name in ["json", "json-short", "json-debug", "json-debug-short"] {
        let text = format!("std:{name}");
        let format = Format::seelog(&text, &options(Dialect::Extended)).unwrap();
        let read: serde_json::Value = serde_json::from_str(&rendered(&format, &record)).unwrap();
        let key = if name.contains("short") { "m" } else { "msg" };
        assert_eq!(read[key], message);
        let format = Format::seelog(&text, &options(Dialect::Strict)).unwrap();
        let line = rendered(&format, &record);
        assert!(serde_json::from_str::<serde_json::Value>(&line).is_err());
    }
    let format = Format::seelog("std:xml", &options(Dialect::Extended)).unwrap();
    let line = rendered(&format, &record);
    assert!(
        line.contains("<msg>say \"hi\"\n\\ \u{fffd} &lt;&amp;&gt; \u{fffd}</msg>"),
        "{line}"
    );
}

#[test]
fn an_interval_is_a_time() {
    let text = "<seelog type=\"adaptive\" mininterval=\"5\" maxinterval=\"4294967295\" critmsgcount=\"1\"/>";
    let config = Config::parse("c.xml", text, &options(Dialect::Strict)).unwrap();
    assert_eq!(
        config.logger,
        LoggerType::Adaptive {
            min: Duration::from_nanos(5),
            max: Duration::from_nanos(4_294_967_295),
            critical_count: 1
        }
    );
}
