//! All methods and their faults.

use std::time::Duration;

use mainstay_supervise::{Command, Did, Phase, Refusal, Status};
use mainstay_supervisord::rpc::methods::METHODS;
use mainstay_supervisord::rpc::{Allowance, DaemonState, Rpc};
use mainstay_supervisord::xmlrpc::{Fault, Value, parse_response};

use crate::fake::{Fake, running, status};

/// Calls a method and reads what a client would read.
pub(crate) fn call(rpc: &Rpc<Fake, Fake>, method: &str, params: &[Value]) -> Result<Value, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let answer = runtime.block_on(async {
        let mut allowance = Allowance::default();
        let call = rpc.call(method, params, &mut allowance);
        tokio::time::timeout(Duration::from_mins(1), call)
            .await
            .expect("a call is answered")
    });
    let mut bytes = Vec::new();
    rpc.write(&answer, &mut bytes);
    parse_response(&bytes).unwrap()
}

pub(crate) fn fault(code: i32, text: &str) -> Result<Value, Fault> {
    Err(Fault {
        code,
        text: text.to_owned(),
    })
}

pub(crate) fn texts(texts: &[&str]) -> Vec<Value> {
    texts.iter().map(|text| Value::from(*text)).collect()
}

fn fared(name: &str, group: &str, status: i32, description: &str) -> Value {
    Value::from([
        ("name", name.into()),
        ("group", group.into()),
        ("status", status.into()),
        ("description", description.into()),
    ])
}

/// A program of its own, a group of three, a program called as what means all.
fn shop() -> Vec<Status> {
    vec![
        running("db", "db", 10),
        status("shop", "shop:worker", Phase::Stopped),
        running("shop", "shop:web:0", 11),
        status("shop", "shop:mail", Phase::Exited),
        status("all", "all", Phase::Stopped),
    ]
}

#[test]
fn methods_about_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    std::fs::write(&log, b"one\ntwo\xff\x1b<\n").unwrap();
    let rpc = Fake::new(shop())
        .with(|world| world.main_log = Some(log.clone()))
        .rpc();
    let ok = |value: Value| Ok(value);
    for (method, params, expected) in [
        ("supervisor.getAPIVersion", vec![], ok("3.0".into())),
        ("supervisor.getVersion", vec![], ok("3.0".into())),
        (
            "supervisor.getSupervisorVersion",
            vec![],
            ok("4.2.5".into()),
        ),
        (
            "supervisor.getIdentification",
            vec![],
            ok("supervisor".into()),
        ),
        ("supervisor.getPID", vec![], ok(99.into())),
        (
            "supervisor.getState",
            vec![],
            ok(Value::from([
                ("statecode", 1.into()),
                ("statename", "RUNNING".into()),
            ])),
        ),
        (
            "supervisor.reloadConfig",
            vec![],
            ok(Value::from([Value::from([
                Value::Array(texts(&["a"])),
                Value::Array(vec![]),
                Value::Array(texts(&["r", "s"])),
            ])])),
        ),
        (
            "supervisor.addProcessGroup",
            texts(&["new"]),
            ok(true.into()),
        ),
        (
            "supervisor.addProcessGroup",
            texts(&["there"]),
            fault(90, "ALREADY_ADDED: there"),
        ),
        (
            "supervisor.addProcessGroup",
            texts(&["no"]),
            fault(10, "BAD_NAME: no"),
        ),
        (
            "supervisor.addProcessGroup",
            texts(&["broken"]),
            fault(30, "FAILED: no log"),
        ),
        (
            "supervisor.removeProcessGroup",
            texts(&["old"]),
            ok(true.into()),
        ),
        (
            "supervisor.removeProcessGroup",
            texts(&["busy"]),
            fault(91, "STILL_RUNNING: busy"),
        ),
        (
            "supervisor.removeProcessGroup",
            texts(&["no"]),
            fault(10, "BAD_NAME: no"),
        ),
        (
            "supervisor.readLog",
            vec![0.into(), 0.into()],
            ok("one\ntwo\u{fffd}␛<\n".into()),
        ),
        (
            "supervisor.readMainLog",
            vec![(-3).into(), 0.into()],
            ok("␛<\n".into()),
        ),
        (
            "supervisor.readLog",
            vec![(-3).into(), 1.into()],
            fault(3, "BAD_ARGUMENTS"),
        ),
        (
            "supervisor.readLog",
            vec!["x".into(), 1.into()],
            fault(2, "INCORRECT_PARAMETERS"),
        ),
        ("supervisor.clearLog", vec![], ok(true.into())),
        ("supervisor.clearLog", vec![], fault(20, "NO_FILE")),
        (
            "supervisor.readLog",
            vec![0.into(), 0.into()],
            fault(20, &format!("NO_FILE: {}", log.display())),
        ),
    ] {
        assert_eq!(call(&rpc, method, &params), expected, "{method} {params:?}");
    }
    let rpc = Fake::new(shop())
        .with(|world| {
            world.clear_fails = true;
            world.reread = Some("a fault".to_owned());
        })
        .rpc();
    for (method, params, expected) in [
        ("supervisor.clearLog", vec![], fault(20, "NO_FILE")),
        (
            "supervisor.readLog",
            vec![0.into(), 0.into()],
            fault(20, "NO_FILE"),
        ),
        (
            "supervisor.reloadConfig",
            vec![],
            fault(92, "CANT_REREAD: a fault"),
        ),
    ] {
        assert_eq!(call(&rpc, method, &params), expected, "{method}");
    }
    let rpc = Fake::new(shop())
        .with(|world| {
            world.clear_fails = true;
            world.main_log = Some("/no/log".into());
        })
        .rpc();
    assert_eq!(call(&rpc, "supervisor.clearLog", &[]), fault(30, "FAILED"));
}

