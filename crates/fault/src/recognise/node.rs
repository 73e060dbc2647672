//! Node: a message, then `    at function (file:line:column)`, the newest step first.

use super::scan::{frame, is_indented, name, path_and_line, raised, raised_in};
use super::{Block, Found, Language, Raised, Step};

/// How many lines a message may have.
const MESSAGE_LINES: usize = 12;
const NOISE: usize = 2;

pub(super) fn find(lines: &[&str]) -> Option<Found> {
    (0..lines.len()).find_map(|at| {
        if let Some((_, message)) = lines[at].split_once("FATAL ERROR: ")
            && message.contains("JavaScript heap out of memory")
        {
            let raised = Raised {
                exception: "FATAL ERROR".to_owned(),
                message: message.trim().to_owned(),
            };
            let blocks = vec![Block {
                raised,
                steps: Vec::new(),
            }];
            return Some(Found {
                language: Language::Node,
                start: at,
                blocks,
                root_first: false,
                is_whole: true,
            });
        }
        if step(lines[at]).is_some() {
            // Only the first step of a stack.
            let is_first = at == 0 || step(lines[at - 1]).is_none();
            return is_first.then(|| stack(lines, at)).flatten();
        }
        thrown_value(lines, at)
    })
}

fn stack(lines: &[&str], first: usize) -> Option<Found> {
    let from = first.saturating_sub(MESSAGE_LINES);
    let head = (from..first)
        .rev()
        .take_while(|at| !lines[*at].trim().is_empty())
        .find_map(|at| Some((at, heading(lines[at])?)));
    let mut steps = Vec::new();
    let (mut at, mut noise) = (first, 0);
    while let Some(line) = lines.get(at) {
        match step(line) {
            Some(step) => {
                steps.push(step);
                noise = 0;
            }
            None if line.trim_start().starts_with("... ") => {}
            // A line of others, with more of the stack behind it.
            None if noise < NOISE
                && !line.trim().is_empty()
                && lines[at + 1..]
                    .iter()
                    .take(NOISE)
                    .any(|next| step(next).is_some())
                && !line.trim_start().starts_with("[cause]")
                && raised(line.trim()).is_none() =>
            {
                noise += 1;
            }
            None => break,
        }
        if line.trim_end().ends_with('{') {
            at += 1;
            break;
        }
        at += 1;
    }
    let mut start = first;
    let mut blocks = Vec::new();
    let is_whole = head.is_some();
    match head {
        Some((at, (exception, message))) => {
            // `--trace-warnings` shows stacks of what is no error.
            if exception.ends_with("Warning") {
                return None;
            }
            start = at;
            let raised = Raised {
                exception: exception.to_owned(),
                message: message.to_owned(),
            };
            if !steps.iter().any(|step| !step.is_foreign)
                && let Some((at, place)) =
                    source_place(lines, start).filter(|(_, place)| !place.is_foreign)
            {
                start = at;
                steps.insert(0, place);
            }
            blocks.push(Block { raised, steps });
        }
        // The beginning is missing. One step alone could be anything.
        None if steps.len() >= 2 => blocks.push(Block {
            raised: Raised::default(),
            steps,
        }),
        None => return None,
    }
    blocks.extend(causes(&lines[at.min(lines.len())..]));
    Some(Found {
        language: Language::Node,
        start,
        blocks,
        root_first: false,
        is_whole,
    })
}

/// `Error: …`, `ShopError [E_SHOP]: …`, `Uncaught Error: …`, behind what a logger has put in front.
fn heading(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    let line = line.strip_prefix("Uncaught ").unwrap_or(line);
    // Node before 15 told it as a warning.
    let line = line
        .split_once("UnhandledPromiseRejectionWarning: ")
        .map_or(line, |(_, rest)| rest);
    if let Some(found) = raised_in(line) {
        return Some(found);
    }
    let name = name(line);
    let rest = &line[name.len()..];
    let is_warning = line
        .split_whitespace()
        .nth(1)
        .is_some_and(|word| word.ends_with("Warning:"));
    if line.starts_with("(node:") && is_warning {
        return line
            .split_once(") ")
            .and_then(|(_, rest)| rest.split_once(": "));
    }
    // Any class may be thrown; its name is a word that begins with a capital.
    let is_class = name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.chars().any(|c| c.is_ascii_lowercase());
    (is_class && !line.starts_with("at "))
        .then(|| {
            rest.strip_prefix(": ")
                .map(|message| (name, message.trim()))
        })
        .flatten()
}

