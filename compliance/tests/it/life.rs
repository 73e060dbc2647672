//! Programs start, stop, restart, are brought back, and what they wrote is kept.

use compliance::{Sandbox, alive, signal_pid, wait_for};

fn pid(process: &serde_json::Value) -> u64 {
    process["pid"]
        .as_u64()
        .unwrap_or_else(|| panic!("no pid in {process}"))
}

#[test]
fn a_killed_program_is_back_with_a_new_pid_and_one_restart() {
    let sandbox = Sandbox::new("[program.web]\ncommand = \"sleep 1000\"\nstart_secs = 0\n");
    let _daemon = sandbox.start();
    let first = pid(&sandbox.in_state("web", "RUNNING"));
    signal_pid(first, "KILL");
    let after = wait_for("web to be back", || {
        let process = sandbox.process("web");
        (process["state"] == "RUNNING" && process["pid"] != first).then_some(process)
    });
    assert_eq!(after["restarts"], 1);
    assert!(!alive(first));
}

#[test]
fn stop_start_restart_and_signal_do_what_they_say() {
    let sandbox = Sandbox::new(
        "[program.web]\ncommand = ['sh', '-c', 'trap \"echo got-hup\" HUP; while :; do sleep 0.05; done']\nstart_secs = 0\n\
         [program.two]\ncommand = \"sleep 1000\"\ninstances = 2\nstart_secs = 0\n",
    );
    let _daemon = sandbox.start();
    let first = pid(&sandbox.in_state("web", "RUNNING"));
    sandbox.done(&["stop", "web"]);
    assert_eq!(sandbox.process("web")["state"], "STOPPED");
    assert!(!alive(first), "stop returns when the process has ended");
    assert_eq!(sandbox.run(&["status"]).code, 3, "something is not running");
    sandbox.done(&["start", "web"]);
    let second = pid(&sandbox.process("web"));
    sandbox.done(&["restart", "web"]);
    let third = pid(&sandbox.process("web"));
    assert!(second != third && !alive(second) && alive(third));
    sandbox.done(&["signal", "HUP", "web"]);
    wait_for("the program to have got HUP", || {
        sandbox
            .done(&["logs", "web"])
            .out
            .contains("got-hup")
            .then_some(())
    });
    sandbox.done(&["stop", "two:1"]);
    assert_eq!(sandbox.process("two:0")["state"], "RUNNING");
    assert_eq!(sandbox.process("two:1")["state"], "STOPPED");
    sandbox.done(&["start", "all"]);
    assert_eq!(sandbox.process("two:1")["state"], "RUNNING");
    sandbox.done(&["start", "web"]);
    assert_eq!(
        pid(&sandbox.process("web")),
        third,
        "start of what runs changes nothing"
    );
}

#[test]
fn names_that_do_not_exist_are_told_with_the_nearest() {
    let sandbox = Sandbox::new("[program.worker]\ncommand = \"sleep 1000\"\n");
    let _daemon = sandbox.start();
    for command in [
        ["start", "worke"],
        ["stop", "worke"],
        ["restart", "worke"],
        ["logs", "worke"],
        ["status", "worke"],
    ] {
        let outcome = sandbox.run(&command);
        assert_eq!(outcome.code, 4, "{command:?}: {outcome:?}");
        assert!(
            format!("{}{}", outcome.out, outcome.err).contains("worker"),
            "{outcome:?}"
        );
    }
    assert_eq!(sandbox.run(&["signal", "NOSUCH", "worker"]).code, 2);
}

#[test]
fn a_program_that_ignores_term_is_killed_when_its_time_is_over() {
    let sandbox = Sandbox::new(
        "[program.deaf]\ncommand = ['sh', '-c', 'trap \"\" TERM; while :; do sleep 0.05; done']\n\
         start_secs = 0\nstop = { wait = \"500ms\" }\n",
    );
    let _daemon = sandbox.start();
    let first = pid(&sandbox.in_state("deaf", "RUNNING"));
    sandbox.done(&["stop", "deaf"]);
    assert!(!alive(first));
    assert_eq!(sandbox.process("deaf")["state"], "STOPPED");
}

#[test]
fn a_program_that_always_fails_is_given_up_and_loud() {
    let sandbox = Sandbox::new(
        "[program.broken]\ncommand = ['sh', '-c', 'echo about to fail >&2; exit 7']\n\
         restart = { backoff = \"10ms..20ms\", give_up = \"3 in 1m\" }\n",
    );
    let _daemon = sandbox.start();
    let process = sandbox.in_state("broken", "FATAL");
    assert!(
        process["reason"]
            .as_str()
            .is_some_and(|reason| !reason.is_empty()),
        "{process}"
    );
    let screen = sandbox.run(&["status"]);
    assert_eq!(screen.code, 3);
    assert!(screen.out.contains("FATAL"), "{}", screen.out);
    assert!(
        sandbox
            .done(&["logs", "broken"])
            .out
            .contains("about to fail")
    );
}

