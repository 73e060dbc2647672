//! What a config read again changes.

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
pub fn diff<T: PartialEq>(old: &[(String, T)], new: &[(String, T)]) -> Diff {
    let find =
        |list: &'_ [(String, T)], name: &str| list.iter().position(|(other, _)| other == name);
    let mut out = Diff::default();
    for (name, thing) in new {
        match find(old, name) {
            None => out.added.push(name.clone()),
            Some(at) if old[at].1 != *thing => out.changed.push(name.clone()),
            Some(_) => {}
        }
    }
    for (name, _) in old {
        if find(new, name).is_none() {
            out.removed.push(name.clone());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_changed_and_went() {
        let list = |text: &str| -> Vec<(String, char)> {
            text.split_whitespace()
                .map(|pair| (pair[..1].to_owned(), pair.chars().last().unwrap()))
                .collect()
        };
        let found = diff(&list("a1 b2 c3"), &list("d4 c3 b9"));
        assert_eq!(found.added, ["d"]);
        assert_eq!(found.changed, ["b"]);
        assert_eq!(found.removed, ["a"]);
        assert_eq!(diff(&list("a1"), &list("a1")), Diff::default());
    }
}
