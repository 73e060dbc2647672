//! `cargo xtask licences`: whether the project may depend on what it depends on, by `deny.toml`.
//!
//! What is depended on is what cargo says of the whole workspace with all features, for the platforms
//! that the product is made for. Deciding is pure; a table shows each rule broken.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use serde_json::Value;
use toml::de::{DeTable, DeValue};

use crate::{Outcome, run};

const HELP: &str = "\
Check licences and sources of all dependencies against deny.toml.

usage: cargo xtask licences

Prints a line for each crate that may not be there and ends with 1 if there is any.
";

const POLICY: &str = "deny.toml";

/// What may be depended on.
#[derive(Debug, Default)]
struct Policy {
    targets: Vec<String>,
    licences: BTreeSet<String>,
    /// Licences more for one crate each.
    exceptions: BTreeMap<String, BTreeSet<String>>,
    /// Crates that are not wanted, and why.
    banned: BTreeMap<String, String>,
}

/// A crate as cargo knows it.
#[derive(Debug, Clone)]
struct Package {
    name: String,
    version: String,
    licence: Option<String>,
    /// Where it is from; nowhere for what lies in this project.
    source: Option<String>,
}

/// The registry that crates may come from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// The chore.
pub(crate) fn main(args: &[String]) -> Outcome {
    if let Err(code) = crate::switches(args, [], HELP) {
        return Ok(code);
    }
    let text = std::fs::read_to_string(run::root().join(POLICY))
        .map_err(|why| format!("cannot read {POLICY}: {why}"))?;
    let policy = policy(&text)?;
    let packages = packages(&metadata(&policy.targets)?)?;
    let found = check(&policy, &packages);
    for finding in &found {
        println!("{finding}");
    }
    match found.len() {
        0 => {
            println!("licences: {} crates, nothing found", packages.len());
            Ok(ExitCode::SUCCESS)
        }
        count => Err(format!("licences: {count} found")),
    }
}

/// What cargo knows of the workspace.
fn metadata(targets: &[String]) -> Result<Value, String> {
    let mut command = run::cargo(&[
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--all-features",
    ]);
    for target in targets {
        command.args(["--filter-platform", target]);
    }
    let output = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|why| format!("cannot start `{}`: {why}", run::words(&command)))?;
    if !output.status.success() {
        return Err(format!(
            "`{}` ended with {}",
            run::words(&command),
            output.status
        ));
    }
    serde_json::from_slice(&output.stdout).map_err(|why| format!("cargo metadata: {why}"))
}

fn packages(metadata: &Value) -> Result<Vec<Package>, String> {
    let text = |package: &Value, key: &str| package[key].as_str().map(str::to_owned);
    let all = metadata["packages"]
        .as_array()
        .filter(|all| !all.is_empty())
        .ok_or("cargo metadata lists no packages")?;
    all.iter()
        .map(|package| {
            Ok(Package {
                name: text(package, "name").ok_or("cargo metadata: a package has no name")?,
                version: text(package, "version").unwrap_or_default(),
                licence: text(package, "license"),
                source: text(package, "source"),
            })
        })
        .collect()
}

/// Reads `deny.toml`. A key that is not read here is an error: it would say something that nobody
/// checks.
fn policy(text: &str) -> Result<Policy, String> {
    let document = DeTable::parse(text).map_err(|why| format!("{POLICY}: {}", why.message()))?;
    let mut policy = Policy::default();
    for (table, value) in document.get_ref() {
        let inside = value
            .get_ref()
            .as_table()
            .ok_or_else(|| unknown(table.get_ref()))?;
        for (key, value) in inside {
            let key = format!("{}.{}", table.get_ref(), key.get_ref());
            let value = value.get_ref();
            match &*key {
                "graph.targets" => policy.targets = strings(&key, value)?,
                "graph.all-features" if value.as_bool() == Some(true) => {}
                "licenses.allow" => policy.licences.extend(strings(&key, value)?),
                "licenses.exceptions" => {
                    for entry in array(&key, value)? {
                        let allowed = entry.get("allow").map(|value| strings(&key, value));
                        let allowed = allowed.ok_or_else(|| unknown(&key))??;
                        let name = name(&key, &entry)?;
                        policy.exceptions.entry(name).or_default().extend(allowed);
                    }
                }
                "bans.deny" => {
                    for entry in array(&key, value)? {
                        let reason = entry.get("reason").and_then(|value| value.as_str());
                        let reason = reason.ok_or_else(|| unknown(&key))?.to_owned();
                        policy.banned.insert(name(&key, &entry)?, reason);
                    }
                }
                "sources.unknown-registry" | "sources.unknown-git"
                    if value.as_str() == Some("deny") => {}
                _ => return Err(unknown(&key)),
            }
        }
    }
    if policy.licences.is_empty() || policy.targets.is_empty() {
        return Err(format!(
            "{POLICY}: it allows no licence, or names no target"
        ));
    }
    Ok(policy)
}

