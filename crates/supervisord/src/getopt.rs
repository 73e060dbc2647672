//! Command lines as Python's `getopt` reads them.

/// One option.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag<K> {
    /// `x` for `-x`, if it has a short form.
    pub(crate) short: Option<char>,
    /// `name` for `--name`.
    pub(crate) long: &'static str,
    /// Whether a value follows.
    pub(crate) value: bool,
    /// What it is.
    pub(crate) key: K,
}

/// An option that was given: as it is written in full, what it is, and its value.
pub(crate) type Given<K> = (String, K, String);

/// Splits a command line into options and, from the first word that is none or follows `--` on, the
/// rest.
///
/// # Errors
/// The words of `getopt`.
pub(crate) fn parse<K: Copy + PartialEq>(
    words: &[String],
    flags: &[Flag<K>],
) -> Result<(Vec<Given<K>>, Vec<String>), String> {
    let mut found = Vec::new();
    let mut rest = words.iter();
    let mut positional = Vec::new();
    while let Some(word) = rest.next() {
        if word == "--" {
            break;
        }
        if let Some(text) = word.strip_prefix("--") {
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (text, None),
            };
            let flag = long(name, flags)?;
            let name = flag.long;
            let value = match (flag.value, value) {
                (true, Some(value)) => value,
                (true, None) => rest
                    .next()
                    .cloned()
                    .ok_or_else(|| format!("option --{name} requires argument"))?,
                (false, None) => String::new(),
                (false, Some(_)) => {
                    return Err(format!("option --{name} must not have an argument"));
                }
            };
            found.push((format!("--{name}"), flag.key, value));
        } else if let Some(letters) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) {
            let mut letters = letters.chars();
            while let Some(letter) = letters.next() {
                let flag = flags
                    .iter()
                    .find(|flag| flag.short == Some(letter))
                    .ok_or_else(|| format!("option -{letter} not recognized"))?;
                let mut value = String::new();
                if flag.value {
                    let attached = letters.as_str();
                    letters = "".chars();
                    value = match attached {
                        "" => rest
                            .next()
                            .cloned()
                            .ok_or_else(|| format!("option -{letter} requires argument"))?,
                        attached => attached.to_owned(),
                    };
                }
                found.push((format!("-{letter}"), flag.key, value));
            }
        } else {
            positional.push(word.clone());
            break;
        }
    }
    positional.extend(rest.cloned());
    Ok((found, positional))
}

/// The option with this name, or the only one whose name begins so.
fn long<'a, K: Copy + PartialEq>(name: &str, flags: &'a [Flag<K>]) -> Result<&'a Flag<K>, String> {
    if let Some(exact) = flags.iter().find(|flag| flag.long == name) {
        return Ok(exact);
    }
    let mut fitting = flags.iter().filter(|flag| flag.long.starts_with(name));
    let first = fitting
        .next()
        .ok_or_else(|| format!("option --{name} not recognized"))?;
    if fitting.any(|flag| flag.key != first.key) {
        return Err(format!("option --{name} not a unique prefix"));
    }
    Ok(first)
}
