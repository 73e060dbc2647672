//! A small valid project, broken in one place at a time.

use super::tree::Tree;

const ROOT: &str = r#"[workspace]
members = ["crates/*"]
[workspace.dependencies]
mainstay-base = { path = "crates/base" }
mainstay-sys = { path = "crates/sys" }
mainstay-log = { path = "crates/log" }
mainstay-alert = { path = "crates/alert" }
jiff = "0.2"
tempfile = "3"
"#;

const ARCHITECTURE: &str = "\
# Architecture
## Dependencies
| crate | why |
|---|---|
| `jiff` | time zones |
| `tempfile` | tests |
## After
| `other` | not a dependency |
";

const BASE: &str = "\
[package]
name = \"mainstay-base\"
[lints]
workspace = true
[dependencies]
jiff.workspace = true
[dev-dependencies]
tempfile.workspace = true
";

const SYS: &str = "\
[package]
name = \"mainstay-sys\"
[lints]
workspace = true
[dependencies]
mainstay-base.workspace = true
";

const LOG: &str = "\
[package]
name = \"mainstay-log\"
[features]
smtp = [\"dep:mainstay-alert\"]
[lints]
workspace = true
[dependencies]
mainstay-base.workspace = true
mainstay-sys.workspace = true
mainstay-alert = { workspace = true, optional = true }
";

const ALERT: &str = "\
[package]
name = \"mainstay-alert\"
[lints]
workspace = true
[dependencies]
mainstay-base.workspace = true
";

const LIBRARY: &str = "\
//! One.
//! Two.
//!
//! Three.
//! Four.
//! Five.

pub fn one() {
    two();
}
pub fn two() {
    three();
}
pub fn three() {
    one();
}
pub fn four() {}
";

fn valid() -> Tree {
    Tree::of(&[
        ("Cargo.toml", ROOT),
        ("Cargo.lock", ""),
        ("ARCHITECTURE.md", ARCHITECTURE),
        (
            "README.md",
            "# A\n[one](docs/one.md#the-first-one) [`two`](docs/) [web](https://example.com/x)\n",
        ),
        (
            "docs/one.md",
            "# The first one\n[up](../README.md) `[code](is/not/a/link)`\n```\n[nor](this)\n```\n",
        ),
        ("crates/base/Cargo.toml", BASE),
        ("crates/base/src/lib.rs", LIBRARY),
        ("crates/sys/Cargo.toml", SYS),
        ("crates/sys/src/lib.rs", LIBRARY),
        ("crates/log/Cargo.toml", LOG),
        ("crates/log/src/lib.rs", LIBRARY),
        ("crates/alert/Cargo.toml", ALERT),
        ("crates/alert/src/lib.rs", LIBRARY),
    ])
}

fn findings(tree: &Tree) -> Vec<String> {
    super::check(tree).iter().map(ToString::to_string).collect()
}

#[test]
fn the_valid_project_has_no_findings() {
    assert_eq!(findings(&valid()), Vec::<String>::new());
}

/// Breaks the valid project by each row's text and expects exactly the row's findings, each given
/// by how it begins.
fn expect(table: &[(&str, &str, &[&str])]) {
    for (path, text, expected) in table {
        let mut tree = valid();
        tree.set(path, text);
        let found = findings(&tree);
        assert_eq!(
            found.len(),
            expected.len(),
            "{path} with\n{text}\nfound {found:#?}"
        );
        for (found, expected) in found.iter().zip(*expected) {
            assert!(
                found.starts_with(expected),
                "{path}: found {found}, expected {expected}"
            );
        }
    }
}

#[test]
fn manifests_that_break_a_rule() {
    let with = |manifest: &str, more: &str| format!("{manifest}{more}");
    expect(&[
        (
            "crates/base/Cargo.toml",
            &with(BASE, "mainstay-log.workspace = true\n"),
            &[
                "crates/base/Cargo.toml:9: layer: `base` is in layer 0 and must not depend on `log` in layer 1",
            ],
        ),
        (
            "crates/base/Cargo.toml",
            &with(
                BASE,
                "[target.'cfg(unix)'.build-dependencies]\nmainstay-log.workspace = true\n",
            ),
            &["crates/base/Cargo.toml:10: layer: `base` is in layer 0"],
        ),
        (
            "crates/base/Cargo.toml",
            &with(BASE, "mainstay-sys.workspace = true\n"),
            &["crates/base/Cargo.toml:9: layer: `base` and `sys` are both in layer 0"],
        ),
        (
            "crates/base/Cargo.toml",
            &with(
                BASE,
                "[target.'cfg(test)'.dev-dependencies]\nmainstay-base.workspace = true\n",
            ),
            &[],
        ),
        (
            "crates/base/Cargo.toml",
            &with(
                BASE,
                "[dependencies.renamed]\npackage = \"mainstay-log\"\npath = \"../log\"\n",
            ),
            &[
                "crates/base/Cargo.toml:9: `renamed` names its own version",
                "crates/base/Cargo.toml:9: layer: `base` is in layer 0",
            ],
        ),
        (
            "crates/alert/Cargo.toml",
            &with(ALERT, "mainstay-log.workspace = true\n"),
            &["crates/alert/Cargo.toml:7: layer: `alert` and `log` are both in layer 1"],
        ),
        (
            "crates/alert/Cargo.toml",
            &with(
                ALERT,
                "[dev-dependencies]\nmainstay-alert.workspace = true\n",
            ),
            &[],
        ),
        (
            "crates/alert/Cargo.toml",
            &with(
                ALERT,
                "[build-dependencies]\nmainstay-alert.workspace = true\n",
            ),
            &["crates/alert/Cargo.toml:8: layer: `alert` and `alert` are both in layer 1"],
        ),
        (
            "crates/log/Cargo.toml",
            &LOG.replace(", optional = true", ""),
            &["crates/log/Cargo.toml:10: layer: `log` may depend on `alert` only as an optional"],
        ),
        (
            "crates/log/Cargo.toml",
            &LOG.replace("smtp", "mail"),
            &["crates/log/Cargo.toml:10: layer: `log` may depend on `alert` only as an optional"],
        ),
        (
            "crates/base/Cargo.toml",
            &BASE.replace(
                "jiff.workspace = true",
                "jiff.workspace = true\nrand = \"1\"",
            ),
            &["crates/base/Cargo.toml:7: `rand` names its own version"],
        ),
        (
            "crates/base/Cargo.toml",
            &BASE.replace("[lints]\nworkspace = true", ""),
            &["crates/base/Cargo.toml:1: no `[lints] workspace = true`"],
        ),
        (
            "crates/base/Cargo.toml",
            "[package\n",
            &[
                "Cargo.toml:8: `jiff` is declared for the workspace, and no member uses it",
                "Cargo.toml:9: `tempfile` is declared",
                "crates/base/Cargo.toml:1: not a manifest:",
            ],
        ),
        (
            "compliance/Cargo.toml",
            SYS,
            &["compliance/Cargo.toml:6: layer: `mainstay-base` is used outside crates/"],
        ),
        // The crates for apps, and no other.
        ("examples/app/Cargo.toml", SYS, &[]),
        (
            "examples/app/Cargo.toml",
            &SYS.replace("mainstay-base", "mainstay-sys"),
            &["examples/app/Cargo.toml:6: layer: `mainstay-sys` is used outside crates/"],
        ),
        (
            "Cargo.toml",
            &with(ROOT, "serde = \"1\"\n"),
            &[
                "Cargo.toml:10: `serde` is declared for the workspace, and no member uses it",
                "Cargo.toml:10: `serde` is not in the table of ARCHITECTURE.md (line 2)",
            ],
        ),
        (
            "ARCHITECTURE.md",
            &ARCHITECTURE.replace("`jiff`", "`jiff`, `chrono`"),
            &["ARCHITECTURE.md:5: `chrono` is in the table of dependencies, but"],
        ),
        (
            "ARCHITECTURE.md",
            "# Architecture\n## Dependencies\nSoon.\n",
            &["ARCHITECTURE.md:1: no table under a heading `## Dependencies`"],
        ),
    ]);
}

#[test]
fn files_that_must_be_there() {
    for (path, expected) in [
        ("Cargo.lock", "Cargo.lock:1: missing"),
        ("Cargo.toml", "Cargo.toml:1: missing"),
        ("ARCHITECTURE.md", "ARCHITECTURE.md:1: missing"),
    ] {
        let mut tree = valid();
        tree.remove(path);
        assert!(
            findings(&tree)
                .iter()
                .any(|found| found.starts_with(expected)),
            "{path}"
        );
    }
}

#[test]
fn a_crate_without_a_layer_is_found() {
    let mut tree = valid();
    tree.set("crates/queue/Cargo.toml", &ALERT.replace("alert", "queue"));
    tree.set("crates/queue/src/lib.rs", LIBRARY);
    let found = findings(&tree);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with("crates/queue/Cargo.toml:1: layer: crate `queue` has no layer"));
}

