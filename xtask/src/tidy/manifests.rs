//! Checks of the manifests: layers, where versions are declared, and the table of dependencies.

use std::collections::{BTreeMap, BTreeSet};

use toml::de::{DeTable, DeValue};

use super::Finding;
use super::tree::Tree;

/// Which layer each crate is in. A crate depends on lower layers only; a crate that is not here
/// must be given its place first, here and in ARCHITECTURE.md.
const LAYERS: &[(&str, u8)] = &[
    ("base", 0),
    ("sys", 0),
    ("log-macros", 0),
    ("log", 1),
    ("alert", 1),
    ("fault", 1),
    ("journal", 1),
    ("mysql", 1),
    ("rsync", 1),
    ("control", 1),
    ("supervise", 2),
    ("web", 2),
    ("backup", 2),
    ("front", 2),
    ("deploy", 3),
    ("supervisord", 3),
    ("mainstay", 4),
];

/// The arrows inside a layer that are allowed; one that names a feature must be optional and be
/// switched on by that feature.
const EXCEPTIONS: &[(&str, &str, Option<&str>)] =
    &[("sys", "base", None), ("log", "alert", Some("smtp"))];

/// The tables of a manifest that name dependencies.
const TABLES: &[&str] = &["dependencies", "dev-dependencies", "build-dependencies"];

/// Where the reason for each dependency stands.
const ARCHITECTURE: &str = "ARCHITECTURE.md";
const DEPENDENCY_HEADING: &str = "## Dependencies";

/// One dependency as a member's manifest names it.
struct Dependency {
    /// The package it means, whatever it is renamed to.
    package: String,
    /// The key in the manifest.
    key: String,
    line: usize,
    from_workspace: bool,
    optional: bool,
    /// Only tests and examples of the crate have it.
    for_tests: bool,
}

/// What the root manifest declares for everyone: key → (package, line).
type Declared = BTreeMap<String, (String, usize)>;

/// Every check of manifests.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    if !tree.exists("Cargo.lock") {
        found.push(Finding::new(
            "Cargo.lock",
            1,
            "missing: it is part of the project",
        ));
    }
    let Some(root) = tree.text("Cargo.toml") else {
        found.push(Finding::new(
            "Cargo.toml",
            1,
            "missing: the workspace has no root manifest",
        ));
        return found;
    };
    let declared = match DeTable::parse(root) {
        Ok(table) => declared(root, table.get_ref()),
        Err(why) => {
            found.push(unreadable("Cargo.toml", &why));
            return found;
        }
    };
    let mut used = BTreeSet::new();
    for (path, text) in members(tree) {
        match DeTable::parse(text) {
            Err(why) => found.push(unreadable(path, &why)),
            Ok(table) => {
                let table = table.get_ref();
                let dependencies = dependencies(text, table, &declared);
                used.extend(dependencies.iter().map(|dependency| dependency.key.clone()));
                for dependency in dependencies.iter().filter(|one| !one.from_workspace) {
                    found.push(Finding::new(path, dependency.line, format!(
                        "`{}` names its own version: declare it in [workspace.dependencies] of the root and write `{}.workspace = true`",
                        dependency.key, dependency.key
                    )));
                }
                if !inherits_lints(table) {
                    found.push(Finding::new(path, 1, "no `[lints] workspace = true`: the project's lints do not reach this crate"));
                }
                found.extend(layering(path, table, &dependencies));
            }
        }
    }
    found.extend(unused(&declared, &used));
    found.extend(dependency_table(tree, &declared));
    found
}

/// The manifests of members: all but the root's and what is a workspace of its own.
fn members(tree: &Tree) -> impl Iterator<Item = (&str, &str)> {
    tree.texts()
        .filter(|(path, text)| path.ends_with("/Cargo.toml") && !text.contains("[workspace]"))
}

fn unreadable(path: &str, why: &toml::de::Error) -> Finding {
    Finding::new(path, 1, format!("not a manifest: {}", why.message()))
}

fn line_of(text: &str, offset: usize) -> usize {
    text[..offset.min(text.len())].matches('\n').count() + 1
}

