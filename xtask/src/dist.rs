//! `cargo xtask dist`: man pages and shell completions, made by the binary from its own command
//! line, so that they cannot say anything else than `--help` does.

use std::fs::File;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use crate::{Outcome, run};

const HELP: &str = "\
Write man pages and shell completions to target/dist.

usage: cargo xtask dist
";

/// The shells and what each wants its file to be called.
const COMPLETIONS: &[(&str, &str)] = &[
    ("bash", "mainstay.bash"),
    ("zsh", "_mainstay"),
    ("fish", "mainstay.fish"),
];

/// The chore.
pub(crate) fn main(args: &[String]) -> Outcome {
    if let Err(code) = crate::switches(args, [], HELP) {
        return Ok(code);
    }
    let binary = run::binaries()?.join("mainstay");
    run::run(&mut run::cargo(&["build", "-p", "mainstay"]))?;

    let target = run::root().join("target/dist");
    let completions = target.join("completions");
    create_directory(&completions)?;
    for (shell, name) in COMPLETIONS {
        let path = completions.join(name);
        let file =
            File::create(&path).map_err(|why| format!("cannot write {}: {why}", path.display()))?;
        run::run(
            Command::new(&binary)
                .args(["completions", shell])
                .stdin(Stdio::null())
                .stdout(file),
        )?;
        println!("{}", path.display());
    }
    let man = target.join("man");
    create_directory(&man)?;
    run::run(
        Command::new(&binary)
            .arg("man")
            .arg(&man)
            .stdin(Stdio::null()),
    )?;
    println!("{}", man.display());
    Ok(ExitCode::SUCCESS)
}

fn create_directory(path: &Path) -> Result<(), String> {
    std::fs::create_dir_all(path).map_err(|why| format!("cannot create {}: {why}", path.display()))
}
