//! Secrets by reference: the config names where a value is, the value is read when it is needed.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::config::{FromValue, Section, Value};
use crate::diagnostic::Diagnostic;

/// The words of names whose values are secrets; longer names that end in them are such too. Between the
/// words there may be `_`, `-` or nothing.
pub const NAMES: [&[&str]; 13] = [
    &["password"],
    &["passwd"],
    &["passphrase"],
    &["pwd"],
    &["secret"],
    &["secret", "key"],
    &["token"],
    &["api", "key"],
    &["access", "key"],
    &["private", "key"],
    &["credential"],
    &["credentials"],
    &["session", "id"],
];

/// Headers of HTTP whose values are secrets up to the end of the line (RFC 9110, section 11.6.2; RFC
/// 6265, section 4).
pub const HEADERS: [&str; 2] = ["authorization", "cookie"];

/// Whether what has this name is a secret, by [`NAMES`] and [`HEADERS`].
pub fn is_secret_name(name: &str) -> bool {
    let bare: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let ends_in = |words: &[&str]| {
        let rest = words
            .iter()
            .rev()
            .try_fold(&*bare, |rest, word| rest.strip_suffix(word));
        rest.is_some()
    };
    NAMES.iter().any(|words| ends_in(words)) || HEADERS.iter().any(|word| ends_in(&[word]))
}

/// A value that must not be seen: no `Debug`, no `Display`, wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a value into care.
    pub fn new(value: impl Into<String>) -> Self {
        Self(Zeroizing::new(value.into()))
    }

    /// The value itself. Do not keep it, log it or put it on a command line.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// Where a secret is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretRef {
    /// A file that only its owner can read; one newline at its end is not part of the value.
    File(PathBuf),
    /// A variable of the daemon's environment.
    Env(String),
    /// A systemd credential: a file of that name in `$CREDENTIALS_DIRECTORY` (systemd.exec(5)).
    Credential(String),
}

impl FromValue for SecretRef {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        let form = "one of { file = \"…\" }, { env = \"…\" } or { credential = \"…\" }";
        let mut section = value.as_section().map_err(|d| {
            d.help(format!(
                "a secret is never written into the config: reference it as {form}"
            ))
        })?;
        let file = section.get::<PathBuf>("file").map(Self::File);
        let env = section.get::<String>("env").map(Self::Env);
        let credential = section.get::<String>("credential").map(Self::Credential);
        section.planned(&["age", "cmd"]);
        section.finish();
        match (file, env, credential) {
            (Some(one), None, None) | (None, Some(one), None) | (None, None, Some(one)) => Ok(one),
            _ => Err(
                Diagnostic::error("a secret has exactly one place it is read from")
                    .at(value.place())
                    .help(form),
            ),
        }
    }
}

/// A value that may be a secret: itself, or where it is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// The value itself.
    Value(Secret),
    /// A text with references in it.
    Template(Template),
    /// A place, as in `[secret]`.
    Reference(SecretRef),
}

impl Credential {
    /// Whether it leads to something that is not written in the config.
    pub fn refers(&self) -> bool {
        match self {
            Self::Value(_) => false,
            Self::Template(template) => {
                let is_literal = |part: &Part| matches!(part, Part::Literal(_));
                !template.parts().iter().all(is_literal)
            }
            Self::Reference(_) => true,
        }
    }

    /// Reads it; `what` is what an error calls it.
    pub fn read(&self, what: &str, resolver: &Resolver) -> Result<Secret, SecretError> {
        match self {
            Self::Value(secret) => Ok(secret.clone()),
            Self::Template(template) => template.resolve(resolver),
            Self::Reference(reference) => resolver.read(what, reference),
        }
    }
}

impl From<Secret> for Credential {
    fn from(value: Secret) -> Self {
        Self::Value(value)
    }
}

/// A text in which `${secret.NAME}` may stand, or a table as `[secret]` has them.
impl FromValue for Credential {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        if value.is_table() {
            return SecretRef::from_value(value).map(Self::Reference);
        }
        Template::from_value(value).map(Self::Template)
    }
}

