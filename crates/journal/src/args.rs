//! Arguments of steps: JSON, parts of which may be secret.

use std::fmt;
use std::ops::Index;

use mainstay_base::Secret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The key of the object that a secret is kept in.
const MARK: &str = "$secret";

/// Marks a value inside a step's arguments as secret.
///
/// The undo gets it as it is; `Debug`, lists and reports show `***`. In the store it is in plain
/// text, like any value there: where that is not wanted, store where the secret is kept instead.
///
/// ```
/// use mainstay_base::Secret;
/// use mainstay_journal::{Args, secret};
/// let args = Args::new(serde_json::json!({ "user": 7, "token": secret(&Secret::new("abc")) }));
/// assert_eq!(args["token"], "abc");
/// assert_eq!(args.shown(), serde_json::json!({ "user": 7, "token": "***" }));
/// assert!(!format!("{args:?}").contains("abc"));
/// ```
pub fn secret(value: &Secret) -> Value {
    let mut object = Map::new();
    object.insert(MARK.to_owned(), Value::from(value.expose()));
    Value::Object(object)
}

/// The arguments of a step or an action.
#[derive(Clone, Default, PartialEq)]
pub struct Args {
    marked: Value,
    plain: Value,
}

impl Args {
    /// Takes JSON, in which [`secret`] marked what nobody should see.
    pub fn new(value: Value) -> Self {
        Self {
            plain: opened(&value),
            marked: value,
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.marked.is_null()
    }

    /// The value with the secrets in it. Do not log it.
    pub fn expose(&self) -> &Value {
        &self.plain
    }

    /// The value with `***` for each secret.
    pub fn shown(&self) -> Value {
        shown(&self.marked)
    }
}

/// JSON with `***` for each secret in it.
pub(crate) fn shown(value: &Value) -> Value {
    changed(value, &|_| Value::from("***"))
}

fn opened(value: &Value) -> Value {
    changed(value, &Value::clone)
}

/// A copy with every marked value replaced.
fn changed(value: &Value, replace: &dyn Fn(&Value) -> Value) -> Value {
    match value {
        Value::Object(map) => match map.get(MARK).filter(|_| map.len() == 1) {
            Some(hidden) => replace(hidden),
            None => Value::Object(
                map.iter()
                    .map(|(key, value)| (key.clone(), changed(value, replace)))
                    .collect(),
            ),
        },
        Value::Array(list) => list.iter().map(|value| changed(value, replace)).collect(),
        other => other.clone(),
    }
}

impl fmt::Debug for Args {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.shown())
    }
}

impl From<Value> for Args {
    fn from(value: Value) -> Self {
        Self::new(value)
    }
}

/// A member by its name; `null` where there is none, as in [`Value`].
impl Index<&str> for Args {
    type Output = Value;
    fn index(&self, key: &str) -> &Value {
        &self.plain[key]
    }
}

impl Serialize for Args {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.marked.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Args {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_opened_for_the_undo_and_hidden_from_people() {
        for (name, value, plain, shown) in [
            (
                "plain",
                json!({"a": [1, "x"]}),
                json!({"a": [1, "x"]}),
                json!({"a": [1, "x"]}),
            ),
            (
                "deep",
                json!({"a": [{"b": secret(&Secret::new("s3cret"))}]}),
                json!({"a": [{"b": "s3cret"}]}),
                json!({"a": [{"b": "***"}]}),
            ),
            (
                "at the top",
                secret(&Secret::new("s3cret")),
                json!("s3cret"),
                json!("***"),
            ),
            (
                "an object that only has such a member is none",
                json!({"$secret": "x", "b": 1}),
                json!({"$secret": "x", "b": 1}),
                json!({"$secret": "x", "b": 1}),
            ),
        ] {
            let args = Args::new(value);
            assert_eq!(*args.expose(), plain, "{name}");
            assert_eq!(args.shown(), shown, "{name}");
            let stored = serde_json::to_string(&args).unwrap();
            let again: Args = serde_json::from_str(&stored).unwrap();
            assert_eq!(again, args, "{name}");
            assert!(!format!("{args:?}").contains("s3cret"), "{name}");
        }
    }
}
