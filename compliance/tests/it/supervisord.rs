//! The same checks against Debian's supervisord and against ours, supervisord's own end-to-end
//! tests, and storms of kills. What they check and how is in `compliance/supervisord`.

use std::path::{Path, PathBuf};
use std::process::Command;

use compliance::{binary, installed};

/// Debian's own interpreter: the one that its supervisor belongs to.
const PYTHON: &str = "/usr/bin/python3";

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("supervisord")
        .join(name)
}

/// The binary under the names of the original.
struct Aliases(tempfile::TempDir);

impl Aliases {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["supervisord", "supervisorctl"] {
            std::os::unix::fs::symlink(binary("mainstay"), directory.path().join(name)).unwrap();
        }
        Self(directory)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }
}

/// Runs a script and gives what it printed; it must end with 0.
fn run(name: &str, arguments: &[&str]) -> String {
    let output = Command::new(PYTHON)
        .arg(script(name))
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let failed: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("not ok") || line.starts_with("skip"))
        .collect();
    assert!(
        output.status.success(),
        "{name} {arguments:?}: {}\n{}\n{}\n{}",
        output.status,
        failed.join("\n"),
        said.lines().last().unwrap_or_default(),
        String::from_utf8_lossy(&output.stderr)
    );
    for line in failed {
        println!("SKIPPED: {line}");
    }
    said
}

fn passed(said: &str) -> u32 {
    let last = said.lines().last().unwrap();
    last.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn the_same_checks_pass_on_the_original_and_on_ours() {
    if installed("supervisord").is_none() {
        return;
    }
    let aliases = Aliases::new();
    // One after the other: each fills the machine.
    let original = passed(&run("run.py", &[]));
    let (daemon, client) = (aliases.path("supervisord"), aliases.path("supervisorctl"));
    let ours = [
        "--supervisord",
        &daemon,
        "--supervisorctl",
        &client,
        "--name",
        "ours",
    ];
    let ours = passed(&run("run.py", &ours));
    assert!(original >= 600, "{original}");
    assert_eq!(ours, original);
}

/// Their own tests of the whole, with ours in the place of their daemon and client.
#[test]
fn supervisors_own_end_to_end_tests_pass() {
    let aliases = Aliases::new();
    let (daemon, client) = (aliases.path("supervisord"), aliases.path("supervisorctl"));
    let said = run(
        "e2e/run_e2e.py",
        &["--supervisord", &daemon, "--supervisorctl", &client],
    );
    assert!(said.ends_with("25 passed, 0 failed\n"), "{said}");
}

#[test]
fn kills_and_upgrades_lose_and_double_nothing() {
    let aliases = Aliases::new();
    let (daemon, toml) = (
        aliases.path("supervisord"),
        binary("mainstay").display().to_string(),
    );
    for mode in ["kill", "upgrade"] {
        for (flavour, command) in [("supervisord", &daemon), ("toml", &toml)] {
            let said = run(
                "storm.py",
                &[
                    "--daemon",
                    command,
                    "--flavour",
                    flavour,
                    "--mode",
                    mode,
                    "--rounds",
                    "8",
                    "--programs",
                    "15",
                ],
            );
            assert!(said.contains("; 0 faults"), "{said}");
        }
    }
}

/// The daemon reaps whoever ends, but not the binary that it is asking whether it can take over. While
/// programs end all the time it looks for those to reap all the time.
#[test]
fn a_binary_that_cannot_take_over_is_always_told_so() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let path = |name: &str| at(name).display().to_string();
    std::fs::copy(binary("mainstay"), at("supervisord")).unwrap();
    let config = format!(
        "[supervisord]\nlogfile={0}/d.log\npidfile={0}/d.pid\nchildlogdir={0}\n\
         [program:x]\ncommand=/bin/true\nnumprocs=4\nprocess_name=x%(process_num)d\n\
         startsecs=0\nautorestart=true\nstdout_logfile=NONE\nstderr_logfile=NONE\n",
        directory.path().display()
    );
    std::fs::write(at("s.conf"), config).unwrap();
    let run = |program: &str, words: &[&str]| Command::new(program).args(words).output().unwrap();
    let up = run(&path("supervisord"), &["-c", &path("s.conf")]);
    assert!(up.status.success(), "{up:?}");
    std::fs::remove_file(at("supervisord")).unwrap();
    std::fs::copy("/bin/false", at("supervisord")).unwrap();
    let mainstay = binary("mainstay").display().to_string();
    let said: Vec<String> = (0..150)
        .map(|_| {
            let said = run(&mainstay, &["upgrade", "-c", &path("s.conf")]);
            String::from_utf8_lossy(&said.stderr).into_owned()
        })
        .collect();
    let down = run(&mainstay, &["shutdown", "-c", &path("s.conf")]);
    assert!(down.status.success(), "{down:?}");
    let wrong: Vec<&String> = said
        .iter()
        .filter(|said| !said.contains("cannot take over"))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// It was called by a relative name with a relative config, works in another directory, and its name
/// leads elsewhere by now: who is asked to take over is who the name leads to.
#[test]
fn an_upgrade_follows_the_name_that_the_daemon_was_called_by() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let link = |to: &str| {
        let _ = std::fs::remove_file(at("supervisord"));
        std::os::unix::fs::symlink(at(to), at("supervisord")).unwrap();
    };
    std::fs::copy(binary("mainstay"), at("good")).unwrap();
    std::fs::copy("/bin/false", at("bad")).unwrap();
    let config = format!(
        "[supervisord]\nlogfile={0}/d.log\npidfile={0}/d.pid\nchildlogdir={0}\ndirectory=/\n",
        directory.path().display()
    );
    std::fs::write(at("s.conf"), config).unwrap();
    let run = |program: &str, words: &[&str]| {
        let mut command = Command::new(program);
        command.current_dir(directory.path()).args(words);
        command.output().unwrap()
    };
    let mainstay = binary("mainstay").display().to_string();
    let upgrade = || run(&mainstay, &["upgrade", "-c", "s.conf"]);
    link("good");
    let up = run("./supervisord", &["-c", "s.conf"]);
    assert!(up.status.success(), "{up:?}");
    // What becomes of each, the second time as one that took over itself.
    let said: Vec<_> = ["bad", "good", "bad"]
        .map(|next| {
            link(next);
            upgrade()
        })
        .into();
    let down = run(&mainstay, &["shutdown", "-c", "s.conf"]);
    assert!(down.status.success(), "{down:?}");
    for (said, good) in said.iter().zip([false, true, false]) {
        assert_eq!(said.status.success(), good, "{said:?}");
        let why = String::from_utf8_lossy(&said.stderr);
        let path = at("supervisord").display().to_string();
        assert!(
            good || why.contains(&format!("{path} cannot take over")),
            "{why}"
        );
    }
}