/// Where systemd puts a service's credentials (systemd.exec(5)).
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// The `[secret]` table: names and where each value is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secrets(BTreeMap<String, SecretRef>);

impl Secrets {
    /// Reads the `[secret]` table of the document's root.
    pub fn read(root: &mut Section<'_>) -> Self {
        Self(
            root.get::<BTreeMap<String, SecretRef>>("secret")
                .unwrap_or_default(),
        )
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// What turns a [`Template`] into its value: the references, and the environment the caller gives.
#[derive(Clone, Default)]
pub struct Resolver {
    secrets: Secrets,
    environment: BTreeMap<String, String>,
}

impl fmt::Debug for Resolver {
    /// Names only: values of the environment are secrets more often than not.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("secrets", &self.secrets)
            .finish_non_exhaustive()
    }
}

impl Resolver {
    /// Resolves from these references and this environment.
    pub fn new(secrets: Secrets, environment: BTreeMap<String, String>) -> Self {
        Self {
            secrets,
            environment,
        }
    }

    /// The names of the secrets it can resolve.
    pub fn secret_names(&self) -> impl Iterator<Item = &str> {
        self.secrets.names()
    }

    /// Whether the environment has this variable.
    pub fn has_env(&self, name: &str) -> bool {
        self.environment.contains_key(name)
    }

    /// Whether its secrets have the same names and are kept at the same places as the other's.
    pub fn agrees_with(&self, other: &Self) -> bool {
        self.secrets == other.secrets
    }

    /// The environment without what `[secret]` takes from it: what may be handed on to programs.
    ///
    /// `CREDENTIALS_DIRECTORY` is left out too, because it leads to secrets.
    pub fn public_environment(&self) -> BTreeMap<String, String> {
        let secret = |name: &str| {
            name == CREDENTIALS_DIRECTORY
                || self
                    .secrets
                    .0
                    .values()
                    .any(|reference| *reference == SecretRef::Env(name.to_owned()))
        };
        self.environment
            .iter()
            .filter(|(name, _)| !secret(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// Reads a secret by its name in `[secret]`.
    pub fn secret(&self, name: &str) -> Result<Secret, SecretError> {
        let reference = self.secrets.0.get(name).ok_or_else(|| SecretError {
            name: name.to_owned(),
            why: "there is no such name in [secret]".to_owned(),
            help: format!("add `{name} = {{ file = \"…\" }}` to [secret]"),
        })?;
        self.read(name, reference)
    }

    /// Reads what a reference leads to; `name` is what an error calls it.
    pub fn read(&self, name: &str, reference: &SecretRef) -> Result<Secret, SecretError> {
        let error = |why: String, help: String| SecretError {
            name: name.to_owned(),
            why,
            help,
        };
        match reference {
            SecretRef::File(path) => read_file(path, true).map_err(|(why, help)| error(why, help)),
            SecretRef::Env(variable) => {
                self.environment
                    .get(variable)
                    .map(Secret::new)
                    .ok_or_else(|| {
                        error(
                            format!("the environment has no variable {variable}"),
                            format!("set {variable} where mainstay is started"),
                        )
                    })
            }
            SecretRef::Credential(credential) => {
                if credential.contains('/') || credential == ".." || credential == "." {
                    return Err(error(
                        format!("`{credential}` is not the name of a credential"),
                        "a credential's name has no slash".to_owned(),
                    ));
                }
                let directory = self
                    .environment
                    .get("CREDENTIALS_DIRECTORY")
                    .ok_or_else(|| {
                        error(
                            "CREDENTIALS_DIRECTORY is not set".to_owned(),
                            format!(
                                "start mainstay by systemd with LoadCredential={credential}:PATH"
                            ),
                        )
                    })?;
                // systemd owns that directory and its modes, so they are not questioned here.
                read_file(&Path::new(directory).join(credential), false)
                    .map_err(|(why, help)| error(why, help))
            }
        }
    }

    fn env(&self, name: &str) -> Result<Secret, SecretError> {
        self.environment
            .get(name)
            .map(Secret::new)
            .ok_or_else(|| SecretError {
                name: format!("env.{name}"),
                why: format!("the environment has no variable {name}"),
                help: format!("set {name} where mainstay is started"),
            })
    }
}

fn read_file(path: &Path, private: bool) -> Result<Secret, (String, String)> {
    let shown = path.display();
    let failed = |e: std::io::Error| {
        (
            format!("cannot read {shown}: {e}"),
            "check that the file exists and that mainstay may read it".to_owned(),
        )
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    // The rights are those of the file that was opened, not of whatever stands at the path later.
    let metadata = file.metadata().map_err(failed)?;
    if private {
        let mode = metadata.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err((
                format!("{shown} can be read by others (mode {mode:04o})"),
                format!("chmod 600 {shown}"),
            ));
        }
        let me = rustix::process::geteuid().as_raw();
        if metadata.uid() != me && metadata.uid() != 0 {
            return Err((
                format!(
                    "{shown} belongs to uid {}, not to root or to uid {me}",
                    metadata.uid()
                ),
                format!("chown {me} {shown}"),
            ));
        }
    }
    let mut text = String::new();
    std::io::Read::read_to_string(&mut std::io::Read::take(file, 1 << 20), &mut text)
        .map_err(failed)?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err((
            format!("{shown} is empty"),
            format!("write the secret into {shown}"),
        ));
    }
    Ok(Secret::new(text))
}

/// A secret that could not be read, why, and what to do. Never holds the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretError {
    name: String,
    why: String,
    help: String,
}

impl SecretError {
    /// What to do next.
    pub fn help(&self) -> &str {
        &self.help
    }
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot read secret `{}`: {}", self.name, self.why)
    }
}

impl std::error::Error for SecretError {}

/// A string of the config in which `${secret.NAME}` and `${env.NAME}` stand for values.
///
/// `$${` is a plain `${`; any other dollar sign stands for itself, so that `$$` and `$HOME` reach a
/// shell as they are. There is no other templating.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

/// One piece of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text as it is.
    Literal(String),
    /// `${secret.NAME}`
    Secret(String),
    /// `${env.NAME}`
    Env(String),
}

