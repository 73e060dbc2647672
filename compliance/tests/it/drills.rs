//! Drills from outside: by hand, by schedule, killed, and told to people.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::alert::read;
use compliance::{MailServer, Sandbox, alive, free_port, installed, signal_pid, wait_for};

/// A backup of a directory with this drill, and what else the config has.
fn sandbox(drill: &str, more: &str) -> Sandbox {
    let sandbox = Sandbox::new(&format!(
        "[secret]\nrepository = {{ file = \"repository.password\" }}\n\
         [repository.local]\npath = \"@DIR@/backups\"\npassword = \"${{secret.repository}}\"\n\
         [backup.files]\nfiles = {{ path = \"@DIR@/data\" }}\nto = [\"local\"]\ndrill = {{ {drill} }}\n{more}"
    ));
    let path = sandbox.path().join("repository.password");
    std::fs::write(&path, "correct horse battery staple").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::create_dir_all(sandbox.path().join("data")).unwrap();
    std::fs::write(sandbox.path().join("data/one"), "one").unwrap();
    sandbox.done(&["backup", "init", "local"]);
    sandbox.done(&["backup", "run"]);
    sandbox
}

#[test]
fn a_drill_by_hand_is_told_shown_and_signed() {
    let sandbox = sandbox("assert = [{ path = \"one\" }]", "");
    let never = sandbox.run(&["backup", "drill", "--show"]);
    assert_eq!(never.code, 3, "{never:?}");
    assert!(never.err.contains("never drilled"), "{never:?}");
    let list = sandbox.done(&["backup", "list"]).out;
    assert!(list.contains("PROVEN") && list.contains("never"), "{list}");
    let done = sandbox.done(&["backup", "drill", "files"]);
    assert!(
        done.out.contains("PROVEN") && !done.out.contains("correct horse"),
        "{done:?}"
    );
    let shown = sandbox.done(&["backup", "drill", "--show", "files"]).out;
    assert!(
        shown.contains("**PROVEN") && shown.contains("The signature holds"),
        "{shown}"
    );
    let list = sandbox.json(&["backup", "list"]);
    assert!(list["backups"][0]["proven"]["at"].is_string(), "{list}");
    let report = sandbox.json(&["backup", "drill", "--show", "files"]);
    let path = report["reports"][0]["path"].as_str().unwrap().to_owned();
    let key = sandbox.done(&["backup", "drill", "--public-key"]).out;
    if let Some(openssl) = installed("openssl") {
        let pem = sandbox.path().join("key.pem");
        std::fs::write(&pem, &key).unwrap();
        let verified = Command::new(openssl)
            .args(["pkeyutl", "-verify", "-pubin", "-rawin", "-inkey"])
            .arg(&pem)
            .args(["-in", &path, "-sigfile", &format!("{path}.sig")])
            .output()
            .unwrap();
        assert!(verified.status.success(), "{verified:?}");
    }
    std::fs::write(&path, "{}").unwrap();
    let changed = sandbox.run(&["backup", "drill", "--show", "files"]);
    assert_eq!(changed.code, 1, "{changed:?}");
    assert!(changed.err.contains("signature"), "{changed:?}");
}

#[test]
fn a_drill_that_fails_is_loud_in_its_exit_code_and_in_status() {
    let sandbox = sandbox(
        "assert = [{ path = \"index.html\" }]",
        "[program.web]\ncommand = \"sleep 1000\"\nstart_secs = 0\n",
    );
    let _daemon = sandbox.start();
    sandbox.in_state("web", "RUNNING");
    assert_eq!(sandbox.run(&["status"]).code, 0);
    let failed = sandbox.run(&["backup", "drill"]);
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(
        failed.err.contains("DRILL FAILED") && failed.err.contains("index.html"),
        "{failed:?}"
    );
    let screen = sandbox.run(&["status"]);
    assert_eq!(screen.code, 3);
    assert!(
        screen.out.contains("DRILL FAILED: index.html"),
        "{}",
        screen.out
    );
    let metrics = sandbox.run(&["metrics"]).out;
    let line = "mainstay_backup_drill_failed{backup=\"files\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    std::fs::write(sandbox.path().join("data/index.html"), "x").unwrap();
    sandbox.done(&["backup", "run"]);
    sandbox.done(&["backup", "drill"]);
    assert_eq!(sandbox.run(&["status"]).code, 0);
    let metrics = sandbox.run(&["metrics"]).out;
    assert!(
        metrics.contains("mainstay_backup_proven_restore_seconds{"),
        "{metrics}"
    );
}