fn unknown(key: &str) -> String {
    format!("{POLICY}: `{key}` says something that is not checked")
}

fn strings(key: &str, value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let all = value.as_array().ok_or_else(|| unknown(key))?;
    let text = |value: &DeValue<'_>| value.as_str().map(str::to_owned);
    all.iter()
        .map(|value| text(value.get_ref()).ok_or_else(|| unknown(key)))
        .collect()
}

type Entry<'a> = BTreeMap<String, DeValue<'a>>;

fn array<'a>(key: &str, value: &DeValue<'a>) -> Result<Vec<Entry<'a>>, String> {
    let all = value.as_array().ok_or_else(|| unknown(key))?;
    all.iter()
        .map(|entry| {
            let table = entry.get_ref().as_table().ok_or_else(|| unknown(key))?;
            Ok(table
                .iter()
                .map(|(key, value)| (key.get_ref().to_string(), value.get_ref().clone()))
                .collect())
        })
        .collect()
}

fn name(key: &str, entry: &Entry<'_>) -> Result<String, String> {
    let name = entry.get("crate").and_then(|value| value.as_str());
    name.map(str::to_owned).ok_or_else(|| unknown(key))
}

/// Every crate that may not be there.
fn check(policy: &Policy, packages: &[Package]) -> Vec<String> {
    let mut found = Vec::new();
    for package in packages {
        let mut say = |what: String| {
            found.push(format!("{} {}: {what}", package.name, package.version));
        };
        if let Some(reason) = policy.banned.get(&package.name) {
            say(format!("is not wanted: {reason}"));
        }
        if let Some(source) = &package.source
            && source != REGISTRY
        {
            say(format!("is from {source}, and not from crates.io"));
        }
        let none = BTreeSet::new();
        let more = policy.exceptions.get(&package.name).unwrap_or(&none);
        let allowed = |licence: &str| policy.licences.contains(licence) || more.contains(licence);
        match &package.licence {
            None => say("names no licence".to_owned()),
            Some(licence) => match is_allowed(licence, &allowed) {
                Ok(true) => {}
                Ok(false) => say(format!(
                    "its licence `{licence}` is not allowed by {POLICY}"
                )),
                Err(why) => say(format!("its licence `{licence}` can't be read: {why}")),
            },
        }
    }
    for name in policy.exceptions.keys() {
        if !packages.iter().any(|package| package.name == *name) {
            found.push(format!(
                "{name}: {POLICY} has an exception, and nobody uses it"
            ));
        }
    }
    found
}

/// Whether an expression can be met with licences that are allowed (SPDX 2.3, annex D). `/` is the old
/// way to write `OR`.
fn is_allowed(expression: &str, allowed: &dyn Fn(&str) -> bool) -> Result<bool, String> {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    let result = any_of(&mut words, allowed)?;
    match words.next() {
        None => Ok(result),
        Some(word) => Err(format!("`{word}` is too much")),
    }
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words<'_>, allowed: &dyn Fn(&str) -> bool) -> Result<bool, String> {
    let mut result = all_of(words, allowed)?;
    while words.next_if_eq(&"OR").is_some() {
        result |= all_of(words, allowed)?;
    }
    Ok(result)
}

fn all_of(words: &mut Words<'_>, allowed: &dyn Fn(&str) -> bool) -> Result<bool, String> {
    let mut result = one(words, allowed)?;
    while words.next_if_eq(&"AND").is_some() {
        result &= one(words, allowed)?;
    }
    Ok(result)
}

