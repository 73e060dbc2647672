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
