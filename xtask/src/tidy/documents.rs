//! Checks of documents and of what no file may hold: dead links, paths of one machine.

use super::Finding;
use super::lexer;
use super::tree::{Tree, has_extension};

/// The beginnings of paths that exist on one machine only. In pieces, so that this file passes.
const MACHINE_PATHS: &[&str] = &[
    concat!("/wo", "rk"),
    concat!("/ro", "ot"),
    concat!("/ho", "me/"),
];

/// A path that every machine has, yet none where a program may put things by a fixed name.
const SHARED_SCRATCH: &str = concat!("/tm", "p/");

/// A line that holds this and a reason may name such a path.
const EXCUSE: &str = "tidy: path because ";

/// The files whose text is looked at.
const TEXTS: &[&str] = &[
    "md", "rs", "toml", "yml", "yaml", "py", "sh", "json", "html",
];

/// Every check of documents.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for (path, text) in tree.with_extension("md") {
        found.extend(dead_links(tree, path, text));
    }
    for (path, text) in tree.texts() {
        let is_text = TEXTS.iter().any(|extension| has_extension(path, extension));
        if is_text || path.starts_with(".ci/") {
            found.extend(machine_paths(path, text));
        }
        found.extend(unsettled(path, text));
    }
    found
}

/// No file holds what a merge could not settle. The line in the middle is not asked about: it is a
/// heading in other texts.
fn unsettled(path: &str, text: &str) -> Option<Finding> {
    let is_mark = |line: &str| line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ");
    let line = text.lines().position(is_mark)?;
    Some(Finding::new(
        path,
        line + 1,
        "a merge was not settled here: choose what stays",
    ))
}

/// Links of a document lead to files that exist, and to headings that exist in them.
fn dead_links(tree: &Tree, path: &str, text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for (target, line) in links(text) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
        let file = if file.is_empty() {
            Some(path.to_owned())
        } else {
            resolve(path, file)
        };
        let problem = match file {
            None => Some("leads out of the project".to_owned()),
            Some(file) if !tree.exists(&file) => Some(format!("`{file}` does not exist")),
            Some(file) if !anchor.is_empty() => tree
                .text(&file)
                .filter(|_| has_extension(&file, "md"))
                .filter(|text| !headings(text).iter().any(|heading| heading == anchor))
                .map(|_| format!("`{file}` has no heading `#{anchor}`")),
            Some(_) => None,
        };
        if let Some(problem) = problem {
            found.push(Finding::new(
                path,
                line,
                format!("dead link `{target}`: {problem}"),
            ));
        }
    }
    found
}

/// The lines of a document that are not in a fenced block, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (&str, usize)> {
    let mut fenced = false;
    text.lines().zip(1..).filter(move |(line, _)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The targets of `[text](target)` outside of code, with their lines.
fn links(text: &str) -> Vec<(&str, usize)> {
    let mut found = Vec::new();
    for (line, number) in prose(text) {
        for (index, piece) in line.split('`').enumerate() {
            // Text between backticks is code, but a link's own text may hold a pair of them.
            if index % 2 == 1 {
                continue;
            }
            let mut rest = piece;
            while let Some(start) = rest.find("](") {
                let after = &rest[start + 2..];
                let Some(end) = after.find(')') else { break };
                let target = after[..end].split_whitespace().next().unwrap_or_default();
                found.push((target, number));
                rest = &after[end..];
            }
        }
    }
    found
}

/// The path from the root that `target` means in the document `from`; nothing if it is outside.
fn resolve(from: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// The anchors of a document's headings, as the common renderers make them.
fn headings(text: &str) -> Vec<String> {
    prose(text)
        .filter(|(line, _)| line.starts_with('#'))
        .map(|(line, _)| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

/// No file names a path that exists on one machine only.
fn machine_paths(path: &str, text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let excused = line
            .split_once(EXCUSE)
            .is_some_and(|(_, why)| !why.trim().is_empty());
        if let Some(place) = MACHINE_PATHS
            .iter()
            .find(|place| names_path(line, place))
            .filter(|_| !excused)
        {
            found.push(Finding::new(
                path,
                number,
                format!(
                    "`{place}` is a path of one machine: take it from the caller, or show `/srv/…`"
                ),
            ));
        }
    }
    if super::sources::is_engine_product(path) && has_extension(path, "rs") {
        let source = lexer::split(text);
        let product = lexer::product(&source.code);
        // A string is product code where the line around it still has code after tests are gone.
        for ((strings, code), number) in source.strings.lines().zip(product.lines()).zip(1..) {
            if strings.contains(SHARED_SCRATCH) && !code.trim().is_empty() {
                found.push(Finding::new(path, number, format!(
                    "`{SHARED_SCRATCH}…` by a fixed name can be put there by anyone: take the directory from the caller"
                )));
            }
        }
    }
    found
}

/// Whether `line` holds `place` as the beginning of a path, not inside another path or word.
fn names_path(line: &str, place: &str) -> bool {
    let inside = |c: char| {
        c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '}' | ')' | '*' | '<' | '>')
    };
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + place.len()..].chars().next();
        let ends = place.ends_with('/') || after.is_none_or(|c| c == '/' || !inside(c));
        let named = !place.ends_with('/') || after.is_some_and(char::is_alphanumeric);
        !before.is_some_and(inside) && ends && named
    })
}
