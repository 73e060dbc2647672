//! Bad input: each a clear message with what to do next, nothing half done.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use compliance::{Sandbox, wait_for};

#[test]
fn a_wrong_config_is_told_with_place_and_suggestion_and_exit_2() {
    let web = "schema = 1\n[program.web]\ncommand = \"sleep 1\"\n";
    for (text, place, said) in [
        (
            "schema = 1\n[program.web]\ncomand = \"x\"\n",
            ":3:1",
            "did you mean `command`?",
        ),
        (
            "schema = 1\n[program.web]\ncommand = \"x\"\nstart_secs = \"5\"\n",
            ":4:14",
            "start_secs",
        ),
        ("schema = 1\n[program.web\n", ":2:", "error"),
        ("[program.web]\ncommand = \"x\"\n", "", "schema"),
        (
            &format!("{web}health = {{ http = \"/up\" }}\n"),
            ":4:1",
            "does not work yet",
        ),
        (
            &format!("{web}[front.x]\nhosts = []\n"),
            ":4:2",
            "does not work yet",
        ),
        (
            &format!("{web}[backup.db]\npostgres = {{ dsn = \"x\" }}\nto = []\n"),
            "",
            "does not work yet",
        ),
        (
            &format!(
                "{web}[backup.db]\nsqlite = {{ path = \"x\" }}\nto = [\"locla\"]\n[repository.local]\npath = \"r\"\npassword = \"${{secret.p}}\"\n[secret]\np = {{ file = \"p\" }}\n"
            ),
            ":6:7",
            "did you mean `local`?",
        ),
        (
            &format!("{web}[log]\nretain = {{ size = \"50 apples\" }}\n"),
            ":5:",
            "50 apples",
        ),
        (
            &format!(
                "{web}[backup.db]\nsqlite = {{ path = \"x\" }}\nat = \"61 * * * *\"\nto = []\n"
            ),
            ":6:6",
            "schedule",
        ),
    ] {
        let sandbox = Sandbox::new("");
        sandbox.config(text);
        for command in [&["check"][..], &["run"], &["run", "--daemon"]] {
            let outcome = sandbox.run(command);
            assert_eq!(outcome.code, 2, "{command:?} {text}\n{outcome:?}");
            assert!(
                outcome.err.contains(&format!("mainstay.toml{place}")) || place.is_empty(),
                "{text}\n{}",
                outcome.err
            );
            assert!(
                outcome.err.contains(said),
                "{text}\n--- said:\n{}",
                outcome.err
            );
        }
        assert!(
            !sandbox.path().join(".mainstay").exists(),
            "nothing was begun"
        );
    }
}

#[test]
fn a_config_that_cannot_be_read() {
    let sandbox = Sandbox::new("");
    std::fs::remove_file(sandbox.path().join("mainstay.toml")).unwrap();
    let outcome = sandbox.run(&["run"]);
    assert_eq!(outcome.code, 2);
    assert!(
        outcome.err.contains("No such file") && outcome.err.contains("help:"),
        "{}",
        outcome.err
    );
    std::fs::create_dir(sandbox.path().join("mainstay.toml")).unwrap();
    assert_eq!(sandbox.run(&["check"]).code, 2);
}

#[test]
fn a_program_that_cannot_be_started_says_why_and_the_others_run() {
    let sandbox = Sandbox::new(
        "[program.good]\ncommand = \"sleep 1000\"\nstart_secs = 0\n\
         [program.missing]\ncommand = \"/no/such/program\"\n\
         [program.plain]\ncommand = \"@DIR@/not-executable\"\n\
         [program.lost]\ncommand = \"sleep 1000\"\ndir = \"@DIR@/no-such-dir\"\n",
    );
    std::fs::write(sandbox.path().join("not-executable"), "#!/bin/sh\n").unwrap();
    let _daemon = sandbox.start();
    sandbox.in_state("good", "RUNNING");
    for (name, word) in [
        ("missing", "/no/such/program"),
        ("plain", "not-executable"),
        ("lost", "no-such-dir"),
    ] {
        let reason = wait_for("the reason", || {
            let process = sandbox.process(name);
            assert_ne!(process["state"], "RUNNING");
            process["reason"]
                .as_str()
                .filter(|reason| reason.contains(word))
                .map(str::to_owned)
        });
        assert!(!reason.is_empty());
        assert!(sandbox.run(&["status"]).out.contains(word));
    }
    let started = sandbox.run(&["start", "missing", "--no-wait"]);
    assert!(started.code <= 3, "{started:?}");
}

