//! Go: `panic:` and `fatal error:`, then the stack of each goroutine, the newest step first.

use super::scan::{frame, path_and_line};
use super::{Block, Found, Language, Raised, Step};

/// How far the stack may be from the message.
const REACH: usize = 60;
/// How many lines of others may stand inside a stack.
const NOISE: usize = 3;

pub(super) fn find(lines: &[&str]) -> Option<Found> {
    (0..lines.len()).find_map(|start| {
        let line = lines[start];
        if let Some(message) = line.strip_prefix("panic: ") {
            return found(lines, start, chain(message, &lines[start + 1..]));
        }
        if let Some(message) = line.strip_prefix("fatal error: ") {
            return found(lines, start, vec![raised("fatal error", message)]);
        }
        // net/http goes on after a panic, and says so: `http: panic serving 10.0.0.1:80: boom`.
        if let Some((_, rest)) = line.split_once("http: panic serving ") {
            let message = rest.split_once(": ").map_or("", |(_, message)| message);
            return found(lines, start, vec![raised("panic", message)]);
        }
        // A stack that the program printed after it had recovered.
        if is_goroutine(line) {
            let before = start
                .checked_sub(1)
                .map(|before| lines[before])
                .unwrap_or_default();
            let lower = before.to_ascii_lowercase();
            let (steps, _, panicked) = stack(lines, start);
            let message = [
                "recovered: ",
                "recovered from panic: ",
                "panic: ",
                "panic recovered: ",
            ]
            .iter()
            .filter_map(|sign| Some(&before[lower.find(sign)? + sign.len()..]))
            .min_by_key(|message| message.len());
            return panicked.then(|| Found {
                language: Language::Go,
                start: start - usize::from(message.is_some()),
                blocks: vec![Block {
                    raised: raised("panic", message.unwrap_or_default()),
                    steps,
                }],
                root_first: false,
                is_whole: true,
            });
        }
        None
    })
}

/// The errors of the runtime have a type of their own, which is not `panic`.
fn raised(kind: &str, message: &str) -> Raised {
    let message = message.trim();
    let message = ["[recovered]", "[recovered, repanicked]"]
        .iter()
        .find_map(|sign| message.strip_suffix(sign))
        .unwrap_or(message)
        .trim_end();
    match message.strip_prefix("runtime error: ") {
        Some(message) => Raised {
            exception: "runtime error".to_owned(),
            message: message.to_owned(),
        },
        None => Raised {
            exception: kind.to_owned(),
            message: message.to_owned(),
        },
    }
}

/// A panic, and those that came while it was dealt with: the last one first.
fn chain(first: &str, rest: &[&str]) -> Vec<Raised> {
    let further = rest.iter().map_while(|line| line.strip_prefix("\tpanic: "));
    let mut all: Vec<Raised> = std::iter::once(first)
        .chain(further)
        .map(|message| raised("panic", message))
        .collect();
    all.reverse();
    all
}

/// `goroutine 12 [running]:`
fn is_goroutine(line: &str) -> bool {
    line.strip_prefix("goroutine ").is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_ascii_digit())
            && rest.contains(" [")
            && rest.trim_end().ends_with("]:")
    })
}

/// Only with a goroutine below it is it a crash: anybody may write `panic: `.
fn found(lines: &[&str], start: usize, raised: Vec<Raised>) -> Option<Found> {
    let heading = (start + 1..lines.len().min(start + REACH)).find(|at| is_goroutine(lines[*at]));
    let signal = lines
        .get(start + 1)
        .is_some_and(|line| line.starts_with("[signal "));
    let (steps, whole) = match heading {
        Some(heading) => {
            let (steps, whole, _) = stack(lines, heading);
            (steps, whole)
        }
        None if signal => (Vec::new(), false),
        None => return None,
    };
    let is_whole = whole && !steps.is_empty();
    let mut blocks: Vec<Block> = raised
        .into_iter()
        .map(|raised| Block {
            raised,
            steps: Vec::new(),
        })
        .collect();
    blocks[0].steps = steps;
    Some(Found {
        language: Language::Go,
        start,
        blocks,
        root_first: false,
        is_whole,
    })
}

