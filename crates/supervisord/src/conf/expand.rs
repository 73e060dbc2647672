//! `%(name)s`: Python's %-formatting, as far as it is used with names.
//!
//! One thing is not copied: `%s` without a name, which Python fills with the whole table of names
//! and values, environment included. Here it is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::quote;

/// The widest field and the highest precision.
const MAX_WIDTH: usize = 4096;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number, as `process_num` and `numprocs` are.
    Number(i64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// The names that can be expanded. A clone shares those that were there at the last
/// [`share`](Self::share): each section and each process has a few of its own, above the environment.
#[derive(Debug, Clone, Default)]
pub struct Expansions {
    shared: Arc<BTreeMap<String, Value>>,
    own: BTreeMap<String, Value>,
}

impl Expansions {
    /// No names.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a name, or gives one another value.
    pub fn insert(&mut self, name: String, value: Value) {
        self.own.insert(name, value);
    }

    /// Makes all names there are now the ones that clones share.
    pub fn share(&mut self) {
        let mut all = Arc::unwrap_or_clone(std::mem::take(&mut self.shared));
        all.append(&mut self.own);
        self.shared = Arc::new(all);
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.own.get(name).or_else(|| self.shared.get(name))
    }

    /// In the order in which messages list them.
    fn names(&self) -> BTreeSet<&str> {
        let all = self.shared.keys().chain(self.own.keys());
        all.map(String::as_str).collect()
    }
}

impl FromIterator<(String, Value)> for Expansions {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(names: I) -> Self {
        Self {
            shared: Arc::default(),
            own: names.into_iter().collect(),
        }
    }
}

impl<const N: usize> From<[(String, Value); N]> for Expansions {
    fn from(names: [(String, Value); N]) -> Self {
        names.into_iter().collect()
    }
}

/// Expands `template`. `what` is how messages call the option, as in `program:x.command`.
///
/// # Errors
/// A name that is not known, or a conversion that is none. The wording is the original's.
pub fn expand(template: &str, names: &Expansions, what: &str) -> Result<String, String> {
    if !template.contains('%') {
        return Ok(template.to_owned());
    }
    format(template, names).map_err(|fault| match fault {
        Fault::Unknown(name) => {
            let known: Vec<&str> = names.names().into_iter().collect();
            format!(
                "Format string {} for {} contains names ({}) which cannot be expanded. \
                 Available names: {}",
                quote(template),
                quote(what),
                quote(&name),
                known.join(", ")
            )
        }
        Fault::Bad(why) => format!(
            "Format string {} for {} is badly formatted: {why}",
            quote(template),
            quote(what)
        ),
    })
}

enum Fault {
    Unknown(String),
    Bad(String),
}

fn bad<T>(why: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Bad(why.into()))
}

#[derive(Default)]
struct Spec {
    left: bool,
    plus: bool,
    space: bool,
    alternate: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

fn format(template: &str, names: &Expansions) -> Result<String, Fault> {
    let chars: Vec<char> = template.chars().collect();
    let mut out = String::with_capacity(template.len());
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        at += 1;
        if c == '%' {
            conversion(&chars, &mut at, names, &mut out)?;
        } else {
            out.push(c);
        }
    }
    Ok(out)
}

fn conversion(
    chars: &[char],
    at: &mut usize,
    names: &Expansions,
    out: &mut String,
) -> Result<(), Fault> {
    let mut value = None;
    if chars.get(*at) == Some(&'(') {
        let name = name(chars, at)?;
        value = Some(names.get(&name).ok_or(Fault::Unknown(name))?);
    }
    let mut spec = Spec::default();
    while let Some(flag) = chars.get(*at) {
        match flag {
            '-' => spec.left = true,
            '+' => spec.plus = true,
            ' ' => spec.space = true,
            '#' => spec.alternate = true,
            '0' => spec.zero = true,
            _ => break,
        }
        *at += 1;
    }
    star(chars, *at, value)?;
    spec.width = digits(chars, at, "width too big")?.unwrap_or(0);
    if chars.get(*at) == Some(&'.') {
        *at += 1;
        star(chars, *at, value)?;
        spec.precision = Some(digits(chars, at, "precision too big")?.unwrap_or(0));
    }
    if matches!(chars.get(*at), Some('h' | 'l' | 'L')) {
        *at += 1;
    }
    let Some(&kind) = chars.get(*at) else {
        return bad("incomplete format");
    };
    *at += 1;
    if kind == '%' {
        out.push('%');
        return Ok(());
    }
    if !"sradiuoxXeEfFgGc".contains(kind) {
        let shown = if (' '..='~').contains(&kind) {
            kind
        } else {
            '?'
        };
        return bad(format!(
            "unsupported format character '{shown}' (0x{:x}) at index {}",
            u32::from(kind),
            *at - 1
        ));
    }
    match value {
        Some(value) => write(value, kind, &spec, out),
        None => bad("a conversion without a name: write %% for a percent sign"),
    }
}

/// The name in parentheses, which may hold pairs of parentheses itself.
fn name(chars: &[char], at: &mut usize) -> Result<String, Fault> {
    let start = *at + 1;
    let mut depth = 0usize;
    while let Some(c) = chars.get(*at) {
        *at += 1;
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Ok(chars[start..*at - 1].iter().collect());
        }
    }
    bad("incomplete format key")
}

fn star(chars: &[char], at: usize, value: Option<&Value>) -> Result<(), Fault> {
    match (chars.get(at), value) {
        (Some('*'), Some(Value::Number(_))) => bad("not enough arguments for format string"),
        (Some('*'), _) => bad("* wants int"),
        _ => Ok(()),
    }
}

