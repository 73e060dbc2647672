//! What goes wrong in programs is known: what they print, what they report, and what people want done
//! about it.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use compliance::{MailServer, Sandbox, free_port, installed, signal_pid, wait_for};
use mail_parser::MessageParser;
use serde_json::Value;

/// A program in Python, if there is one.
fn python(sandbox: &Sandbox, name: &str, text: &str) -> bool {
    if installed("python3").is_none() {
        return false;
    }
    std::fs::write(sandbox.path().join(format!("{name}.py")), text).unwrap();
    true
}

fn program(name: &str) -> String {
    format!("[program.{name}]\ncommand = [\"python3\", \"-u\", \"@DIR@/{name}.py\"]\n")
}

/// `[alert]` with one channel that takes everything, and these waits.
fn alert(port: u16, wait: &str, interval: &str) -> String {
    format!(
        "[alert]\nwait = \"{wait}\"\ninterval = \"{interval}\"\nlimit = \"none\"\n\
         [alert.to.admin]\nwhen = {{ severity = \"info\" }}\n\
         mail = {{ to = [\"ops@example.com\"], from = \"mainstay@example.com\", server = \"127.0.0.1:{port}\", tls = \"none\" }}\n"
    )
}

/// Subjects and texts of the mails that came.
fn mails(server: &MailServer) -> Vec<(String, String)> {
    let mails = server.taken();
    mails
        .iter()
        .map(|mail| {
            let parsed = MessageParser::default().parse(mail).unwrap();
            let text = parsed.body_text(0).unwrap().into_owned();
            (parsed.subject().unwrap().to_owned(), text)
        })
        .collect()
}

/// The faults that the daemon lists.
fn faults(sandbox: &Sandbox) -> Vec<Value> {
    let list = sandbox.json(&["faults", "--all"]);
    list["faults"]
        .as_array()
        .unwrap_or_else(|| panic!("{list}"))
        .clone()
}

/// Waits until one is listed of which this is true.
fn fault(sandbox: &Sandbox, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    wait_for(&format!("a fault: {what}"), || {
        faults(sandbox).into_iter().find(|fault| is(fault))
    })
}

const PRINTS: &str = r#"
import sys, time, traceback, os
print("taking an order")
try:
    {}["A-17"]
except KeyError:
    text = traceback.format_exc()
sys.stderr.write(text * int(sys.argv[1]) if len(sys.argv) > 1 else text)
sys.stderr.write("that was it\n")
while True:
    time.sleep(1000)
"#;

