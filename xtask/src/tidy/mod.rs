//! `cargo xtask tidy`: the rules of the project that a compiler does not check.
//!
//! Each check is a function from the tree of files to findings. The tests below hold a small valid
//! project and break it in one place at a time: a check that cannot fail would be seen there.

mod documents;
mod lexer;
mod manifests;
mod sources;
#[cfg(test)]
mod tests;
mod tree;

use std::fmt;
use std::process::ExitCode;

use crate::Outcome;
use tree::Tree;

const HELP: &str = "\
Check the rules of the project that a compiler does not check.

usage: cargo xtask tidy

Prints `file:line: message` for each finding and ends with 1 if there is any.
Checked: layers between crates; versions and lints inherited from the workspace; the table of
dependencies in ARCHITECTURE.md; unsafe code only in crates/sys and explained; engines that read
no arguments, no environment, print nothing and start no runtime; names, file sizes, prose and
emptiness of crates; links of documents; paths of one machine.
";

/// One broken rule at one place.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: impl Into<String>, line: usize, message: impl Into<String>) -> Finding {
        Finding {
            path: path.into(),
            line,
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// The chore.
pub(crate) fn main(args: &[String]) -> Outcome {
    if let Err(code) = crate::switches(args, [], HELP) {
        return Ok(code);
    }
    let findings = check(&Tree::read(&crate::run::root())?);
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => {
            println!("tidy: nothing found");
            Ok(ExitCode::SUCCESS)
        }
        count => Err(format!("tidy: {count} found")),
    }
}

/// Every finding in a tree, in the order of files and lines.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut found = manifests::check(tree);
    found.extend(sources::check(tree));
    found.extend(documents::check(tree));
    found.sort();
    found.dedup();
    found
}
