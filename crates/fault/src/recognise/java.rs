//! Java and what runs on its machine: a message, then `\tat package.Class.method(File.java:12)`, the
//! newest step first; what caused it below.

use super::scan::{frame, is_indented, name, path_and_line, raised_in};
use super::{Block, Found, Language, Raised, Step};

const MESSAGE_LINES: usize = 12;
const NOISE: usize = 2;

/// The packages of the platform and of the frameworks that most programs are made of.
const FOREIGN: [&str; 34] = [
    "java.",
    "javax.",
    "jakarta.",
    "jdk.",
    "sun.",
    "com.sun.",
    "kotlin.",
    "kotlinx.",
    "scala.",
    "groovy.",
    "clojure.",
    "akka.",
    "android.",
    "reactor.",
    "rx.",
    "io.netty.",
    "io.undertow.",
    "io.micronaut.",
    "io.quarkus.",
    "io.vertx.",
    "io.reactivex.",
    "org.springframework.",
    "org.apache.",
    "org.eclipse.",
    "org.hibernate.",
    "org.jboss.",
    "org.junit.",
    "org.postgresql.",
    "com.mysql.",
    "com.fasterxml.",
    "com.google.",
    "com.zaxxer.",
    "okhttp3.",
    "feign.",
];

pub(super) fn find(lines: &[&str]) -> Option<Found> {
    (0..lines.len()).find_map(|at| {
        if let Some(found) = machine(lines, at) {
            return Some(found);
        }
        step(lines[at])?;
        traceback(lines, at)
    })
}

fn traceback(lines: &[&str], first: usize) -> Option<Found> {
    let from = first.saturating_sub(MESSAGE_LINES);
    let head = (from..first)
        .rev()
        .take_while(|at| !lines[*at].trim().is_empty())
        .find_map(|at| Some((at, heading(lines[at])?)));
    let (start, raised) = head.clone().unwrap_or((first, Raised::default()));
    let mut blocks = vec![Block {
        raised,
        steps: Vec::new(),
    }];
    let mut noise = 0;
    // What was suppressed is told below it, further to the right; it is no cause.
    let mut aside = None;
    for (at, line) in lines.iter().enumerate().skip(first) {
        let indent = line.len() - line.trim_start().len();
        if let Some(step) = step(line) {
            noise = 0;
            if aside.is_none_or(|aside| indent <= aside)
                && let Some(block) = blocks.last_mut()
            {
                block.steps.push(step);
            }
        } else if line.trim_start().starts_with("... ") {
            noise = 0;
        } else if line.trim_start().starts_with("Suppressed: ") {
            aside = Some(indent);
        } else if let Some(rest) = line
            .trim_start()
            .strip_prefix("Caused by: ")
            .or_else(|| line.trim_start().strip_prefix("Wrapped by: "))
        {
            noise = 0;
            if aside.is_none_or(|aside| indent < aside) {
                aside = None;
                let raised = heading(rest).or_else(|| any(rest)).unwrap_or_default();
                blocks.push(Block {
                    raised,
                    steps: Vec::new(),
                });
            }
        } else {
            let goes_on = lines[at + 1..]
                .iter()
                .take(NOISE + 1)
                .any(|next| step(next).is_some() || next.starts_with("Caused by: "));
            noise += 1;
            // Another exception at the left begins another traceback.
            let is_next = !is_indented(line) && heading(line).is_some();
            if noise > NOISE || !goes_on || is_next {
                break;
            }
        }
    }
    let is_whole = head.is_some();
    // Without its beginning, one step could be anything.
    if !is_whole && blocks[0].steps.len() < 2 {
        return None;
    }
    Some(Found {
        language: Language::Java,
        start,
        blocks,
        root_first: true,
        is_whole,
    })
}

/// `Exception in thread "main" java.lang.IllegalStateException: closed`
fn heading(line: &str) -> Option<Raised> {
    let mut line = line.trim();
    if let Some(rest) = line.strip_prefix("Exception in thread \"") {
        line = rest.split_once("\" ")?.1;
        return any(line);
    }
    let (exception, message) = raised_in(line)?;
    Some(Raised {
        exception: exception.to_owned(),
        message: message.to_owned(),
    })
}

/// Any name at the beginning: where it stands says that it is an exception.
fn any(text: &str) -> Option<Raised> {
    let text = text.trim();
    let exception = name(text);
    let rest = &text[exception.len()..];
    let message = if rest.is_empty() {
        ""
    } else {
        rest.strip_prefix(':')?
    };
    (!exception.is_empty()).then(|| Raised {
        exception: exception.to_owned(),
        message: message.trim().to_owned(),
    })
}

/// `\tat java.base/java.util.ArrayList.get(ArrayList.java:427) ~[app.jar:1.0]`
fn step(line: &str) -> Option<Step> {
    if !is_indented(line) {
        return None;
    }
    let rest = line.trim().strip_prefix("at ")?;
    let (function, rest) = rest.split_once('(')?;
    let (place, behind) = rest.split_once(')')?;
    let is_packed = behind.is_empty() || behind.trim_start().starts_with(['[', '~']);
    let is_name = function.contains('.') && !function.contains([' ', ':', '(']);
    if !is_packed || !is_name {
        return None;
    }
    // The module or the loader is in front of a slash.
    let function = function
        .rsplit_once('/')
        .map_or(function, |(_, function)| function);
    let (file, line) = match path_and_line(place) {
        Some((file, line)) => (file, Some(line)),
        None => (place, None),
    };
    let is_source = [
        ".java",
        ".kt",
        ".kts",
        ".scala",
        ".groovy",
        ".clj",
        "SourceFile",
    ]
    .iter()
    .any(|end| file.ends_with(end));
    let is_hidden =
        line.is_none() && ["Native Method", "Unknown Source", "<generated>"].contains(&file);
    if !is_source && !is_hidden {
        return None;
    }
    let is_foreign = is_hidden
        || FOREIGN.iter().any(|package| function.starts_with(package))
        || function.contains("$$");
    Some(Step {
        frame: frame(function, if is_hidden { "" } else { file }, line),
        is_foreign,
    })
}

/// The end of the machine itself.
fn machine(lines: &[&str], at: usize) -> Option<Found> {
    let raised = if let Some(rest) =
        lines[at].strip_prefix("Terminating due to java.lang.OutOfMemoryError")
    {
        Raised {
            exception: "java.lang.OutOfMemoryError".to_owned(),
            message: rest.trim_start_matches(':').trim().to_owned(),
        }
    } else if lines[at]
        .starts_with("# A fatal error has been detected by the Java Runtime Environment")
    {
        let signal = lines[at + 1..].iter().take(4).find_map(|line| {
            let line = line.trim_start_matches(['#', ' ']);
            line.starts_with("SIG")
                .then(|| line.split([' ', '(']).next().unwrap_or_default())
        });
        Raised {
            exception: signal.unwrap_or("fatal error").to_owned(),
            message: "the Java virtual machine crashed".to_owned(),
        }
    } else {
        return None;
    };
    let blocks = vec![Block {
        raised,
        steps: Vec::new(),
    }];
    Some(Found {
        language: Language::Java,
        start: at,
        blocks,
        root_first: false,
        is_whole: true,
    })
}