fn declared(text: &str, root: &DeTable<'_>) -> Declared {
    let Some(table) = table_at(root, &["workspace", "dependencies"]) else {
        return Declared::new();
    };
    table
        .iter()
        .map(|(key, value)| {
            let name = key.get_ref().to_string();
            let package = string_in(value.get_ref(), "package").unwrap_or_else(|| name.clone());
            (name, (package, line_of(text, key.span().start)))
        })
        .collect()
}

fn table_at<'t, 'i>(table: &'t DeTable<'i>, path: &[&str]) -> Option<&'t DeTable<'i>> {
    path.iter()
        .try_fold(table, |table, name| table.get(*name)?.get_ref().as_table())
}

fn string_in(value: &DeValue<'_>, key: &str) -> Option<String> {
    Some(value.as_table()?.get(key)?.get_ref().as_str()?.to_owned())
}

fn true_in(value: &DeValue<'_>, key: &str) -> bool {
    value
        .as_table()
        .and_then(|table| table.get(key)?.get_ref().as_bool())
        .unwrap_or(false)
}

fn dependencies(text: &str, manifest: &DeTable<'_>, declared: &Declared) -> Vec<Dependency> {
    let targets = manifest
        .get("target")
        .and_then(|target| target.get_ref().as_table())
        .into_iter()
        .flat_map(|targets| targets.values())
        .filter_map(|target| target.get_ref().as_table());
    let mut found = Vec::new();
    for owner in std::iter::once(manifest).chain(targets) {
        let tables = TABLES
            .iter()
            .filter_map(|name| Some((*name, table_at(owner, &[name])?)));
        for (table, dependencies) in tables {
            for (key, value) in dependencies {
                let name = key.get_ref().to_string();
                let from_workspace = true_in(value.get_ref(), "workspace");
                let package = if from_workspace {
                    declared.get(&name).map(|(package, _)| package.clone())
                } else {
                    string_in(value.get_ref(), "package")
                };
                found.push(Dependency {
                    package: package.unwrap_or_else(|| name.clone()),
                    line: line_of(text, key.span().start),
                    from_workspace,
                    optional: true_in(value.get_ref(), "optional"),
                    for_tests: table == "dev-dependencies",
                    key: name,
                });
            }
        }
    }
    found
}

fn inherits_lints(manifest: &DeTable<'_>) -> bool {
    manifest
        .get("lints")
        .is_some_and(|lints| true_in(lints.get_ref(), "workspace"))
}

/// The short name of one of our crates by its package name.
fn short(package: &str) -> Option<&str> {
    if package == "mainstay" {
        Some(package)
    } else {
        package.strip_prefix("mainstay-")
    }
}

fn layer(short: &str) -> Option<u8> {
    LAYERS
        .iter()
        .find(|(name, _)| *name == short)
        .map(|(_, layer)| *layer)
}

/// The crates that are for apps: an example of an app may use them.
const FOR_APPS: &[&str] = &["base", "log", "alert", "fault", "journal", "web"];

/// A crate depends on lower layers only; what is beside the crates sees none of them, but for the
/// examples, which are apps.
fn layering(path: &str, manifest: &DeTable<'_>, dependencies: &[Dependency]) -> Vec<Finding> {
    let ours = dependencies
        .iter()
        .filter_map(|one| Some((one, short(&one.package)?)));
    let Some(name) = path
        .strip_prefix("crates/")
        .and_then(|rest| rest.strip_suffix("/Cargo.toml"))
    else {
        let is_app = path.starts_with("examples/");
        return ours
            .filter(|(_, name)| !(is_app && FOR_APPS.contains(name)))
            .map(|(one, _)| {
                Finding::new(path, one.line, format!(
                    "layer: `{}` is used outside crates/: what stands beside the crates meets the product only as the `mainstay` binary",
                    one.package
                ))
            })
            .collect();
    };
    let Some(own) = layer(name) else {
        return vec![Finding::new(
            path,
            1,
            format!(
                "layer: crate `{name}` has no layer: give it one in LAYERS of the tidy check and in {ARCHITECTURE}"
            ),
        )];
    };
    ours.filter_map(|(one, other)| {
        let problem = match layer(other) {
            None => format!("depends on `{other}`, which has no layer"),
            Some(below) if below < own => return None,
            // A crate switches its own features on for its tests by naming itself.
            Some(_) if other == name && one.for_tests => return None,
            Some(same) if same == own => {
                match EXCEPTIONS.iter().find(|(from, to, _)| *from == name && *to == other) {
                    Some((_, _, None)) => return None,
                    Some((_, _, Some(feature))) if one.optional && enables(manifest, feature, &one.key) => return None,
                    Some((_, _, Some(feature))) => format!(
                        "may depend on `{other}` only as an optional dependency that feature `{feature}` switches on"
                    ),
                    None => format!("and `{other}` are both in layer {own} and must not know each other"),
                }
            }
            Some(above) => format!("is in layer {own} and must not depend on `{other}` in layer {above}"),
        };
        Some(Finding::new(path, one.line, format!("layer: `{name}` {problem}")))
    })
    .collect()
}