#[test]
fn a_thousand_tracebacks_are_one_fault_and_one_mail() {
    let port = free_port();
    let server = MailServer::at(port);
    let sandbox = Sandbox::new("");
    if !python(&sandbox, "web", PRINTS) || !python(&sandbox, "quiet", PRINTS) {
        return;
    }
    let web = program("web").replace("web.py\"", "web.py\", \"1000\"");
    sandbox.config(&format!(
        "schema = 1\n{}{web}{}faults = false\n",
        alert(port, "6s", "1h"),
        program("quiet")
    ));
    let daemon = sandbox.start();
    let all = |fault: &Value| fault["count"] == 1000;
    let found = fault(&sandbox, "a thousand of them", all);
    assert_eq!(found["title"], "KeyError: 'A-17'", "{found}");
    assert_eq!(found["app"], "web");
    assert_eq!(found["class"], "exception");
    assert_eq!(found["severity"], "critical");
    let place = found["place"].as_str().unwrap();
    assert!(place.contains("web.py:5"), "{place}");
    assert_eq!(faults(&sandbox).len(), 1, "nobody looks at quiet");

    let code = found["code"].as_str().unwrap();
    let (subject, text) = wait_for("the mail", || mails(&server).pop());
    assert!(subject.contains("KeyError: 'A-17' (×1,000)"), "{subject}");
    assert!(text.contains("mainstay faults "), "{text}");
    assert_eq!(mails(&server).len(), 1);

    // A person reads the code out.
    let written = code.replace('-', "").to_lowercase();
    let page = sandbox.done(&["faults", &written]).out;
    for part in [
        code,
        "KeyError: 'A-17'",
        "web.py",
        "count     1000",
        "mainstay logs web",
    ] {
        assert!(page.contains(part), "{part} in\n{page}");
    }
    let table = sandbox.done(&["faults"]).out;
    assert!(table.contains(code) && table.contains("1000"), "{table}");
    let status = sandbox.run(&["status"]).out;
    assert!(
        status.contains("faults new since yesterday: web 1 · mainstay faults"),
        "{status}"
    );
    let numbers = sandbox.json(&["status"]);
    assert_eq!(numbers["new_faults"]["web"], 1);
    let none = sandbox.done(&["faults", "--app", "worker"]).out;
    assert_eq!(none, "no faults are known\n");
    assert_eq!(sandbox.run(&["faults", "00000-00000"]).code, 4);
    assert_eq!(sandbox.run(&["faults", "nonsense"]).code, 2);
    let mode = std::fs::metadata(sandbox.path().join(".mainstay/faults.db")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);

    // A daemon that was killed has it in its ledger, and the next one counts nothing twice.
    let pid = daemon.pid();
    signal_pid(pid, "KILL");
    wait_for("the end of the daemon", || {
        (!compliance::alive(pid)).then_some(())
    });
    let left = sandbox.run(&["faults"]);
    assert_eq!(left.code, 0, "{left:?}");
    assert!(left.out.contains(code), "{left:?}");
    assert!(left.err.contains("no daemon answers"), "{left:?}");
    drop(daemon);
    let _daemon = sandbox.start();
    // What is printed from now on is found, so what was printed before has been looked at.
    std::fs::write(sandbox.path().join("web.py"), PRINTS.replace("A-17", "B-2")).unwrap();
    sandbox.done(&["restart", "web"]);
    let again = fault(&sandbox, "the next one", |fault| fault["count"] == 2000);
    assert_eq!(again["title"], "KeyError: 'B-2'");
    sandbox.done(&["faults", "forget", code]);
    assert!(faults(&sandbox).is_empty());
}

/// A client of the socket of reports without any library.
const CLIENT: &str = r#"
import json, os, socket, sys, time

def ask(method, path, body=None):
    body = b"" if body is None else json.dumps(body).encode()
    head = "%s %s HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (method, path, len(body))
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(os.environ["MAINSTAY_REPORT"])
        s.sendall(head.encode() + body)
        answer = b""
        while True:
            part = s.recv(65536)
            if not part:
                break
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(body)

def note(line):
    with open(os.path.join(os.path.dirname(__file__), "said"), "a") as f:
        f.write(line + "\n")
"#;

const STUCK: &str = r#"
def report(state, steps):
    return ask("POST", "/v1/faults", {
        "code": "K7Q29-XWD4M", "class": "upstream.timeout", "severity": "error",
        "title": "the CRM did not answer", "release": "1.5.2", "place": "src/form.rs:42",
        "causes": ["deadline has elapsed"], "trace": ["submit (src/form.rs:42)"],
        "request": {"id": "r1", "method": "POST", "path": "/form?token=hunter2"},
        "records": ["INFO form of password=hunter2"],
        "work": {"id": "w-17", "state": state, "steps": steps}})

stuck = [{"name": "crm.create", "state": "stuck", "error": "connection refused"}]
note(json.dumps(report("stuck", stuck)))
while True:
    status, found = ask("GET", "/v1/orders?wait=5")
    for order in found["orders"]:
        note("order " + json.dumps(order))
        if order["act"] == "skip":
            ask("POST", "/v1/orders/%d" % order["id"], {"done": False, "detail": "another step is next"})
            continue
        report("undone", [{"name": "crm.create", "state": "undone"}])
        ask("POST", "/v1/orders/%d" % order["id"], {"done": True})