#[test]
fn names_mean_what_they_mean_to_the_original() {
    let rpc = Fake::new(shop()).rpc();
    let info = |name: &str| {
        call(&rpc, "supervisor.getProcessInfo", &texts(&[name])).map(|info| {
            let part = |part| info.get(part).unwrap().as_str().unwrap().to_owned();
            format!("{} {}", part("group"), part("name"))
        })
    };
    for (name, expected) in [
        ("db", Some("db db")),
        ("db:db", Some("db db")),
        ("shop:worker", Some("shop worker")),
        ("shop:web_0", Some("shop web_0")),
        ("all", Some("all all")),
        ("worker", None),
        ("shop", None),
        ("shop:*", None),
        ("shop:", None),
        ("shop:web:0", None),
        ("shop:shop:worker", None),
        ("*", None),
        ("", None),
    ] {
        let expected = expected
            .map(str::to_owned)
            .ok_or_else(|| fault(10, &format!("BAD_NAME: {name}")).unwrap_err());
        assert_eq!(info(name), expected, "{name}");
    }
}

#[test]
fn a_program_that_is_called_like_another_group_is_not_taken_for_it() {
    // `web:*` means the program `web` of the group `shop` to the supervision.
    let mut first = running("shop", "shop:web", 1);
    first.program = "web".to_owned();
    let fake = Fake::new(vec![first, running("web", "web:api", 2)]);
    let rpc = fake.rpc();
    let info = call(&rpc, "supervisor.getProcessInfo", &texts(&["web:api"])).unwrap();
    assert_eq!(info.get("pid"), Some(&2.into()));
    call(&rpc, "supervisor.stopProcessGroup", &texts(&["web"])).unwrap();
    let asked = fake.0.lock().unwrap().asked.pop().unwrap();
    let names = vec!["web:api".to_owned()];
    assert_eq!(asked, Command::Stop { names, wait: true });
}

