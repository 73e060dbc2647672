//! `completions` and `man`: made from the one table of the command line.

use std::path::Path;

use clap::CommandFactory;

use crate::cli::{self, Cli};
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// Completions for a shell.
pub(crate) fn completions(output: &Output, shell: clap_complete::Shell) -> Exit {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "mainstay", &mut text);
    output.print(&String::from_utf8_lossy(&text));
    Exit::Done
}

/// One man page per command, `mainstay-backup-run.1`, into a directory.
pub(crate) fn man(output: &Output, directory: &Path) -> Result<Exit, Failure> {
    let failed = |e: std::io::Error| {
        Failure::new(
            Exit::Failed,
            format!("cannot write man pages into {}: {e}", directory.display()),
        )
    };
    std::fs::create_dir_all(directory).map_err(failed)?;
    let mut root = cli::command();
    root.build();
    let mut pages = Vec::new();
    collect(&root, "mainstay", &mut pages);
    for (name, command) in &pages {
        let mut text = Vec::new();
        // The short help is all a man page takes; the root has more to say.
        let long = command.get_after_long_help().cloned();
        let command = match long {
            Some(long) => command.clone().after_help(long),
            None => command.clone(),
        };
        clap_mangen::Man::new(command)
            .title(name.to_uppercase())
            .render(&mut text)
            .map_err(failed)?;
        mainstay_base::fs::replace(&directory.join(format!("{name}.1")), &text, 0o644)
            .map_err(failed)?;
    }
    output.say(&format!(
        "{} man pages in {}",
        pages.len(),
        directory.display()
    ));
    Ok(Exit::Done)
}

fn collect(command: &clap::Command, name: &str, pages: &mut Vec<(String, clap::Command)>) {
    pages.push((name.to_owned(), command.clone().name(name.to_owned())));
    for sub in command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
    {
        collect(sub, &format!("{name}-{}", sub.get_name()), pages);
    }
}
