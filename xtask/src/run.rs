//! Running other programs, and where the project and its build lie.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The root of the project.
pub(crate) fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}

/// The directory that the build puts binaries into: the one this binary was started from.
pub(crate) fn binaries() -> Result<PathBuf, String> {
    let own = std::env::current_exe()
        .map_err(|why| format!("cannot tell where this program lies: {why}"))?;
    own.parent()
        .map(Path::to_path_buf)
        .ok_or_else(|| format!("{} lies in no directory", own.display()))
}

/// The cargo that runs us, in the root of the project.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root()).stdin(Stdio::null());
    command
}

/// A command line as one would type it.
pub(crate) fn words(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    std::iter::once(program)
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Runs a command with its output on ours; an error says how it ended.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let status = command
        .status()
        .map_err(|why| cannot_start(command, &why))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`{}` ended with {status}", words(command)))
    }
}

/// Runs a command and hands each line of both its outputs, in their order, to `on_line`.
pub(crate) fn run_lines(
    command: &mut Command,
    mut on_line: impl FnMut(&str),
) -> Result<(), String> {
    let (reader, writer) = std::io::pipe()
        .map_err(|why| format!("cannot make a pipe for `{}`: {why}", words(command)))?;
    let twin = writer
        .try_clone()
        .map_err(|why| format!("cannot make a pipe for `{}`: {why}", words(command)))?;
    command.stdout(writer).stderr(twin);
    let mut child = command.spawn().map_err(|why| cannot_start(command, &why))?;
    // The command holds our ends of the pipe: without this the last line would never come.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut line = Vec::new();
    let mut reader = BufReader::new(reader);
    while reader
        .read_until(b'\n', &mut line)
        .is_ok_and(|read| read > 0)
    {
        on_line(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']));
        line.clear();
    }
    let status = child
        .wait()
        .map_err(|why| format!("lost `{}`: {why}", words(command)))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`{}` ended with {status}", words(command)))
    }
}

fn cannot_start(command: &Command, why: &std::io::Error) -> String {
    format!(
        "cannot start `{}`: {why}",
        command.get_program().to_string_lossy()
    )
}

/// Where a program is found: the search path, and where administrators' programs lie.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}
