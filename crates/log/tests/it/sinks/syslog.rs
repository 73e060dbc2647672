//! Syslog to a real rsyslogd.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use jiff::tz::TimeZone;
use mainstay_log::sinks::SyslogConfig;
use mainstay_log::sinks::syslog::{SyslogFormat, Transport};
use mainstay_log::sinks::{Framing, Timeouts};
use mainstay_log::{Level, Record, Stamp, Value};

use super::{Records, give_all, path_text, wait_until};
use crate::{clock, text};

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that nobody has. Somebody else may take it before the daemon does; then that does not come
/// up, and the test says so.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Starts rsyslogd, or returns why not.
fn rsyslogd(dir: &Path, tcp: u16, udp: u16) -> Option<Daemon> {
    let found = ["/usr/sbin/rsyslogd", "/usr/bin/rsyslogd"]
        .into_iter()
        .find(|path| Path::new(path).exists());
    let Some(program) = found else {
        eprintln!("SKIPPED: there is no rsyslogd (package rsyslog)");
        return None;
    };
    let shown = dir.display();
    let mut config = String::new();
    for module in ["imtcp", "imudp", "imuxsock\" SysSock.Use=\"off"] {
        writeln!(config, "module(load=\"{module}\")").unwrap();
    }
    writeln!(
        config,
        "global(workDirectory=\"{shown}\")\n\
         template(name=\"t\" type=\"string\" string=\"%pri% %timereported:::date-rfc3339% \
         %hostname% %app-name% %procid% %msgid% %structured-data% |%msg%|\\n\")\n\
         input(type=\"imtcp\" port=\"{tcp}\" address=\"127.0.0.1\")\n\
         input(type=\"imudp\" port=\"{udp}\" address=\"127.0.0.1\")\n\
         input(type=\"imuxsock\" Socket=\"{shown}/log\" IgnoreTimestamp=\"off\" UseSysTimeStamp=\"off\" \
         RateLimit.Interval=\"0\")\n\
         action(type=\"omfile\" file=\"{shown}/out\" template=\"t\")"
    )
    .unwrap();
    let path = dir.join("rsyslog.conf");
    std::fs::write(&path, config).unwrap();
    let child = Command::new(program)
        .arg("-n")
        .arg("-f")
        .arg(&path)
        .arg("-i")
        .arg(dir.join("pid"))
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(dir.join("errors")).unwrap())
        .spawn()
        .unwrap();
    let mut daemon = Daemon(child);
    wait_until("rsyslogd listens", || {
        let ended = daemon.0.try_wait().unwrap();
        assert!(ended.is_none(), "{ended:?}: {}", text(dir.join("errors")));
        dir.join("log").exists() && std::net::TcpStream::connect(("127.0.0.1", tcp)).is_ok()
    });
    Some(daemon)
}

fn rendered(format: &SyslogFormat, message: &str) -> Records {
    let time = "2026-11-22T06:00:00.123Z".parse().unwrap();
    let fields = [("user", Value::Text("a \"b\" ]"))];
    let record = Record::new(time, Level::Error, "app::db", message).fields(&fields);
    let mut bytes = Vec::new();
    let mut stamp = Stamp::new(TimeZone::UTC);
    format.render(&record, &mut stamp, &mut bytes);
    let mut records = Records::default();
    records.add_at(time, Level::Error, &bytes);
    records
}

#[test]
fn rsyslogd_understands_every_transport() {
    let dir = tempfile::tempdir().unwrap();
    let (tcp, udp) = (free_port(), free_port());
    let Some(_daemon) = rsyslogd(dir.path(), tcp, udp) else {
        return;
    };
    let clock = clock();
    let local = format!("127.0.0.1:{tcp}");
    let structured = "27 2026-11-22T06:00:00.123+00:00 web1 shop 7 app::db \
                      [fields@32473 user=\"a \\\"b\\\" \\]\"]";
    let table = [
        (
            "local",
            Transport::Local,
            path_text(&dir.path().join("log")),
        ),
        ("udp", Transport::Udp, format!("127.0.0.1:{udp}")),
        ("lines", Transport::Tcp(Framing::Newline), local.clone()),
        ("counted", Transport::Tcp(Framing::OctetCounting), local),
    ];
    let mut expected = 0;
    for (name, transport, address) in table {
        let config = SyslogConfig {
            transport,
            address,
            timeouts: Timeouts::default(),
        };
        let format = SyslogFormat {
            hostname: "web1".to_owned(),
            app_name: "shop".to_owned(),
            pid: Some(7),
            ..config.format()
        };
        let mut sink = config.open(clock.clone()).unwrap();
        for part in ["one", "two"] {
            let message = format!("{name} {part}\nsecond line \u{53f0}");
            give_all(&mut sink, rendered(&format, &message), &clock);
        }
        drop(sink);
        expected += 2;
        let out = dir.path().join("out");
        wait_until(name, || {
            std::fs::read_to_string(&out).is_ok_and(|all| all.lines().count() >= expected)
        });
        let all = text(&out);
        let lines: Vec<&str> = all.lines().skip(expected - 2).collect();
        assert_eq!(lines.len(), 2, "{name}: {all}");
        for (line, part) in lines.iter().zip(["one", "two"]) {
            if name == "local" {
                assert!(line.starts_with("27 2026-11-22T06:00:00"), "{line}");
                let end = format!(
                    " shop 7 - - | local {part}#012second line \u{53f0} user=\"a \\\"b\\\" \\]\"|"
                );
                assert!(line.ends_with(&end), "{line}");
            } else {
                let line = line.replace('\u{feff}', "");
                let message = format!("|{name} {part}#012second line \u{53f0}|");
                assert_eq!(line, format!("{structured} {message}"), "{name}");
            }
        }
    }
}