#[test]
fn starting() {
    // (how it is, what becomes of it, what the client is told)
    let cases: Vec<(Status, Option<Did>, Result<Value, Fault>)> = vec![
        (status("a", "a", Phase::Stopped), None, Ok(true.into())),
        (
            status("a", "a", Phase::Stopped),
            Some(Did::Asked),
            Ok(true.into()),
        ),
        (
            status("a", "a", Phase::Stopped),
            Some(Did::NoFile("can't find command 'x'".to_owned())),
            fault(20, "NO_FILE: can't find command 'x'"),
        ),
        (
            status("a", "a", Phase::Stopped),
            Some(Did::NotExecutable(
                "command at 'x' is not executable".to_owned(),
            )),
            fault(21, "NOT_EXECUTABLE: command at 'x' is not executable"),
        ),
        (
            running("a", "a", 1),
            Some(Did::AlreadyRunning),
            fault(60, "ALREADY_STARTED: a:*"),
        ),
        (
            status("a", "a", Phase::Backoff),
            Some(Did::SpawnFailed("why".to_owned())),
            fault(50, "SPAWN_ERROR: a:*"),
        ),
        (
            status("a", "a", Phase::Fatal),
            Some(Did::Failed("Exited too quickly".to_owned())),
            fault(50, "SPAWN_ERROR: a:*"),
        ),
        (
            status("a", "a", Phase::Stopped),
            Some(Did::Failed("it is STOPPED".to_owned())),
            fault(40, "ABNORMAL_TERMINATION: a:*"),
        ),
        (
            status("a", "a", Phase::Unknown),
            None,
            fault(30, "FAILED: a:* is in an unknown process state"),
        ),
    ];
    for (status, did, expected) in cases {
        let rpc = Fake::new(vec![status.clone()])
            .with(|world| {
                if let Some(did) = &did {
                    world.results.insert("a".to_owned(), did.clone());
                }
            })
            .rpc();
        // A fault shows the name as the client wrote it.
        let expected = |name: &str| {
            expected.clone().map_err(|mut fault| {
                fault.text = fault.text.replace("a:*", name);
                fault
            })
        };
        let started = call(&rpc, "supervisor.startProcess", &texts(&["a:a"]));
        assert_eq!(started, expected("a:a"), "{did:?}");
        // What runs is left out; the rest has the same result in another form.
        let many = call(&rpc, "supervisor.startProcessGroup", &texts(&["a"])).unwrap();
        let one = match expected("a") {
            _ if status.phase.is_running() => vec![],
            Ok(_) if did.is_none() => vec![],
            Ok(_) => vec![fared("a", "a", 80, "OK")],
            Err(fault) => vec![fared("a", "a", fault.code, &fault.text)],
        };
        assert_eq!(many.items(), one, "{did:?}");
    }
}

#[test]
fn acting_on_groups_and_all() {
    let fake = Fake::new(shop());
    let rpc = fake.rpc();
    let last = || fake.0.lock().unwrap().asked.pop().unwrap();
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let array = |items: &[Value]| Ok(Value::Array(items.to_vec()));

    let started = call(
        &rpc,
        "supervisor.startProcess",
        &["shop:*".into(), false.into()],
    );
    assert_eq!(
        started,
        array(&[
            fared("worker", "shop", 80, "OK"),
            fared("mail", "shop", 80, "OK")
        ])
    );
    let expected = Command::Start {
        names: names(&["shop:worker", "shop:mail"]),
        wait: false,
        strict: true,
    };
    assert_eq!(last(), expected);

    let started = call(&rpc, "supervisor.startAllProcesses", &[]);
    assert_eq!(started, array(&[fared("all", "all", 80, "OK")]));
    let expected = Command::Start {
        names: names(&["all:all"]),
        wait: true,
        strict: true,
    };
    assert_eq!(last(), expected);
    // Nothing is left to start, and nobody is asked to start nothing, which would mean all.
    assert_eq!(call(&rpc, "supervisor.startAllProcesses", &[]), array(&[]));
    assert_eq!(last(), Command::Status { names: vec![] });

    let signalled = call(
        &rpc,
        "supervisor.signalProcessGroup",
        &texts(&["shop", "hup"]),
    );
    assert_eq!(signalled.unwrap().items().len(), 3);
    let signalled = call(&rpc, "supervisor.signalProcess", &texts(&["db:*", "NOPE"]));
    assert_eq!(
        signalled,
        array(&[fared("db", "db", 11, "BAD_SIGNAL: NOPE")])
    );
    let signalled = call(&rpc, "supervisor.signalAllProcesses", &[15.into()]);
    assert_eq!(signalled.unwrap().items().len(), 5);

    let stopped = call(&rpc, "supervisor.stopProcess", &texts(&["shop:"]));
    assert_eq!(stopped.unwrap().items().len(), 3);
    let stopped = call(&rpc, "supervisor.stopAllProcesses", &[false.into()]);
    assert_eq!(stopped.unwrap().items().len(), 2);
    let expected = Command::Stop {
        names: names(&["db", "all:all"]),
        wait: false,
    };
    assert_eq!(last(), expected);

    let cleared = call(&rpc, "supervisor.clearAllProcessLogs", &[]);
    assert_eq!(cleared.unwrap().items().len(), 5);

    for method in ["startProcessGroup", "stopProcessGroup"] {
        let method = format!("supervisor.{method}");
        assert_eq!(
            call(&rpc, &method, &texts(&["no"])),
            fault(10, "BAD_NAME: no")
        );
    }
    for method in ["startProcess", "stopProcess"] {
        let method = format!("supervisor.{method}");
        assert_eq!(
            call(&rpc, &method, &texts(&["no:*"])),
            fault(10, "BAD_NAME: no:*")
        );
    }
    let signalled = call(&rpc, "supervisor.signalProcess", &texts(&["no:*", "HUP"]));
    assert_eq!(signalled, fault(10, "BAD_NAME: no:*"));
}