#[test]
fn an_empty_crate_is_found() {
    let mut tree = valid();
    tree.set(
        "crates/alert/src/lib.rs",
        "//! 1\n//! 2\n//! 3\n//! 4\n//! 5\npub fn soon() {}\n",
    );
    let found = findings(&tree);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with("crates/alert/Cargo.toml:1: crate `alert` has 1 lines of code"));
}

#[test]
fn unsafe_code_out_of_place() {
    let explained =
        "fn f() {\n    // SAFETY: it is\n    // so.\n    let x =\n        unsafe { g() };\n}\n";
    let stale = "fn f() {\n    // SAFETY: it is so.\n    g();\n    unsafe { g() };\n}\n";
    expect(&[
        (
            "crates/log/src/a.rs",
            "// unsafe\nconst A: &str = \"unsafe\";\n",
            &[],
        ),
        (
            "crates/log/src/a.rs",
            explained,
            &["crates/log/src/a.rs:5: `unsafe` outside crates/sys/"],
        ),
        (
            "xtask/src/a.rs",
            "unsafe impl Send for X {}\n",
            &["xtask/src/a.rs:1: `unsafe` outside"],
        ),
        ("crates/sys/src/a.rs", explained, &[]),
        (
            "crates/sys/src/a.rs",
            "// SAFETY: so.\n#[allow(x)]\nunsafe impl Send for X {}\n",
            &[],
        ),
        (
            "crates/sys/src/a.rs",
            "unsafe extern \"C\" { fn f(); }\npub unsafe fn g() {}\n",
            &[],
        ),
        (
            "crates/sys/src/a.rs",
            stale,
            &["crates/sys/src/a.rs:4: `unsafe` without a `// SAFETY:`"],
        ),
        (
            "crates/sys/src/a.rs",
            "\nunsafe impl Send for X {}\n",
            &["crates/sys/src/a.rs:2: `unsafe` without"],
        ),
    ]);
}

