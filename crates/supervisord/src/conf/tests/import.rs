//! What programs become.

use super::*;
use crate::conf::load::{Surroundings, load};

fn imported(text: &str) -> Vec<ProgramSpec> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.conf");
    std::fs::write(&path, format!("[supervisord]\nenvironment=D=1\n{text}")).unwrap();
    let around = Surroundings {
        environment: std::collections::BTreeMap::new(),
        host: "h".into(),
        temporary: "/tmp".into(),
    };
    let loaded = load(&path, &around).unwrap();
    let mut auto =
        |name: &str, _: &str, stream: &str| PathBuf::from(format!("/auto/{name}-{stream}"));
    loaded
        .groups
        .iter()
        .flat_map(|one| group(&loaded, one, &mut auto))
        .collect()
}

#[test]
fn defaults_are_the_original_s() {
    let all = imported("[unix_http_server]\nfile=/s\n[program:x]\ncommand=a 'b c'\n");
    let spec = &all[0];
    assert_eq!(
        spec.policy,
        Policy {
            exit_codes: vec![0],
            stop_wait: Duration::from_secs(10),
            ..Policy::supervisord()
        }
    );
    assert_eq!((spec.group.name.as_str(), spec.group.priority), ("x", 999));
    assert_eq!(spec.stdin, Stdin::Pipe);
    let process = &spec.processes[0];
    assert_eq!(process.process, "x");
    assert_eq!(process.command, ["a", "b c"].map(Template::literal));
    assert_eq!(
        process.stdout,
        Output::File {
            path: "/auto/x-stdout".into(),
            retain: Retention {
                size: Some(50 << 20),
                files: Some(10),
                ..Retention::NONE
            }
        }
    );
    let env: Vec<String> = process
        .env
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(
        env,
        [
            "D=1",
            "SUPERVISOR_ENABLED=1",
            "SUPERVISOR_GROUP_NAME=x",
            "SUPERVISOR_PROCESS_NAME=x",
            "SUPERVISOR_SERVER_URL=unix:///s"
        ]
    );
}

#[test]
fn groups_name_their_processes_and_streams_go_where_they_are_told() {
    let all = imported(
        "[program:x]\ncommand=a\nredirect_stderr=true\nstdout_logfile=NONE\nstdout_events_enabled=1\n\
         stderr_events_enabled=1\nserverurl=http://u\nstartretries=-1\nautorestart=false\n\
         [group:g]\nprograms=x\n",
    );
    let spec = &all[0];
    let process = &spec.processes[0];
    assert_eq!(process.process, "g:x");
    assert_eq!(
        (&process.stdout, &process.stderr),
        (&Output::Discard, &Output::Merge)
    );
    assert!(process.stdout_tap.events && !process.stderr_tap.events);
    assert_eq!(spec.policy.start_retries, None);
    assert_eq!(spec.policy.autorestart, Autorestart::Never);
    assert_eq!(process.env["SUPERVISOR_SERVER_URL"].to_string(), "http://u");
}

#[test]
fn dollars_are_no_references() {
    let all = imported("[program:x]\ncommand=echo ${secret.x}\nenvironment=A=\"${env.B}\"\n");
    assert!(!all[0].processes[0].command.iter().any(Template::has_secret));
}
