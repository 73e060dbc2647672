//! A server that a drill started, asked through its socket.

use std::collections::BTreeMap;
use std::path::Path;

use super::client::{Address, Client, Dial, Trouble};
use super::resp::Value;
use super::topology;

/// A conversation with it.
pub(crate) struct Trial(Client);

impl Trial {
    /// The server, when it answers and has loaded its data; nothing while it has not.
    pub(crate) fn when_ready(socket: &Path) -> Result<Option<Self>, String> {
        let dial = Dial {
            user: None,
            password: None,
            tls: None,
        };
        let mut client = match Client::connect(&Address::Unix(socket.to_owned()), &dial) {
            Err(trouble) if trouble.is_absence() => return Ok(None),
            client => client.map_err(|trouble| in_words(&trouble))?,
        };
        match client.ask(&["PING"]) {
            Ok(_) => Ok(Some(Self(client))),
            Err(Trouble::Refused(said)) if said.starts_with("LOADING") => Ok(None),
            // It ends: how is learned from its process.
            Err(Trouble::Io(_)) => Ok(None),
            Err(trouble) => Err(in_words(&trouble)),
        }
    }

    /// The keys of each database.
    pub(crate) fn keys(&mut self) -> Result<BTreeMap<u64, u64>, String> {
        let answer = self.0.ask(&["INFO", "keyspace"]);
        let text = answer.map_err(|trouble| in_words(&trouble))?.text();
        Ok(topology::keyspace(&topology::info(
            &text.unwrap_or_default(),
        )))
    }

    /// The answer to a command: a line for each value.
    pub(crate) fn ask(&mut self, command: &str) -> Result<String, String> {
        let words: Vec<&str> = command.split_whitespace().collect();
        if words.is_empty() {
            return Err("there is no command".to_owned());
        }
        let answer = self.0.ask(&words).map_err(|trouble| in_words(&trouble))?;
        Ok(lines(&answer))
    }
}

fn in_words(trouble: &Trouble) -> String {
    match trouble {
        Trouble::Io(error) => error.to_string(),
        Trouble::Refused(said) => said.clone(),
    }
}

fn lines(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Array(items) => items.iter().map(lines).collect::<Vec<_>>().join("\n"),
        other => other.text().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_lines() {
        let text = |text: &str| Value::Bulk(text.as_bytes().to_vec());
        for (value, expected) in [
            (Value::Null, "NULL"),
            (Value::Integer(-7), "-7"),
            (Value::Simple("OK".to_owned()), "OK"),
            (text("a b"), "a b"),
            (
                Value::Array(vec![text("a"), Value::Array(vec![Value::Null, text("b")])]),
                "a\nNULL\nb",
            ),
            (Value::Array(Vec::new()), ""),
        ] {
            assert_eq!(lines(&value), expected);
        }
    }
}
