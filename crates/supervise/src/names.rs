//! Which processes a name on the command line means.

use mainstay_base::nearest;

/// The names of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names<'a> {
    /// The process, `web` or `web:0`.
    pub process: &'a str,
    /// Its program.
    pub program: &'a str,
    /// Its group.
    pub group: &'a str,
}

impl Names<'_> {
    /// The name within the group, as supervisord's clients write it behind `group:`. It has no `:`.
    pub fn member(&self) -> String {
        let name = self
            .process
            .strip_prefix(self.group)
            .and_then(|rest| rest.strip_prefix(':'))
            .unwrap_or(self.process);
        name.replace(':', "_")
    }
}

/// The indices of the processes that `name` means, in order, or `None` if it means none:
/// * `all` or `*`: every one;
/// * the name of a process, a program or a group: all of it;
/// * `x:*`: all of the program or group `x`;
/// * `group:process` and `group:program`, as supervisord writes them.
pub fn select(name: &str, known: &[Names<'_>]) -> Option<Vec<usize>> {
    let pick = |wanted: &dyn Fn(&Names<'_>) -> bool| -> Option<Vec<usize>> {
        let found: Vec<usize> = known
            .iter()
            .enumerate()
            .filter(|(_, n)| wanted(n))
            .map(|(i, _)| i)
            .collect();
        (!found.is_empty()).then_some(found)
    };
    if name == "all" || name == "*" {
        return Some((0..known.len()).collect());
    }
    if let Some(whole) = name.strip_suffix(":*") {
        return pick(&|n| n.program == whole).or_else(|| pick(&|n| n.group == whole));
    }
    pick(&|n| n.process == name)
        .or_else(|| pick(&|n| n.program == name))
        .or_else(|| pick(&|n| n.group == name))
        .or_else(|| {
            let (group, member) = name.split_once(':')?;
            pick(&|n| n.group == group && n.process == member)
                .or_else(|| pick(&|n| n.group == group && n.program == member))
                .or_else(|| pick(&|n| n.group == group && n.member() == member))
        })
}

/// The known name closest to one that means nothing.
pub fn suggest<'a>(name: &str, known: &[Names<'a>]) -> Option<&'a str> {
    nearest(
        name,
        known.iter().flat_map(|n| [n.process, n.program, n.group]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let n = |process, program, group| Names {
            process,
            program,
            group,
        };
        let known = [
            n("web:0", "web", "shop"),
            n("web:1", "web", "shop"),
            n("worker", "worker", "shop"),
            n("db", "db", "db"),
        ];
        for (name, expected) in [
            ("all", Some(vec![0, 1, 2, 3])),
            ("*", Some(vec![0, 1, 2, 3])),
            ("web", Some(vec![0, 1])),
            ("web:*", Some(vec![0, 1])),
            ("web:1", Some(vec![1])),
            ("web:2", None),
            ("worker", Some(vec![2])),
            ("worker:*", Some(vec![2])),
            ("shop", Some(vec![0, 1, 2])),
            ("shop:*", Some(vec![0, 1, 2])),
            ("shop:worker", Some(vec![2])),
            ("shop:web", Some(vec![0, 1])),
            ("shop:web:1", Some(vec![1])),
            ("db:db", Some(vec![3])),
            ("", None),
            (":*", None),
            ("wbe", None),
        ] {
            assert_eq!(select(name, &known), expected, "{name}");
        }
        assert_eq!(suggest("workr", &known), Some("worker"));
        assert_eq!(select("all", &[]), Some(vec![]));
    }
}