/// Whether a feature of this manifest switches the optional dependency `key` on.
fn enables(manifest: &DeTable<'_>, feature: &str, key: &str) -> bool {
    let wanted = format!("dep:{key}");
    table_at(manifest, &["features"])
        .and_then(|features| features.get(feature)?.get_ref().as_array())
        .is_some_and(|list| {
            list.iter()
                .any(|item| item.get_ref().as_str() == Some(&wanted))
        })
}

fn unused(declared: &Declared, used: &BTreeSet<String>) -> Vec<Finding> {
    declared
        .iter()
        .filter(|(key, (package, _))| short(package).is_none() && !used.contains(*key))
        .map(|(key, (_, line))| {
            Finding::new(
                "Cargo.toml",
                *line,
                format!("`{key}` is declared for the workspace, and no member uses it"),
            )
        })
        .collect()
}

/// Every dependency of the workspace is in the table that gives its reason, and nothing else is.
fn dependency_table(tree: &Tree, declared: &Declared) -> Vec<Finding> {
    let Some(text) = tree.text(ARCHITECTURE) else {
        return vec![Finding::new(
            ARCHITECTURE,
            1,
            format!(
                "missing: it must hold a table under `{DEPENDENCY_HEADING}` with the reason for each dependency"
            ),
        )];
    };
    let Some((heading, named)) = named_dependencies(text) else {
        return vec![Finding::new(
            ARCHITECTURE,
            1,
            format!(
                "no table under a heading `{DEPENDENCY_HEADING}`: one row for each dependency, its `name` in backticks in the first column"
            ),
        )];
    };
    let foreign = |key: &str| {
        declared
            .get(key)
            .is_some_and(|(package, _)| short(package).is_none())
    };
    let missing = declared.iter().filter(|(key, _)| foreign(key) && !named.contains_key(*key)).map(|(key, (_, line))| {
        Finding::new("Cargo.toml", *line, format!(
            "`{key}` is not in the table of {ARCHITECTURE} (line {heading}): say why it is here"
        ))
    });
    let stale = named.iter().filter(|(name, _)| !foreign(name)).map(|(name, line)| {
        Finding::new(ARCHITECTURE, *line, format!(
            "`{name}` is in the table of dependencies, but the workspace does not depend on it"
        ))
    });
    missing.chain(stale).collect()
}

/// The names in the first column of the table under the heading, with their lines, and the
/// heading's line. A cell may hold several names.
fn named_dependencies(text: &str) -> Option<(usize, BTreeMap<String, usize>)> {
    let lines = || text.lines().zip(1..);
    let (_, heading) = lines().find(|(line, _)| line.trim_end() == DEPENDENCY_HEADING)?;
    let rows = lines()
        .skip(heading)
        .take_while(|(line, _)| !line.starts_with("## "))
        .filter_map(|(line, number)| {
            Some((line.trim().strip_prefix('|')?.split('|').next()?, number))
        });
    let mut named = BTreeMap::new();
    for (cell, number) in rows {
        for name in cell.split('`').skip(1).step_by(2) {
            named.insert(name.to_owned(), number);
        }
    }
    if named.is_empty() {
        None
    } else {
        Some((heading, named))
    }
}
