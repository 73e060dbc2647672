//! Ruby: `app.rb:12:in 'method': message (Class)`, then `\tfrom app.rb:20:in 'other'`.

use super::scan::{frame, is_exception, path_and_line, raised};
use super::{Block, Found, Language, Raised, Step};

/// How many lines may stand between the message and the steps: the rest of it, the source, noise.
const BETWEEN: usize = 10;

pub(super) fn find(lines: &[&str]) -> Option<Found> {
    (0..lines.len()).find_map(|start| {
        let line = lines[start];
        if let Some(block) = heading(line) {
            let (steps, end) = steps(lines, start + 1);
            let mut blocks = vec![joined(block, steps)];
            blocks.extend(causes(lines, end));
            return Some(found(start, blocks));
        }
        logged(lines, start).or_else(|| reversed(lines, start))
    })
}

fn found(start: usize, blocks: Vec<Block>) -> Found {
    Found {
        language: Language::Ruby,
        start,
        blocks,
        root_first: false,
        is_whole: true,
    }
}

fn joined(mut block: Block, steps: Vec<Step>) -> Block {
    block.steps.extend(steps);
    block
}

/// `app.rb:12:in 'Shop#order': no such article (KeyError)`
fn heading(line: &str) -> Option<Block> {
    let line = line.trim_end();
    if line.starts_with([' ', '\t']) {
        return None;
    }
    let (step, rest) = match place(line) {
        Some((step, rest)) => (step, rest.strip_prefix(": ")?),
        None => syntax(line)?,
    };
    if rest == "unhandled exception" {
        let raised = Raised {
            exception: "RuntimeError".to_owned(),
            message: rest.to_owned(),
        };
        return Some(Block {
            raised,
            steps: vec![step],
        });
    }
    if rest == "Interrupt" {
        let raised = Raised {
            exception: rest.to_owned(),
            message: String::new(),
        };
        return Some(Block {
            raised,
            steps: vec![step],
        });
    }
    let (message, class) = class_behind(rest)?;
    let raised = Raised {
        exception: class.to_owned(),
        message: message.to_owned(),
    };
    Some(Block {
        raised,
        steps: vec![step],
    })
}

/// `app.rb:3: syntax error, unexpected end-of-input (SyntaxError)`
fn syntax(line: &str) -> Option<(Step, &str)> {
    let rest = line
        .strip_suffix("(SyntaxError)")
        .filter(|rest| rest.contains("syntax error"))?;
    let (place, _) = rest.split_once(": ")?;
    let (file, number) = path_and_line(place)?;
    Some((
        Step {
            frame: frame("", file, Some(number)),
            is_foreign: is_foreign(file),
        },
        &line[place.len() + 2..],
    ))
}

/// `message (Class)`
fn class_behind(text: &str) -> Option<(&str, &str)> {
    let (message, class) = text.strip_suffix(')')?.rsplit_once('(')?;
    let is_class = class.starts_with(|c: char| c.is_ascii_uppercase())
        && class
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':');
    is_class.then_some((message.trim_end(), class))
}

/// `app.rb:12:in 'Shop#order'` at the beginning of a text, and what follows it. Ruby before 3.4 begins
/// the quotation with a grave accent.
fn place(text: &str) -> Option<(Step, &str)> {
    let (before, rest) = text.split_once(":in ")?;
    let (file, line) = path_and_line(before)?;
    if file.contains(' ') && !file.starts_with('/') {
        return None;
    }
    let inside = rest.strip_prefix(['\'', '`'])?;
    let (function, rest) = inside.split_once('\'')?;
    Some((
        Step {
            frame: frame(function, file, Some(line)),
            is_foreign: is_foreign(file),
        },
        rest,
    ))
}

fn is_foreign(file: &str) -> bool {
    ["/gems/", "/lib/ruby/", "/bundle/", "/rubygems"]
        .iter()
        .any(|part| file.contains(part))
        || file.starts_with("<internal:")
}

/// `\tfrom app.rb:20:in 'other'`, or the place alone, as loggers print it.
fn step(line: &str) -> Option<Step> {
    let text = line.trim();
    // Ruby's Logger puts its heading in front of each line that it is given.
    let text = text
        .rsplit_once(" -- : ")
        .map_or(text, |(_, text)| text.trim());
    // `12: from …`
    let text = match text.split_once(": from ") {
        Some((number, rest)) if number.trim().bytes().all(|byte| byte.is_ascii_digit()) => rest,
        _ => text.strip_prefix("from ").unwrap_or(text),
    };
    let (step, rest) = place(text)?;
    rest.is_empty().then_some(step)
}

/// The steps from a line on, and the line behind them.
fn steps(lines: &[&str], from: usize) -> (Vec<Step>, usize) {
    let (mut steps, mut at, mut end, mut between) = (Vec::new(), from, from, 0);
    while let Some(line) = lines.get(at) {
        match step(line) {
            Some(step) => {
                steps.push(step);
                end = at + 1;
                between = 0;
            }
            None if heading(line).is_some() => break,
            None => between += 1,
        }
        if between > BETWEEN || !steps.is_empty() && between > 2 {
            break;
        }
        at += 1;
    }
    (steps, end)
}

/// What caused it is told below, in the same form.
fn causes(lines: &[&str], mut at: usize) -> Vec<Block> {
    let mut causes = Vec::new();
    while let Some(block) = lines.get(at).and_then(|line| heading(line)) {
        let (steps, end) = steps(lines, at + 1);
        causes.push(joined(block, steps));
        at = end;
    }
    causes
}

/// As Rails and loggers print it: `KeyError (no such article):` or `no such article (KeyError)`, and
/// the steps without `from`.
fn logged(lines: &[&str], start: usize) -> Option<Found> {
    let line = lines[start].trim_end();
    let text = line.rsplit_once(" -- : ").map_or(line, |(_, text)| text);
    let rails = text
        .trim_start()
        .strip_suffix("):")
        .and_then(|text| text.split_once(" ("))
        .filter(|(class, _)| {
            let class = class.rsplit(' ').next().unwrap_or_default();
            is_exception(class) || class.contains("::")
        });
    let raised = if let Some((class, message)) = rails {
        let class = class.rsplit(' ').next().unwrap_or_default();
        Raised {
            exception: class.to_owned(),
            message: message.to_owned(),
        }
    } else if let Some((message, class)) =
        class_behind(text).filter(|(_, class)| is_exception(class))
    {
        Raised {
            exception: class.to_owned(),
            message: message.trim().to_owned(),
        }
    } else {
        let (class, message) = raised(text.trim())?;
        Raised {
            exception: class.to_owned(),
            message: message.to_owned(),
        }
    };
    // Near below, or it is only a line that speaks of an exception.
    let near = (start + 1..lines.len().min(start + 5)).find(|at| step(lines[*at]).is_some())?;
    let (steps, _) = steps(lines, near);
    Some(found(start, vec![Block { raised, steps }]))
}

/// Ruby 2.5 to 2.7 on a terminal: `Traceback (most recent call last):`, the newest step last.
fn reversed(lines: &[&str], start: usize) -> Option<Found> {
    lines[start]
        .trim_end()
        .ends_with("Traceback (most recent call last):")
        .then_some(())?;
    let mut steps = Vec::new();
    for (at, line) in lines.iter().enumerate().skip(start + 1) {
        if let Some(block) = heading(line) {
            let mut blocks = vec![joined(block, steps)];
            blocks.extend(causes(lines, at + 1));
            return Some(found(start, blocks));
        }
        steps.insert(0, step(line)?);
    }
    None
}
