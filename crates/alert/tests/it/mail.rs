//! Mail, seen by the server that takes it and by a parser that is not ours.

use std::time::Duration;

use mail_parser::{HeaderForm, Message as Parsed, MessageParser};
use mainstay_alert::{Alert, DeliveryState, MailConfig, Severity, Target, Tls, When, try_channels};
use mainstay_base::{Credential, Secret};

use crate::http::Http;
use crate::python::python;
use crate::scene::{config, eventually, start};
use crate::smtp::{Mode, Smtp, Taken, Wrap};

fn mail(server: &Smtp) -> MailConfig {
    let mut mail = MailConfig::new("mainstay@example.com", ["ops@example.com"], "localhost");
    mail.port = server.address.port();
    mail.tls = Tls::None;
    mail.timeout = Duration::from_secs(20);
    mail
}

fn parse(taken: &Taken) -> Parsed<'_> {
    MessageParser::default().parse(&taken.bytes).unwrap()
}

fn critical(title: &str) -> Alert {
    Alert::new("blog", Severity::Critical, title)
}

#[test]
fn a_mail_has_what_mail_programs_and_people_need() {
    let server = Smtp::plain();
    let directory = tempfile::tempdir().unwrap();
    let mut mail = mail(&server);
    mail.from = "Wächter 警報 <mainstay@example.com>".into();
    mail.to = vec!["Ops Team <ops@example.com>".into(), "b@example.com".into()];
    mail.headers = vec![("X-Team".into(), "Übergabe".into())];
    let config = config(directory.path()).channel("admin", When::default(), Target::Mail(mail));
    let alerts = start(config);
    alerts.raise(
        critical("資料庫 is göne")
            .body("connection refused\n.\nafter a dot")
            .label("program", "web")
            .link("runbook", "https://wiki.example.com/db")
            .context(["one", "..two", &"long ".repeat(300)])
            .command("mainstay logs web"),
    );
    let taken = eventually("a mail", || server.taken().into_iter().next());
    assert_eq!(taken.to, ["ops@example.com", "b@example.com"]);
    assert!(taken.bytes.is_ascii(), "subject and body are encoded");
    let longest = taken
        .bytes
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::len)
        .max();
    assert!(longest.unwrap() <= 1000, "RFC 5321 4.5.3.1.6");
    let parsed = parse(&taken);
    assert_eq!(
        parsed.subject(),
        Some("[critical] blog: 資料庫 is göne — shop1")
    );
    let from = parsed.from().unwrap().first().unwrap();
    assert_eq!(from.name(), Some("Wächter 警報"));
    assert_eq!(from.address(), Some("mainstay@example.com"));
    assert_eq!(parsed.to().unwrap().clone().into_list().len(), 2);
    assert!(parsed.date().is_some());
    let id = parsed.message_id().unwrap();
    assert!(id.ends_with("@example.com"), "{id}");
    let team = parsed.header_as("X-Team", HeaderForm::Text);
    assert_eq!(team[0].as_text(), Some("Übergabe"));
    assert_eq!(
        parsed.header("Auto-Submitted").unwrap().as_text(),
        Some("auto-generated")
    );
    assert!(parsed.header("MIME-Version").is_some());
    let text = parsed.body_text(0).unwrap().replace("\r\n", "\n");
    if let Some(seen) = python(
        "import email, email.policy, sys\n\
         m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)\n\
         assert not m.defects and m.get_content_charset() == 'utf-8'\n\
         print(m['subject'], m['from'].addresses[0].display_name, m['message-id'], m.get_content(), sep='\\n')",
        &taken.bytes,
    ) {
        let expected =
            format!("[critical] blog: 資料庫 is göne — shop1\nWächter 警報\n<{id}>\n{text}");
        assert_eq!(seen.replace("\r\n", "\n").trim_end(), expected.trim_end());
    }
    for part in [
        "blog [critical] 資料庫 is göne\n    connection refused\n    .\n    after a dot\n",
        "host shop1",
        "how often  once\n",
        "program    web\n",
        "https://wiki.example.com/db",
        "next       mainstay logs web\n",
        "    one\n    ..two\n    long long",
        "error id   blog/",
    ] {
        assert!(text.contains(part), "{part:?} in\n{text}");
    }
    alerts.shutdown(Duration::from_secs(10));
}

