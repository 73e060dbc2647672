//! What is read from `[program.x]`, and what is said about what cannot be.

use std::path::Path;

use mainstay_base::config::Document;

use super::*;

fn read_text(text: &str) -> (Vec<ProgramSpec>, String) {
    let document = Document::parse("/etc/m.toml", text).unwrap();
    let defaults = Defaults {
        log_dir: "/log".into(),
        retain: Retention::default(),
    };
    let mut root = document.root();
    let programs = read_all(&mut root, &defaults);
    root.finish();
    (programs, document.take_diagnostics().to_string())
}

fn one(text: &str) -> ProgramSpec {
    let (mut programs, said) = read_text(text);
    assert_eq!(said, "", "{text}");
    programs.remove(0)
}

fn words(spec: &ProgramSpec) -> Vec<String> {
    spec.processes[0]
        .command
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn two_lines_are_a_program() {
    let web = one("[program.web]\ncommand = 'bin/blog --port 80'\n");
    assert_eq!(words(&web), ["bin/blog", "--port", "80"]);
    let mut expected = ProgramSpec::new("web", web.processes[0].command.clone(), Path::new("/log"));
    expected.dir = Some("/etc".into());
    expected.umask = Some(0o022);
    assert_eq!(web, expected);
    assert_eq!(
        web.processes[0].stdout.path().unwrap(),
        Path::new("/log/web.stdout.log")
    );
}

#[test]
fn everything_can_be_said() {
    let web = one(r#"
        [program.web]
        command = ["sh", "-c", "echo 'a b' | cat; exit 1"]
        dir = "/srv"
        env = { A = "1", B = "x ${env.A}" }
        user = "blog"
        group = "www"
        umask = "027"
        autostart = false
        priority = -1
        start_secs = 2.5
        start_retries = 3
        exit_codes = [0, 2]
        no_new_privs = true
        restart = { policy = "unexpected", backoff = "2s..30s", give_up = "5 in 2m" }
        stop = { signal = "INT", wait = "30s", group = true }
        limits = { nofile = 1000, core = 0, address_space = "1GiB", processes = { soft = 10, hard = "unlimited" } }
        log = { stdout = "/l/out", merge = true, retain = { size = "1MB", files = 3 } }
    "#);
    assert_eq!(words(&web), ["sh", "-c", "echo 'a b' | cat; exit 1"]);
    assert_eq!(web.dir.as_deref(), Some(Path::new("/srv")));
    assert_eq!(web.processes[0].env["B"].to_string(), "x ${env.A}");
    assert_eq!(
        (web.user.as_deref(), web.user_group.as_deref()),
        (Some("blog"), Some("www"))
    );
    assert_eq!(
        (web.umask, web.autostart, web.priority),
        (Some(0o27), false, -1)
    );
    assert!(web.no_new_privs);
    assert_eq!(
        web.policy,
        Policy {
            start_secs: Duration::from_millis(2500),
            start_retries: Some(3),
            autorestart: Autorestart::Unexpected,
            exit_codes: vec![0, 2],
            stop_signal: 2,
            stop_wait: Duration::from_secs(30),
            stop_group: true,
            kill_group: true,
            backoff: Backoff::Exponential {
                min: Duration::from_secs(2),
                max: Duration::from_secs(30)
            },
            give_up: Some(GiveUp {
                count: 5,
                window: Duration::from_mins(2)
            }),
            ..Policy::default()
        }
    );
    let mut limits = web.limits.clone();
    limits.sort_unstable();
    assert_eq!(
        limits,
        [
            (Resource::AddressSpace, 1 << 30, 1 << 30),
            (Resource::Core, 0, 0),
            (Resource::Nofile, 1000, 1000),
            (Resource::Processes, 10, UNLIMITED),
        ]
    );
    let retain = Retention {
        size: Some(1_000_000),
        files: Some(3),
        ..Retention::default()
    };
    assert_eq!(
        web.processes[0].stdout,
        Output::File {
            path: "/l/out".into(),
            retain
        }
    );
    assert_eq!(web.processes[0].stderr, Output::Merge);
}

#[test]
fn instances_have_names_and_files_of_their_own() {
    let web =
        one("[program.web]\ncommand = 'x'\ninstances = 2\nlog = { stderr = '/l/{instance}.err' }");
    let names: Vec<&str> = web.processes.iter().map(|p| p.process.as_str()).collect();
    assert_eq!(names, ["web:0", "web:1"]);
    assert_eq!(
        web.processes[1].stdout.path().unwrap(),
        Path::new("/log/web@1.stdout.log")
    );
    assert_eq!(
        web.processes[1].stderr.path().unwrap(),
        Path::new("/l/1.err")
    );
    assert_eq!(crate::check(&[web]).map_err(|e| e.to_string()), Ok(()));
}

#[test]
fn two_programs_cannot_share_a_file() {
    let (programs, said) = read_text(
        "[program.a]\ncommand = 'x'\nlog = { stdout = '/l/f' }\n\
         [program.b]\ncommand = 'x'\nlog = { stderr = '/l/f' }\n",
    );
    assert_eq!(said, "");
    let error = crate::check(&programs).unwrap_err().to_string();
    assert_eq!(
        error,
        "`a` and `b` both log to /l/f; give each its own file"
    );
}

#[test]
fn commands_are_split_as_a_shell_would() {
    for (text, expected) in [
        ("a b  c", vec!["a", "b", "c"]),
        ("a 'b c' \"d e\" f\\ g", vec!["a", "b c", "d e", "f g"]),
        ("a '' b", vec!["a", "", "b"]),
        ("a '|' \"a;b\" x\\;", vec!["a", "|", "a;b", "x;"]),
        ("a ${env.B}", vec!["a", "${env.B}"]),
    ] {
        let spec = one(&format!("[program.x]\ncommand = '''{text}'''\n"));
        assert_eq!(words(&spec), expected, "{text}");
    }
}

#[test]
fn what_a_shell_would_act_on_is_found() {
    for (text, expected) in [
        ("a | b", Some("|")),
        ("a || b", Some("||")),
        ("a > f", Some(">")),
        ("a >> f", Some(">>")),
        ("a < f", Some("<")),
        ("a && b", Some("&&")),
        ("a &", Some("&")),
        ("a; b", Some(";")),
        ("a $(b)", Some("$(")),
        ("a `b`", Some("`")),
        ("a \"$(b)\"", Some("$(")),
        ("a '$(b) | `c`'", None),
        ("a \"b | c\"", None),
        ("a \\| b \\; 'it''s'", None),
        ("a --url=http://h/?x=1", None),
        ("a ${env.B} $HOME", None),
    ] {
        assert_eq!(shell_operator(text), expected, "{text}");
    }
}

#[test]
fn a_shell_operator_is_warned_about() {
    let (programs, said) = read_text("[program.x]\ncommand = \"a | b\"\n");
    assert_eq!(words(&programs[0]), ["a", "|", "b"]);
    let warning = "warning: `program.x.command`: `|` goes to the program as it is";
    assert!(said.contains(warning), "{said}");
    assert!(
        said.contains("command = [\"sh\", \"-c\", 'a | b']"),
        "{said}"
    );
}

#[test]
fn faults_are_said_with_what_to_do() {
    for (line, expected) in [
        ("", "`program.x.command` is missing"),
        ("command = ''", "there is no program in it"),
        ("command = []", "there is no program in it"),
        ("command = \"a 'b\"", "a quote is not closed"),
        ("command = 'a ${secret.p}'", "can be read by every user"),
        ("command = 'a'\ncomand = 'b'", "did you mean `command`?"),
        (
            "command = 'a'\nhealth = {}",
            "`program.x.health` does not work yet",
        ),
        (
            "command = 'a'\ndepends_on = {}",
            "`program.x.depends_on` does not work yet",
        ),
        ("command = 'a'\numask = 22", "in octal as a string"),
        ("command = 'a'\numask = '9'", "is not a umask"),
        ("command = 'a'\ninstances = 0", "is from 1 to 1000"),
        ("command = 'a'\nstart_secs = -1", "a number of seconds"),
        (
            "command = 'a'\nexit_codes = [256]",
            "256 is not an exit code",
        ),
        (
            "command = 'a'\nrestart = { policy = 'alway' }",
            "did you mean `always`?",
        ),
        (
            "command = 'a'\nrestart = { backoff = '60s..1s' }",
            "as in \"1s..60s\"",
        ),
        (
            "command = 'a'\nrestart = { backoff = '0s' }",
            "as in \"1s..60s\"",
        ),
        (
            "command = 'a'\nrestart = { give_up = '5 per 2m' }",
            "as in \"5 in 2m\"",
        ),
        (
            "command = 'a'\nrestart = { give_up = '33 in 2m' }",
            "at most 32",
        ),
        (
            "command = 'a'\nstop = { signal = 'TERN' }",
            "the name or number of a signal",
        ),
        (
            "command = 'a'\nlimits = { nofil = 3 }",
            "did you mean `nofile`?",
        ),
        (
            "command = 'a'\nlimits = { memory = '1MB' }",
            "does not work yet",
        ),
        (
            "command = 'a'\nlimits = { nofile = { soft = 9, hard = 3 } }",
            "soft limit is above",
        ),
        (
            "command = 'a'\nlog = { stdout = '/f', stderr = '/f' }",
            "write merge = true",
        ),
        (
            "command = 'a'\nlog = { stderr = '/f', merge = true }",
            "remove stderr",
        ),
        (
            "command = 'a'\ninstances = 2\nlog = { stdout = '/f' }",
            "write {instance}",
        ),
        (
            "command = 'a'\nenv = { 'A=B' = 'x' }",
            "cannot be the name of a variable",
        ),
    ] {
        let (_, said) = read_text(&format!("[program.x]\n{line}\n"));
        assert!(said.contains(expected), "{line}:\n{said}");
    }
    let (_, said) = read_text("[program.all]\ncommand = 'a'");
    assert!(said.contains("`all` cannot be a name"), "{said}");
}

#[test]
fn listeners_inputs_and_taps() {
    let programs = |text: &str| {
        let document = mainstay_base::config::Document::parse("f.toml", text).unwrap();
        let defaults = Defaults {
            log_dir: "/log".into(),
            retain: Retention::default(),
        };
        let mut root = document.root();
        let all = read_all(&mut root, &defaults);
        root.finish();
        (all, document.take_diagnostics().to_string())
    };
    let (all, said) = programs(
        "[program.ears]\ncommand = \"x\"\nlisten_to = [\"TICK_5\", \"PROCESS_STATE\"]\nevent_buffer = 3\n\
         [program.app]\ncommand = \"x\"\nstdin = \"pipe\"\n\
         log = { strip_ansi = true, capture = \"1MB\", events = true, syslog = true }\n",
    );
    assert_eq!(said, "");
    let listener = all[0].listener.as_ref().unwrap();
    assert_eq!(listener.buffer, 3);
    assert!(listener.events.contains(crate::events::Kind::Tick5));
    assert_eq!((&all[0].stdin, &all[1].stdin), (&Stdin::Pipe, &Stdin::Pipe));
    let tap = all[1].processes[0].stdout_tap;
    assert!(tap.strip_ansi && tap.events && tap.syslog && tap.capture >= 1_000_000);
    assert!(all[1].processes[0].recognise);
    let (all, said) = programs("[program.app]\ncommand = \"x\"\nlog = { levels = \"stream\" }\n");
    assert_eq!(said, "");
    assert!(!all[0].processes[0].recognise);
    for (text, words) in [
        ("log = { levels = \"streem\" }", "did you mean `stream`?"),
        ("listen_to = [\"TICK_6\"]", "did you mean `TICK_5`?"),
        (
            "listen_to = [\"TICK\"]\nstdin = \"none\"",
            "by its standard input",
        ),
        (
            "listen_to = [\"TICK\"]\nlog = { merge = true }",
            "where its protocol goes",
        ),
        (
            "listen_to = [\"TICK\"]\nevent_buffer = 0",
            "at least one notification",
        ),
        ("stdin = \"tty\"", "nothing to read from"),
    ] {
        let (_, said) = programs(&format!("[program.x]\ncommand = \"x\"\n{text}\n"));
        assert!(said.contains(words), "{text}: {said}");
    }
}

#[test]
fn sockets_of_programs() {
    let unix = |path: &str| SocketAddress::Unix(path.into());
    let tcp = |host: &str, port| SocketAddress::Tcp {
        host: host.to_owned(),
        port,
    };
    for (text, address, backlog, owner, mode) in [
        (
            "listen = \"unix:///run/x.sock\"",
            unix("/run/x.sock"),
            None,
            None,
            0o700,
        ),
        (
            "listen = \"unix:///x\", backlog = 128, owner = \"www\", mode = \"0660\"",
            unix("/x"),
            Some(128),
            Some(("www".to_owned(), None)),
            0o660,
        ),
        (
            "listen = \"unix:///x\", owner = \"www:data\"",
            unix("/x"),
            None,
            Some(("www".to_owned(), Some("data".to_owned()))),
            0o700,
        ),
        (
            "listen = \"tcp://127.0.0.1:9000\"",
            tcp("127.0.0.1", 9000),
            None,
            None,
            0o700,
        ),
        ("listen = \"tcp://*:1\"", tcp("", 1), None, None, 0o700),
        (
            "listen = \"tcp://[::1]:1\"",
            tcp("::1", 1),
            None,
            None,
            0o700,
        ),
    ] {
        let (specs, said) = read_text(&format!(
            "[program.x]\ncommand = \"x\"\nsocket = {{ {text} }}"
        ));
        assert_eq!(said, "", "{text}");
        let expected = SocketSpec {
            address,
            backlog,
            owner,
            mode,
        };
        assert_eq!(specs[0].stdin, Stdin::Socket(expected), "{text}");
    }
    for (text, words) in [
        ("socket = { }", "`program.x.socket.listen` is missing"),
        (
            "socket = { listen = \"unix://x\" }",
            "no absolute path of a file",
        ),
        ("socket = { listen = \"/x\" }", "no address to listen at"),
        (
            "socket = { listen = \"tcp://h:0\" }",
            "no address to listen at",
        ),
        (
            "socket = { listen = \"tcp://h:1\", mode = \"0700\" }",
            "a TCP socket has no file",
        ),
        (
            "socket = { listen = \"unix:///x\", mode = \"9\" }",
            "`9` is not a file mode",
        ),
        (
            "socket = { listen = \"unix:///x\", owner = \":g\" }",
            "`:g` is no owner",
        ),
        (
            "socket = { listen = \"unix:///x\", backlog = 0 }",
            "at least one connection",
        ),
        (
            "stdin = \"pipe\"\nsocket = { listen = \"unix:///x\" }",
            "a socket is what its processes have as standard input",
        ),
        (
            "listen_to = [\"TICK_5\"]\nsocket = { listen = \"unix:///x\" }",
            "a socket is what its processes have as standard input",
        ),
    ] {
        let (_, said) = read_text(&format!("[program.x]\ncommand = \"x\"\n{text}\n"));
        assert!(said.contains(words), "{text}: {said}");
    }
}
