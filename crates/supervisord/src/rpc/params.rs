//! Arguments, as lax as Python takes them.

use super::faults::Code;
use crate::xmlrpc::{Fault, Value};

/// A text.
pub(super) fn text(value: &Value) -> Result<&str, Fault> {
    value
        .as_str()
        .ok_or_else(|| Code::IncorrectParameters.plain())
}

/// A whole number, also one that comes as a text or with a fraction.
pub(super) fn number(value: &Value) -> Result<i64, Fault> {
    let number = match value {
        Value::Int(number) => Some(*number),
        Value::Bool(truth) => Some((*truth).into()),
        // Beyond what fits the largest and smallest numbers are taken.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "rounding towards 0 is the point"
        )]
        Value::Double(number) if number.is_finite() => Some(*number as i64),
        Value::Text(text) => crate::conf::values::integer(text).ok(),
        _ => None,
    };
    number.ok_or_else(|| Code::IncorrectParameters.plain())
}

/// What Python takes for true: all but nothing and zero.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Int(number) => *number != 0,
        Value::Bool(truth) => *truth,
        Value::Text(text) => !text.is_empty(),
        Value::Double(number) => *number != 0.0,
        Value::DateTime(_) => true,
        Value::Base64(bytes) => !bytes.is_empty(),
        Value::Nil => false,
        Value::Array(items) => !items.is_empty(),
        Value::Struct(members) => !members.is_empty(),
    }
}

/// A value in a message.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Int(number) => number.to_string(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Double(number) => format!("{number:?}"),
        Value::Text(text) | Value::DateTime(text) => text.clone(),
        Value::Nil => "None".to_owned(),
        Value::Base64(_) => "bytes".to_owned(),
        Value::Array(_) => "an array".to_owned(),
        Value::Struct(_) => "a struct".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (value, expected) in [
            (Value::Int(-7), Some(-7)),
            (Value::from("12"), Some(12)),
            (Value::from(" -1 "), Some(-1)),
            (Value::from(true), Some(1)),
            (Value::from(2.9), Some(2)),
            (Value::from(-2.9), Some(-2)),
            (Value::from(f64::NAN), None),
            (Value::from("x"), None),
            (Value::Nil, None),
            (Value::Array(Vec::new()), None),
        ] {
            assert_eq!(number(&value).ok(), expected, "{value:?}");
        }
    }

    #[test]
    fn truths() {
        for (value, expected) in [
            (Value::from(false), false),
            (Value::from(0), false),
            (Value::from(2), true),
            (Value::from(""), false),
            (Value::from("false"), true),
            (Value::Nil, false),
        ] {
            assert_eq!(truth(&value), expected, "{value:?}");
        }
    }
}