#[test]
fn ten_thousand_of_the_same_are_a_handful_of_mails_with_the_exact_count() {
    let server = Smtp::plain();
    let directory = tempfile::tempdir().unwrap();
    let config =
        config(directory.path()).channel("admin", When::default(), Target::Mail(mail(&server)));
    let alerts = start(config);
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let alerts = alerts.clone();
            std::thread::spawn(move || {
                for n in 0..2500 {
                    alerts.raise_record(
                        Severity::Critical,
                        "blog",
                        "blog::db",
                        &format!("user {} failed", thread * 2500 + n),
                        jiff::Timestamp::now(),
                        [format!("context {n}")],
                    );
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    eventually("all to be told", || {
        let overview = alerts.list().unwrap();
        let sent = overview
            .deliveries
            .iter()
            .all(|delivery| delivery.state == DeliveryState::Sent);
        (overview.waiting == 0 && sent).then_some(())
    });
    let mails = server.taken();
    assert!((1..=20).contains(&mails.len()), "{} mails", mails.len());
    let mut said = 0;
    for taken in &mails {
        let parsed = parse(taken);
        let subject = parsed.subject().unwrap();
        said += subject.split_once("(×").map_or(1, |(_, rest)| {
            let (number, _) = rest.split_once(')').unwrap();
            number.replace(',', "").parse::<u64>().unwrap()
        });
    }
    assert_eq!(said, 10_000);
    let last = mails.last().unwrap();
    let text = parse(last).body_text(0).unwrap().into_owned();
    assert!(text.contains("10,000 times"), "{text}");
    let overview = alerts.list().unwrap();
    assert_eq!(overview.counts.raised, 10_000);
    assert_eq!(overview.counts.told, 10_000);
    alerts.shutdown(Duration::from_secs(10));
}

#[test]
fn each_way_of_protection_and_login() {
    let password = || Some(Credential::Value(Secret::new("s3cret")));
    let cases = [
        (
            "relay without a login",
            Wrap::Plain,
            Tls::None,
            None,
            "PLAIN",
        ),
        (
            "relay, TLS if offered",
            Wrap::Plain,
            Tls::Opportunistic,
            None,
            "PLAIN",
        ),
        (
            "STARTTLS required",
            Wrap::StartTls,
            Tls::Required,
            None,
            "PLAIN",
        ),
        (
            "STARTTLS offered",
            Wrap::StartTls,
            Tls::Opportunistic,
            Some("u"),
            "PLAIN LOGIN",
        ),
        (
            "STARTTLS, AUTH LOGIN",
            Wrap::StartTls,
            Tls::Required,
            Some("u"),
            "LOGIN",
        ),
        (
            "TLS at once",
            Wrap::Implicit,
            Tls::Implicit,
            Some("u"),
            "PLAIN",
        ),
        (
            "login in the clear, as asked",
            Wrap::Plain,
            Tls::None,
            Some("u"),
            "PLAIN",
        ),
    ];
    for (name, wrap, tls, user, mechanisms) in cases {
        let login = user.map(|user| (user, "s3cret"));
        let server = Smtp::start(wrap, login, mechanisms);
        let directory = tempfile::tempdir().unwrap();
        let mut mail = mail(&server);
        mail.tls = tls;
        mail.ca = vec![server.ca.clone()];
        mail.user = user.map(str::to_owned);
        mail.password = user.and_then(|_| password());
        let config = config(directory.path()).channel("admin", When::default(), Target::Mail(mail));
        let tried = try_channels(&config, jiff::Timestamp::now()).unwrap();
        assert_eq!(tried.len(), 1);
        assert_eq!(tried[0].result, Ok(()), "{name}");
        let taken = server.taken();
        assert_eq!(taken.len(), 1, "{name}");
        assert_eq!(taken[0].encrypted, wrap != Wrap::Plain, "{name}");
        assert_eq!(taken[0].user.as_deref(), user, "{name}");
        let subject = parse(&taken[0]).subject().unwrap().to_owned();
        assert_eq!(subject, "[test] mainstay on shop1: alerts arrive here");
    }
}

#[test]
fn what_is_wrong_is_said_with_what_to_do_and_without_secrets() {
    struct Case {
        name: &'static str,
        wrap: Wrap,
        login: Option<(&'static str, &'static str)>,
        change: fn(&mut MailConfig),
        expected: &'static str,
    }
    fn login(mail: &mut MailConfig) {
        mail.user = Some("u".into());
        mail.password = Some(Credential::Value(Secret::new("hunter2")));
    }
    let cases = [
        Case {
            name: "no STARTTLS",
            wrap: Wrap::Plain,
            login: None,
            change: |mail| mail.tls = Tls::Required,
            expected: "does not offer STARTTLS",
        },
        Case {
            name: "no password in the clear",
            wrap: Wrap::Plain,
            login: Some(("u", "hunter2")),
            change: |mail| {
                mail.tls = Tls::Opportunistic;
                login(mail);
            },
            expected: "not sent in the clear",
        },
        Case {
            name: "wrong password",
            wrap: Wrap::Plain,
            login: Some(("u", "other")),
            change: login,
            expected: "does not accept the login of `u`",
        },
        Case {
            name: "login missing",
            wrap: Wrap::Plain,
            login: Some(("u", "other")),
            change: |_| {},
            expected: "does not take mail from mainstay@example.com",
        },
        Case {
            name: "unknown authority",
            wrap: Wrap::StartTls,
            login: None,
            change: |mail| {
                mail.tls = Tls::Required;
                mail.ca.clear();
            },
            expected: "certificate",
        },
        Case {
            name: "a certificate of another name",
            wrap: Wrap::Implicit,
            login: None,
            change: |mail| {
                mail.tls = Tls::Implicit;
                mail.host = "127.0.0.1".into();
            },
            expected: "certificate",
        },
        Case {
            name: "no such CA file",
            wrap: Wrap::StartTls,
            login: None,
            change: |mail| {
                mail.tls = Tls::Required;
                mail.ca = vec!["no/such/ca.pem".into()];
            },
            expected: "cannot read the certificates in no/such/ca.pem",
        },
        Case {
            name: "nobody listens",
            wrap: Wrap::Plain,
            login: None,
            change: |mail| mail.port = 1,
            expected: "cannot connect at localhost:1",
        },
    ];
    for case in cases {
        let server = Smtp::start(case.wrap, case.login, "PLAIN");
        let directory = tempfile::tempdir().unwrap();
        let mut mail = mail(&server);
        mail.ca = vec![server.ca.clone()];
        (case.change)(&mut mail);
        let config = config(directory.path()).channel("admin", When::default(), Target::Mail(mail));
        let debug = format!("{config:?}");
        let tried = try_channels(&config, jiff::Timestamp::now()).unwrap();
        let failure = tried[0].result.clone().unwrap_err();
        // The library's words for an unknown authority do not all hold "certificate".
        assert!(
            failure.why.to_lowercase().contains(case.expected)
                || failure.why.contains(case.expected),
            "{}: {failure}",
            case.name
        );
        assert!(!failure.help.is_empty(), "{}", case.name);
        for text in [&failure.why, &failure.help, &debug] {
            assert!(!text.contains("hunter2"), "{}: {text}", case.name);
        }
        assert!(server.taken().is_empty(), "{}", case.name);
    }
}

#[test]
fn a_bad_recipient_costs_the_others_nothing_and_is_told_elsewhere() {
    let server = Smtp::plain();
    server.set(Mode::RefuseRecipient("gone@example.com".into()));
    let hook = Http::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let mut mail = mail(&server);
    mail.to = vec!["gone@example.com".into(), "ops@example.com".into()];
    let critical_only = When {
        severity: Severity::Critical,
        ..When::default()
    };
    let config = config(directory.path())
        .channel("admin", When::default(), Target::Mail(mail))
        .channel("chat", critical_only, crate::chat::json(&hook));
    let alerts = start(config);
    alerts.raise(Alert::new("blog", Severity::Error, "broken"));
    let told = eventually("the other channel to tell", || {
        hook.asked()
            .into_iter()
            .find(|asked| asked.body.contains("refused"))
    });
    assert!(told.body.contains("no such user"), "{}", told.body);
    assert!(told.body.contains("[error] blog: broken"), "{}", told.body);
    assert_eq!(server.taken()[0].to, ["ops@example.com"]);
    let listed = alerts.list().unwrap();
    let failed = listed
        .deliveries
        .iter()
        .find(|delivery| delivery.state == DeliveryState::Failed)
        .unwrap();
    assert_eq!(failed.owed, ["gone@example.com"]);
    assert_eq!(server.taken().len(), 1);
    alerts.shutdown(Duration::from_secs(10));
}

/// For each way a server can fail for a while: nothing is lost, nothing is sent twice to who has it
/// (but where the server died after it had everything), and the id stays the same.
#[test]
fn a_server_that_fails_for_a_while_gets_everything_later() {
    for mode in [
        Mode::Reply("451 4.3.0 try later"),
        Mode::DeferRecipient("ops@example.com".into()),
        Mode::DieInData,
        Mode::Stall,
        Mode::Drip,
    ] {
        let server = Smtp::plain();
        let hook = Http::start(&[]);
        server.set(mode.clone());
        let directory = tempfile::tempdir().unwrap();
        let mut mail = mail(&server);
        mail.to = vec!["ops@example.com".into(), "b@example.com".into()];
        if matches!(mode, Mode::Stall | Mode::Drip) {
            mail.timeout = Duration::from_secs(1);
        }
        let make = || {
            config(directory.path())
                .channel("admin", When::default(), Target::Mail(mail.clone()))
                .channel("chat", When::default(), crate::chat::json(&hook))
        };
        let alerts = start(make());
        alerts.raise(critical("first"));
        let failing = eventually("a failed attempt", || {
            alerts
                .list()
                .unwrap()
                .deliveries
                .into_iter()
                .find(|delivery| {
                    delivery.channel.as_deref() == Some("admin") && delivery.attempts > 0
                })
        });
        assert_eq!(failing.state, DeliveryState::Waiting, "{mode:?}");
        assert!(failing.error.is_some());
        // The chat is not held up by it.
        eventually("the chat to have it", || {
            hook.asked()
                .iter()
                .any(|asked| asked.body.contains("first"))
                .then_some(())
        });
        alerts.raise(critical("second").fingerprint("second"));
        alerts.sync().unwrap();
        alerts.shutdown(Duration::from_secs(5));
        server.set(Mode::Accept);
        // A new start does not wait for the rest that the old one gave the channel, but for each
        // message's own; the first success hurries the others.
        let alerts = start(make());
        eventually("everything to be delivered", || {
            alerts
                .list()
                .unwrap()
                .deliveries
                .iter()
                .all(|delivery| delivery.state == DeliveryState::Sent)
                .then_some(())
                .filter(|()| server.taken().len() >= 2)
        });
        for title in ["first", "second"] {
            let copies: Vec<Taken> = server
                .taken()
                .into_iter()
                .filter(|taken| parse(taken).subject().unwrap().contains(title))
                .collect();
            let mut got: Vec<&String> = copies.iter().flat_map(|taken| &taken.to).collect();
            got.sort();
            assert_eq!(
                got,
                ["b@example.com", "ops@example.com"],
                "{mode:?} {title}"
            );
            let ids: std::collections::BTreeSet<String> = copies
                .iter()
                .map(|taken| parse(taken).message_id().unwrap().to_owned())
                .collect();
            assert_eq!(ids.len(), 1, "{mode:?} {title}");
        }
        alerts.shutdown(Duration::from_secs(10));
    }
}

#[test]
fn a_channel_that_fails_is_told_by_the_other_and_so_is_its_return() {
    let server = Smtp::plain();
    server.set(Mode::Reply("451 4.3.0 try later"));
    let hook = Http::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path())
        .channel("admin", When::default(), Target::Mail(mail(&server)))
        .channel("chat", When::default(), crate::chat::json(&hook));
    let alerts = start(config);
    alerts.raise(critical("first"));
    // The second failure in a row is past the patience of this config.
    let told = eventually("the chat to be told of the channel", || {
        hook.asked()
            .into_iter()
            .find(|asked| asked.body.contains("do not get through the channel admin"))
    });
    assert!(told.body.contains("try later"), "{}", told.body);
    let health = alerts.list().unwrap().channels;
    assert!(health[0].failing_since.is_some() && health[1].failing_since.is_none());
    server.set(Mode::Accept);
    eventually("the end to be told", || {
        hook.asked()
            .iter()
            .any(|asked| asked.json()["resolved"] == true)
            .then_some(())
    });
    assert_eq!(server.taken().len(), 1);
    alerts.shutdown(Duration::from_secs(10));
}

/// A server that sends a byte now and then is never late with the next one. What it holds up ends all
/// the same, and so does one that talks without an end.
#[test]
fn a_server_that_drips_or_babbles_is_left() {
    for (mode, expected) in [
        (Mode::Drip, "no answer in time"),
        (Mode::Babble, "its answer does not end"),
    ] {
        let server = Smtp::plain();
        server.set(mode.clone());
        let directory = tempfile::tempdir().unwrap();
        let mut mail = mail(&server);
        mail.timeout = Duration::from_secs(1);
        let config = config(directory.path()).channel("admin", When::default(), Target::Mail(mail));
        let tried = try_channels(&config, jiff::Timestamp::now()).unwrap();
        let failure = tried[0].result.clone().unwrap_err();
        assert!(failure.temporary);
        assert!(failure.why.contains(expected), "{mode:?}: {failure}");
    }
}

/// What is said between the agreement on TLS and its begin is said by nobody knows whom.
#[test]
fn words_before_tls_are_not_taken_for_the_servers() {
    let server = Smtp::start(Wrap::StartTls, Some(("u", "hunter2")), "PLAIN");
    server.set(Mode::SpeakBeforeTls);
    let directory = tempfile::tempdir().unwrap();
    let mut mail = mail(&server);
    mail.tls = Tls::Required;
    mail.ca = vec![server.ca.clone()];
    mail.user = Some("u".into());
    mail.password = Some(Credential::Value(Secret::new("hunter2")));
    let config = config(directory.path()).channel("admin", When::default(), Target::Mail(mail));
    let tried = try_channels(&config, jiff::Timestamp::now()).unwrap();
    let failure = tried[0].result.clone().unwrap_err();
    assert!(failure.why.contains("cannot begin TLS"), "{failure}");
    assert!(server.taken().is_empty());
}

/// The server has the mail and dies before it says so: it comes again, as the same mail.
#[test]
fn a_server_that_dies_after_the_dot_gets_the_same_mail_again() {
    let server = Smtp::plain();
    server.set(Mode::DieAfterDot);
    let directory = tempfile::tempdir().unwrap();
    let make =
        || config(directory.path()).channel("admin", When::default(), Target::Mail(mail(&server)));
    let alerts = start(make());
    alerts.raise(critical("gone").context(["the last line"]));
    eventually("the first attempt", || {
        let deliveries = alerts.list().unwrap().deliveries;
        let delivery = deliveries.first()?;
        (delivery.attempts == 1 && delivery.state == DeliveryState::Waiting).then_some(())
    });
    eventually("the second", || {
        let deliveries = alerts.list().unwrap().deliveries;
        (deliveries[0].state == DeliveryState::Sent).then_some(())
    });
    alerts.shutdown(Duration::from_secs(10));
    let taken = server.taken();
    let ids: Vec<_> = taken
        .iter()
        .map(|taken| parse(taken).message_id().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], ids[1]);
    assert_eq!(taken[0].bytes, taken[1].bytes, "to the byte");
}

/// What a stranger writes into a log becomes neither a header, nor a command, nor the end of a mail;
/// told by the parser that Python has.
#[test]
fn nothing_is_injected() {
    let server = Smtp::plain();
    let directory = tempfile::tempdir().unwrap();
    let config =
        config(directory.path()).channel("admin", When::default(), Target::Mail(mail(&server)));
    let alerts = start(config);
    let evil = "x\r\nBcc: victim@example.com\r\n\r\n.\r\nQUIT\r\nMAIL FROM:<evil@example.com>";
    let mut alert = critical(evil)
        .fingerprint(evil)
        .body(evil)
        .host(evil)
        .label(evil, evil)
        .link(evil, evil)
        .context([evil, ".", "..", "\u{202e}reversed", "\0nul"])
        .command(evil);
    alert.key.app = evil.into();
    alerts.raise(alert);
    let taken = eventually("a mail", || server.taken().into_iter().next());
    alerts.shutdown(Duration::from_secs(10));
    assert_eq!(server.taken().len(), 1);
    assert_eq!(taken.to, ["ops@example.com"]);
    let parsed = parse(&taken);
    assert!(parsed.header("Bcc").is_none());
    let Some(seen) = python(
        "import email, email.policy, json, sys\n\
         m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)\n\
         print(json.dumps({'headers': m.keys(), 'subject': m['subject'], 'defects': [str(d) for d in m.defects],\n\
         'text': m.get_content(), 'to': [a.addr_spec for a in m['to'].addresses], 'type': m.get_content_type()}))",
        &taken.bytes,
    ) else {
        return;
    };
    let seen: serde_json::Value = serde_json::from_str(&seen).unwrap();
    let mut headers: Vec<&str> = seen["headers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    headers.sort_unstable();
    assert_eq!(
        headers,
        [
            "Auto-Submitted",
            "Content-Transfer-Encoding",
            "Content-Type",
            "Date",
            "From",
            "MIME-Version",
            "Message-ID",
            "Subject",
            "To",
        ]
    );
    assert_eq!(seen["defects"], serde_json::json!([]));
    assert_eq!(seen["to"], serde_json::json!(["ops@example.com"]));
    assert_eq!(seen["type"], "text/plain");
    let text = seen["text"].as_str().unwrap();
    for line in ["    .", "    ..", "    Bcc: victim@example.com", "    QUIT"] {
        assert!(text.lines().any(|had| had == line), "{line:?} in\n{text}");
    }
    assert!(!text.contains(['\0', '\u{202e}']), "{text}");
}
