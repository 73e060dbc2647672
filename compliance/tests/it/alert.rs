//! What a person must know arrives, and does not arrive ten thousand times.

use std::io::Write;
use std::process::Stdio;

use compliance::{MailServer, Sandbox, free_port, wait_for};
use mail_parser::MessageParser;
use serde_json::Value;

/// `[alert]` with short waits and one channel that takes everything.
fn alert(port: u16) -> String {
    format!(
        "[alert]\nwait = \"200ms\"\ninterval = \"500ms\"\nlimit = \"none\"\n\
         [alert.to.admin]\nwhen = {{ severity = \"info\" }}\n\
         mail = {{ to = [\"ops@example.com\"], from = \"mainstay@example.com\", server = \"127.0.0.1:{port}\", tls = \"none\", subject = \"[shop] \" }}\n"
    )
}

/// Subjects and texts of the mails that came.
pub(crate) fn read(server: &MailServer) -> Vec<(String, String)> {
    let mails = server.taken();
    mails
        .iter()
        .map(|mail| {
            let parsed = MessageParser::default().parse(mail).unwrap();
            let text = parsed.body_text(0).unwrap().replace("\r\n", "\n");
            (parsed.subject().unwrap().to_owned(), text)
        })
        .collect()
}

/// Waits until there is a mail of which this is true, and gives it.
fn mail(server: &MailServer, what: &str, is: impl Fn(&str, &str) -> bool) -> (String, String) {
    wait_for(&format!("a mail: {what}"), || {
        let all = read(server);
        all.into_iter().find(|(subject, text)| is(subject, text))
    })
}

/// Waits until all that was raised is told and delivered.
fn all_told(sandbox: &Sandbox) -> Value {
    wait_for("all alerts to be told", || {
        let list = sandbox.json(&["alert", "list"]);
        let messages = list["messages"].as_array()?;
        let delivered = messages.iter().all(|message| message["state"] == "sent");
        (list["counts"]["waiting"] == 0 && delivered).then_some(list)
    })
}

#[test]
fn a_program_that_is_given_up_is_one_mail_and_its_return_another() {
    let port = free_port();
    let server = MailServer::at(port);
    let sandbox = Sandbox::new(&format!(
        "{}[program.web]\ncommand = [\"sh\", \"-c\", \"test -e @DIR@/ready && exec sleep 100000; echo no database >&2; exit 3\"]\nstart_secs = 0.3\nstart_retries = 2\nrestart = {{ backoff = \"100ms..100ms\" }}\n",
        alert(port)
    ));
    let _daemon = sandbox.start();
    sandbox.in_state("web", "FATAL");
    let (subject, text) = mail(&server, "web is FATAL", |subject, _| {
        subject.contains("FATAL")
    });
    assert!(
        subject.starts_with("[shop] [critical] web: web is FATAL"),
        "{subject}"
    );
    for part in ["no database", "mainstay logs web", "web/program-down"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let status = sandbox.json(&["status"]);
    assert_eq!(status["alerts"]["firing"], 1, "{status}");
    let shown = sandbox.run(&["status"]).out;
    assert!(shown.contains("alerts: 1 firing: web is FATAL"), "{shown}");
    let numbers = sandbox.run(&["metrics"]).out;
    for line in [
        "mainstay_alerts_open{severity=\"critical\"} 1\n",
        "mainstay_alerts_open{severity=\"error\"} 0\n",
        "mainstay_alert_messages_total 1\n",
        "mainstay_program_up{group=\"web\",name=\"web\",program=\"web\"} 0\n",
        "mainstay_program_state{group=\"web\",name=\"web\",program=\"web\"} 200\n",
        "mainstay_log_records_lost_total{level=\"error\",",
        "mainstay_disk_free_bytes{path=",
    ] {
        assert!(numbers.contains(line), "{line} in\n{numbers}");
    }
    let file = sandbox.path().join("mainstay.prom");
    sandbox.done(&["metrics", "--to", file.to_str().unwrap()]);
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written.starts_with("# HELP mainstay_info "), "{written}");
    assert_eq!(sandbox.json(&["metrics"])["families"][0]["type"], "gauge");

    std::fs::write(sandbox.path().join("ready"), "").unwrap();
    sandbox.done(&["start", "web"]);
    let (_, text) = mail(&server, "web is back", |subject, _| {
        subject.contains("resolved")
    });
    assert!(text.contains("web/program-down"), "{text}");
    let list = all_told(&sandbox);
    assert_eq!(list["alerts"], serde_json::json!([]), "{list}");
    assert_eq!(read(&server).len(), 2, "{:?}", read(&server));
    let shown = sandbox.run(&["status"]).out;
    assert!(shown.contains("alerts: none firing"), "{shown}");
}