#[test]
fn engines_that_reach_out() {
    expect(&[
        (
            "crates/log/src/a.rs",
            "fn f() { std::env::args(); }",
            &["crates/log/src/a.rs:1: `env::args`: "],
        ),
        (
            "crates/log/src/a.rs",
            "use std::env;\nfn f() { env :: var(\"A\"); }",
            &["crates/log/src/a.rs:2: `env::var`: "],
        ),
        (
            "crates/log/src/a.rs",
            "use std::{env::{self, home_dir}, fs};",
            &["crates/log/src/a.rs:1: `env::home_dir`: "],
        ),
        (
            "crates/log/src/a.rs",
            "fn f() {\n    eprintln!(\"x\");\n}",
            &["crates/log/src/a.rs:2: `eprintln!`: "],
        ),
        (
            "crates/log/src/a.rs",
            "use tokio::runtime::{Builder};",
            &["crates/log/src/a.rs:1: `tokio::runtime::Builder`: "],
        ),
        (
            "crates/log/src/a.rs",
            "fn f() { Builder::new_multi_thread(); }",
            &["crates/log/src/a.rs:1: `Builder::new_multi_thread`: "],
        ),
        (
            "crates/log/src/a.rs",
            "#[tokio::main]\nasync fn f() {}",
            &["crates/log/src/a.rs:1: `tokio::main`: "],
        ),
        (
            "crates/log/src/a.rs",
            "fn f() { std::process::exit(1) }",
            &["crates/log/src/a.rs:1: `process::exit`: "],
        ),
        (
            "crates/log/src/a.rs",
            "fn f() { std::fs::write(a, b) }",
            &["crates/log/src/a.rs:1: `fs::write`: "],
        ),
        (
            "crates/log/src/a.rs",
            "use std::process::{Child, Command};",
            &["crates/log/src/a.rs:1: `process::Command`: "],
        ),
        (
            "crates/log/src/a.rs",
            "fn f() { jiff::Timestamp::now(); }",
            &["crates/log/src/a.rs:1: `Timestamp::now`: "],
        ),
        (
            "crates/base/src/clock.rs",
            "fn f() { jiff::Timestamp::now(); }",
            &[],
        ),
        // What tests, documents and the shell do is their own business.
        (
            "crates/log/src/a.rs",
            "/// println!(\"{}\", std::env::args());\nfn f() {}",
            &[],
        ),
        (
            "crates/log/src/a.rs",
            "#[cfg(test)]\nmod tests {\n    fn f() { println!() }\n}",
            &[],
        ),
        ("crates/log/src/a/tests.rs", "fn f() { println!() }", &[]),
        ("crates/log/tests/it/main.rs", "fn f() { println!() }", &[]),
        ("crates/log/examples/a.rs", "fn f() { println!() }", &[]),
        (
            "crates/log/src/a.rs",
            "fn f() { environment::args(); printer!(); runtime::Runtime::new(); }",
            &[],
        ),
        (
            "examples/app/src/main.rs",
            "fn main() { println!(\"{:?}\", std::env::args()) }",
            &[],
        ),
    ]);
}