impl Template {
    /// A template with nothing to fill in.
    pub fn literal(text: impl Into<String>) -> Self {
        Self(vec![Part::Literal(text.into())])
    }

    /// Reads a template; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            literal.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix("${") {
                literal.push_str("${");
                rest = after;
            } else if let Some(after) = rest.strip_prefix('{') {
                let end = after.find('}').ok_or("`${` without its `}`")?;
                let name = &after[..end];
                rest = &after[end + 1..];
                let part = match name.split_once('.') {
                    Some(("secret", name)) if !name.is_empty() => Part::Secret(name.to_owned()),
                    Some(("env", name)) if !name.is_empty() => Part::Env(name.to_owned()),
                    _ => {
                        return Err(format!(
                            "`${{{name}}}` is neither ${{secret.NAME}} nor ${{env.NAME}}"
                        ));
                    }
                };
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal)));
                }
                parts.push(part);
            } else {
                literal.push('$');
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() || parts.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self(parts))
    }

    /// The pieces in order.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// Whether the value depends on a secret.
    pub fn has_secret(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Secret(_)))
    }

    /// Fills it in. The result is held as a [`Secret`] whether or not it has one inside.
    pub fn resolve(&self, resolver: &Resolver) -> Result<Secret, SecretError> {
        let mut value = Zeroizing::new(String::new());
        for part in &self.0 {
            match part {
                Part::Literal(text) => value.push_str(text),
                Part::Secret(name) => value.push_str(resolver.secret(name)?.expose()),
                Part::Env(name) => value.push_str(resolver.env(name)?.expose()),
            }
        }
        Ok(Secret(value))
    }
}

