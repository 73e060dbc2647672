//! Checks of Rust sources: unsafe code, what engines keep away from, names, sizes, prose.

use super::Finding;
use super::lexer::{self, Source, Token};
use super::tree::Tree;

/// The one crate that may hold unsafe code.
const UNSAFE_CRATE: &str = "crates/sys/";

/// The crate that is the shell around the engines: it alone reads arguments, environment, prints.
const SHELL: &str = "mainstay";

/// Names that say nothing about what is inside, for crates and for modules.
const EMPTY_NAMES: &[&str] = &[
    "common", "core", "helper", "helpers", "manager", "misc", "types", "util", "utils",
];

/// A file longer than this says why, in a comment that starts with [`LONG`].
const MAX_LINES: usize = 1000;
const LONG: &str = "// tidy: long because ";

/// How many lines of prose open a library.
const MIN_PROSE: usize = 5;

/// A crate with fewer lines of code than this is a name without a thing.
const MIN_CODE: usize = 10;

/// What the product code of an engine must not name, and what to do instead.
const FORBIDDEN_IN_ENGINES: &[(&[&str], &str)] = &[
    (&["env", "::", "args"], ARGUMENTS),
    (&["env", "::", "args_os"], ARGUMENTS),
    (&["env", "::", "var"], ENVIRONMENT),
    (&["env", "::", "var_os"], ENVIRONMENT),
    (&["env", "::", "vars"], ENVIRONMENT),
    (&["env", "::", "vars_os"], ENVIRONMENT),
    (&["env", "::", "temp_dir"], ENVIRONMENT),
    (&["env", "::", "home_dir"], ENVIRONMENT),
    (&["print", "!"], PRINT),
    (&["println", "!"], PRINT),
    (&["eprint", "!"], PRINT),
    (&["eprintln", "!"], PRINT),
    (&["tokio", "::", "runtime", "::", "Builder"], RUNTIME),
    (&["tokio", "::", "runtime", "::", "Runtime"], RUNTIME),
    (&["Builder", "::", "new_multi_thread"], RUNTIME),
    (&["Builder", "::", "new_current_thread"], RUNTIME),
    (&["tokio", "::", "main"], RUNTIME),
    (&["process", "::", "exit"], EXIT),
    (&["fs", "::", "write"], WRITE),
    (&["process", "::", "Command"], SPAWN),
    (&["Timestamp", "::", "now"], CLOCK),
    (&["Zoned", "::", "now"], CLOCK),
    (&["SystemTime", "::", "now"], CLOCK),
];

const ARGUMENTS: &str =
    "an engine does not read the command line: take what it needs as an argument";
const ENVIRONMENT: &str =
    "an engine does not read the environment: take what it needs as an argument";
const PRINT: &str = "an engine does not print: return the value, or log it";
const RUNTIME: &str = "an engine does not start a runtime: be async, or take a handle";
const EXIT: &str = "an engine does not end the process: return an error";
const WRITE: &str = "a crash in the middle leaves half a file: use `mainstay_base::fs::replace`";
const SPAWN: &str = "programs are started through `mainstay_sys::spawn`, which knows identity, limits and descriptors";

const CLOCK: &str =
    "the wall clock comes through `mainstay_base::Clock`, so that a test can set it";

/// The file that the rule about clocks sends everyone to.
const CLOCK_FILE: &str = "crates/base/src/clock.rs";

/// Every check of sources.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for (path, text) in tree.with_extension("rs") {
        let source = lexer::split(text);
        found.extend(unsafe_code(path, &source));
        found.extend(engine_rules(path, &source));
        found.extend(names(path, &source));
        found.extend(length(path, text));
    }
    for name in tree.crates() {
        found.extend(crate_rules(tree, name));
    }
    found
}

/// `unsafe` stands only in sys, and each block or impl there says why it is sound.
fn unsafe_code(path: &str, source: &Source) -> Vec<Finding> {
    let tokens = lexer::tokens(&source.code);
    let mut found = Vec::new();
    for (index, token) in tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| token.text == "unsafe")
    {
        if !path.starts_with(UNSAFE_CRATE) {
            found.push(Finding::new(
                path,
                token.line,
                format!("`unsafe` outside {UNSAFE_CRATE}: ask that crate for a safe function"),
            ));
        } else if claims_soundness(&tokens, index) && !explained(source, token.line) {
            found.push(Finding::new(
                path,
                token.line,
                "`unsafe` without a `// SAFETY:` comment above it that says why it is sound",
            ));
        }
    }
    found
}