fn one(words: &mut Words<'_>, allowed: &dyn Fn(&str) -> bool) -> Result<bool, String> {
    match words.next() {
        Some("(") => {
            let inside = any_of(words, allowed)?;
            match words.next() {
                Some(")") => Ok(inside),
                _ => Err("a bracket is not closed".to_owned()),
            }
        }
        None | Some(")" | "AND" | "OR" | "WITH") => Err("a licence is missing".to_owned()),
        Some(licence) if words.next_if_eq(&"WITH").is_some() => {
            let exception = words.next().ok_or("an exception is missing")?;
            Ok(allowed(&format!("{licence} WITH {exception}")) || allowed(licence))
        }
        Some(licence) => Ok(allowed(licence)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        [graph]
        targets = ["x86_64-unknown-linux-gnu"]
        [licenses]
        allow = ["MIT", "Apache-2.0", "BSD-3-Clause"]
        exceptions = [{ crate = "odd", allow = ["MPL-2.0"] }]
        [bans]
        deny = [{ crate = "openssl-sys", reason = "TLS is rustls here" }]
        [sources]
        unknown-registry = "deny"
    "#;

    fn package(name: &str, licence: &str, source: Option<&str>) -> Package {
        Package {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            licence: (!licence.is_empty()).then(|| licence.to_owned()),
            source: source.map(str::to_owned),
        }
    }

    #[test]
    fn each_rule_can_be_broken() {
        let policy = policy(TEXT).unwrap();
        let git = Some("git+https://example.org/x");
        let mirror = Some("registry+https://example.org/index");
        let crates_io = Some(REGISTRY);
        // (name, licence, source, what is said of it)
        let table = [
            ("a", "MIT", None, ""),
            ("a", "MIT OR GPL-3.0", crates_io, ""),
            (
                "a",
                "GPL-3.0",
                crates_io,
                "its licence `GPL-3.0` is not allowed",
            ),
            ("a", "MIT AND GPL-3.0", crates_io, "is not allowed"),
            ("a", "MPL-2.0", crates_io, "is not allowed"),
            ("a", "", crates_io, "names no licence"),
            ("a", "MIT OR", crates_io, "a licence is missing"),
            ("a", "MIT", git, "is from git+https://example.org/x"),
            ("a", "MIT", mirror, "and not from crates.io"),
            (
                "openssl-sys",
                "MIT",
                crates_io,
                "is not wanted: TLS is rustls here",
            ),
        ];
        let odd = package("odd", "MPL-2.0", crates_io);
        for (name, licence, source, expected) in table {
            let found = check(&policy, &[odd.clone(), package(name, licence, source)]);
            assert_eq!(
                found.is_empty(),
                expected.is_empty(),
                "{licence}: {found:?}"
            );
            let said = found.join("\n");
            assert!(said.contains(expected), "{licence}: {said}");
        }
        let unused = check(&policy, &[package("a", "MIT", None)]);
        assert_eq!(
            unused,
            ["odd: deny.toml has an exception, and nobody uses it"]
        );
    }

    #[test]
    fn expressions() {
        let allowed = |licence: &str| ["MIT", "Apache-2.0", "Zlib WITH x"].contains(&licence);
        for (expression, expected) in [
            ("MIT", Ok(true)),
            ("GPL-2.0", Ok(false)),
            ("GPL-2.0 OR MIT", Ok(true)),
            ("GPL-2.0/MIT", Ok(true)),
            ("Apache-2.0 / MIT", Ok(true)),
            ("GPL-2.0 AND MIT", Ok(false)),
            // AND binds closer than OR.
            ("MIT OR GPL-2.0 AND GPL-3.0", Ok(true)),
            ("(MIT OR GPL-2.0) AND GPL-3.0", Ok(false)),
            ("(MIT OR GPL-2.0) AND Apache-2.0", Ok(true)),
            ("Apache-2.0 WITH LLVM-exception", Ok(true)),
            ("Zlib WITH x", Ok(true)),
            ("Zlib", Ok(false)),
            ("", Err(())),
            ("MIT MIT", Err(())),
            ("(MIT", Err(())),
            ("MIT)", Err(())),
            ("OR MIT", Err(())),
            ("MIT WITH", Err(())),
        ] {
            let found = is_allowed(expression, &allowed).map_err(|_| ());
            assert_eq!(found, expected, "{expression}");
        }
    }

    #[test]
    fn a_policy_says_nothing_that_is_not_checked() {
        for (from, to) in [
            ("[sources]", "[advisories]\nyanked = \"deny\"\n[sources]"),
            ("unknown-registry = \"deny\"", "unknown-registry = \"warn\""),
            (
                "allow = [\"MIT\"",
                "confidence-threshold = 0.9\nallow = [\"MIT\"",
            ),
            (
                "allow = [\"MIT\", \"Apache-2.0\", \"BSD-3-Clause\"]",
                "allow = []",
            ),
            ("reason = \"TLS is rustls here\"", "version = \"1\""),
            ("crate = \"odd\"", "name = \"odd\""),
        ] {
            let text = TEXT.replace(from, to);
            assert_ne!(text, TEXT, "{from}");
            policy(&text).unwrap_err();
        }
    }

    #[test]
    fn what_cargo_says() {
        let metadata = serde_json::json!({"packages": [
            {"name": "a", "version": "1.2.3", "license": null, "source": null},
            {"name": "b", "version": "0.1.0", "license": "MIT", "source": REGISTRY},
        ]});
        let found = packages(&metadata).unwrap();
        let names: Vec<&str> = found.iter().map(|package| &*package.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(found[0].licence, None);
        assert_eq!(found[1].source.as_deref(), Some(REGISTRY));
        packages(&serde_json::json!({"packages": []})).unwrap_err();
    }
}