#[test]
fn a_killed_drill_leaves_no_process_and_its_place_is_swept() {
    let sandbox = sandbox(
        "assert = [{ command = [\"/bin/sh\", \"-c\", \"test -e @DIR@/go && exit; echo $$ > @DIR@/pid; exec sleep 1000\"] }]",
        "",
    );
    let mut drill = sandbox
        .command(&["backup", "drill", "files"])
        .spawn()
        .unwrap();
    let pid: u64 = wait_for("the assertion to be asked", || {
        std::fs::read_to_string(sandbox.path().join("pid"))
            .ok()?
            .trim()
            .parse()
            .ok()
    });
    let scratch = sandbox
        .path()
        .join(".mainstay/backup/drill/scratch/files/data/one");
    assert!(scratch.exists());
    let second = sandbox.run(&["backup", "drill", "files"]);
    assert_eq!(second.code, 6, "one at a time: {second:?}");
    signal_pid(u64::from(drill.id()), "KILL");
    drill.wait().unwrap();
    wait_for("what it started to be gone", || (!alive(pid)).then_some(()));
    assert!(scratch.exists(), "nobody was there to remove it");
    // Its backup goes on, whatever became of the drill.
    sandbox.done(&["backup", "run"]);
    std::fs::write(sandbox.path().join("go"), "").unwrap();
    sandbox.done(&["backup", "drill", "files"]);
    assert!(!scratch.exists());
}

#[test]
fn the_schedule_drills_and_people_are_told_when_it_fails() {
    let port = free_port();
    let server = MailServer::at(port);
    let sandbox = sandbox(
        "at = \"every 1s\", assert = [{ path = \"index.html\" }]",
        &format!(
            "[alert]\nwait = \"100ms\"\ninterval = \"200ms\"\nlimit = \"none\"\n\
             [alert.to.admin]\nwhen = {{ severity = \"info\" }}\n\
             mail = {{ to = [\"ops@example.com\"], from = \"mainstay@example.com\", server = \"127.0.0.1:{port}\", tls = \"none\" }}\n"
        ),
    );
    let _daemon = sandbox.start();
    let told = |words: &[&str]| {
        wait_for(&format!("a mail with {words:?}"), || {
            read(&server)
                .into_iter()
                .map(|(subject, text)| format!("{subject}\n{text}"))
                .find(|mail| words.iter().all(|word| mail.contains(word)))
        })
    };
    told(&["the drill of files failed", "index.html"]);
    std::fs::write(sandbox.path().join("data/index.html"), "x").unwrap();
    sandbox.done(&["backup", "run"]);
    told(&["resolved", "the drill of files failed"]);
    let status = sandbox.json(&["status"]);
    let backup = &status["backups"][0];
    assert!(backup["proven"]["at"].is_string(), "{status}");
    assert!(
        backup["next_drill"].is_string() && backup["drill_error"].is_null(),
        "{status}"
    );
}

/// A program of a test's own; killed when dropped.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The processes that work in a directory or below it.
fn at_work_in(directory: &std::path::Path) -> Vec<String> {
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|process| {
            std::fs::read_link(process.path().join("cwd"))
                .is_ok_and(|cwd| cwd.starts_with(directory))
        })
        .map(|process| process.file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn a_drill_killed_at_any_moment_leaves_no_server_and_nothing_that_is_proven() {
    let Some(program) = installed("redis-server") else {
        return;
    };
    let port = free_port();
    let sandbox = Sandbox::new(&format!(
        "[secret]\nrepository = {{ file = \"repository.password\" }}\n\
         [repository.local]\npath = \"@DIR@/backups\"\npassword = \"${{secret.repository}}\"\n\
         [backup.cache]\nredis = {{ address = \"127.0.0.1:{port}\" }}\nto = [\"local\"]\n\
         drill = {{ assert = [{{ query = \"DBSIZE\", is = \"5000\" }}] }}\n"
    ));
    let path = sandbox.path().join("repository.password");
    std::fs::write(&path, "correct horse battery staple").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let production = sandbox.path().join("production");
    std::fs::create_dir(&production).unwrap();
    let server = Command::new(program)
        .args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
        ])
        .args(["--repl-diskless-sync-delay", "0", "--dir"])
        .arg(&production)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let _server = Killed(server);
    let mut stream = wait_for("the server to listen", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).ok()
    });
    let fill = "EVAL \"for i=1,5000 do redis.call('SET', 'key:'..i, string.rep('x', 200)) end return 1\" 0\r\n";
    std::io::Write::write_all(&mut stream, fill.as_bytes()).unwrap();
    let mut answer = [0; 4];
    std::io::Read::read_exact(&mut stream, &mut answer).unwrap();
    assert_eq!(&answer, b":1\r\n");
    sandbox.done(&["backup", "init", "local"]);
    sandbox.done(&["backup", "run"]);
    let scratch = sandbox.path().join(".mainstay/backup/drill");
    let killed_after = |milliseconds: u64| {
        let mut drill = sandbox
            .command(&["--quiet", "backup", "drill"])
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        let ended = drill.try_wait().unwrap().is_some();
        let _ = drill.kill();
        drill.wait().unwrap();
        wait_for("all of it to be gone", || {
            at_work_in(&scratch).is_empty().then_some(())
        });
        ended
    };
    for round in 0..20 {
        if killed_after(round * 40) {
            break;
        }
        // What says that it is proven has come to its end, and left its report.
        let status = sandbox.json(&["backup", "list"]);
        if !status["backups"][0]["proven"].is_null() {
            sandbox.done(&["backup", "drill", "--show"]);
            break;
        }
    }
    sandbox.done(&["backup", "drill"]);
    assert_eq!(
        std::fs::read_dir(scratch.join("scratch")).unwrap().count(),
        0
    );
    let left = at_work_in(&production);
    assert_eq!(left.len(), 1, "the one that serves goes on: {left:?}");
}
