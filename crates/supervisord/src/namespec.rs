//! How supervisord writes the name of a process: `group:process`, or `process` alone where group
//! and process are called the same.

/// The name of a process within its group. `process` is the one that is unique among all.
///
/// What stands before its first `:` is dropped if it is the group; supervisord's names have no `:`.
pub fn member(group: &str, process: &str) -> String {
    mainstay_supervise::Names {
        process,
        program: "",
        group,
    }
    .member()
}

/// The whole name of a process, as clients show it and send it back.
pub fn join(group: &str, member: &str) -> String {
    if group == member {
        member.to_owned()
    } else {
        format!("{group}:{member}")
    }
}

/// The group and the process that a client means; no process means all of the group.
///
/// `foo` is the process `foo` of the group `foo`, `foo:*` and `foo:` are the group.
pub fn split(name: &str) -> (&str, Option<&str>) {
    match name.split_once(':') {
        Some((group, "" | "*")) => (group, None),
        Some((group, process)) => (group, Some(process)),
        None => (name, Some(name)),
    }
}

/// The name by which [`mainstay_supervise::Command`]s mean exactly this process. Names that mean
/// more there are written with their group.
pub fn exact(group: &str, process: &str) -> String {
    if matches!(process, "all" | "*") || process.ends_with(":*") {
        format!("{group}:{process}")
    } else {
        process.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_have_no_colon() {
        for (group, process, expected) in [
            ("web", "web", "web"),
            ("web", "web:0", "0"),
            ("shop", "web:0", "web_0"),
            ("shop", "shop:web", "web"),
            ("shop", "shop:web:0", "web_0"),
            ("shop", "shopper", "shopper"),
            ("shop", "shop", "shop"),
        ] {
            assert_eq!(member(group, process), expected, "{group} {process}");
        }
    }

    #[test]
    fn names_are_split_as_the_original_does() {
        for (name, expected) in [
            ("foo", ("foo", Some("foo"))),
            ("foo:bar", ("foo", Some("bar"))),
            ("foo:bar:baz", ("foo", Some("bar:baz"))),
            ("foo:*", ("foo", None)),
            ("foo:", ("foo", None)),
            (":bar", ("", Some("bar"))),
            (":", ("", None)),
            ("", ("", Some(""))),
            ("*", ("*", Some("*"))),
        ] {
            assert_eq!(split(name), expected, "{name}");
        }
        for (group, member, expected) in [("a", "a", "a"), ("a", "b", "a:b")] {
            assert_eq!(join(group, member), expected);
        }
    }

    #[test]
    fn exact_names_select_one() {
        use mainstay_supervise::{Names, select};
        let known: Vec<Names<'_>> = [
            ("all", "all", "all"),
            ("db", "db", "all"),
            ("web:0", "web", "all"),
            ("web:1", "web", "all"),
            ("x", "web", "x"),
        ]
        .map(|(process, program, group)| Names {
            process,
            program,
            group,
        })
        .into();
        for (at, names) in known.iter().enumerate() {
            let name = exact(names.group, names.process);
            assert_eq!(select(&name, &known), Some(vec![at]), "{name}");
        }
    }
}
