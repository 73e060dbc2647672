//! Lines against a server that says what it is told to.

use std::io::{self, BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;

use super::*;
use crate::xmlrpc::{self, Call, Fault, Value};

type Answer = Result<Value, Fault>;
type Calls = Arc<Mutex<Vec<String>>>;

/// A server on a port of its own. Its threads end with their connections.
struct Fake {
    url: String,
    calls: Calls,
}

/// How the server treats strangers and logs.
#[derive(Clone, Copy, Default)]
struct Manner {
    password: Option<&'static str>,
    /// A log that ends is sent whole; one that does not stays open after that.
    endless: bool,
}

impl Fake {
    fn new(answer: impl Fn(&Call) -> Answer + Send + Sync + 'static) -> Self {
        Self::with(Manner::default(), answer)
    }

    fn with(manner: Manner, answer: impl Fn(&Call) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let calls = Calls::default();
        let (seen, answer) = (calls.clone(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, answer) = (seen.clone(), answer.clone());
                thread::spawn(move || {
                    let _ = serve(stream.unwrap(), manner, &*answer, &seen);
                });
            }
        });
        Self { url, calls }
    }

    fn run(&self, line: &str) -> (String, i32) {
        run(&self.url, line)
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }
}

fn serve(
    stream: TcpStream,
    manner: Manner,
    answer: &dyn Fn(&Call) -> Answer,
    seen: &Calls,
) -> std::io::Result<()> {
    let mut out = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let (mut request, mut length, mut login) = (String::new(), 0, None);
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim().split_once(": ") else {
                break;
            };
            match name {
                "Content-Length" => length = value.parse().unwrap(),
                "Authorization" => login = Some(value.to_owned()),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let password = manner.password.unwrap_or("");
        let wanted = format!("Basic {}", mainstay_base::base64(password.as_bytes()));
        if manner.password.is_some() && login != Some(wanted) {
            out.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")?;
            continue;
        }
        if let Some(path) = request.strip_prefix("GET ") {
            let path = path.split(' ').next().unwrap();
            seen.lock().unwrap().push(path.to_owned());
            if path.contains("nope") {
                out.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
                continue;
            }
            out.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            out.write_all(b"4\r\nlog\n\r\n5;x=y\r\nmore\xff\r\n")?;
            if !manner.endless {
                return out.write_all(b"0\r\n\r\n");
            }
            reader.read_until(b'\n', &mut body)?;
            return Ok(());
        }
        let call = xmlrpc::parse_call(&body).unwrap();
        let params: Vec<String> = call
            .params
            .iter()
            .map(|param| format!("{param:?}"))
            .collect();
        let method = call.method.trim_start_matches("supervisor.");
        seen.lock()
            .unwrap()
            .push(format!("{method}({})", params.join(", ")));
        let mut body = Vec::new();
        match answer(&call) {
            Ok(value) => xmlrpc::write_response(&value, &mut body),
            Err(fault) => xmlrpc::write_fault(fault.code, &fault.text, &mut body),
        }
        write!(
            out,
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )?;
        out.write_all(&body)?;
    }
}

