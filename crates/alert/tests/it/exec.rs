//! Programs as channels: what they get, how they end, and that none is left behind.

use std::path::Path;
use std::time::Duration;

use mainstay_alert::{
    Alert, DeliveryState, ExecConfig, Failure, Severity, Target, When, try_channels,
};
use mainstay_base::{Credential, Secret};

use crate::scene::{config, eventually, start};

fn script(text: &str) -> ExecConfig {
    ExecConfig::new(["sh", "-c", text, "page"])
}

fn run(directory: &Path, exec: ExecConfig) -> Result<(), Failure> {
    let config = config(directory).channel("own", When::default(), Target::Exec(exec));
    try_channels(&config, jiff::Timestamp::now())
        .unwrap()
        .remove(0)
        .result
}

#[test]
fn a_program_gets_the_message_its_variables_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().display();
    let mut exec = script(&format!(
        "cat > {path}/message; env > {path}/env; printf '%s\\n' \"$@\" > {path}/args; ls -l /proc/self/fd > {path}/fds"
    ));
    exec.command
        .extend(["a b".into(), "$(touch /nowhere)".into()]);
    exec.env = vec![("TOKEN".into(), Credential::Value(Secret::new("hunter2")))];
    let config = config(directory.path()).channel("own", When::default(), Target::Exec(exec));
    assert!(!format!("{config:?}").contains("hunter2"));
    let alerts = start(config);
    // Larger than a pipe holds.
    let body = "line of the body\n".repeat(400);
    alerts.raise(
        Alert::new("blog", Severity::Critical, "資料庫 is gone")
            .body(body)
            .context((0..20).map(|n| format!("{n} {}", "x".repeat(990))))
            .label("long", "y".repeat(900)),
    );
    let delivery = eventually("the delivery", || {
        alerts
            .list()
            .unwrap()
            .deliveries
            .into_iter()
            .find(|delivery| delivery.state == DeliveryState::Sent)
    });
    let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    let message: serde_json::Value = serde_json::from_str(&read("message")).unwrap();
    assert_eq!(message["schema"], 1);
    assert_eq!(message["id"], delivery.message.as_str());
    assert_eq!(message["entries"][0]["title"], "資料庫 is gone");
    assert_eq!(read("args"), "a b\n$(touch /nowhere)\n");
    let env = read("env");
    let mut names: Vec<&str> = env
        .lines()
        .filter_map(|line| line.split('=').next())
        .collect();
    // The shell's own.
    names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name));
    names.sort_unstable();
    assert_eq!(names, ["LANG", "MAINSTAY_MESSAGE_ID", "PATH", "TOKEN"]);
    assert!(env.contains("TOKEN=hunter2\n"), "{env}");
    assert!(env.contains(&format!("MAINSTAY_MESSAGE_ID={}\n", delivery.message)));
    assert!(!read("fds").contains("alerts.db"), "{}", read("fds"));
    alerts.shutdown(Duration::from_secs(10));
}

#[test]
fn how_a_program_ends_is_what_becomes_of_the_message() {
    let directory = tempfile::tempdir().unwrap();
    let missing = ExecConfig::new(["/no/such/program"]);
    let nobody = ExecConfig {
        user: Some("no-such-user-here".into()),
        ..script("true")
    };
    for (exec, expected) in [
        (script("exit 0"), None),
        // It need not read what it gets, and what it leaves behind is its own affair.
        (script("sleep 0.1 & echo done; exit 0"), None),
        (
            script("echo the network is down >&2; exit 1"),
            Some((true, "`sh` ended with code 1: the network is down")),
        ),
        (
            script("echo no such recipient; exit 65"),
            Some((false, "refuses the message with code 65: no such recipient")),
        ),
        (script("kill -9 $$"), Some((true, "was killed by signal 9"))),
        (missing, Some((true, "cannot run `/no/such/program`"))),
        (nobody, Some((true, "there is no user `no-such-user-here`"))),
        (
            script("yes a very long story | head -n 1000000; echo the end; exit 3"),
            Some((true, "the end")),
        ),
    ] {
        let what = format!("{:?}", exec.command);
        let result = run(directory.path(), exec);
        match (&result, expected) {
            (Ok(()), None) => {}
            (Err(failure), Some((temporary, why))) => {
                assert_eq!(failure.temporary, temporary, "{what}: {failure}");
                assert!(failure.why.contains(why), "{what}: {failure}");
                assert!(failure.why.len() < 400 && !failure.help.is_empty());
            }
            _ => panic!("{what}: {result:?}"),
        }
    }
}

#[test]
fn what_a_program_says_holds_no_secret() {
    let directory = tempfile::tempdir().unwrap();
    let mut exec = script("echo curl -H \"Authorization: $TOKEN\" failed; exit 7");
    exec.env = vec![("TOKEN".into(), Credential::Value(Secret::new("hunter2")))];
    let failure = run(directory.path(), exec).unwrap_err();
    assert!(
        failure.why.contains("Authorization: *** failed"),
        "{failure}"
    );
}

/// A program that hangs, holds its ears shut and has started another one.
#[test]
fn one_that_takes_too_long_is_killed_with_all_it_started() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().display();
    let mut exec = script(&format!(
        "trap '' TERM; sh -c 'trap \"\" TERM; echo $$ > {path}/pid; while :; do sleep 1; done' & echo $$ > {path}/own; echo waiting; while :; do sleep 1; done"
    ));
    exec.timeout = Duration::from_secs(1);
    let failure = run(directory.path(), exec).unwrap_err();
    assert!(failure.temporary);
    assert!(
        failure.why.contains("did not end in time and was killed"),
        "{failure}"
    );
    for name in ["pid", "own"] {
        let pid = std::fs::read_to_string(directory.path().join(name)).unwrap();
        eventually("the process to be gone", || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
            // An orphan that is dead may wait for whoever adopted it.
            stat.map_or(true, |stat| {
                stat.rsplit_once(')')
                    .is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
            })
            .then_some(())
        });
    }
}