#[test]
fn a_refusal_is_told_for_each_process() {
    let rpc = Fake::new(shop())
        .with(|world| world.refusal = Some(Refusal::ShuttingDown))
        .rpc();
    let stopped = call(&rpc, "supervisor.stopAllProcesses", &[]).unwrap();
    assert_eq!(
        stopped.items()[1],
        fared("web_0", "shop", 6, "SHUTDOWN_STATE")
    );
    let stopped = call(&rpc, "supervisor.stopProcess", &texts(&["db"]));
    assert_eq!(stopped, fault(6, "SHUTDOWN_STATE"));
}

#[test]
fn stopping_signalling_clearing_sending() {
    type Case = (&'static str, Vec<Value>, Option<Did>, Result<Value, Fault>);
    let table: Vec<Case> = vec![
        ("stopProcess", texts(&["db"]), None, Ok(true.into())),
        (
            "stopProcess",
            texts(&["shop:worker"]),
            None,
            fault(70, "NOT_RUNNING: shop:worker"),
        ),
        (
            "stopProcess",
            texts(&["db"]),
            Some(Did::Failed("why".to_owned())),
            fault(30, "FAILED: why"),
        ),
        (
            "signalProcess",
            texts(&["db", "HUP"]),
            None,
            Ok(true.into()),
        ),
        (
            "signalProcess",
            vec!["db".into(), 1.into()],
            None,
            Ok(true.into()),
        ),
        (
            "signalProcess",
            texts(&["db", "SIGFOO"]),
            None,
            fault(11, "BAD_SIGNAL: SIGFOO"),
        ),
        (
            "signalProcess",
            vec!["db".into(), 99.into()],
            None,
            fault(11, "BAD_SIGNAL: 99"),
        ),
        (
            "signalProcess",
            vec!["db".into(), Value::Nil],
            None,
            fault(2, "INCORRECT_PARAMETERS"),
        ),
        (
            "signalProcess",
            texts(&["no", "SIGFOO"]),
            None,
            fault(10, "BAD_NAME: no"),
        ),
        (
            "signalProcess",
            texts(&["shop:worker", "HUP"]),
            None,
            fault(70, "NOT_RUNNING: shop:worker"),
        ),
        (
            "signalProcess",
            texts(&["db", "HUP"]),
            Some(Did::Failed("why".to_owned())),
            fault(30, "FAILED: why"),
        ),
        ("clearProcessLogs", texts(&["db"]), None, Ok(true.into())),
        ("clearProcessLog", texts(&["db"]), None, Ok(true.into())),
        (
            "clearProcessLogs",
            texts(&["db"]),
            Some(Did::Failed("why".to_owned())),
            fault(30, "FAILED: db"),
        ),
        (
            "clearProcessLogs",
            texts(&["shop:*"]),
            None,
            fault(10, "BAD_NAME: shop:*"),
        ),
        (
            "sendProcessStdin",
            texts(&["db", "hä"]),
            None,
            Ok(true.into()),
        ),
        (
            "sendProcessStdin",
            vec!["db".into(), 5.into()],
            None,
            fault(2, "INCORRECT_PARAMETERS: 5"),
        ),
        (
            "sendProcessStdin",
            texts(&["no", "x"]),
            None,
            fault(10, "BAD_NAME: no"),
        ),
        (
            "sendProcessStdin",
            texts(&["shop:worker", "x"]),
            None,
            fault(70, "NOT_RUNNING: shop:worker"),
        ),
        (
            "sendProcessStdin",
            texts(&["db", "x"]),
            Some(Did::NoFile("closed".to_owned())),
            fault(20, "NO_FILE: db"),
        ),
        (
            "sendRemoteCommEvent",
            texts(&["kind", "data"]),
            None,
            Ok(true.into()),
        ),
    ];
    for (method, params, did, expected) in table {
        let rpc = Fake::new(shop())
            .with(|world| {
                if let Some(did) = &did {
                    world.results.insert("db".to_owned(), did.clone());
                }
            })
            .rpc();
        let method = format!("supervisor.{method}");
        assert_eq!(
            call(&rpc, &method, &params),
            expected,
            "{method} {params:?} {did:?}"
        );
    }
}

#[test]
fn names_of_methods_are_looked_up_in_one_table() {
    let rpc = Fake::new(shop()).rpc();
    // The first ones are what CVE-2017-11610 was exploited with.
    for method in [
        "supervisor.supervisord.options.warnings.linecache.os.system",
        "supervisor.supervisord.options.execve",
        "supervisor.supervisord.options.server_configs",
        "supervisor.supervisord.process_groups",
        "supervisor.__init__",
        "supervisor._update",
        "supervisor._getAllProcesses",
        "supervisor.__class__",
        "system._listMethods",
        "system.namespaces",
        "system.__init__.__globals__.os.system",
        "os.system",
        "supervisor",
        "supervisor.",
        ".getPID",
        ".",
        "",
        "supervisor.getpid",
        "supervisor.getPID ",
        " supervisor.getPID",
        "supervisor..getPID",
        "supervisor.getPID.x",
        "system.multicall.x",
    ] {
        let expected = fault(1, "UNKNOWN_METHOD");
        assert_eq!(call(&rpc, method, &texts(&["id"])), expected, "{method}");
        let inner = Value::from([Value::from([
            ("methodName", method.into()),
            ("params", Value::Array(vec![])),
        ])]);
        let several = call(&rpc, "system.multicall", &[inner]).unwrap();
        let code = several.items()[0].get("faultCode");
        assert_eq!(code, Some(&1.into()), "{method}");
    }
    assert_eq!(fakes_asked(&rpc), 0);
}

fn fakes_asked(rpc: &Rpc<Fake, Fake>) -> usize {
    rpc.host().0.lock().unwrap().asked.len()
}

#[test]
fn wrong_arguments() {
    let rpc = Fake::new(shop()).rpc();
    for entry in METHODS {
        let most = entry.signature.len() - 1;
        let expected = fault(2, "INCORRECT_PARAMETERS");
        let many = vec![Value::from("x"); most + 1];
        assert_eq!(call(&rpc, entry.name, &many), expected, "{}", entry.name);
        if most > entry.optional {
            assert_eq!(call(&rpc, entry.name, &[]), expected, "{}", entry.name);
            // No method takes structs.
            let wrong = vec![Value::Struct(vec![]); most];
            let code = call(&rpc, entry.name, &wrong).unwrap_err().code;
            assert!(matches!(code, 2 | 4), "{}", entry.name);
        }
    }
    let asked = &rpc.host().0.lock().unwrap().asked;
    let harmless = |it: &Command| matches!(it, Command::Status { .. });
    assert!(asked.iter().all(harmless), "{asked:?}");
}

#[test]
fn nothing_is_done_while_the_daemon_ends() {
    for state in [DaemonState::Shutdown, DaemonState::Restarting] {
        let rpc = Fake::new(shop())
            .with(|world| world.state = Some(state))
            .rpc();
        for entry in METHODS {
            let params = vec![Value::from("db"); entry.signature.len() - 1];
            let answer = call(&rpc, entry.name, &params);
            let free =
                entry.name.starts_with("system.") || entry.name == "supervisor.sendRemoteCommEvent";
            let down = answer == fault(6, "SHUTDOWN_STATE");
            assert_eq!(down, !free, "{} {answer:?}", entry.name);
        }
    }
    let rpc = Fake::new(shop()).rpc();
    assert_eq!(call(&rpc, "supervisor.shutdown", &[]), Ok(true.into()));
    assert_eq!(
        call(&rpc, "supervisor.getState", &[]),
        fault(6, "SHUTDOWN_STATE")
    );
    let rpc = Fake::new(shop()).rpc();
    assert_eq!(call(&rpc, "supervisor.restart", &[]), Ok(true.into()));
    assert_eq!(
        call(&rpc, "supervisor.restart", &[]),
        fault(6, "SHUTDOWN_STATE")
    );
}

#[test]
fn methods_describe_themselves() {
    let rpc = Fake::new(vec![]).rpc();
    let all = call(&rpc, "system.listMethods", &[]).unwrap();
    assert_eq!(all.items().len(), METHODS.len());
    for name in all.items() {
        let params = std::slice::from_ref(name);
        let help = call(&rpc, "system.methodHelp", params).unwrap();
        assert!(!help.as_str().unwrap().is_empty());
        let signature = call(&rpc, "system.methodSignature", params).unwrap();
        assert!(!signature.items().is_empty());
    }
    let start = call(
        &rpc,
        "system.methodSignature",
        &texts(&["supervisor.startProcess"]),
    );
    assert_eq!(
        start,
        Ok(Value::Array(texts(&["boolean", "string", "boolean"])))
    );
    for method in ["system.methodHelp", "system.methodSignature"] {
        for name in [Value::from("system.nope"), Value::Nil] {
            assert_eq!(
                call(&rpc, method, &[name]),
                fault(4, "SIGNATURE_UNSUPPORTED")
            );
        }
    }
}

#[test]
fn several_calls_at_once() {
    let rpc = Fake::new(shop()).rpc();
    let one = |method: &str, params: Vec<Value>| {
        Value::from([("methodName", method.into()), ("params", params.into())])
    };
    let calls = vec![
        one("supervisor.stopProcess", texts(&["db"])),
        one("supervisor.startProcess", texts(&["db"])),
        one("supervisor.startProcess", texts(&["no"])),
        one("system.multicall", vec![]),
        Value::from([("params", Value::Array(vec![]))]),
        Value::from([("methodName", "supervisor.getPID".into())]),
        Value::from([
            ("methodName", "supervisor.getPID".into()),
            ("params", 7.into()),
        ]),
        "supervisor.getPID".into(),
        one("supervisor.getAllProcessInfo", vec![]),
    ];
    let answer = call(&rpc, "system.multicall", &[calls.into()]).unwrap();
    let failed = |code: i32, text: &str| {
        Value::from([("faultCode", code.into()), ("faultString", text.into())])
    };
    let expected = [
        true.into(),
        true.into(),
        failed(10, "BAD_NAME: no"),
        failed(
            2,
            "INCORRECT_PARAMETERS: Recursive system.multicall forbidden",
        ),
        failed(2, "INCORRECT_PARAMETERS: No methodName"),
        99.into(),
        failed(2, "INCORRECT_PARAMETERS"),
        failed(2, "INCORRECT_PARAMETERS: Not a call"),
    ];
    assert_eq!(answer.items()[..8], expected);
    assert_eq!(answer.items()[8].items().len(), 5);
    let order: Vec<_> = rpc
        .host()
        .0
        .lock()
        .unwrap()
        .asked
        .iter()
        .filter_map(|command| match command {
            Command::Start { .. } => Some("start"),
            Command::Stop { .. } => Some("stop"),
            _ => None,
        })
        .collect();
    assert_eq!(order, ["stop", "start"]);
    let nothing = call(&rpc, "system.multicall", &[Value::Array(vec![])]);
    assert_eq!(nothing, Ok(Value::Array(vec![])));
}

#[test]
fn one_answer_cannot_fill_the_memory() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    // Sparse: it takes no room on the disk.
    let file = std::fs::File::create(&log).unwrap();
    file.set_len(20 << 20).unwrap();
    let rpc = Fake::new(vec![])
        .with(|world| world.main_log = Some(log))
        .rpc();
    let call_one = Value::from([
        ("methodName", "supervisor.readLog".into()),
        ("params", Value::Array(vec![0.into(), 0.into()])),
    ]);
    let calls = vec![call_one; 5];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let answer = runtime
        .block_on(rpc.call(
            "system.multicall",
            &[calls.into()],
            &mut Allowance::default(),
        ))
        .unwrap();
    assert!(answer.weight() <= mainstay_supervisord::rpc::ROOM + 4096);
    let mainstay_supervisord::rpc::Answer::Several(all) = answer else {
        panic!("{answer:?}");
    };
    assert!(all[0].is_ok() && all[1].is_ok());
    let refused = all[2].as_ref().unwrap_err();
    assert!(refused.text.starts_with("FAILED: "), "{}", refused.text);
}

/// How long the answer takes, to be looked at: `cargo test --release -- --ignored --nocapture`.
#[test]
#[ignore = "it measures and proves nothing"]
fn thousands_of_processes() {
    let all = (0..3000).map(|i| running("shop", &format!("shop:web_{i}"), i));
    let rpc = Fake::new(all.collect()).rpc();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    for _ in 0..5 {
        let start = std::time::Instant::now();
        let mut allowance = Allowance::default();
        let call = rpc.call("supervisor.getAllProcessInfo", &[], &mut allowance);
        let answer = runtime.block_on(call);
        let asked = start.elapsed();
        let mut bytes = Vec::new();
        rpc.write(&answer, &mut bytes);
        println!(
            "asked {asked:?}, all {:?}, {} bytes",
            start.elapsed(),
            bytes.len()
        );
    }
}
