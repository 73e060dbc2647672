//! Completion of actions, groups and processes.

use std::collections::HashSet;

use super::help::ACTIONS;
use super::{Ctl, full_name};
use crate::xmlrpc::Value;

/// Where the word that ends at `position` begins, in bytes. `:`, `*` and `-` are part of a word.
pub fn word_start(line: &str, position: usize) -> usize {
    let before = line.get(..position).unwrap_or(line);
    before
        .rfind(|c: char| c.is_whitespace() || "`~!@#$%^&()=+[{]}\\|;'\",<>/?".contains(c))
        .map_or(0, |at| {
            at + before[at..].chars().next().map_or(1, char::len_utf8)
        })
}

impl Ctl {
    /// What the word that ends at `position` (in bytes) can become, each with a space behind it.
    /// The word itself begins at [`word_start`].
    ///
    /// The server is asked once between two lines. If it does not answer, there is nothing to
    /// offer.
    pub fn complete(&mut self, line: &str, position: usize) -> Vec<String> {
        let before = line.get(..position).unwrap_or(line);
        let word = &before[word_start(line, position)..];
        let mut words = before.split_whitespace();
        let action = words.next().unwrap_or("");
        let first = words.next().is_none() && !before.ends_with(char::is_whitespace);
        let names = match action {
            _ if first || action.is_empty() => ACTIONS.iter().map(|&name| name.into()).collect(),
            "help" => ACTIONS.iter().map(|&name| name.into()).collect(),
            "add" | "remove" | "update" => groups(self.known()),
            "clear" | "fg" | "pid" | "restart" | "signal" | "start" | "status" | "stop"
            | "tail" => processes(self.known(), word.contains(':')),
            _ => Vec::new(),
        };
        names
            .into_iter()
            .filter(|name: &String| name.starts_with(word))
            .map(|name| name + " ")
            .collect()
    }

    fn known(&mut self) -> &[(String, String)] {
        if self.known.is_none() {
            let infos = self
                .server()
                .and_then(|mut server| server.call("getAllProcessInfo", &[]))
                .unwrap_or(Value::Nil);
            let text = |info: &Value, name: &str| {
                info.get(name)
                    .and_then(Value::as_str)
                    .unwrap_or("")
                    .to_owned()
            };
            let pair = |info| (text(info, "group"), text(info, "name"));
            self.known = Some(infos.items().iter().map(pair).collect());
        }
        self.known.as_deref().unwrap_or(&[])
    }
}

fn groups(known: &[(String, String)]) -> Vec<String> {
    let mut seen = HashSet::new();
    let groups = known.iter().map(|(group, _)| group);
    groups
        .filter(|group| seen.insert(*group))
        .cloned()
        .collect()
}

/// Names of processes; `in_group` if the word has a colon already.
fn processes(known: &[(String, String)], in_group: bool) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut names = Vec::new();
    for (group, name) in known {
        if in_group || group != name {
            names.push(format!("{group}:{name}"));
            if seen.insert(group) {
                names.push(format!("{group}:*"));
            }
        } else {
            names.push(full_name(group, name));
        }
    }
    names
}
