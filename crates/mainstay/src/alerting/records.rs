//! Records of the log that a person must know of: as alerts of this daemon, or by a mail server that a
//! config of seelog names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mainstay_alert::{
    Alert, Alerts, ChannelConfig, Config, MailConfig, Severity, Target, Tls, When,
};
use mainstay_base::{Credential, SecretRef};
use mainstay_log::Level;
use mainstay_log::seelog::{Password, Smtp};
use mainstay_log::sinks::{OpenAlerts, Raise, Raised};

use super::{Bell, OWN};

/// What the log gets for its sinks of alerts.
pub(crate) fn open(bell: &Arc<Bell>) -> OpenAlerts {
    let bell = Arc::clone(bell);
    Box::new(move |config| {
        Ok(match &config.mail {
            None => Arc::new(Own(Arc::clone(&bell))) as Arc<dyn Raise>,
            Some(smtp) => Arc::new(Mailed(bell.mail(smtp)?)),
        })
    })
}

/// By the channels of `[alert]`.
struct Own(Arc<Bell>);

impl Raise for Own {
    fn raise(&self, raised: &Raised<'_>) {
        self.0.raise(alert(raised));
    }
}

/// By a mail server of its own, in the format of the route.
struct Mailed(Alerts);

impl Raise for Mailed {
    fn raise(&self, raised: &Raised<'_>) {
        self.0.raise(alert(raised).body(raised.text));
    }
}

fn severity(level: Level) -> Severity {
    match level {
        Level::Critical => Severity::Critical,
        Level::Error => Severity::Error,
        Level::Warn => Severity::Warning,
        Level::Trace | Level::Debug | Level::Info => Severity::Info,
    }
}

fn alert(raised: &Raised<'_>) -> Alert {
    let app = raised.app.unwrap_or(OWN);
    let mut alert = Alert::of_record(app, severity(raised.level), raised.target, raised.message)
        .context(raised.context.iter().map(String::as_str));
    for (name, value) in raised.fields {
        alert = alert.label(name, value);
    }
    let log = if raised.captured { app } else { OWN };
    alert = alert.command(format!("mainstay logs {log}"));
    alert.since = Some(raised.time);
    alert
}

/// The config of alerts that go to a mail server which a config of seelog names. All else is as the
/// daemon's own are; but nothing waits for a digest.
pub(super) fn by_mail(own: &Config, smtp: &Smtp, outbox: PathBuf) -> Result<Config, String> {
    let mut config = own.clone();
    config.policy.digest = None;
    config.heartbeat = None;
    config.outbox = outbox;
    config.channels = vec![ChannelConfig {
        name: channel(smtp),
        when: When {
            severity: Severity::Info,
            apps: Vec::new(),
        },
        target: Target::Mail(mail(smtp)?),
    }];
    Ok(config)
}

/// The channel's name.
pub(super) fn channel(smtp: &Smtp) -> String {
    format!("smtp {}:{}", smtp.host, smtp.port)
}

fn mail(smtp: &Smtp) -> Result<MailConfig, String> {
    let from = if smtp.sender_name.is_empty() {
        smtp.sender_address.clone()
    } else {
        let name = smtp.sender_name.replace('\\', "\\\\").replace('"', "\\\"");
        format!("\"{name}\" <{}>", smtp.sender_address)
    };
    let mut mail = MailConfig::new(from, smtp.recipients.clone(), &smtp.host);
    mail.port = u16::try_from(smtp.port).map_err(|_| format!("there is no port {}", smtp.port))?;
    mail.tls = match mail.port {
        465 => Tls::Implicit,
        _ => Tls::Opportunistic,
    };
    for directory in &smtp.ca_directories {
        let found = certificates(directory)
            .map_err(|error| format!("cannot list {}: {error}", directory.display()))?;
        if found.is_empty() {
            return Err(format!("there is no *.pem in {}", directory.display()));
        }
        mail.ca.extend(found);
    }
    if let Some(login) = &smtp.login {
        mail.user = Some(login.user.clone());
        mail.password = Some(match &login.password {
            Password::Value(password) => Credential::Value(password.clone()),
            Password::File(file) => Credential::Reference(SecretRef::File(file.clone())),
        });
    }
    mail.subject.clone_from(&smtp.subject);
    let headers = smtp.headers.iter();
    mail.headers = headers.map(|h| (h.name.clone(), h.value.clone())).collect();
    Ok(mail)
}