/// `    at async handler (/srv/app/server.js:12:9)`
fn step(line: &str) -> Option<Step> {
    if !is_indented(line) {
        return None;
    }
    let line = line.trim().trim_end_matches([',', '{', ' ']);
    let rest = line.strip_prefix("at ")?;
    let rest = rest.strip_prefix("async ").unwrap_or(rest);
    let (function, place) = match rest
        .strip_suffix(')')
        .and_then(|rest| rest.rsplit_once(" ("))
    {
        Some((function, place)) => (function, place),
        None => ("", rest),
    };
    let function = function.strip_prefix("new ").unwrap_or(function);
    if ["<anonymous>", "native"].contains(&place) || place.starts_with("index ") {
        return Some(Step {
            frame: frame(function, place, None),
            is_foreign: true,
        });
    }
    let (place, _column) = path_and_line(place)?;
    let (file, line) = path_and_line(place)?;
    let file = file.strip_prefix("file://").unwrap_or(file);
    if file.contains('(') || function.contains(" in ") {
        return None;
    }
    let is_foreign =
        file.starts_with("node:") || file.starts_with("internal/") || file.contains("node_modules");
    Some(Step {
        frame: frame(function, file, Some(line)),
        is_foreign,
    })
}

/// The place that Node shows above an error that nobody caught.
fn source_place(lines: &[&str], below: usize) -> Option<(usize, Step)> {
    let from = below.saturating_sub(5);
    let caret = (from..below).rev().find(|at| is_caret(lines[*at]))?;
    let (at, (file, line)) = (from..caret)
        .rev()
        .find_map(|at| Some((at, path_and_line(lines[at].trim_end())?)))?;
    let is_foreign = file.starts_with("node:") || file.contains("node_modules");
    let file = file.strip_prefix("file://").unwrap_or(file);
    Some((
        at,
        Step {
            frame: frame("", file, Some(line)),
            is_foreign,
        },
    ))
}

fn is_caret(line: &str) -> bool {
    let text = line.trim();
    !text.is_empty() && text.bytes().all(|byte| byte == b'^')
}

/// What caused it, and the errors of an `AggregateError`: in the braces behind the stack.
fn causes(lines: &[&str]) -> Vec<Block> {
    lines
        .iter()
        .take_while(|line| is_indented(line) || line.trim().is_empty())
        .filter_map(|line| {
            let text = line.trim();
            let text = text.strip_prefix("[cause]: ").unwrap_or(text);
            let (exception, message) = raised(text.trim_end_matches(['{', ' ']))?;
            let raised = Raised {
                exception: exception.to_owned(),
                message: message.to_owned(),
            };
            Some(Block {
                raised,
                steps: Vec::new(),
            })
        })
        .collect()
}

/// `throw "boom"`: a value that is no error has no stack, only the place.
fn thrown_value(lines: &[&str], at: usize) -> Option<Found> {
    let (file, _) = path_and_line(lines[at].trim_end()).filter(|(file, _)| !file.contains(' '))?;
    if !(file.starts_with('/') || file.starts_with("node:") || file.starts_with("file:///")) {
        return None;
    }
    let end = lines.len().min(at + 12);
    let caret = (at + 1..lines.len().min(at + 5)).find(|at| is_caret(lines[*at]))?;
    let trailer = (caret + 1..end).find(|at| {
        lines[*at].starts_with("(Use `node --trace-uncaught") || lines[*at].starts_with("Node.js v")
    })?;
    let has_stack = lines[caret..trailer]
        .iter()
        .any(|line| step(line).is_some());
    let message = lines[caret + 1..trailer]
        .iter()
        .find(|line| !line.trim().is_empty())?;
    if has_stack {
        return None;
    }
    let (_, place) = source_place(lines, caret + 1)?;
    let (exception, message) = raised(message.trim()).unwrap_or(("thrown value", message.trim()));
    let raised = Raised {
        exception: exception.to_owned(),
        message: message.to_owned(),
    };
    Some(Found {
        language: Language::Node,
        start: at,
        blocks: vec![Block {
            raised,
            steps: vec![place],
        }],
        root_first: false,
        is_whole: true,
    })
}