"#;

fn said(sandbox: &Sandbox) -> Vec<String> {
    let said = std::fs::read_to_string(sandbox.path().join("said")).unwrap_or_default();
    said.lines().map(str::to_owned).collect()
}

/// One exchange with the socket of reports, as somebody who is no program.
fn as_a_stranger(socket: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_stuck_undo_is_told_until_a_person_and_the_app_have_seen_to_it() {
    let port = free_port();
    let server = MailServer::at(port);
    let sandbox = Sandbox::new("");
    if !python(&sandbox, "shop", &format!("{CLIENT}{STUCK}")) {
        return;
    }
    sandbox.config(&format!(
        "schema = 1\n{}{}",
        alert(port, "200ms", "500ms"),
        program("shop")
    ));
    let _daemon = sandbox.start();
    let found = fault(&sandbox, "the report", |fault| fault["undo"] == "stuck");
    assert_eq!(found["code"], "K7Q29-XWD4M");
    assert_eq!(found["app"], "shop");
    let acknowledged = &said(&sandbox)[0];
    assert!(acknowledged.contains("\"stored\": true"), "{acknowledged}");
    let (subject, text) = wait_for("the mail", || {
        let mut all = mails(&server).into_iter();
        all.find(|(subject, _)| subject.contains("stuck"))
    });
    assert!(subject.contains("crm.create"), "{subject}");
    assert!(text.contains("mainstay faults K7Q29-XWD4M"), "{text}");
    let page = sandbox.done(&["faults", "k7q29xwd4m"]).out;
    for part in [
        "POST /form",
        "deadline has elapsed",
        "connection refused",
        "mainstay faults retry K7Q29-XWD4M",
        "1.5.2",
    ] {
        assert!(page.contains(part), "{part} in\n{page}");
    }
    assert!(!page.contains("hunter2"), "{page}");

    // Whoever is no program is not heard, whatever their user.
    let socket = sandbox.path().join(".mainstay/report.sock");
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o666);
    let body = r#"{"title":"not mine"}"#;
    let length = body.len();
    for request in [
        format!(
            "POST /v1/faults HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        ),
        "GET /v1/orders HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
    ] {
        let answer = as_a_stranger(&socket, &request);
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    }
    assert_eq!(faults(&sandbox).len(), 1);

    // Orders that make no sense are refused before the app hears of them.
    for (arguments, code) in [
        (&["faults", "retry", "00000-00000"][..], 4),
        (&["faults", "retry", "K7Q29-XWD4M", "crm.creat"][..], 4),
        (&["faults", "skip", "K7Q29-XWD4M", "crm.create"][..], 2),
    ] {
        let outcome = sandbox.run(arguments);
        assert_eq!(outcome.code, code, "{outcome:?}");
    }
    let skipped = sandbox.run(&[
        "faults",
        "skip",
        "K7Q29-XWD4M",
        "crm.create",
        "--reason",
        "done by hand",
        "--wait",
    ]);
    assert_eq!(skipped.code, 1, "{skipped:?}");
    assert!(skipped.out.contains("another step is next"), "{skipped:?}");
    let retried = sandbox.run(&["faults", "retry", "K7Q29-XWD4M", "--wait=1m"]);
    assert_eq!(retried.code, 0, "{retried:?}");
    assert!(retried.out.contains("has carried it out"), "{retried:?}");
    let orders: Vec<String> = said(&sandbox).drain(1..).collect();
    assert_eq!(orders.len(), 2, "{orders:?}");
    assert!(orders[0].contains("done by hand") && orders[0].contains("w-17"));

    let page = sandbox.json(&["faults", "K7Q29-XWD4M"]);
    assert_eq!(page["occurrence"]["work"]["state"], "undone", "{page}");
    assert_eq!(page["fault"]["count"], 1, "the same report counts once");
    let states: Vec<&str> = page["orders"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|order| order["state"].as_str())
        .collect();
    assert_eq!(states, ["done", "refused"]);
    wait_for("the end of the alert", || {
        let mut all = mails(&server).into_iter();
        all.find(|(subject, _)| subject.contains("stuck") && subject.contains("resolved"))
    });
    let log = std::fs::read_to_string(sandbox.path().join(".mainstay/log/mainstay.log")).unwrap();
    for part in [
        "order_fault skip K7Q29-XWD4M crm.create: done",
        "shop: order 1: refused: another step is next",
        "sent away from the socket of reports",
    ] {
        assert!(log.contains(part), "{part} in\n{log}");
    }
}

const WAITS: &str = r#"
note(json.dumps(ask("POST", "/v1/faults", {
    "code": "00000-00001", "title": "half done",
    "work": {"id": "w-1", "state": "undoing", "steps": [{"name": "a", "state": "done"}]}})))
while True:
    time.sleep(1000)
"#;

#[test]
fn an_order_waits_for_an_app_that_does_not_run() {
    let sandbox = Sandbox::new("");
    if !python(&sandbox, "shop", &format!("{CLIENT}{WAITS}")) {
        return;
    }
    sandbox.config(&format!("schema = 1\n{}", program("shop")));
    let _daemon = sandbox.start();
    fault(&sandbox, "the report", |fault| fault["undo"] == "undoing");
    sandbox.done(&["stop", "shop"]);
    let ordered = sandbox.done(&["faults", "retry", "00000-00001"]);
    assert!(
        ordered.out.contains("does not run: the order 1 waits"),
        "{ordered:?}"
    );
    let late = sandbox.run(&["faults", "retry", "00000-00001", "--wait=1s"]);
    assert_eq!(late.code, 75, "{late:?}");
    std::fs::write(
        sandbox.path().join("shop.py"),
        format!("{CLIENT}note(json.dumps(ask('GET', '/v1/orders?wait=30')))\ntime.sleep(1000)\n"),
    )
    .unwrap();
    sandbox.done(&["start", "shop"]);
    let orders = wait_for("the app to fetch its orders", || {
        said(&sandbox).get(1).cloned()
    });
    assert!(
        orders.contains("\"id\": 1") && orders.contains("\"id\": 2"),
        "{orders}"
    );
}

const MANY: &str = r#"
n = 0
while True:
    n += 1
    try:
        status, answer = ask("POST", "/v1/faults", {"title": "kind %s" % ("x" * n), "fingerprint": "f%d" % n})
    except (OSError, ValueError, IndexError):
        time.sleep(0.02)
        continue
    if status == 200 and answer["stored"]:
        note(answer["code"])
    time.sleep(0.02)
"#;

#[test]
fn no_fault_that_was_acknowledged_is_lost_to_a_kill() {
    let sandbox = Sandbox::new("");
    if !python(&sandbox, "shop", &format!("{CLIENT}{MANY}")) {
        return;
    }
    sandbox.config(&format!("schema = 1\n{}", program("shop")));
    let mut seen = 0;
    for round in 0..3 {
        let mut daemon = sandbox.start();
        wait_for("more reports", || {
            (said(&sandbox).len() >= seen + 20).then_some(())
        });
        daemon.signal("KILL");
        let _ = daemon.wait();
        seen = said(&sandbox).len();
        assert!(seen > 0, "round {round}");
    }
    let _daemon = sandbox.start();
    let acknowledged: BTreeSet<String> = said(&sandbox).into_iter().collect();
    let kept: BTreeSet<String> = faults(&sandbox)
        .iter()
        .map(|fault| fault["code"].as_str().unwrap().to_owned())
        .collect();
    let lost: Vec<&String> = acknowledged.difference(&kept).collect();
    assert!(lost.is_empty(), "{lost:?} of {}", acknowledged.len());
}
