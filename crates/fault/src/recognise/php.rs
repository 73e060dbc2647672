//! PHP: `PHP Fatal error:  Uncaught Exception: message in file.php:12`, then `#0 file.php(20): f()`,
//! the newest step first. The chain begins with what came first.

use super::scan::{frame, name, path_and_line};
use super::{Block, Found, Language, Raised, Step};

/// How many lines a message may have.
const MESSAGE_LINES: usize = 12;

pub(super) fn find(lines: &[&str]) -> Option<Found> {
    (0..lines.len()).find_map(|start| {
        fatal(lines, start)
            .or_else(|| logged(lines, start))
            .or_else(|| symfony(lines, start))
    })
}

fn found(start: usize, blocks: Vec<Block>, is_whole: bool) -> Found {
    Found {
        language: Language::Php,
        start,
        blocks,
        root_first: false,
        is_whole,
    }
}

fn fatal(lines: &[&str], start: usize) -> Option<Found> {
    const SIGNS: [&str; 3] = [
        "Fatal error: ",
        "Parse error: ",
        "Recoverable fatal error: ",
    ];
    let line = lines[start];
    let (sign, at) = SIGNS
        .iter()
        .filter_map(|sign| Some((*sign, line.find(sign)?)))
        .min_by_key(|(_, at)| *at)?;
    // Alone at the beginning, as a page has it, or behind the name of the language, as a log has it.
    if at > 0 && !line[..at].ends_with("PHP ") {
        return None;
    }
    let rest = line[at + sign.len()..].trim_start();
    let kind = sign.trim_end_matches(": ");
    let Some(first) = rest.strip_prefix("Uncaught ") else {
        // `Allowed memory size of 134217728 bytes exhausted in /srv/app.php on line 3`
        let (message, file, number) = on_line(rest)?;
        let raised = Raised {
            exception: kind.to_owned(),
            message: message.to_owned(),
        };
        let steps = vec![Step {
            frame: frame("", file, Some(number)),
            is_foreign: is_foreign(file),
        }];
        return Some(found(start, vec![Block { raised, steps }], true));
    };
    let mut blocks = Vec::new();
    let mut at = start;
    let mut text = first;
    loop {
        let (raised, place, end) = uncaught(lines, at, text)?;
        let (steps, end) = steps(lines, end);
        let mut all: Vec<Step> = place.into_iter().collect();
        all.extend(steps);
        blocks.insert(0, Block { raised, steps: all });
        let next = (end..lines.len().min(end + 3))
            .find_map(|at| Some((at, lines[at].strip_prefix("Next ")?)));
        match next {
            Some((next, rest)) => (at, text) = (next, rest),
            None => break,
        }
    }
    let is_whole = blocks.iter().any(|block| !block.steps.is_empty());
    Some(found(start, blocks, is_whole))
}

/// `RuntimeException: no such article in /srv/app/shop.php:12`, where the message may have several
/// lines; and the line behind it.
fn uncaught<'a>(
    lines: &[&'a str],
    at: usize,
    text: &'a str,
) -> Option<(Raised, Option<Step>, usize)> {
    let exception = name(text);
    if exception.is_empty() {
        return None;
    }
    let rest = text[exception.len()..].trim_start_matches(':').trim_start();
    let mut message = rest;
    let mut place = None;
    let mut end = at + 1;
    for (index, line) in std::iter::once(rest)
        .chain(lines[at + 1..].iter().copied())
        .take(MESSAGE_LINES)
        .enumerate()
    {
        if index > 0 && (line.starts_with("Stack trace:") || line.starts_with('#')) {
            break;
        }
        end = at + 1 + index;
        // `PHP Fatal error: … in /srv/app.php on line 3` shows the place a second time.
        if let Some((before, file, number)) = in_file(line.trim_end()).or_else(|| on_line(line)) {
            if index == 0 {
                message = before;
            }
            place = Some(Step {
                frame: frame("", file, Some(number)),
                is_foreign: is_foreign(file),
            });
            break;
        }
    }
    // The first line alone, whatever came behind it.
    if place.is_none() {
        end = at + 1;
    }
    let raised = Raised {
        exception: exception.to_owned(),
        message: message.trim().to_owned(),
    };
    Some((raised, place, end.max(at + 1)))
}

/// `… in /srv/app/shop.php:12`
fn in_file(text: &str) -> Option<(&str, &str, u32)> {
    let at = if text.starts_with("in ") {
        0
    } else {
        text.rfind(" in ")? + 1
    };
    let (file, line) = path_and_line(&text[at + 3..])?;
    Some((text[..at].trim_end(), file, line))
}