fn certificates(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "pem") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::sync::mpsc;
    use std::time::Duration;

    use mail_parser::MessageParser;
    use mainstay_alert::{Counts, Overview};
    use mainstay_control::wire::SilenceRequest;
    use mainstay_log::seelog::{Config as Seelog, Options, Receiver};
    use mainstay_log::{Loading, Record, logger_from_config_as_string};

    use super::super::answers;
    use super::*;

    fn smtp(text: &str) -> Smtp {
        let document = format!("<seelog><outputs>{text}</outputs></seelog>");
        let config = Seelog::parse("seelog.xml", &document, &Options::new()).unwrap();
        match config.leaves()[0].receiver {
            Receiver::Smtp(smtp) => smtp.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_receiver_of_seelog_is_a_channel() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b.pem", "a.pem", "readme.txt"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        let receiver = |ca: &str, port: &str| {
            smtp(&format!(
                "<smtp senderaddress=\"log@example.org\" sendername='The \"log\"' hostname=\"mx\" hostport=\"{port}\" username=\"u\" password=\"p\" subject=\"boom \"><recipient address=\"a@example.org\"/><cacertdirpath path=\"{ca}\"/><header name=\"Priority\" value=\"Urgent\"/></smtp>"
            ))
        };
        let ca = directory.path().display().to_string();
        let made = mail(&receiver(&ca, "587")).unwrap();
        assert_eq!(made.from, "\"The \\\"log\\\"\" <log@example.org>");
        assert_eq!((made.port, made.tls), (587, Tls::Opportunistic));
        let names: Vec<_> = made.ca.iter().filter_map(|ca| ca.file_name()).collect();
        assert_eq!(names, ["a.pem", "b.pem"]);
        assert_eq!(made.subject, "boom ");
        assert_eq!(made.headers, [("Priority".to_owned(), "Urgent".to_owned())]);
        assert!(matches!(&made.password, Some(Credential::Value(p)) if p.expose() == "p"));
        assert_eq!(mail(&receiver(&ca, "465")).unwrap().tls, Tls::Implicit);
        let nowhere = mail(&receiver("/nowhere", "25")).unwrap_err();
        assert!(nowhere.contains("cannot list /nowhere"), "{nowhere}");
        std::fs::remove_file(directory.path().join("a.pem")).unwrap();
        std::fs::remove_file(directory.path().join("b.pem")).unwrap();
        let empty = mail(&receiver(&ca, "25")).unwrap_err();
        assert!(empty.contains("no *.pem"), "{empty}");
    }

    /// Takes mails, each whole, until nobody listens to it any more.
    fn mail_server() -> (u16, mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, mails) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut writer = stream.unwrap();
                let mut lines = BufReader::new(writer.try_clone().unwrap()).lines();
                writer.write_all(b"220 sink\r\n").unwrap();
                while let Some(Ok(line)) = lines.next() {
                    if line != "DATA" {
                        let _ = writer.write_all(b"250 ok\r\n");
                        continue;
                    }
                    writer.write_all(b"354 go on\r\n").unwrap();
                    let mail = lines.by_ref().map_while(Result::ok);
                    let mail: Vec<String> = mail.take_while(|line| line != ".").collect();
                    if sender.send(mail.join("\n")).is_err() {
                        return;
                    }
                    let _ = writer.write_all(b"250 taken\r\n");
                }
            }
        });
        (port, mails)
    }

    /// The mail server in a document.
    fn smtp_of(document: &str) -> Smtp {
        let config = Seelog::parse("seelog.xml", document, &Options::new()).unwrap();
        let leaves = config.leaves();
        let mut servers = leaves.iter().filter_map(|leaf| match leaf.receiver {
            Receiver::Smtp(smtp) => Some(smtp.clone()),
            _ => None,
        });
        servers.next().unwrap()
    }

    fn wait_for_counts(bell: &Bell, is: impl Fn(&Counts) -> bool) -> Counts {
        let deadline = std::time::Instant::now() + Duration::from_mins(1);
        loop {
            let counts = bell.list().unwrap().unwrap().counts;
            if is(&counts) {
                return counts;
            }
            assert!(std::time::Instant::now() < deadline, "{counts:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn a_config_of_seelog_sends_its_mail_in_its_format() {
        let (port, mails) = mail_server();
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::new("shop1", directory.path().join("alerts.db"));
        config.policy.wait = Duration::from_millis(200);
        let bell = Arc::new(Bell::start(config).unwrap());
        let silence = |app: &str| {
            let mut request = SilenceRequest::new(3600, "known");
            request.app = Some(app.to_owned());
            answers::silence(&bell, &request, "me").unwrap().id
        };
        assert_eq!(silence("other"), 1);
        let text = format!(
            r#"<seelog minlevel="info"><outputs formatid="all"><file path="all.log"/>
  <filter levels="critical" formatid="mail">
    <smtp senderaddress="log@example.org" sendername="The log" hostname="127.0.0.1" hostport="{port}" subject="from the shop: " formatid="mail">
      <recipient address="ops@example.org"/><header name="Priority" value="Urgent"/>
    </smtp>
  </filter></outputs>
  <formats><format id="all" format="%Msg%n"/><format id="mail" format="On our server:\n%LEV %Msg\nSent by seelog"/></formats>
</seelog>"#
        );
        let load = || {
            let mut loading = Loading::new(directory.path(), jiff::tz::TimeZone::UTC);
            loading.alerts = Some(open(&bell));
            logger_from_config_as_string(&text, loading).unwrap()
        };
        let logger = load();
        // The silences of the daemon are theirs, also those from before they began.
        let silenced = |list: Overview| -> Vec<i64> {
            list.silences.iter().map(|silence| silence.id).collect()
        };
        let theirs = || silenced(bell.mail(&smtp_of(&text)).unwrap().list().unwrap());
        assert_eq!(theirs(), [1]);
        let write = |level, text: &str| {
            let record = Record::new(jiff::Timestamp::now(), level, "shop", text);
            logger.pipeline().write(&record);
        };
        write(Level::Info, "before it");
        for number in 0..100 {
            write(Level::Critical, &format!("disk {number} is gone"));
        }
        let mail = mails.recv_timeout(Duration::from_mins(1)).unwrap();
        let parsed = MessageParser::default().parse(mail.as_bytes()).unwrap();
        let subject = parsed.subject().unwrap();
        assert!(
            subject.starts_with("from the shop: [critical] mainstay: disk 0 is gone (×100)"),
            "{subject}"
        );
        let from = parsed.from().unwrap().first().unwrap();
        assert_eq!(
            (from.name(), from.address()),
            (Some("The log"), Some("log@example.org"))
        );
        assert!(mail.contains("Priority: Urgent"), "{mail}");
        let text = parsed.body_text(0).unwrap();
        for part in [
            "On our server:",
            "CRT disk 0 is gone",
            "Sent by seelog",
            "before it",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        // The same config, loaded again, goes on with the same alerts.
        drop(load());
        let listed = bell.list().unwrap().unwrap();
        let names: Vec<&str> = listed.channels.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, [format!("smtp 127.0.0.1:{port}")]);
        assert_eq!(listed.counts.raised, 100);

        // Silenced, nothing of it is mailed; it is listed once. When that ends, it is.
        let id = silence("mainstay");
        assert_eq!(theirs(), [1, id]);
        assert_eq!(silenced(bell.list().unwrap().unwrap()), [1, id]);
        write(Level::Critical, "the fan is loud");
        let counts = wait_for_counts(&bell, |counts| counts.silenced == 1);
        assert_eq!(counts.raised, 101);
        assert!(mails.try_recv().is_err(), "it was silenced");
        answers::unsilence(&bell, id).unwrap();
        assert_eq!(theirs(), [1]);
        write(Level::Critical, "the roof is leaking");
        let mail = mails.recv_timeout(Duration::from_mins(1)).unwrap();
        assert!(mail.contains("the roof is leaking"), "{mail}");
        bell.shutdown(Duration::from_secs(10));
    }
}