/// The text it was read from: names, never values.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.0 {
            match part {
                Part::Literal(text) => f.write_str(&text.replace("${", "$${"))?,
                Part::Secret(name) => write!(f, "${{secret.{name}}}")?,
                Part::Env(name) => write!(f, "${{env.{name}}}")?,
            }
        }
        Ok(())
    }
}

impl FromValue for Template {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        let template = Self::parse(value.as_str()?).map_err(|why| {
            Diagnostic::error(why)
                .at(value.place())
                .help("write `$${` for a plain `${`, ${secret.NAME} for a name in [secret], ${env.NAME} for a variable")
        })?;
        value.note_references(&template);
        Ok(template)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn resolver(secrets: &[(&str, SecretRef)], environment: &[(&str, &str)]) -> Resolver {
        Resolver::new(
            Secrets(
                secrets
                    .iter()
                    .map(|(n, r)| ((*n).to_owned(), r.clone()))
                    .collect(),
            ),
            environment
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn names_of_secrets() {
        for (name, secret) in [
            ("password", true),
            ("DB_PASSWORD", true),
            ("X-Api-Key", true),
            ("apikey", true),
            ("aws_secret_key", true),
            ("Set-Cookie", true),
            ("Proxy-Authorization", true),
            ("session_id", true),
            ("credentials", true),
            ("user", false),
            ("key", false),
            ("path", false),
            ("tokens_left", false),
            ("", false),
        ] {
            assert_eq!(is_secret_name(name), secret, "{name}");
        }
    }

    #[test]
    fn templates() {
        let r = resolver(
            &[("p", SecretRef::Env("P".into()))],
            &[("P", "s3cret"), ("HOME", "/h")],
        );
        for (text, expected) in [
            ("plain", Some("plain")),
            ("", Some("")),
            ("x:${secret.p}@${env.HOME}", Some("x:s3cret@/h")),
            ("$$5 and $x", Some("$$5 and $x")),
            ("echo $${HOME} $$ $", Some("echo ${HOME} $$ $")),
            ("${secret.p}${secret.p}", Some("s3crets3cret")),
            ("${secret.q}", None),
            ("${env.NOPE}", None),
        ] {
            let template = Template::parse(text).unwrap();
            let value = template.resolve(&r);
            assert_eq!(value.as_ref().ok().map(Secret::expose), expected, "{text}");
        }
        for text in ["${", "${x}", "${secret.}", "${home.x}"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn programs_do_not_inherit_what_is_a_secret() {
        let r = resolver(
            &[("p", SecretRef::Env("P".into()))],
            &[
                ("P", "hunter2"),
                ("HOME", "/h"),
                ("CREDENTIALS_DIRECTORY", "/run/c"),
            ],
        );
        assert_eq!(
            r.public_environment().into_keys().collect::<Vec<_>>(),
            ["HOME"]
        );
    }

    #[test]
    fn a_secret_is_not_seen() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(***)");
        let r = resolver(&[], &[("P", "hunter2")]);
        assert!(!format!("{r:?}").contains("hunter2"));
    }

    #[test]
    fn a_secret_file_is_private_and_loses_one_newline() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        std::fs::write(&path, "hunter2\n\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let r = resolver(&[("p", SecretRef::File(path.clone()))], &[]);
        let error = r.secret("p").unwrap_err();
        assert!(error.to_string().contains("mode 0644") && error.help().starts_with("chmod 600"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(r.secret("p").unwrap().expose(), "hunter2\n");
    }

    #[test]
    fn a_credential_stays_in_its_directory() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("smtp"), "pw").unwrap();
        let environment = [("CREDENTIALS_DIRECTORY", directory.path().to_str().unwrap())];
        let r = resolver(
            &[
                ("a", SecretRef::Credential("smtp".into())),
                ("b", SecretRef::Credential("../x".into())),
            ],
            &environment,
        );
        assert_eq!(r.secret("a").unwrap().expose(), "pw");
        assert!(r.secret("b").is_err());
    }
}
