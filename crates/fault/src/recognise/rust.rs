//! Rust: `thread 'main' panicked at src/main.rs:5:10:`, the message, and with `RUST_BACKTRACE` the
//! steps, the newest first.

use super::scan::{frame, path_and_line};
use super::{Block, Found, Language, Raised, Step};

pub(super) fn find(lines: &[&str]) -> Option<Found> {
    (0..lines.len()).find_map(|start| {
        panic(lines, start)
            .or_else(|| abort(lines, start))
            .or_else(|| report(lines, start))
    })
}

fn found(start: usize, blocks: Vec<Block>, is_whole: bool) -> Found {
    Found {
        language: Language::Rust,
        start,
        blocks,
        root_first: false,
        is_whole,
    }
}

/// What follows `thread 'name' ` or, since 1.91, `thread 'name' (12) `.
fn of_thread(line: &str) -> Option<&str> {
    let at = line
        .find("thread '")
        .filter(|at| *at == 0 || line[..*at].ends_with([' ', ':', ']']))?;
    let (_, rest) = line[at + 8..].split_once("' ")?;
    match rest
        .strip_prefix('(')
        .and_then(|rest| rest.split_once(") "))
    {
        Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => Some(rest),
        _ => Some(rest),
    }
}

fn panic(lines: &[&str], start: usize) -> Option<Found> {
    let rest = of_thread(lines[start])?
        .strip_prefix("panicked at ")?
        .trim_end();
    let (place, message, whole) = if let Some(place) = rest.strip_suffix(':') {
        let message = lines.get(start + 1).map(|line| line.trim());
        (place, message.unwrap_or_default(), message.is_some())
    } else {
        // Before 1.73 the message came first: `'boom', src/main.rs:5:10`.
        let (message, place) = rest.rsplit_once(", ")?;
        (place, message.trim_matches('\''), true)
    };
    let (file_and_line, _column) = path_and_line(place)?;
    let (file, line) = path_and_line(file_and_line)?;
    let place = Step {
        frame: frame("", file, Some(line)),
        is_foreign: is_foreign(file),
    };
    let mut steps = backtrace(&lines[start + 1..]);
    // The step of the place knows its function.
    let at = steps.iter().position(|step| {
        step.frame.line == place.frame.line
            && step.frame.file.trim_start_matches("./") == place.frame.file.trim_start_matches("./")
    });
    match at {
        Some(at) => drop(steps.drain(..at)),
        None => steps.insert(0, place),
    }
    let raised = Raised {
        exception: "panic".to_owned(),
        message: message.to_owned(),
    };
    Some(found(start, vec![Block { raised, steps }], whole))
}

/// The steps below `stack backtrace:`, up to the next panic.
fn backtrace(lines: &[&str]) -> Vec<Step> {
    let end = lines
        .iter()
        .position(|line| of_thread(line).is_some())
        .unwrap_or(lines.len());
    let lines = &lines[..end];
    let Some(from) = lines.iter().position(|line| {
        line.trim_start()
            .to_ascii_lowercase()
            .starts_with("stack backtrace:")
    }) else {
        return Vec::new();
    };
    let mut steps: Vec<Step> = Vec::new();
    for line in &lines[from + 1..] {
        let text = line.trim();
        if let Some(place) = text.strip_prefix("at ") {
            let place = path_and_line(place)
                .map(|(rest, last)| path_and_line(rest).unwrap_or((rest, last)));
            if let (Some((file, line)), Some(step)) = (place, steps.last_mut())
                && step.frame.file.is_empty()
            {
                step.is_foreign = is_foreign(file) || is_foreign_function(&step.frame.function);
                file.clone_into(&mut step.frame.file);
                step.frame.line = Some(line);
            }
        } else if let Some((number, function)) = text.split_once(": ")
            && !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
        {
            // `RUST_BACKTRACE=full` shows addresses, too.
            let function = function.trim_start();
            let function = match function.split_once(" - ") {
                Some((address, function)) if address.starts_with("0x") => function,
                _ => function,
            };
            steps.push(Step {
                is_foreign: true,
                frame: frame(without_hash(function), "", None),
            });
        }
    }
    steps
}

/// Symbols end in a hash that differs from build to build: `app::order::h0123456789abcdef`.
fn without_hash(function: &str) -> &str {
    match function.rsplit_once("::h") {
        Some((name, hash))
            if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
        {
            name
        }
        _ => function,
    }
}

fn is_foreign(file: &str) -> bool {
    [
        "/rustc/",
        "/.cargo/",
        "/library/std/",
        "/library/core/",
        "/library/alloc/",
        "/cargo/registry/",
    ]
    .iter()
    .any(|part| file.contains(part))
}

fn is_foreign_function(function: &str) -> bool {
    [
        "std::",
        "core::",
        "alloc::",
        "__rust",
        "rust_begin_unwind",
        "tokio::",
        "<core::",
        "<alloc::",
        "<std::",
    ]
    .iter()
    .any(|start| function.starts_with(start))
}

/// What ends the process without a panic.
fn abort(lines: &[&str], start: usize) -> Option<Found> {
    let line = lines[start].trim_end();
    let (exception, message) =
        if of_thread(line).is_some_and(|rest| rest.starts_with("has overflowed its stack")) {
            ("stack overflow", line)
        } else if line.starts_with("memory allocation of ") && line.ends_with(" bytes failed") {
            ("out of memory", line)
        } else {
            (
                "fatal runtime error",
                line.strip_prefix("fatal runtime error: ")?,
            )
        };
    let raised = Raised {
        exception: exception.to_owned(),
        message: message.to_owned(),
    };
    Some(found(
        start,
        vec![Block {
            raised,
            steps: Vec::new(),
        }],
        true,
    ))
}

/// The error that `main` returned, as anyhow and eyre print it: with its causes, or it is any line.
fn report(lines: &[&str], start: usize) -> Option<Found> {
    let message = lines[start].strip_prefix("Error: ")?;
    let by =
        (start + 1..lines.len().min(start + 6)).find(|at| lines[*at].trim_end() == "Caused by:")?;
    let mut blocks = vec![Block {
        raised: Raised {
            exception: "Error".to_owned(),
            message: message.trim().to_owned(),
        },
        steps: Vec::new(),
    }];
    for line in lines[by + 1..]
        .iter()
        .take_while(|line| line.starts_with(' ') && !line.trim().is_empty())
    {
        let text = line.trim();
        let text = match text.split_once(": ") {
            Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => rest,
            _ => text,
        };
        blocks.push(Block {
            raised: Raised {
                exception: "Error".to_owned(),
                message: text.to_owned(),
            },
            steps: Vec::new(),
        });
    }
    blocks[0].steps = backtrace(&lines[by..]);
    (blocks.len() > 1).then_some(())?;
    Some(found(start, blocks, true))
}
