//! Project chores, run as `cargo xtask NAME`.
//!
//! - `tidy` checks the rules of this project that no compiler checks.
//! - `licences` checks what is depended on against `deny.toml`.
//! - `test` runs everything that must pass before a change lands; CI runs nothing else.
//! - `demo` shows the product on a machine that has only git, cargo and a C compiler.
//! - `dist` writes man pages and shell completions.
//!
//! A chore may print and may read the environment; the product's crates may not. Deciding code here
//! is pure all the same (what a tree breaks, what a test run said, which packages are missing), so
//! that a table test can prove that each check fails when it should.
#![allow(clippy::print_stdout, clippy::print_stderr)]
// What a chore writes is for people, a few lines at a time: reading well beats one allocation.
#![allow(clippy::format_push_string)]

mod demo;
mod dist;
mod licences;
mod run;
mod test;
mod tidy;

use std::process::ExitCode;

/// What a chore ends with: an error is a sentence for the person at the terminal.
type Outcome = Result<ExitCode, String>;

/// Exit code for a command line that makes no sense, as in the product itself.
const USAGE: u8 = 2;

const HELP: &str = "\
Project chores of mainstay.

usage: cargo xtask <chore> [options]

chores:
  tidy      check layers, names, file sizes, unsafe, documents: the rules a compiler does not check
  licences  check licences and sources of dependencies
  test      install what the tests need, then format, clippy, tidy, tests, docs, licences
  demo      build, then run the example shop under mainstay in a scratch directory
  dist      write man pages and shell completions to target/dist

`cargo xtask <chore> --help` says more about one chore.
";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let chore = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let outcome = match chore.as_str() {
        "tidy" => tidy::main(&rest),
        "licences" => licences::main(&rest),
        "test" => test::main(&rest),
        "demo" => demo::main(&rest),
        "dist" => dist::main(&rest),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        "" => {
            eprint!("{HELP}");
            return ExitCode::from(USAGE);
        }
        other => {
            eprintln!("error: no chore is called `{other}`\n\n{HELP}");
            return ExitCode::from(USAGE);
        }
    };
    outcome.unwrap_or_else(|message| {
        eprintln!("error: {message}");
        ExitCode::FAILURE
    })
}

/// The switches of a chore: which of `known` are present, or what to print instead.
///
/// Every chore takes plain switches only, so this is the whole argument parser: `--help` prints
/// `help` and ends well, an unknown word is an error that shows it too.
fn switches<const N: usize>(
    args: &[String],
    known: [&str; N],
    help: &str,
) -> Result<[bool; N], ExitCode> {
    let mut present = [false; N];
    for arg in args {
        if arg == "--help" || arg == "-h" {
            print!("{help}");
            return Err(ExitCode::SUCCESS);
        }
        let Some(index) = known.iter().position(|name| name == arg) else {
            eprintln!("error: unknown option `{arg}`\n\n{help}");
            return Err(ExitCode::from(USAGE));
        };
        present[index] = true;
    }
    Ok(present)
}