#[test]
fn the_reason_a_program_gives_itself_is_one_command_away() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let sandbox = Sandbox::new(&format!(
        "[program.web]\ncommand = ['python3', '-m', 'http.server', '--bind', '127.0.0.1', '{port}']\n\
         restart = {{ backoff = \"10ms..10ms\", give_up = \"2 in 1m\" }}\n"
    ));
    let _daemon = sandbox.start();
    sandbox.in_state("web", "FATAL");
    assert!(
        sandbox
            .done(&["logs", "web"])
            .out
            .contains("Address already in use")
    );
}

#[test]
fn a_state_directory_that_cannot_be_made() {
    let sandbox = Sandbox::new(
        "[host]\nstate = \"@DIR@/file/state\"\n[program.web]\ncommand = \"sleep 1\"\n",
    );
    std::fs::write(sandbox.path().join("file"), "in the way").unwrap();
    for command in [&["run"][..], &["run", "--daemon"]] {
        let outcome = sandbox.run(command);
        assert_eq!(outcome.code, 1, "{outcome:?}");
        assert!(
            outcome.err.contains("file/state") && outcome.err.contains("help:"),
            "{}",
            outcome.err
        );
    }
}

#[test]
fn a_secret_that_others_can_read_is_refused() {
    let sandbox = Sandbox::new(
        "[secret]\ntoken = { file = \"token\" }\n[program.web]\ncommand = \"sleep 1000\"\nenv = { T = \"${secret.token}\" }\n",
    );
    let token = sandbox.path().join("token");
    std::fs::write(&token, "s3cret").unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
    let _daemon = sandbox.start();
    let process = wait_for("the reason", || {
        let process = sandbox.process("web");
        process["reason"].is_string().then_some(process)
    });
    assert!(
        process["reason"].as_str().unwrap().contains("0644"),
        "{process}"
    );
}

#[test]
fn without_a_daemon_the_commands_say_so() {
    let sandbox = Sandbox::new("[program.web]\ncommand = \"sleep 1\"\n");
    for command in [
        &["status"][..],
        &["start", "web"],
        &["stop", "web"],
        &["logs", "web"],
        &["shutdown"],
        &["reopen-logs"],
    ] {
        let outcome = sandbox.run(command);
        assert_eq!(outcome.code, 7, "{command:?}: {outcome:?}");
        assert!(
            outcome.err.contains("control.sock") && outcome.err.contains("help:"),
            "{}",
            outcome.err
        );
    }
}

/// A small file system of its own, or a word why not.
fn small_disk(at: &Path) -> Option<SmallDisk> {
    std::fs::create_dir_all(at).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
        .arg(at)
        .output()
        .is_ok_and(|output| output.status.success());
    if !mounted {
        println!("SKIPPED: a full disk needs the right to mount a tmpfs");
        return None;
    }
    Some(SmallDisk(at.to_owned()))
}

struct SmallDisk(std::path::PathBuf);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .status();
    }
}

#[test]
fn a_full_disk_stops_no_program_and_the_loss_is_declared() {
    let sandbox = Sandbox::new(
        "[log]\ndir = \"@DIR@/small\"\n[program.chatty]\n\
         command = ['sh', '-c', 'while :; do seq -f \"line %.0f of a program that goes on talking\" 10000; sleep 0.2; done']\n\
         start_secs = 0\n",
    );
    let small = sandbox.path().join("small");
    let Some(_disk) = small_disk(&small) else {
        return;
    };
    let daemon = sandbox.start();
    let pid = sandbox.in_state("chatty", "RUNNING")["pid"]
        .as_u64()
        .unwrap();
    let log = sandbox.process("chatty")["logs"]["stdout"]
        .as_str()
        .unwrap()
        .to_owned();
    wait_for("the disk to be full", || {
        let screen = sandbox.run(&["status"]).out;
        screen.contains("no space left").then_some(())
    });
    // Far more than the disk and the pipe hold: the program was not held up.
    wait_for("the program to go on", || {
        let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
        let written = io
            .lines()
            .find_map(|line| line.strip_prefix("wchar: "))
            .unwrap();
        (written.parse::<u64>().unwrap() > 4_000_000).then_some(())
    });
    assert_eq!(
        sandbox.process("chatty")["pid"],
        pid,
        "it is still the same process"
    );
    // Room again: the log goes on, and says in place what is missing.
    std::process::Command::new("mount")
        .args(["-o", "remount,size=64m"])
        .arg(&small)
        .status()
        .unwrap();
    wait_for("the loss to be declared", || {
        let text = String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
        text.lines()
            .any(|line| line.contains("[mainstay]") && line.contains("lost"))
            .then_some(())
    });
    drop(daemon);
}
