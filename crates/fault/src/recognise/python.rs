//! Python: `Traceback (most recent call last):`, the newest step last.

use super::scan::{frame, is_indented, name};
use super::{Block, Found, Language, Raised, Step};

const HEADING: &str = "Traceback (most recent call last):";
/// How many lines of others may stand inside a traceback.
const NOISE: usize = 5;

pub(super) fn find(lines: &[&str]) -> Option<Found> {
    (0..lines.len()).find_map(|start| {
        let line = lines[start].trim_end();
        if let Some(before) = line.strip_suffix(HEADING) {
            // A quote in front: somebody speaks of a traceback.
            let is_heading = before.is_empty() || before.ends_with([' ', '\t', '|']);
            return is_heading.then(|| traceback(lines, start)).flatten();
        }
        syntax_error(lines, start)
    })
}

fn traceback(lines: &[&str], start: usize) -> Option<Found> {
    let is_group = lines[start].trim_start().starts_with("+ Exception Group");
    let mut blocks = Vec::new();
    let (mut at, mut is_whole) = (start, true);
    loop {
        let (block, end) = block(lines, at);
        if block.steps.is_empty() && block.raised.exception.is_empty() {
            break;
        }
        is_whole = !block.raised.exception.is_empty();
        // A heading and a word that might be an exception are not enough.
        if block.steps.is_empty() && blocks.is_empty() {
            return None;
        }
        blocks.insert(0, block);
        let Some(next) = chained(lines, end) else {
            at = end;
            break;
        };
        at = next;
    }
    if blocks.is_empty() {
        return None;
    }
    if is_group {
        blocks.extend(parts(&lines[at.min(lines.len())..]));
    }
    Some(Found {
        language: Language::Python,
        start,
        blocks,
        root_first: false,
        is_whole,
    })
}

/// The line without the frame around an exception group.
fn bare(line: &str) -> &str {
    let text = line.trim_start();
    match text.strip_prefix(['|', '+']) {
        Some(rest) => rest.strip_prefix(' ').unwrap_or(rest),
        None => line,
    }
}

/// The steps and the exception behind a heading, and the line after them.
fn block(lines: &[&str], heading: usize) -> (Block, usize) {
    let mut block = Block::default();
    let mut noise = 0;
    let mut at = heading + 1;
    while let Some(line) = lines.get(at).map(|line| bare(line)) {
        if line.trim_end().ends_with(HEADING) {
            break;
        }
        if let Some(step) = step(line) {
            block.steps.insert(0, step);
        } else if !is_indented(line) && !line.trim().is_empty() {
            let before_step = lines
                .get(at + 1)
                .is_some_and(|next| step(bare(next)).is_some());
            match exception(line).filter(|_| !before_step) {
                Some(raised) => {
                    block.raised = raised;
                    return (block, at + 1);
                }
                None => noise += 1,
            }
            if noise > NOISE {
                break;
            }
        }
        at += 1;
    }
    (block, at)
}

/// `  File "/srv/app.py", line 12, in order`
fn step(line: &str) -> Option<Step> {
    let rest = line.trim_start().strip_prefix("File \"")?;
    let (file, rest) = rest.split_once("\", line ")?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let line = rest[..digits].parse().ok()?;
    let function = rest[digits..].strip_prefix(", in ").unwrap_or_default();
    let is_foreign = ["site-packages", "dist-packages", "/lib/python"]
        .iter()
        .any(|part| file.contains(part))
        || file.starts_with('<');
    Some(Step {
        frame: frame(function, file, Some(line)),
        is_foreign,
    })
}

/// `shop.OrderError: no such article`. The name may be any, as Python allows it.
fn exception(line: &str) -> Option<Raised> {
    let line = line.trim_end();
    let name = name(line);
    let is_name = name.starts_with(|c: char| c.is_alphabetic() || c == '_') && !name.ends_with('.');
    let is_level = [
        "DEBUG", "INFO", "WARN", "WARNING", "ERROR", "CRITICAL", "FATAL", "NOTICE", "TRACE",
    ]
    .iter()
    .any(|level| name.eq_ignore_ascii_case(level));
    if !is_name || is_level {
        return None;
    }
    let message = match &line[name.len()..] {
        "" | ":" => "",
        rest => rest.strip_prefix(": ")?,
    };
    Some(Raised {
        exception: name.to_owned(),
        message: message.trim().to_owned(),
    })
}

/// The heading of the next traceback of a chain.
fn chained(lines: &[&str], end: usize) -> Option<usize> {
    let leads = |line: &str| {
        line.starts_with("During handling of the above exception")
            || line.starts_with("The above exception was the direct cause")
    };
    // The rest of a message and notes may be in between.
    let lead = (end..lines.len().min(end + 12))
        .take_while(|at| !lines[*at].trim_end().ends_with(HEADING))
        .find(|at| leads(bare(lines[*at])))?;
    (lead + 1..lines.len().min(lead + 4)).find(|at| lines[*at].trim_end().ends_with(HEADING))
}

/// The exceptions in a group.
fn parts(lines: &[&str]) -> Vec<Block> {
    let mut parts = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let text = line.trim_start();
        if !text.starts_with(['|', '+']) {
            break;
        }
        let text = text.trim_start_matches(['|', '+', ' ']);
        let after_rule = at > 0 && lines[at - 1].contains("----------------");
        let is_end = lines
            .get(at + 1)
            .is_some_and(|next| next.contains("----------------"));
        if (after_rule || is_end)
            && !text.starts_with('-')
            && !text.ends_with(HEADING)
            && let Some(raised) = exception(text)
        {
            parts.push(Block {
                raised,
                steps: Vec::new(),
            });
        }
    }
    parts
}

/// A file that could not even be read has no heading.
fn syntax_error(lines: &[&str], start: usize) -> Option<Found> {
    let first = step(lines[start])
        .filter(|step| step.frame.function.is_empty() && is_indented(lines[start]))?;
    let raised = lines
        .iter()
        .skip(start + 1)
        .take(5)
        .find(|line| !is_indented(line))?;
    let raised = exception(raised)?;
    let known =
        ["SyntaxError", "IndentationError", "TabError"].contains(&raised.exception.as_str());
    known.then(|| Found {
        language: Language::Python,
        start,
        blocks: vec![Block {
            raised,
            steps: vec![first],
        }],
        root_first: false,
        is_whole: true,
    })
}