#[test]
fn the_last_bytes_before_the_end_are_kept() {
    let sandbox = Sandbox::new(
        "[program.once]\ncommand = ['sh', '-c', 'seq 1 20000; printf \"the very last, without newline\"']\n\
         restart = { policy = \"never\" }\nstart_secs = 0\n",
    );
    let _daemon = sandbox.start();
    let process = sandbox.in_state("once", "EXITED");
    let log = process["logs"]["stdout"].as_str().unwrap().to_owned();
    let numbers: Vec<String> = (1..=20_000).map(|n| n.to_string()).collect();
    let expected = numbers.join("\n") + "\nthe very last, without newline";
    wait_for("all output to be in the log", || {
        (std::fs::read_to_string(&log).unwrap() == expected).then_some(())
    });
}

#[test]
fn output_rolls_without_losing_or_cutting_a_line() {
    let sandbox = Sandbox::new(
        "[log]\nretain = { size = \"20KB\", files = 200 }\n[program.chatty]\n\
         command = ['sh', '-c', 'i=0; while [ $i -lt 40 ]; do seq -f \"line %.0f of a chatty program\" $((i*1000+1)) $((i*1000+1000)); i=$((i+1)); done; sleep 1000']\n\
         start_secs = 0\n",
    );
    let _daemon = sandbox.start();
    let log = sandbox.process("chatty")["logs"]["stdout"]
        .as_str()
        .unwrap()
        .to_owned();
    let expected: Vec<String> = (1..=40_000)
        .map(|n| format!("line {n} of a chatty program"))
        .collect();
    wait_for("all lines in order over all files", || {
        let mut files = Vec::new();
        let mut number = 1;
        while let Ok(text) = std::fs::read_to_string(format!("{log}.{number}")) {
            files.push(text);
            number += 1;
        }
        files.reverse();
        files.push(std::fs::read_to_string(&log).ok()?);
        let whole = files
            .iter()
            .all(|text| text.is_empty() || text.ends_with('\n'));
        // The line that crosses the limit is finished in the file it began in.
        let small = files.iter().all(|text| text.len() < 20_000 + 64);
        let lines: Vec<&str> = files.iter().flat_map(|text| text.lines()).collect();
        (lines == expected && whole && small && files.len() > 10).then_some(())
    });
}

#[test]
fn logs_follow_across_a_restart() {
    let sandbox = Sandbox::new(
        "[program.web]\ncommand = ['sh', '-c', 'echo started as $$; sleep 1000']\nstart_secs = 0\n",
    );
    let _daemon = sandbox.start();
    let first = pid(&sandbox.in_state("web", "RUNNING"));
    wait_for("the first line", || {
        sandbox
            .done(&["logs", "web"])
            .out
            .contains("started")
            .then_some(())
    });
    let mut follower = sandbox
        .command(&["logs", "web", "-f"])
        .stdout(std::fs::File::create(sandbox.path().join("followed")).unwrap())
        .spawn()
        .unwrap();
    sandbox.done(&["restart", "web"]);
    let second = pid(&sandbox.process("web"));
    wait_for("both starts in the followed log", || {
        let text = std::fs::read_to_string(sandbox.path().join("followed")).unwrap();
        let both = text.contains(&format!("started as {first}"))
            && text.contains(&format!("started as {second}"));
        both.then_some(())
    });
    follower.kill().unwrap();
    follower.wait().unwrap();
}

#[test]
fn a_program_gets_what_its_section_says_and_nothing_more() {
    let sandbox = Sandbox::new(
        "[secret]\ntoken = { file = \"token\" }\n[program.look]\n\
         command = ['sh', '-c', 'pwd; umask; ulimit -n; echo $TOKEN $PLAIN; ls /proc/self/fd | wc -l; sleep 1000']\n\
         dir = \"@DIR@/here\"\numask = \"0027\"\nlimits = { nofile = 321 }\n\
         env = { TOKEN = \"${secret.token}\", PLAIN = \"x y\" }\nstart_secs = 0\n",
    );
    std::fs::create_dir(sandbox.path().join("here")).unwrap();
    std::fs::write(sandbox.path().join("token"), "s3cret-value\n").unwrap();
    std::process::Command::new("chmod")
        .arg("600")
        .arg(sandbox.path().join("token"))
        .status()
        .unwrap();
    let daemon = sandbox.start();
    let here = sandbox.path().join("here").canonicalize().unwrap();
    wait_for("the program to have looked around", || {
        let text = sandbox.done(&["logs", "look"]).out;
        let lines: Vec<&str> = text.lines().collect();
        // `ls` has the directory open besides 0, 1 and 2.
        (lines
            == [
                here.to_str().unwrap(),
                "0027",
                "321",
                "s3cret-value x y",
                "4",
            ])
        .then_some(())
    });
    for command in [["status", "--json"], ["check", "--json"]] {
        let outcome = sandbox.run(&command);
        assert!(
            !format!("{outcome:?}").contains("s3cret-value"),
            "{command:?} shows a secret"
        );
    }
    let arguments = std::fs::read(format!("/proc/{}/cmdline", daemon.pid())).unwrap();
    assert!(!String::from_utf8_lossy(&arguments).contains("s3cret-value"));
    assert!(!daemon.said().contains("s3cret-value"));
}