#[test]
fn ten_thousand_critical_lines_are_a_handful_of_mails() {
    let port = free_port();
    let server = MailServer::at(port);
    let sandbox = Sandbox::new(&format!(
        "{}[log.route.grave]\nwhen = {{ level = \"critical\", program = \"storm\" }}\nto = [\"alert\"]\n\
         [program.storm]\ncommand = [\"sh\", \"-c\", \"echo about to begin; seq 10000 | sed 's/.*/CRITICAL no disk for user &/'; exec sleep 100000\"]\n",
        alert(port)
    ));
    let daemon = sandbox.start();
    wait_for("all lines", || {
        let list = sandbox.json(&["alert", "list"]);
        (list["counts"]["raised"] == 10_000).then_some(())
    });
    let list = all_told(&sandbox);
    assert_eq!(list["counts"]["told"], 10_000, "{list}");
    let mails = read(&server);
    assert!((1..=20).contains(&mails.len()), "{} mails", mails.len());
    let told: u64 = mails
        .iter()
        .map(|(subject, _)| match subject.split_once("(×") {
            None => 1,
            Some((_, rest)) => {
                let (number, _) = rest.split_once(')').unwrap();
                number.replace(',', "").parse::<u64>().unwrap()
            }
        })
        .sum();
    assert_eq!(told, 10_000, "{mails:?}");
    let (subject, text) = &mails[0];
    assert!(subject.contains("no disk for user"), "{subject}");
    assert!(
        text.contains("about to begin"),
        "the lines before it:\n{text}"
    );
    assert!(text.contains("mainstay logs storm"), "{text}");
    assert!(!daemon.said().contains("were lost"), "{}", daemon.said());
}

#[test]
fn what_could_not_be_sent_arrives_once_after_a_kill() {
    let port = free_port();
    let sandbox = Sandbox::new(&alert(port));
    let mut daemon = sandbox.start();
    sandbox.done(&[
        "alert",
        "raise",
        "--app",
        "blog",
        "--severity",
        "critical",
        "--body",
        "details",
        "the database is gone",
    ]);
    wait_for("an attempt to fail", || {
        let list = sandbox.json(&["alert", "list"]);
        let message = &list["messages"][0];
        let tried = message["state"] == "waiting" && message["attempts"].as_u64() >= Some(1);
        tried.then_some(())
    });
    let shown = sandbox.run(&["alert", "list"]).out;
    assert!(shown.contains("failing for"), "{shown}");
    daemon.signal("KILL");
    daemon.wait();
    let server = MailServer::at(port);
    let _next = sandbox.start();
    let (subject, text) = mail(&server, "what was raised", |_, _| true);
    assert!(subject.contains("the database is gone"), "{subject}");
    assert!(text.contains("details"), "{text}");
    all_told(&sandbox);
    assert_eq!(server.taken().len(), 1);
}

#[test]
fn alerts_are_raised_listed_silenced_and_ended_by_the_command_line() {
    let port = free_port();
    let server = MailServer::at(port);
    let sandbox = Sandbox::new(&alert(port));
    let none = sandbox.run(&["alert", "list"]);
    assert_eq!(none.code, 7, "no daemon: {none:?}");
    let daemon = sandbox.start();
    let list = sandbox.run(&["alert", "list"]);
    assert!(list.out.contains("no alert is raised"), "{list:?}");
    assert!(list.out.contains("admin"), "{list:?}");

    let silence = sandbox.json(&[
        "alert", "silence", "1h", "--app", "blog*", "--reason", "moving",
    ]);
    let id = silence["id"].as_i64().unwrap().to_string();
    let raise = [
        "alert",
        "raise",
        "--app",
        "blog",
        "--severity",
        "critical",
        "--fingerprint",
        "payments",
        "--lasting",
        "--body",
        "-",
        "payments fail",
    ];
    let mut child = sandbox
        .command(&raise)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"said by standard input\n").unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success());
    let shown = wait_for("it to be kept back", || {
        let list = sandbox.run(&["alert", "list"]);
        list.out.contains("muted").then_some(list.out)
    });
    for part in ["blog/payments", "payments fail", "app=blog*", "moving"] {
        assert!(shown.contains(part), "{part} in\n{shown}");
    }
    let shown = sandbox.run(&["status"]).out;
    assert!(shown.contains("1 silence until"), "{shown}");
    assert!(server.taken().is_empty(), "{:?}", read(&server));

    sandbox.done(&["alert", "unsilence", &id]);
    let (_, text) = mail(&server, "what lasts", |subject, _| {
        subject.contains("payments fail")
    });
    assert!(text.contains("said by standard input"), "{text}");
    let again = sandbox.run(&["alert", "unsilence", &id]);
    assert_eq!(again.code, 4, "{again:?}");
    sandbox.done(&[
        "alert",
        "raise",
        "--app",
        "blog",
        "--fingerprint",
        "payments",
        "--resolve",
    ]);
    mail(&server, "its end", |subject, _| {
        subject.contains("resolved")
    });
    let unknown = sandbox.run(&[
        "alert",
        "raise",
        "--app",
        "blog",
        "--fingerprint",
        "payment",
        "--resolve",
    ]);
    assert_eq!(unknown.code, 4, "{unknown:?}");
    for wrong in [
        &["alert", "raise", "--app", "blog"][..],
        &["alert", "raise", "--app", "", "x"],
        &[
            "alert",
            "raise",
            "--app",
            "blog",
            "--severity",
            "grave",
            "x",
        ],
        &["alert", "silence", "1h", "--reason", "x"],
        &["alert", "silence", "soon", "--app", "x", "--reason", "x"],
        &[
            "alert",
            "silence",
            "1h",
            "--severity",
            "grave",
            "--reason",
            "x",
        ],
    ] {
        let refused = sandbox.run(wrong);
        assert_eq!(refused.code, 2, "{wrong:?}: {refused:?}");
    }
    let said = daemon.said();
    assert!(
        said.contains("silence_alerts app=blog* for 3600s: done"),
        "{said}"
    );
    assert!(said.contains("raise_alert blog/payments: done"), "{said}");
}