/// Answers that were prepared.
#[derive(Default)]
struct Script(Vec<&'static str>);

impl Console for Script {
    fn ask(&mut self, _: &str) -> Option<String> {
        (!self.0.is_empty()).then(|| self.0.remove(0).to_owned())
    }

    fn ask_secret(&mut self, prompt: &str) -> Option<Secret> {
        self.ask(prompt).map(Secret::new)
    }
}

fn ctl(url: &str, answers: &[&'static str]) -> Ctl {
    let settings = Settings {
        serverurl: url.to_owned(),
        interactive: !answers.is_empty(),
        ..Settings::default()
    };
    let console = Box::new(Script(answers.to_vec()));
    Ctl::new(settings, console, Arc::default())
}

fn said(ctl: &mut Ctl, line: &str) -> (String, i32) {
    let mut out = Vec::new();
    ctl.line(line, &mut out);
    (String::from_utf8_lossy(&out).into_owned(), ctl.status())
}

fn run(url: &str, line: &str) -> (String, i32) {
    said(&mut ctl(url, &[]), line)
}

fn fault(code: i32) -> Answer {
    let name = match code {
        6 => "SHUTDOWN_STATE",
        10 => "BAD_NAME",
        30 => "FAILED",
        92 => "CANT_REREAD",
        _ => "FAULT",
    };
    let text = format!("{name}: words");
    Err(Fault { code, text })
}

fn done(group: &str, name: &str, status: i32) -> Value {
    Value::from([
        ("group", group.into()),
        ("name", name.into()),
        ("status", status.into()),
        ("description", format!("words {status}").into()),
    ])
}

fn info(group: &str, name: &str, state: i32, statename: &str, pid: i32, text: &str) -> Value {
    Value::from([
        ("group", group.into()),
        ("name", name.into()),
        ("state", state.into()),
        ("statename", statename.into()),
        ("pid", pid.into()),
        ("description", text.into()),
    ])
}

fn config(group: &str, name: &str, inuse: bool, autostart: bool, prio: i32) -> Value {
    Value::from([
        ("group", group.into()),
        ("name", name.into()),
        ("inuse", inuse.into()),
        ("autostart", autostart.into()),
        ("group_prio", 999.into()),
        ("process_prio", prio.into()),
    ])
}

fn names(names: &[&str]) -> Value {
    Value::Array(names.iter().map(|&name| name.into()).collect())
}

/// A name of the form `f70` or `f70:*` asks for that fault.
fn supervisord(call: &Call) -> Answer {
    let name = call.params.first().and_then(Value::as_str).unwrap_or("");
    let wanted = name
        .trim_end_matches(":*")
        .strip_prefix('f')
        .and_then(|code| code.parse().ok());
    if let Some(code) = wanted {
        return fault(code);
    }
    Ok(match call.method.trim_start_matches("supervisor.") {
        "getVersion" => "3.0".into(),
        "getSupervisorVersion" => "4.2.5".into(),
        "getPID" => 4711.into(),
        "getAllProcessInfo" => Value::from([
            info("cat", "cat", 20, "RUNNING", 10, "pid 10, uptime 0:00:01"),
            info("g", "a", 10, "STARTING", 11, ""),
            info("g", "b", 0, "STOPPED", 0, "Not started"),
        ]),
        "getProcessInfo" => match name {
            "cat" => info("cat", "cat", 20, "RUNNING", 10, ""),
            "g:b" => info("g", "b", 0, "STOPPED", 0, ""),
            _ => return fault(10),
        },
        "startAllProcesses" | "startProcessGroup" => Value::Array(
            [80, 10, 20, 21, 60, 50, 40, 30]
                .map(|code| done("g", "a", code))
                .into(),
        ),
        "stopAllProcesses" | "stopProcessGroup" | "signalAllProcesses" | "signalProcessGroup" => {
            Value::Array(
                [80, 10, 11, 70, 30, 6]
                    .map(|code| done("a", "a", code))
                    .into(),
            )
        }
        "clearAllProcessLogs" => Value::Array([80, 10, 30].map(|code| done("g", "a", code)).into()),
        "getAllConfigInfo" => Value::from([
            config("cat", "cat", true, true, 1),
            config("g", "a", false, false, 999),
        ]),
        "reloadConfig" => Value::from([Value::from([
            names(&["new", "b"]),
            names(&["g"]),
            names(&["old"]),
        ])]),
        "readProcessStdoutLog" | "readProcessStderrLog" | "readLog" => {
            format!("{}{:?}\n", call.method, call.params).into()
        }
        _ => true.into(),
    })
}

/// Lines, what is said, and the exit status.
const CASES: &[(&str, &str, i32)] = &[
    ("", "", 0),
    ("foo bar", "*** Unknown syntax: foo bar\n", 1),
    ("!ls", "*** Unknown syntax: !ls\n", 1),
    ("?foo", "*** No help on foo\n", 0),
    ("help status x", "*** No help on status x\n", 0),
    ("quit", "\n", 0),
    ("exit", "\n", 0),
    ("EOF", "\n", 0),
    ("version", "4.2.5\n", 0),
    ("pid", "4711\n", 0),
    ("pid all", "10\n11\n0\n", 0),
    ("pid cat g:b", "10\n0\n", 7),
    ("pid nope", "No such process nope\n", 1),
    (
        "pid f6",
        "error: <class 'xmlrpc.client.Fault'>, <Fault 6: 'SHUTDOWN_STATE: words'>\n",
        1,
    ),
    (
        "status",
        "cat                              RUNNING   pid 10, uptime 0:00:01\n\
         g:a                              STARTING  \n\
         g:b                              STOPPED   Not started\n",
        3,
    ),
    (
        "status cat",
        "cat                              RUNNING   pid 10, uptime 0:00:01\n",
        0,
    ),
    (
        "status g:a",
        "g:a                              STARTING  \n",
        0,
    ),
    (
        "status g:* cat",
        "g:a                              STARTING  \n\
         g:b                              STOPPED   Not started\n\
         cat                              RUNNING   pid 10, uptime 0:00:01\n",
        3,
    ),
    (
        "status x cat y:* g:x",
        "x: ERROR (no such process)\n\
         y: ERROR (no such group)\n\
         g:x: ERROR (no such process)\n\
         cat                              RUNNING   pid 10, uptime 0:00:01\n",
        4,
    ),
    ("start cat g:a", "cat: started\ng:a: started\n", 0),
    ("start f10", "f10: ERROR (no such process)\n", 1),
    ("start f20", "f20: ERROR (no such file)\n", 1),
    ("start f21", "f21: ERROR (file is not executable)\n", 1),
    ("start f60", "f60: ERROR (already started)\n", 0),
    ("start f50", "f50: ERROR (spawn error)\n", 7),
    ("start f40", "f40: ERROR (abnormal termination)\n", 7),
    (
        "start f30 cat",
        "f30: ERROR (FAILED: words)\ncat: started\n",
        1,
    ),
    ("start f10:*", "f10: ERROR (no such group)\n", 2),
    (
        "start f6:*",
        "error: <class 'xmlrpc.client.Fault'>, <Fault 6: 'SHUTDOWN_STATE: words'>\n",
        1,
    ),
    (
        "start all",
        "g:a: started\n\
         g:a: ERROR (no such process)\n\
         g:a: ERROR (no such file)\n\
         g:a: ERROR (file is not executable)\n\
         g:a: ERROR (already started)\n\
         g:a: ERROR (spawn error)\n\
         g:a: ERROR (abnormal termination)\n\
         g:a: ERROR (words 30)\n",
        1,
    ),
    (
        "stop cat f70",
        "cat: stopped\nf70: ERROR (not running)\n",
        0,
    ),
    ("stop f10", "f10: ERROR (no such process)\n", 1),
    ("stop f30", "FAILED: words\n", 1),
    ("stop f10:*", "f10: ERROR (no such group)\n", 1),
    (
        "stop g:",
        "a: stopped\n\
         a: ERROR (no such process)\n\
         a: ERROR (bad signal name)\n\
         a: ERROR (not running)\n\
         words 30\n\
         a: ERROR (words 6)\n",
        1,
    ),
    ("restart cat", "cat: stopped\ncat: started\n", 0),
    (
        "restart f10:*",
        "f10: ERROR (no such group)\nf10: ERROR (no such group)\n",
        2,
    ),
    ("signal HUP cat", "cat: signalled\n", 0),
    (
        "signal HUP f11 f70",
        "f11: ERROR (bad signal name)\nf70: ERROR (not running)\n",
        7,
    ),
    ("clear cat", "cat: cleared\n", 0),
    (
        "clear f10 f30",
        "f10: ERROR (no such process)\nf30: ERROR (failed)\n",
        1,
    ),
    ("clear f10:*", "f10:*: ERROR (no such process)\n", 1),
    (
        "clear all",
        "g:a: cleared\ng:a: ERROR (no such process)\ng:a: ERROR (failed)\n",
        1,
    ),
    (
        "avail",
        "cat                              in use    auto      999:1\n\
         g:a                              avail     manual    999:999\n",
        0,
    ),
    (
        "reread",
        "b: available\ng: changed\nnew: available\nold: disappeared\n",
        0,
    ),
    ("add", "", 0),
    (
        "add a f90",
        "a: added process group\nERROR: process group already active\n",
        0,
    ),
    (
        "add f10 f6",
        "ERROR: no such process/group: f10\nERROR: shutting down\n",
        1,
    ),
    ("remove a", "a: removed process group\n", 0),
    (
        "remove f91 f10",
        "ERROR: process/group still running: f91\nERROR: no such process/group: f10\n",
        1,
    ),
    (
        "update",
        "old: stopped\n\
         old: has problems; not removing\n\
         g: stopped\n\
         g: updated process group\n\
         new: added process group\n\
         b: added process group\n",
        1,
    ),
    ("update new", "new: added process group\n", 0),
    ("update cat", "", 0),
    (
        "update x g",
        "ERROR: no such group: x\ng: stopped\ng: updated process group\n",
        1,
    ),
    (
        "tail cat",
        "supervisor.readProcessStdoutLog[Text(\"cat\"), Int(-1600), Int(0)]\n\n",
        0,
    ),
    (
        "tail -7 cat STDERR",
        "supervisor.readProcessStderrLog[Text(\"cat\"), Int(-7), Int(0)]\n\n",
        0,
    ),
    ("tail f10", "f10: ERROR (no such process name)\n", 1),
    ("tail f20", "f20: ERROR (no log file)\n", 1),
    ("tail f30", "f30: ERROR (unknown error reading log)\n", 1),
    ("tail -x cat", "Error: bad argument -x\n", 1),
    ("tail - cat", "Error: bad argument -\n", 1),
    ("tail cat err", "Error: bad channel 'err'\n", 1),
    ("tail -f", "Error: tail requires process name\n", 1),
    (
        "tail -f cat",
        "==> Press Ctrl-C to exit <==\nlog\nmore\u{fffd}",
        0,
    ),
    ("maintail", "supervisor.readLog[Int(-1600), Int(0)]\n\n", 0),
    ("maintail -9", "supervisor.readLog[Int(-9), Int(0)]\n\n", 0),
    ("maintail 9", "Error: bad argument 9\n", 1),
    (
        "maintail -f",
        "==> Press Ctrl-C to exit <==\nlog\nmore\u{fffd}",
        0,
    ),
    ("shutdown", "Shut down\n", 0),
    ("reload", "Restarted supervisord\n", 0),
    ("open ftp://x", "ERROR: url must be http:// or unix://\n", 1),
    ("fg g:b", "ERROR: process not running\n", 1),
    ("fg nope", "ERROR: bad process name supplied\n", 1),
    ("fg a b", "ERROR: too many process names supplied\n", 1),
];

#[test]
fn lines_are_obeyed() {
    let server = Fake::new(supervisord);
    for (line, text, status) in CASES {
        assert_eq!(server.run(line), ((*text).to_owned(), *status), "{line}");
    }
}

#[test]
fn a_misuse_is_followed_by_help() {
    let server = Fake::new(supervisord);
    for (line, first, status) in [
        ("start", "Error: start requires a process name\n", 2),
        ("stop", "Error: stop requires a process name\n", 1),
        ("restart", "Error: restart requires a process name\n", 1),
        ("clear", "Error: clear requires a process name\n", 1),
        (
            "signal HUP",
            "Error: signal requires a signal name and a process name\n",
            1,
        ),
        (
            "signal",
            "Error: signal requires a signal name and a process name\n",
            1,
        ),
        ("tail", "Error: too few arguments\n", 1),
        ("tail a b c d", "Error: too many arguments\n", 1),
        ("maintail a b", "Error: too many arguments\n", 1),
        ("shutdown x", "Error: shutdown accepts no arguments\n", 1),
        ("reload x", "Error: reload accepts no arguments\n", 1),
        ("avail x", "Error: avail accepts no arguments\n", 1),
        ("reread x", "Error: reread accepts no arguments\n", 1),
        ("version x", "Error: version accepts no arguments\n", 1),
        ("fg", "ERROR: no process name supplied\n", 1),
    ] {
        let (text, exit) = server.run(line);
        let action = line.split(' ').next().unwrap();
        let help = text.strip_prefix(first).expect(&text);
        assert_eq!((help, exit), (help::of(action).unwrap(), status), "{line}");
    }
}

#[test]
fn status_asks_twice_whatever_the_number_of_processes() {
    let server = Fake::new(|call| match call.method.as_str() {
        "supervisor.getAllProcessInfo" => {
            let info = |number| info("g", &format!("p{number}"), 20, "RUNNING", number, "");
            Ok(Value::Array((0..1000).map(info).collect()))
        }
        _ => supervisord(call),
    });
    let (text, status) = server.run("status");
    assert_eq!((text.lines().count(), status), (1000, 0));
    assert_eq!(server.calls(), ["getVersion()", "getAllProcessInfo()"]);
}

#[test]
fn servers_that_do_not_fit_are_told() {
    let sorry = |text: &str| text.starts_with("Sorry, ");
    let old = Fake::new(|_| Ok("2.0".into()));
    let (text, status) = old.run("start a");
    assert!(
        sorry(&text) && text.ends_with("but the remote version is 2.0.\n"),
        "{text}"
    );
    assert_eq!(status, 5);
    assert_eq!(old.run("status").1, 4);
    let none = Fake::new(|_| fault(1));
    let (text, status) = none.run("pid");
    assert!(sorry(&text) && status == 3, "{text}");
    let ending = Fake::new(|_| fault(6));
    let text = "error: <class 'xmlrpc.client.Fault'>, <Fault 6: 'SHUTDOWN_STATE: words'>\n";
    assert_eq!(ending.run("status"), (text.to_owned(), 1));
    for (line, text, status) in [
        ("shutdown", "ERROR: already shutting down\n", 0),
        ("reload", "ERROR: already shutting down\n", 1),
        ("avail", "ERROR: supervisor shutting down\n", 1),
        ("reread", "ERROR: supervisor shutting down\n", 1),
        ("update", "ERROR: already shutting down\n", 1),
    ] {
        assert_eq!(ending.run(line), (text.to_owned(), status), "{line}");
    }
    let unreadable = Fake::new(|_| fault(92));
    let text = "ERROR: CANT_REREAD: words\n";
    assert_eq!(unreadable.run("reread"), (text.to_owned(), 1));
    assert_eq!(unreadable.run("update"), (text.to_owned(), 1));
    let same = Fake::new(|_| {
        Ok(Value::from([Value::from([
            names(&[]),
            names(&[]),
            names(&[]),
        ])]))
    });
    assert_eq!(
        same.run("reread"),
        ("No config updates to processes\n".to_owned(), 0)
    );
    assert_eq!(same.run("update"), (String::new(), 0));
}

#[test]
fn servers_that_are_not_there_are_told() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let refused = format!("http://{port}");
    for (line, status) in [("start a", 4), ("status", 4), ("version", 4)] {
        let text = format!("{refused} refused connection\n");
        assert_eq!(run(&refused, line), (text, status), "{line}");
    }
    let text = format!("ERROR: {refused} refused connection (already shut down?)\n");
    assert_eq!(run(&refused, "shutdown"), (text, 1));
    let text = format!(
        "error: <class 'ConnectionRefusedError'>, [Errno 111] Connection refused: {refused}\n"
    );
    assert_eq!(run(&refused, "avail"), (text, 1));
    let dir = tempfile::tempdir().unwrap();
    let missing = format!("unix://{}/no.sock", dir.path().display());
    for (line, status) in [("start a", 7), ("status", 4)] {
        assert_eq!(
            run(&missing, line),
            (format!("{missing} no such file\n"), status),
            "{line}"
        );
    }
    let text = format!("ERROR: {missing} no such file (already shut down?)\n");
    assert_eq!(run(&missing, "shutdown"), (text, 1));
    let (text, status) = run("ftp://x", "status");
    assert_eq!(
        (text.as_str(), status),
        ("error: Unknown protocol for serverurl ftp://x\n", 1)
    );
}

#[test]
fn a_password_is_asked_for_where_somebody_is_there() {
    let manner = Manner {
        password: Some("me:secret"),
        ..Manner::default()
    };
    let server = Fake::with(manner, supervisord);
    let wanted = "Server requires authentication\n";
    assert_eq!(server.run("version"), (wanted.to_owned(), 1));
    assert_eq!(server.run("tail -f cat"), (wanted.to_owned(), 1));
    let mut ctl = ctl(&server.url, &["me", "wrong", "me", "secret"]);
    let text = format!("{wanted}\n{wanted}\n4.2.5\n");
    assert_eq!(said(&mut ctl, "version"), (text, 0));
    assert_eq!(said(&mut ctl, "pid"), ("4711\n".to_owned(), 0));
    let mut ctl = self::ctl(&server.url, &["me"]);
    assert_eq!(said(&mut ctl, "version"), (wanted.to_owned(), 1));
}

#[test]
fn what_ends_everything_asks_first() {
    let server = Fake::new(supervisord);
    let mut ctl = ctl(&server.url, &["n", "Yes", ""]);
    assert_eq!(said(&mut ctl, "shutdown"), (String::new(), 0));
    assert_eq!(server.calls(), [""; 0]);
    assert_eq!(
        said(&mut ctl, "reload"),
        ("Restarted supervisord\n".to_owned(), 0)
    );
    assert_eq!(said(&mut ctl, "reload"), (String::new(), 0));
    assert_eq!(server.calls(), ["restart()"]);
}

#[test]
fn another_server_is_opened() {
    let (one, other) = (Fake::new(|_| fault(6)), Fake::new(supervisord));
    let mut ctl = ctl(&one.url, &[]);
    let (text, status) = said(&mut ctl, &format!("open {}", other.url));
    assert_eq!((text.lines().count(), status), (3, 0));
    assert_eq!(said(&mut ctl, "version").0, "4.2.5\n");
    assert_eq!(ctl.settings().serverurl, other.url);
}

#[test]
fn only_quitting_quits() {
    let mut ctl = ctl("http://127.0.0.1:1", &[]);
    for (line, flow) in [
        ("quit", Flow::Quit),
        ("exit", Flow::Quit),
        ("EOF", Flow::Quit),
        ("", Flow::Continue),
        ("nope", Flow::Continue),
        ("version", Flow::Continue),
    ] {
        assert_eq!(ctl.line(line, &mut Vec::new()), flow, "{line}");
    }
    assert_eq!(ctl.prompt(), "supervisor> ");
}

#[test]
fn a_shell_begins_with_status_and_ends_with_the_lines() {
    let server = Fake::new(supervisord);
    let shell = |lines: &[&str]| {
        let (mut lines, mut prompts, mut out) = (lines.iter(), Vec::new(), Vec::new());
        let read = |_: &Ctl, prompt: &str| {
            prompts.push(prompt.to_owned());
            lines.next().map(|&line| line.to_owned())
        };
        ctl(&server.url, &[]).shell(read, &mut out);
        let out = String::from_utf8(out).unwrap();
        let tail = out.lines().skip(3).collect::<Vec<_>>().join("|");
        (tail, prompts.len())
    };
    assert_eq!(shell(&[]), (String::new(), 1));
    assert_eq!(shell(&["pid", "", "quit", "pid"]), ("4711|".to_owned(), 3));
    assert_eq!(shell(&["pid", "nope"]).0, "4711|*** Unknown syntax: nope|");
}

#[test]
fn names_are_completed() {
    let server = Fake::new(supervisord);
    let mut ctl = ctl(&server.url, &[]);
    let mut complete = |line: &str| ctl.complete(line, line.len()).concat();
    assert_eq!(complete("st"), "start status stop ");
    assert_eq!(complete("").split_whitespace().count(), 22);
    assert_eq!(complete("help ver"), "version ");
    assert_eq!(complete("start "), "cat g:a g:* g:b ");
    assert_eq!(complete("start cat g:"), "g:a g:* g:b ");
    assert_eq!(complete("start cat:"), "cat:cat cat:* ");
    assert_eq!(complete("update "), "cat g ");
    assert_eq!(complete("version "), "");
    assert_eq!(server.calls(), ["getAllProcessInfo()"]);
    assert_eq!(word_start("start a-b:c", 11), 6);
    assert_eq!(word_start("start", 3), 0);
}

/// A writer that reports what it is given.
struct Reported(mpsc::Sender<String>);

impl Write for Reported {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(bytes).into_owned();
        self.0.send(text).map_err(std::io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn following_ends_when_it_is_interrupted() {
    let manner = Manner {
        endless: true,
        ..Manner::default()
    };
    let server = Fake::with(manner, supervisord);
    let interrupt = Arc::new(AtomicBool::new(false));
    let settings = Settings {
        serverurl: server.url.clone(),
        ..Settings::default()
    };
    let flag = interrupt.clone();
    let (sender, receiver) = mpsc::channel();
    let following = thread::spawn(move || {
        let mut ctl = Ctl::new(settings, Box::new(Script::default()), flag);
        let flow = ctl.line("tail -f g:a stderr", &mut Reported(sender));
        (flow, ctl.status())
    });
    let mut text = String::new();
    while !text.ends_with("more\u{fffd}") {
        text += &receiver.recv().unwrap();
    }
    interrupt.store(true, Ordering::Relaxed);
    assert_eq!(following.join().unwrap(), (Flow::Continue, 0));
    assert_eq!(receiver.iter().collect::<String>(), "\n");
    assert_eq!(server.calls(), ["getVersion()", "/logtail/g:a/stderr"]);
}

#[test]
fn a_log_that_is_not_there_cannot_be_followed() {
    let server = Fake::new(supervisord);
    let text = format!(
        "==> Press Ctrl-C to exit <==\n{}/logtail/nope/stdout Cannot read, status code 404\n",
        server.url
    );
    assert_eq!(server.run("tail -f nope"), (text, 1));
}

#[test]
fn lines_go_to_the_process_in_front() {
    let server = Fake::new(supervisord);
    let mut ctl = ctl(&server.url, &["hello", "you"]);
    let (text, status) = said(&mut ctl, "fg cat");
    assert!(text.starts_with("==> Press Ctrl-C to exit <==\n"), "{text}");
    assert!(text.ends_with("Exiting foreground\n"), "{text}");
    assert_eq!(status, 0);
    let calls = server.calls();
    let sent = |text: &str| format!("sendProcessStdin(Text(\"cat\"), Text(\"{text}\\n\"))");
    assert!(
        calls.contains(&sent("hello")) && calls.contains(&sent("you")),
        "{calls:?}"
    );
    let dying = Fake::new(|call| match call.method.as_str() {
        "supervisor.sendProcessStdin" => fault(70),
        _ => supervisord(call),
    });
    let mut ctl = self::ctl(&dying.url, &["hello"]);
    let (text, _) = said(&mut ctl, "fg cat");
    assert!(
        text.ends_with("Process got killed\nExiting foreground\n"),
        "{text}"
    );
}

#[test]
fn a_server_that_talks_nonsense_is_told() {
    for (answer, text) in [
        ("nonsense\r\n", "error: the server does not speak HTTP\n"),
        (
            "",
            "error: the server closed the connection before it answered\n",
        ),
        (
            "HTTP/1.1 500 Oops\r\n\r\n",
            "error: <class 'xmlrpc.client.ProtocolError'>, <ProtocolError for 127.0.0.1/RPC2: 500 Oops>\n",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<x/>",
            "error: the server closed the connection before it answered\n",
        ),
        (
            "HTTP/1.0 200 OK\r\n\r\n<x/>",
            "error: the XML-RPC text is neither an answer nor a fault (at byte 4)\n",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "error: the server sent a bad chunk\n",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
            "error: the server's answer is too long\n",
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(&stream);
            let mut line = String::new();
            while !line.ends_with("</methodCall>\n") {
                reader.read_line(&mut line).unwrap();
            }
            (&stream).write_all(answer.as_bytes()).unwrap();
        });
        assert_eq!(run(&url, "version"), (text.to_owned(), 1), "{answer:?}");
        server.join().unwrap();
    }
}

/// An output that nobody takes anything from.
struct Broken;

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

#[test]
fn a_shell_that_nobody_hears_can_be_left() {
    for word in ["quit", "exit", "EOF"] {
        let mut ctl = ctl("unix:///nonexistent/socket", &[]);
        assert_eq!(ctl.line(word, &mut Broken), Flow::Quit, "{word}");
    }
}
