//! Programs from the system's packages that the tests run: which are missing, how to get them.

use std::process::{Command, Stdio};

use crate::run;

/// A program and the Debian package it comes in.
type Needed = (&'static str, &'static str);

/// What the tests start that this project does not build.
const NEEDED: &[Needed] = &[
    ("restic", "restic"),
    ("redis-server", "redis-server"),
    ("nginx", "nginx"),
    ("curl", "curl"),
    ("gunicorn", "gunicorn"),
    ("supervisord", "supervisor"),
    ("rsync", "rsync"),
    ("rsyslogd", "rsyslog"),
    ("strace", "strace"),
    ("sqlite3", "sqlite3"),
    ("mariadbd", "mariadb-server"),
    ("mariadb-backup", "mariadb-backup"),
    // initdb is not in PATH on Debian; this comes with it.
    ("pg_ctlcluster", "postgresql"),
    // What repositories over SFTP are tested with.
    ("sshd", "openssh-server"),
    // Brings the tools of `tools.txt`.
    ("pip3", "python3-pip"),
    // Looks at the error pages.
    ("chromium", "chromium"),
];

/// What to do about the packages that are missing.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    /// Nothing is missing.
    Nothing,
    /// Run the script with this in front.
    Install(&'static [&'static str]),
    /// Tell the person this line.
    Tell(String),
}

/// What is known about the machine.
#[derive(Clone, Copy)]
struct Machine {
    apt: bool,
    root: bool,
    sudo: bool,
}

/// Installs what is missing, or says in the error what to run; `may_install` off says it only.
pub(crate) fn prepare(may_install: bool) -> Result<(), String> {
    let missing: Vec<Needed> = missing(|program| run::find_program(program).is_some());
    let machine = Machine {
        apt: run::find_program("apt-get").is_some(),
        root: answers("id", &["-u"]).is_some_and(|id| id.trim() == "0"),
        sudo: answers("sudo", &["-n", "true"]).is_some(),
    };
    match way(&missing, machine) {
        Way::Nothing => Ok(()),
        Way::Install(prefix) if may_install => {
            let script = script(&missing);
            let line: Vec<&str> = prefix
                .iter()
                .copied()
                .chain(["sh", "-c", &script])
                .collect();
            println!("installing {}", names(&missing));
            run::run(Command::new(line[0]).args(&line[1..]).stdin(Stdio::null()))
        }
        Way::Install(_) => Err(format!("missing: {}", names(&missing))),
        Way::Tell(what) => Err(what),
    }
}

fn missing(present: impl Fn(&str) -> bool) -> Vec<Needed> {
    NEEDED
        .iter()
        .copied()
        .filter(|(program, _)| !present(program))
        .collect()
}

fn way(missing: &[Needed], machine: Machine) -> Way {
    if missing.is_empty() {
        Way::Nothing
    } else if !machine.apt {
        Way::Tell(format!(
            "missing: {}. This system has no apt-get: install them with its own package manager, or run with --no-install to skip their tests",
            names(missing)
        ))
    } else if machine.root {
        Way::Install(&[])
    } else if machine.sudo {
        Way::Install(&["sudo", "-n"])
    } else {
        Way::Tell(format!(
            "missing: {}. Run this line, or run with --no-install to skip their tests:\n  sudo sh -c '{}'",
            names(missing),
            script(missing)
        ))
    }
}

/// Installs without starting a single service: Debian asks `policy-rc.d` before it starts one, so
/// for as long as this takes there is one that says no. It has no single quote in it, so that it
/// can be shown inside a pair of them.
fn script(missing: &[Needed]) -> String {
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    format!(
        "p=/usr/sbin/policy-rc.d; if [ ! -e $p ]; then trap \"rm -f $p\" EXIT INT TERM; printf \"#!/bin/sh\\nexit 101\\n\" > $p; chmod 755 $p; fi; apt-get update -q; DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends {}",
        packages.join(" ")
    )
}

fn names(missing: &[Needed]) -> String {
    missing
        .iter()
        .map(|(_, package)| *package)
        .collect::<Vec<_>>()
        .join(", ")
}

/// What a command prints, if it can be run and ends well.
fn answers(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_asked_for() {
        assert_eq!(missing(|_| true), []);
        assert_eq!(
            missing(|program| program != "supervisord"),
            [("supervisord", "supervisor")]
        );
        assert_eq!(missing(|_| false).len(), NEEDED.len());
    }

    #[test]
    fn the_way_depends_on_the_machine() {
        let two = [("nginx", "nginx"), ("supervisord", "supervisor")];
        let machine = |apt, root, sudo| Machine { apt, root, sudo };
        assert_eq!(way(&[], machine(false, false, false)), Way::Nothing);
        assert_eq!(way(&two, machine(true, true, false)), Way::Install(&[]));
        assert_eq!(
            way(&two, machine(true, false, true)),
            Way::Install(&["sudo", "-n"])
        );
        for (machine, expected) in [
            (machine(true, false, false), "sudo sh -c '"),
            (
                machine(false, true, true),
                "missing: nginx, supervisor. This system has no apt-get",
            ),
        ] {
            let Way::Tell(words) = way(&two, machine) else {
                panic!("{expected}")
            };
            assert!(words.contains(expected), "{words}");
            assert!(words.contains("--no-install"), "{words}");
        }
    }

    #[test]
    fn the_script_fits_into_single_quotes() {
        let script = script(&missing(|_| false));
        assert!(!script.contains('\''), "{script}");
        assert!(!script.contains('\n'), "{script}");
        assert!(script.ends_with(
            " restic redis-server nginx curl gunicorn supervisor rsync rsyslog strace sqlite3 mariadb-server mariadb-backup postgresql openssh-server python3-pip chromium"
        ));
    }
}