#[test]
fn channels_are_tried_with_and_without_a_daemon() {
    let port = free_port();
    let server = MailServer::at(port);
    let dead = free_port();
    let broken = format!(
        "{}[alert.to.dead]\nmail = {{ to = \"b@example.com\", from = \"m@example.com\", server = \"127.0.0.1:{dead}\", tls = \"none\" }}\n",
        alert(port)
    );
    let sandbox = Sandbox::new(&broken);
    let tried = sandbox.run(&["alert", "test"]);
    assert_eq!(tried.code, 3, "one of two: {tried:?}");
    assert!(tried.out.contains("✔ admin: ops@example.com"), "{tried:?}");
    assert!(tried.out.contains("✖ dead: b@example.com"), "{tried:?}");
    assert!(tried.err.contains("no daemon answers"), "{tried:?}");
    let (subject, _) = mail(&server, "a test", |_, _| true);
    assert!(subject.starts_with("[shop] "), "{subject}");

    sandbox.config(&format!("schema = 1\n{}", alert(port)));
    let daemon = sandbox.start();
    let tried = sandbox.json(&["alert", "test"]);
    assert_eq!(tried["tried"].as_array().unwrap().len(), 1, "{tried}");
    assert_eq!(tried["tried"][0]["error"], Value::Null, "{tried}");
    assert_eq!(server.taken().len(), 2);
    // What the config says now is another thing.
    sandbox.config(&format!("schema = 1\n{broken}"));
    assert_eq!(sandbox.run(&["alert", "test"]).code, 0);
    assert_eq!(sandbox.run(&["alert", "test", "--here"]).code, 3);
    daemon.signal("HUP");
    wait_for("the new channel", || {
        let list = sandbox.json(&["alert", "list"]);
        (list["channels"].as_array()?.len() == 2).then_some(())
    });
    assert_eq!(sandbox.run(&["alert", "test"]).code, 3);
    // One that is wrong is refused, and that is told.
    let before = server.taken().len();
    sandbox.config("schema = 1\n[alert]\nwiat = \"1s\"\n");
    daemon.signal("HUP");
    let (_, text) = wait_for("a mail about it", || {
        let mails = read(&server).split_off(before);
        mails
            .into_iter()
            .find(|(s, _)| s.contains("config is not applied"))
    });
    assert!(text.contains("did you mean `wait`?"), "{text}");

    let none = Sandbox::new("");
    let tried = none.run(&["alert", "test"]);
    assert_eq!(tried.code, 1, "{tried:?}");
    assert!(tried.err.contains("add [alert.to.NAME]"), "{tried:?}");
}