#[test]
fn names_sizes_and_prose() {
    let long = "fn f() {}\n".repeat(1001);
    let excused = format!("// tidy: long because one table.\n{long}");
    let unexcused = format!("// tidy: long because \n{long}");
    expect(&[
        (
            "crates/log/src/utils.rs",
            "",
            &["crates/log/src/utils.rs:1: `utils` says nothing"],
        ),
        (
            "crates/log/src/helpers/a.rs",
            "",
            &["crates/log/src/helpers/a.rs:1: `helpers` says nothing"],
        ),
        (
            "crates/log/src/a.rs",
            "\nmod types {\n}",
            &["crates/log/src/a.rs:2: `types` says nothing"],
        ),
        (
            "crates/log/src/a.rs",
            "use core::fmt;\nmod pipeline {}",
            &[],
        ),
        (
            "crates/log/src/a.rs",
            &long,
            &["crates/log/src/a.rs:1001: 1001 lines, more than 1000"],
        ),
        ("crates/log/src/a.rs", &excused, &[]),
        (
            "crates/log/src/a.rs",
            &unexcused,
            &["crates/log/src/a.rs:1001: 1002 lines"],
        ),
        (
            "crates/log/src/lib.rs",
            &LIBRARY.replace("//! Five.\n", ""),
            &["crates/log/src/lib.rs:1: opens with 4 lines of `//!` prose"],
        ),
    ]);
}

#[test]
fn documents_and_paths() {
    let work = concat!("/wo", "rk");
    let root = concat!("/ro", "ot");
    let home = concat!("/ho", "me/");
    let tmp = concat!("/tm", "p/");
    let line = |text: String| text;
    expect(&[
        (
            "docs/two.md",
            "\n[a](one.txt)",
            &["docs/two.md:2: dead link `one.txt`: `docs/one.txt` does not exist"],
        ),
        (
            "docs/two.md",
            "[a](../../x.md)",
            &["docs/two.md:1: dead link `../../x.md`: leads out of the project"],
        ),
        (
            "docs/two.md",
            concat!("a\n<<<", "<<<< HEAD\nb\n=======\nc\n"),
            &["docs/two.md:2: a merge was not settled here"],
        ),
        ("docs/two.md", "Title\n=======\n<<<<<<<\n", &[]),
        (
            "docs/two.md",
            "[a](one.md#second)",
            &["docs/two.md:1: dead link `one.md#second`: `docs/one.md` has no heading"],
        ),
        (
            "docs/two.md",
            "# Here\n[a](#here) [b](#there)",
            &["docs/two.md:2: dead link `#there`"],
        ),
        (
            "docs/two.md",
            "[`a`](b.md \"title\")",
            &["docs/two.md:1: dead link `b.md`"],
        ),
        (
            "docs/two.md",
            &line(format!("see {work}/main")),
            &["docs/two.md:1: `/wo"],
        ),
        (".ci/run", &line(format!("cd {root}")), &[".ci/run:1: `/ro"]),
        (
            "crates/log/src/a.rs",
            &line(format!("const A: &str = \"{home}me/x\";")),
            &["crates/log/src/a.rs:1: `/ho"],
        ),
        (
            "docs/two.md",
            &line(format!("a{work} {work}er /srv{work}/x {home} {root}s")),
            &[],
        ),
        (
            "docs/two.md",
            &line(format!("{home}me tidy: path because it is an example")),
            &[],
        ),
        (
            "docs/two.md",
            &line(format!("{home}me tidy: path because ")),
            &["docs/two.md:1: `/ho"],
        ),
        (
            "crates/log/src/a.rs",
            &line(format!("const A: &str = \"{tmp}x\";")),
            &["crates/log/src/a.rs:1: `/tm"],
        ),
        (
            "crates/log/src/a.rs",
            &line(format!(
                "// {tmp}x\n#[cfg(test)]\nmod t {{ const A: &str = \"{tmp}x\"; }}"
            )),
            &[],
        ),
        (
            "crates/log/tests/it/main.rs",
            &line(format!("const A: &str = \"{tmp}x\";")),
            &[],
        ),
    ]);
}
