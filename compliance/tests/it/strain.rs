//! What the daemon does when it has no descriptors left, and what it says of its limits.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use compliance::{Sandbox, free_port, http, installed, wait_for};

/// Ticks of processor time that a process has used.
fn ticks(pid: u64) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // After the name, which may hold anything: state is the third field, utime and stime 14 and 15.
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn without_descriptors_its_servers_neither_spin_nor_end() {
    let Some(prlimit) = installed("prlimit") else {
        println!("SKIPPED: no prlimit to lower the limit of a daemon that runs");
        return;
    };
    let port = free_port();
    let sandbox = Sandbox::new(&format!(
        "[control]\nhttp = {{ listen = \"127.0.0.1:{port}\" }}\n[program.a]\ncommand = \"sleep 1000\"\nstart_secs = 0\n"
    ));
    let daemon = sandbox.start();
    sandbox.in_state("a", "RUNNING");
    let limit = |files: &str| {
        let mut command = Command::new(&prlimit);
        command.args([
            "--pid",
            &daemon.pid().to_string(),
            &format!("--nofile={files}:"),
        ]);
        assert!(command.status().unwrap().success());
    };
    let (_, before) = soft_and_hard(daemon.pid());
    // Its highest descriptor is beyond this, whatever it closes.
    limit("4");
    let socket = sandbox.path().join(".mainstay/control.sock");
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            (
                UnixStream::connect(&socket).unwrap(),
                TcpStream::connect(("127.0.0.1", port)).unwrap(),
            )
        })
        .collect();
    for said in [
        "the control socket could not accept",
        "the HTTP server could not accept",
    ] {
        wait_for(said, || daemon.said().contains(said).then_some(()));
    }
    let used = ticks(daemon.pid());
    std::thread::sleep(Duration::from_secs(2));
    let used = ticks(daemon.pid()) - used;
    // A busy loop has two hundred.
    assert!(used < 60, "{used} ticks in two seconds");
    let said = daemon.said();
    assert_eq!(
        said.matches("could not accept").count(),
        2,
        "once a minute each: {said}"
    );
    limit(&before);
    drop(waiting);
    assert_eq!(sandbox.process("a")["state"], "RUNNING");
    let (status, _) = http(port, "GET /", "").unwrap();
    assert_eq!(status, 200);
}

/// The limits of open files of a process, as the kernel shows them.
fn soft_and_hard(pid: u64) -> (String, String) {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    let mut words = line.split_whitespace().skip(3).map(str::to_owned);
    (words.next().unwrap(), words.next().unwrap())
}

#[test]
fn the_daemon_raises_its_own_limit_and_programs_get_what_they_would_get_without_it() {
    let sandbox = Sandbox::new(
        "[program.plain]\ncommand = \"sleep 1000\"\nstart_secs = 0\n\
         [program.other]\ncommand = \"sleep 1000\"\nstart_secs = 0\nlimits = { nofile = 321 }\n",
    );
    let log = std::fs::File::create(sandbox.path().join("err")).unwrap();
    let run = sandbox.command(&["run"]);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "ulimit -Sn 200 && exec \"$@\"", "sh"])
        .arg(run.get_program())
        .args(run.get_args())
        .current_dir(sandbox.path())
        .stderr(log);
    let mut child = shell.spawn().unwrap();
    let pid = u64::from(child.id());
    let limits = wait_for("the programs", || {
        let outcome = sandbox.run(&["--json", "status"]);
        let status: serde_json::Value = serde_json::from_str(&outcome.out).ok()?;
        let programs = status["programs"].as_array()?;
        let of = |name| {
            let program = programs.iter().find(|program| program["name"] == name)?;
            Some(soft_and_hard(program["pid"].as_u64()?))
        };
        Some((of("plain")?, of("other")?))
    });
    let own = soft_and_hard(pid);
    let said = std::fs::read_to_string(sandbox.path().join("err")).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(own.0, own.1, "as many as it may");
    assert_eq!(limits.0, ("200".to_owned(), own.1.clone()));
    assert_eq!(limits.1.0, "321");
    let told = format!(
        "mainstay may open {} files; programs without limits.nofile get 200, and may raise it to {}",
        own.0, own.1
    );
    assert!(said.contains(&told), "{said}");
}

#[test]
fn an_app_that_asks_for_a_restart_gets_it() {
    // What a guard's exit code is after too many panics (EX_TEMPFAIL of sysexits.h).
    let sandbox = Sandbox::new(
        "[program.app]\ncommand = ['sh', '-c', 'test -e once && exec sleep 1000; touch once; exit 75']\n\
         start_secs = 0\n",
    );
    let _daemon = sandbox.start();
    wait_for("the second process", || {
        let process = sandbox.process("app");
        let again = sandbox.path().join("once").exists() && process["restarts"] == 1;
        (again && process["state"] == "RUNNING").then_some(())
    });
}