fn digits(chars: &[char], at: &mut usize, too_big: &str) -> Result<Option<usize>, Fault> {
    let mut number = None;
    while let Some(digit) = chars.get(*at).and_then(|c| c.to_digit(10)) {
        let next = number.unwrap_or(0usize) * 10 + digit as usize;
        if next > MAX_WIDTH {
            return bad(too_big);
        }
        number = Some(next);
        *at += 1;
    }
    Ok(number)
}

fn write(value: &Value, kind: char, spec: &Spec, out: &mut String) -> Result<(), Fault> {
    match kind {
        's' | 'r' | 'a' => {
            let text = match (value, kind) {
                (Value::Text(text), 's') => text.clone(),
                (Value::Text(text), 'r') => quote(text),
                (Value::Text(text), _) => ascii(&quote(text)),
                (Value::Number(number), _) => number.to_string(),
            };
            let kept = spec.precision.unwrap_or(usize::MAX);
            pad(
                "",
                &text.chars().take(kept).collect::<String>(),
                false,
                spec,
                out,
            );
        }
        'c' => {
            let one = match value {
                Value::Text(text) if text.chars().count() == 1 => text.clone(),
                Value::Text(_) => return bad("%c requires int or char"),
                Value::Number(code) => u32::try_from(*code)
                    .ok()
                    .and_then(char::from_u32)
                    .map(String::from)
                    .ok_or(Fault::Bad("%c arg not in range(0x110000)".into()))?,
            };
            pad("", &one, false, spec, out);
        }
        'd' | 'i' | 'u' | 'o' | 'x' | 'X' => {
            let Value::Number(number) = value else {
                let wanted = if "diu".contains(kind) {
                    "a real number"
                } else {
                    "an integer"
                };
                return bad(format!("%{kind} format: {wanted} is required, not str"));
            };
            let size = number.unsigned_abs();
            let (prefix, digits) = match kind {
                'o' => ("0o", format!("{size:o}")),
                'x' => ("0x", format!("{size:x}")),
                'X' => ("0X", format!("{size:X}")),
                _ => ("", size.to_string()),
            };
            let prefix = if spec.alternate { prefix } else { "" };
            let sign = sign(*number < 0, spec);
            let least = spec.precision.unwrap_or(0);
            let digits = format!("{digits:0>least$}");
            pad(&format!("{sign}{prefix}"), &digits, true, spec, out);
        }
        _ => {
            let Value::Number(number) = value else {
                return bad("must be real number, not str");
            };
            let digits = float(number.unsigned_abs(), kind, spec);
            pad(sign(*number < 0, spec), &digits, true, spec, out);
        }
    }
    Ok(())
}

fn ascii(quoted: &str) -> String {
    let escape = |c: char| match u32::from(c) {
        0..0x80 => String::from(c),
        code @ 0x80..0x100 => format!("\\x{code:02x}"),
        code @ 0x100..0x1_0000 => format!("\\u{code:04x}"),
        code => format!("\\U{code:08x}"),
    };
    quoted.chars().map(escape).collect()
}

fn sign(negative: bool, spec: &Spec) -> &'static str {
    match (negative, spec.plus, spec.space) {
        (true, ..) => "-",
        (_, true, _) => "+",
        (_, _, true) => " ",
        _ => "",
    }
}

/// A whole number in one of the notations of floating point.
#[expect(
    clippy::cast_precision_loss,
    reason = "C's double has the same precision"
)]
fn float(size: u64, kind: char, spec: &Spec) -> String {
    let precision = spec.precision.unwrap_or(6);
    let number = size as f64;
    let scientific = |precision: usize| {
        let text = format!("{number:.precision$e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        (digits.to_owned(), exponent.parse::<usize>().unwrap_or(0))
    };
    let text = match kind.to_ascii_lowercase() {
        'e' => {
            let (digits, exponent) = scientific(precision);
            format!("{digits}e+{exponent:02}")
        }
        'f' => format!("{number:.precision$}"),
        _ => {
            let wanted = precision.max(1);
            let (digits, exponent) = scientific(wanted - 1);
            let text = if exponent < wanted {
                format!("{number:.*}", wanted - 1 - exponent)
            } else {
                digits
            };
            let trimmed = if text.contains('.') && !spec.alternate {
                text.trim_end_matches('0').trim_end_matches('.')
            } else {
                &text
            };
            if exponent < wanted {
                trimmed.to_owned()
            } else {
                format!("{trimmed}e+{exponent:02}")
            }
        }
    };
    if kind.is_ascii_uppercase() {
        text.to_uppercase()
    } else {
        text
    }
}

fn pad(prefix: &str, body: &str, numeric: bool, spec: &Spec, out: &mut String) {
    let length = prefix.chars().count() + body.chars().count();
    let missing = spec.width.saturating_sub(length);
    let (spaces, zeros, trailing) = match (spec.left, spec.zero && numeric) {
        (true, _) => (0, 0, missing),
        (_, true) => (0, missing, 0),
        _ => (missing, 0, 0),
    };
    out.extend(std::iter::repeat_n(' ', spaces));
    out.push_str(prefix);
    out.extend(std::iter::repeat_n('0', zeros));
    out.push_str(body);
    out.extend(std::iter::repeat_n(' ', trailing));
}

#[cfg(test)]
#[path = "tests/expand.rs"]
mod tests;