/// `… in /srv/app/shop.php on line 12`
fn on_line(text: &str) -> Option<(&str, &str, u32)> {
    let (before, rest) = text.split_once(" on line ")?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (message, file) = before.rsplit_once(" in ")?;
    Some((message, file, rest[..digits].parse().ok()?))
}

/// The steps behind `Stack trace:`, and the line behind them.
fn steps(lines: &[&str], from: usize) -> (Vec<Step>, usize) {
    let (mut steps, mut end) = (Vec::new(), from);
    for (at, line) in lines.iter().enumerate().skip(from).take(super::LINES) {
        if let Some(text) = line.trim_start().strip_prefix('#') {
            let digits = text.bytes().take_while(u8::is_ascii_digit).count();
            let text = text[digits..].trim_start();
            end = at + 1;
            if let Some((place, function)) = text.split_once(": ") {
                steps.extend(step(place, function));
            }
        } else if !(line.starts_with("Stack trace:")
            || line.starts_with("[stacktrace]")
            || line.trim().is_empty())
        {
            // Lines of others between the steps.
            let goes_on = lines[at + 1..]
                .iter()
                .take(2)
                .any(|next| next.trim_start().starts_with('#'));
            if !goes_on || line.starts_with("Next ") || line.starts_with("[previous exception]") {
                break;
            }
        }
    }
    (steps, end)
}

/// `/srv/app/shop.php(12)`, `[internal function]`
fn step(place: &str, function: &str) -> Option<Step> {
    let function = function.split('(').next().unwrap_or_default();
    if place == "[internal function]" {
        return Some(Step {
            frame: frame(function, "", None),
            is_foreign: true,
        });
    }
    let (file, line) = place.strip_suffix(')')?.rsplit_once('(')?;
    Some(Step {
        frame: frame(function, file, line.parse().ok()),
        is_foreign: is_foreign(file),
    })
}

fn is_foreign(file: &str) -> bool {
    file.contains("/vendor/") || file.starts_with("phar://")
}

/// As Laravel logs it: `… {"exception":"[object] (RuntimeException(code: 0): boom at /srv/app.php:12)`.
fn logged(lines: &[&str], start: usize) -> Option<Found> {
    let (_, text) = lines[start].split_once("{\"exception\":\"[object] (")?;
    let mut blocks = vec![object(text)?];
    let (steps, mut at) = steps(lines, start + 1);
    let is_whole = !steps.is_empty();
    blocks[0].steps.extend(steps);
    while let Some(rest) = lines.get(at).map(|line| line.trim_start()) {
        if let Some((_, text)) = rest
            .strip_prefix("[previous exception]")
            .and_then(|rest| rest.split_once("[object] ("))
        {
            let Some(mut block) = object(text) else { break };
            let (steps, end) = self::steps(lines, at + 1);
            block.steps.extend(steps);
            blocks.push(block);
            at = end;
        } else if rest.is_empty() {
            at += 1;
        } else {
            break;
        }
    }
    Some(found(start, blocks, is_whole))
}

/// `RuntimeException(code: 0): boom at /srv/app.php:12)`
fn object(text: &str) -> Option<Block> {
    let exception = name(text);
    let (_, rest) = text[exception.len()..]
        .strip_prefix("(code: ")?
        .split_once("): ")?;
    let rest = rest
        .trim_end()
        .trim_end_matches(['}', '"', '\\'])
        .trim_end_matches(')');
    let (message, place) = rest.rsplit_once(" at ").unwrap_or((rest, ""));
    let steps = path_and_line(place)
        .map(|(file, line)| Step {
            frame: frame("", file, Some(line)),
            is_foreign: is_foreign(file),
        })
        .into_iter()
        .collect();
    let exception = exception.replace("\\\\", "\\");
    Some(Block {
        raised: Raised {
            exception,
            message: message.to_owned(),
        },
        steps,
    })
}

/// As Symfony logs it: `Uncaught PHP Exception RuntimeException: "boom" at HomeController.php line 12`.
fn symfony(lines: &[&str], start: usize) -> Option<Found> {
    let (_, text) = lines[start].split_once("Uncaught PHP Exception ")?;
    let exception = name(text);
    let (message, rest) = text[exception.len()..]
        .strip_prefix(": \"")?
        .split_once("\" at ")?;
    let (file, rest) = rest.split_once(" line ")?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let steps = vec![Step {
        frame: frame("", file, Some(rest[..digits].parse().ok()?)),
        is_foreign: is_foreign(file),
    }];
    let raised = Raised {
        exception: exception.to_owned(),
        message: message.to_owned(),
    };
    Some(found(start, vec![Block { raised, steps }], true))
}