#[test]
fn what_waits_outlives_an_upgrade_and_an_orderly_end() {
    let port = free_port();
    let server = MailServer::at(port);
    let slow = alert(port).replace("wait = \"200ms\"", "wait = \"4s\"");
    let sandbox = Sandbox::new(&format!(
        "{slow}[program.web]\ncommand = \"sleep 100000\"\n"
    ));
    let mut daemon = sandbox.start();
    sandbox.done(&["alert", "raise", "--app", "blog", "before the upgrade"]);
    sandbox.done(&["upgrade"]);
    let said = daemon.said();
    assert!(said.contains("another binary takes over"), "{said}");
    mail(&server, "what was raised before", |subject, _| {
        subject.contains("before the upgrade")
    });
    sandbox.done(&["alert", "raise", "--app", "blog", "at the end"]);
    sandbox.done(&["shutdown"]);
    daemon.wait();
    let _next = sandbox.start();
    mail(&server, "what was raised last", |subject, _| {
        subject.contains("at the end")
    });
    all_told(&sandbox);
    assert_eq!(read(&server).len(), 2, "{:?}", read(&server));
}

#[test]
fn a_backup_that_fails_is_told_until_a_good_one() {
    let port = free_port();
    let server = MailServer::at(port);
    let sandbox = Sandbox::new(&format!(
        "{}[secret]\nrepository = {{ file = \"@DIR@/password\" }}\n\
         [repository.local]\npath = \"@DIR@/repository\"\npassword = \"${{secret.repository}}\"\n\
         [backup.data]\nfiles = {{ path = \"@DIR@/data\" }}\nat = \"every 2s\"\nto = [\"local\"]\n",
        alert(port)
    ));
    let password = sandbox.path().join("password");
    std::fs::write(&password, "hunter2\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&password, mode).unwrap();
    sandbox.done(&["backup", "init"]);
    let _daemon = sandbox.start();
    mail(&server, "the backup fails", |subject, _| {
        subject.contains("backup:data")
    });
    std::fs::create_dir(sandbox.path().join("data")).unwrap();
    std::fs::write(sandbox.path().join("data/a"), "a").unwrap();
    mail(&server, "the backup is good", |subject, _| {
        subject.contains("resolved") && subject.contains("backup")
    });
    let secret = read(&server)
        .iter()
        .any(|(_, text)| text.contains("hunter2"));
    assert!(!secret);
}

#[test]
fn mail_of_a_seelog_config_is_sent_in_its_format() {
    let port = free_port();
    let server = MailServer::at(port);
    let own = free_port();
    let sandbox = Sandbox::new("");
    std::fs::write(
        sandbox.path().join("seelog.xml"),
        format!(
            r#"<seelog minlevel="info"><outputs formatid="all"><file path="all.log"/>
  <filter levels="error,critical" formatid="mail">
    <smtp senderaddress="log@example.org" sendername="The log" hostname="127.0.0.1" hostport="{port}" subject="from the shop: " formatid="mail">
      <recipient address="ops@example.org"/><header name="Priority" value="Urgent"/>
    </smtp>
  </filter></outputs>
  <formats><format id="all" format="%Msg%n"/><format id="mail" format="On our server:\n%LEV %Msg\nSent by seelog"/></formats>
</seelog>"#
        ),
    )
    .unwrap();
    let config = |log: &str| {
        format!(
            "schema = 1\n{}{log}[program.web]\ncommand = \"/nowhere/at/all\"\nstart_retries = 1\nrestart = {{ backoff = \"100ms..100ms\" }}\n",
            alert(own)
        )
    };
    sandbox.config(&config("[log]\nimport = \"seelog.xml\"\n"));
    let daemon = sandbox.start();
    let (subject, text) = mail(&server, "an error of the daemon", |_, text| {
        text.contains("web") && text.contains("On our server:")
    });
    assert!(
        subject.starts_with("from the shop: [error] mainstay: "),
        "{subject}"
    );
    assert!(text.contains("ERR web"), "{text}");
    assert!(text.contains("Sent by seelog"), "{text}");
    let whole = server.taken().remove(0);
    let whole = String::from_utf8_lossy(&whole).into_owned();
    let (head, _) = whole.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("Priority: Urgent"), "{head}");
    let list = sandbox.json(&["alert", "list"]);
    let names: Vec<_> = list["channels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].clone())
        .collect();
    assert_eq!(
        names,
        ["admin".to_owned(), format!("smtp 127.0.0.1:{port}")]
    );
    // What cannot be sent is told by the log, and that is not told by mail.
    drop(server);
    sandbox.done(&["alert", "raise", "--app", "x", "y"]);
    wait_for("an attempt to fail", || {
        daemon.said().contains("was not delivered").then_some(())
    });
    let list = sandbox.json(&["alert", "list"]);
    let circle = list["alerts"].as_array().unwrap().iter().any(|a| {
        a["title"]
            .as_str()
            .unwrap_or("")
            .contains("was not delivered")
    });
    assert!(!circle, "{list}");
}