/// Whether this `unsafe` is a block or an impl: there the author vouches for something. In
/// `unsafe fn` and `unsafe extern` it is a demand on others.
fn claims_soundness(tokens: &[Token<'_>], index: usize) -> bool {
    tokens
        .get(index + 1)
        .is_some_and(|next| matches!(next.text, "{" | "impl"))
}

/// Whether a SAFETY comment stands on this line or above the statement that the line is part of.
fn explained(source: &Source, line: usize) -> bool {
    let code: Vec<&str> = source.code.lines().collect();
    let comments: Vec<&str> = source.comments.lines().collect();
    let says_why = |at: usize| {
        comments
            .get(at)
            .is_some_and(|text| text.contains("SAFETY:"))
    };
    let mut at = line - 1;
    loop {
        if says_why(at) {
            return true;
        }
        let Some(above) = at.checked_sub(1) else {
            return false;
        };
        let ends_before = code
            .get(above)
            .is_some_and(|text| text.trim_end().ends_with([';', '{', '}']));
        let blank = [&code, &comments]
            .iter()
            .all(|view| view.get(above).is_none_or(|text| text.trim().is_empty()));
        if blank || (ends_before && !says_why(above)) {
            return false;
        }
        at = above;
    }
}

/// The crate below `crates/` that a file is part of.
fn crate_of(path: &str) -> Option<&str> {
    path.strip_prefix("crates/")?.split('/').next()
}

/// Whether a file is part of an engine, that is of any crate but the shell, and not only a test or an example.
pub(super) fn is_engine_product(path: &str) -> bool {
    let is_test = path
        .split('/')
        .any(|part| matches!(part, "tests" | "benches" | "examples" | "tests.rs"));
    crate_of(path).is_some_and(|name| name != SHELL) && !is_test
}

/// What only the shell may do is not named in the product code of an engine.
fn engine_rules(path: &str, source: &Source) -> Vec<Finding> {
    if !is_engine_product(path) {
        return Vec::new();
    }
    let product = lexer::product(&source.code);
    let tokens = flat_uses(lexer::tokens(&product));
    let mut found: Vec<Finding> = Vec::new();
    for (start, token) in tokens.iter().enumerate() {
        for (words, why) in FORBIDDEN_IN_ENGINES {
            if *why == CLOCK && path == CLOCK_FILE {
                continue;
            }
            let rest = &tokens[start..];
            let here = rest.len() >= words.len()
                && rest
                    .iter()
                    .zip(*words)
                    .all(|(token, word)| token.text == *word);
            if here {
                found.push(Finding::new(
                    path,
                    token.line,
                    format!("`{}`: {why}", words.concat()),
                ));
            }
        }
    }
    found
}

/// Writes `env::{args, var}` as `env::args`, `env::var`, so that one pattern finds both forms.
fn flat_uses(tokens: Vec<Token<'_>>) -> Vec<Token<'_>> {
    let mut flat: Vec<Token<'_>> = Vec::with_capacity(tokens.len());
    // For each open brace the path to repeat before each name in it: empty if it is no such brace.
    let mut open: Vec<Vec<Token<'_>>> = Vec::new();
    let mut starts_name = false;
    for token in tokens {
        match token.text {
            "{" => {
                open.push(path_before(&flat));
                starts_name = true;
            }
            "}" => {
                open.pop();
            }
            "," => starts_name = true,
            _ => {
                if let (true, Some(path)) = (starts_name, open.last()) {
                    flat.extend(path.iter().map(|part| Token {
                        line: token.line,
                        ..*part
                    }));
                }
                starts_name = false;
            }
        }
        flat.push(token);
    }
    flat
}

/// The path that `tokens` ends with, as in `tokio::runtime::`; empty where they end otherwise.
fn path_before<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let pairs = tokens
        .rchunks_exact(2)
        .take_while(|pair| pair[1].text == "::" && pair[0].text != "::")
        .count();
    tokens[tokens.len() - 2 * pairs..].to_vec()
}

/// No crate and no module has a name that says nothing.
fn names(path: &str, source: &Source) -> Vec<Finding> {
    let complain = |line, name: &str| {
        Finding::new(
            path,
            line,
            format!("`{name}` says nothing about what is inside: name it by what it hides"),
        )
    };
    let mut found: Vec<Finding> = path
        .split('/')
        .map(|part| part.strip_suffix(".rs").unwrap_or(part))
        .filter(|part| EMPTY_NAMES.contains(part))
        .map(|part| complain(1, part))
        .collect();
    let tokens = lexer::tokens(&source.code);
    for pair in tokens.windows(3) {
        let inline = pair[0].text == "mod" && pair[2].text == "{";
        if inline && EMPTY_NAMES.contains(&pair[1].text) {
            found.push(complain(pair[1].line, pair[1].text));
        }
    }
    found
}

/// A file that is too long to read in one go says why it is one file.
fn length(path: &str, text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    let excused = || {
        text.lines().any(|line| {
            line.trim()
                .strip_prefix(LONG)
                .is_some_and(|why| !why.trim().is_empty())
        })
    };
    (lines > MAX_LINES && !excused()).then(|| {
        Finding::new(
            path,
            MAX_LINES + 1,
            format!(
                "{lines} lines, more than {MAX_LINES}: split it, or say why not in a line `{LONG}…`"
            ),
        )
    })
}

/// A crate opens with a page of prose and has something in it.
fn crate_rules(tree: &Tree, name: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let library = format!("crates/{name}/src/lib.rs");
    if let Some(text) = tree.text(&library) {
        let prose = text
            .lines()
            .map_while(|line| line.strip_prefix("//!"))
            .filter(|line| !line.trim().is_empty())
            .count();
        if prose < MIN_PROSE {
            found.push(Finding::new(&library, 1, format!(
                "opens with {prose} lines of `//!` prose, fewer than {MIN_PROSE}: say what the crate hides and show an example"
            )));
        }
    }
    let sources = format!("crates/{name}/src/");
    let code: usize = tree
        .with_extension("rs")
        .filter(|(path, _)| path.starts_with(&sources))
        .map(|(_, text)| {
            lexer::split(text)
                .code
                .lines()
                .filter(|line| !line.trim().is_empty())
                .count()
        })
        .sum();
    if code < MIN_CODE {
        found.push(Finding::new(format!("crates/{name}/Cargo.toml"), 1, format!(
            "crate `{name}` has {code} lines of code: a crate is made when there is something to put in it"
        )));
    }
    if EMPTY_NAMES.contains(&name) {
        found.push(Finding::new(
            format!("crates/{name}/Cargo.toml"),
            1,
            format!("`{name}` says nothing about what is inside: name it by what it hides"),
        ));
    }
    found
}
