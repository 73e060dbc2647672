//! The command line as people and scripts use it.

use std::process::Command;

use compliance::{Sandbox, binary};

fn mainstay(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(binary("mainstay"))
        .args(arguments)
        .env_remove("MAINSTAY_CONFIG")
        .output()
        .unwrap();
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

const COMMANDS: [&str; 22] = [
    "run",
    "status",
    "start",
    "stop",
    "restart",
    "signal",
    "logs",
    "check",
    "backup",
    "backup init",
    "backup run",
    "backup list",
    "backup show",
    "backup restore",
    "backup verify",
    "shutdown",
    "reopen-logs",
    "version",
    "completions",
    "man",
    "help",
    "",
];

#[test]
fn every_command_explains_itself_with_an_example() {
    for command in COMMANDS.iter().filter(|command| **command != "help") {
        let mut arguments: Vec<&str> = command.split_whitespace().collect();
        arguments.push("--help");
        let (code, out, _) = mainstay(&arguments);
        assert_eq!(code, 0, "{command}");
        assert!(
            out.contains("Example") && out.contains("mainstay"),
            "{command}: {out}"
        );
    }
    assert!(mainstay(&["--help"]).1.contains("Exit codes:"));
}

#[test]
fn a_wrong_command_line_is_exit_2() {
    for arguments in [
        &["statsu"][..],
        &["status", "--jsno"],
        &["start"],
        &["signal", "HUP"],
        &["backup"],
        &[],
    ] {
        let (code, _, err) = mainstay(arguments);
        assert_eq!(code, 2, "{arguments:?}: {err}");
    }
    assert!(
        mainstay(&["statsu"]).2.contains("status"),
        "the nearest command is proposed"
    );
}

#[test]
fn completions_are_what_the_shells_accept() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, out, _) = mainstay(&["completions", shell]);
        assert_eq!(code, 0);
        assert!(
            out.contains("mainstay") && out.contains("restore"),
            "{shell}"
        );
        if shell == "bash" {
            let status = Command::new("bash")
                .args(["-n", "-c", &out])
                .status()
                .unwrap();
            assert!(status.success(), "bash does not read its completions");
        }
    }
}

#[test]
fn man_pages_exist_for_every_command() {
    let directory = tempfile_dir();
    let (code, ..) = mainstay(&["man", directory.path().join("man").to_str().unwrap()]);
    assert_eq!(code, 0);
    for command in COMMANDS.iter().filter(|command| **command != "help") {
        let name = format!("mainstay {command}").trim().replace(' ', "-");
        let page = std::fs::read_to_string(directory.path().join(format!("man/{name}.1"))).unwrap();
        assert!(page.contains(".TH") && page.contains("Example"), "{name}");
    }
}

fn tempfile_dir() -> Sandbox {
    Sandbox::new("")
}

#[test]
fn json_is_one_document_everywhere() {
    let sandbox = Sandbox::new("[program.web]\ncommand = \"sleep 1000\"\nstart_secs = 0\n");
    let _daemon = sandbox.start();
    for arguments in [
        &["status"][..],
        &["check"],
        &["version"],
        &["stop", "web"],
        &["start", "web"],
        &["restart", "web"],
        &["signal", "CONT", "web"],
        &["reopen-logs"],
    ] {
        let document = sandbox.json(arguments);
        assert_eq!(document["schema"], 1, "{arguments:?}: {document}");
    }
    let failed = sandbox.run(&["--json", "backup", "run", "nosuch"]);
    let document: serde_json::Value = serde_json::from_str(&failed.out).unwrap();
    assert_eq!(document["error"]["exit_code"], failed.code, "{failed:?}");
    assert_eq!(failed.code, 4);
}

#[test]
fn machines_get_a_document_whatever_is_wrong() {
    let sandbox = Sandbox::new("[program.web]\ncomand = 3\n");
    for arguments in [
        &["--json", "frob"][..],
        &["--json", "status", "--jsn"],
        &["--json", "logs"],
    ] {
        let outcome = sandbox.run(arguments);
        assert_eq!(outcome.code, 2, "{arguments:?}");
        let document: serde_json::Value = serde_json::from_str(&outcome.out).unwrap();
        assert_eq!(document["error"]["exit_code"], 2, "{document}");
    }
    let document = sandbox.json(&["check"]);
    let found = document["error"]["diagnostics"].as_array().unwrap();
    let unknown = found
        .iter()
        .find(|found| found["message"].as_str().unwrap().contains("comand"))
        .unwrap_or_else(|| panic!("{document}"));
    assert_eq!(
        (&unknown["line"], &unknown["column"]),
        (&3.into(), &1.into())
    );
    assert!(unknown["file"].as_str().unwrap().ends_with("mainstay.toml"));
}

#[test]
fn what_cannot_be_said_is_a_failure_and_a_reader_that_left_is_none() {
    let sandbox = Sandbox::new("[program.web]\ncommand = \"true\"\n");
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let status = sandbox.command(&["check"]).stdout(full).status().unwrap();
    assert_eq!(status.code(), Some(1));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = sandbox.command(&["check"]).stdout(writer).status().unwrap();
    assert_eq!(status.code(), Some(0));
}