/// The steps of one goroutine behind its heading, without those that only handle the panic; whether
/// the last one has its place; whether there was a panic among them.
fn stack(lines: &[&str], heading: usize) -> (Vec<Step>, bool, bool) {
    let (mut steps, mut whole, mut noise) = (Vec::new(), true, 0);
    let mut at = heading + 1;
    let mut panicked = None;
    while let Some(line) = lines.get(at) {
        if line.trim().is_empty() || is_goroutine(line) || line.starts_with("created by ") {
            break;
        }
        let Some(function) = call(line) else {
            noise += usize::from(!line.starts_with('\t'));
            if noise > NOISE {
                break;
            }
            at += 1;
            continue;
        };
        // Its place is the next line, unless others came between.
        let place = (at + 1..lines.len().min(at + 2 + NOISE))
            .take_while(|next| *next == at + 1 || call(lines[*next]).is_none())
            .find_map(|next| Some((next, place(lines[next])?)));
        let Some((next, (file, number))) = place else {
            // A word that looks like a call; or the end of what there is.
            whole = at + 1 < lines.len();
            at += 1;
            continue;
        };
        if function == "panic" || function == "runtime.gopanic" {
            panicked = Some(steps.len());
        }
        steps.push(Step {
            is_foreign: is_foreign(function, file),
            frame: frame(function, file, Some(number)),
        });
        at = next + 1;
    }
    // What is above the panic deals with it; what the runtime did to raise it says nothing.
    if let Some(panic) = panicked {
        steps.drain(..=panic);
    }
    let runtime = steps
        .iter()
        .take_while(|step| step.frame.function.starts_with("runtime."))
        .count();
    if runtime < steps.len() {
        steps.drain(..runtime);
    }
    (steps, whole, panicked.is_some())
}

/// `main.(*Shop).Order(0xc000012345, {0x1, 0x2})`: the name without the arguments.
fn call(line: &str) -> Option<&str> {
    let line = line.trim_end();
    if line.starts_with([' ', '\t']) || !line.ends_with(')') {
        return None;
    }
    let open = line.rfind('(').filter(|open| *open > 0)?;
    let function = &line[..open];
    let known = function == "panic" || function.contains('.');
    (known && !function.contains([' ', ':', '='])).then_some(function)
}

/// `\t/srv/shop/main.go:12 +0x1d`
fn place(line: &str) -> Option<(&str, u32)> {
    let line = line.strip_prefix('\t')?;
    let end = line
        .find(" +0x")
        .or_else(|| line.find(" fp="))
        .unwrap_or(line.len());
    path_and_line(line[..end].trim_end())
}

fn is_foreign(function: &str, file: &str) -> bool {
    if ["/pkg/mod/", "/vendor/"]
        .iter()
        .any(|part| file.contains(part))
        || file.starts_with('_')
    {
        return true;
    }
    let package = function.split('/').next().unwrap_or_default();
    // Built with -trimpath: the standard library's packages have no dot in their first part.
    let is_bare = !file.starts_with('/')
        && !file.starts_with('.')
        && file.get(1..3).is_none_or(|drive| drive != ":/");
    if is_bare {
        let first = file.split('/').next().unwrap_or_default();
        return !first.contains('.') && !package.starts_with("main.") && file.contains('/');
    }
    // The code of Go itself lies in `src`; below GOPATH's, the first part is a host.
    [
        "/go/src/",
        "/usr/lib/go",
        "/usr/local/go/",
        "/lib/golang/",
        "/libexec/src/",
    ]
    .iter()
    .any(|part| {
        file.find(part).is_some_and(|at| {
            let rest = file[at..].split_once("/src/").map_or("", |(_, rest)| rest);
            !rest.split('/').next().unwrap_or_default().contains('.')
                || rest.matches('/').count() == 0
        })
    })
}
