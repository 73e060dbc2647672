//! What a config read again changes.

use std::collections::{HashMap, HashSet};

/// Names, in the order in which they are found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diff {
    /// Only in the new one.
    pub added: Vec<String>,
    /// In both, and not the same.
    pub changed: Vec<String>,
    /// Only in the old one.
    pub removed: Vec<String>,
}

/// Compares named things. Names are unique on each side.
pub fn diff<'a, T: PartialEq + 'a>(
    old: impl IntoIterator<Item = (&'a str, T)>,
    new: impl IntoIterator<Item = (&'a str, T)>,
) -> Diff {
    let old: Vec<(&str, T)> = old.into_iter().collect();
    let before: HashMap<&str, &T> = old.iter().map(|(name, thing)| (*name, thing)).collect();
    let mut out = Diff::default();
    let mut still = HashSet::new();
    for (name, thing) in new {
        still.insert(name);
        match before.get(name) {
            None => out.added.push(name.to_owned()),
            Some(before) if **before != thing => out.changed.push(name.to_owned()),
            Some(_) => {}
        }
    }
    let gone = old.iter().filter(|(name, _)| !still.contains(name));
    out.removed = gone.map(|(name, _)| (*name).to_owned()).collect();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_changed_and_went() {
        fn list(text: &str) -> Vec<(&str, char)> {
            text.split_whitespace()
                .map(|pair| (&pair[..1], pair.chars().last().unwrap()))
                .collect()
        }
        let found = diff(list("a1 b2 c3"), list("d4 c3 b9"));
        assert_eq!(found.added, ["d"]);
        assert_eq!(found.changed, ["b"]);
        assert_eq!(found.removed, ["a"]);
        assert_eq!(diff(list("a1"), list("a1")), Diff::default());
    }
}
