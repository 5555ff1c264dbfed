//! Scalars by the Go collector's rules.

use serde::de::Unexpected;

use super::error::{Error, Kind};
use crate::document::Value;

/// The integer that an integer field takes from a value: floats lose their fraction, null is zero. `None` for other
/// types. `go` is Go's name of the field's type, for messages.
pub(super) fn integer(value: &Value, go: &str) -> Option<Result<i128, Error>> {
    Some(match value {
        Value::Int(int) => Ok(*int),
        Value::Null => Ok(0),
        Value::Float(float) => truncated(*float, go),
        _ => return None,
    })
}

fn truncated(float: f64, go: &str) -> Result<i128, Error> {
    // Every 64-bit integer lies within; beyond, the number is reported as it is.
    const LIMIT: f64 = 1e20;
    if !(-LIMIT..=LIMIT).contains(&float) {
        return Err(Error::new(Kind::Custom(format!("cannot parse value as '{go}': {float} overflows it"))));
    }
    #[expect(clippy::cast_possible_truncation, reason = "the reference truncates floats in integer fields")]
    Ok(float as i128)
}

/// The error for an integer that its field cannot hold.
pub(super) fn overflows(int: i128, go: &str) -> Error {
    let what = if int < 0 && go.starts_with('u') { "uint" } else { go };
    Error::new(Kind::Custom(format!("cannot parse value as '{go}': {int} overflows {what}")))
}

/// A value as serde names it in errors.
pub(super) fn unexpected(value: &Value) -> Unexpected<'_> {
    match value {
        Value::Null => Unexpected::Unit,
        Value::Bool(value) => Unexpected::Bool(*value),
        Value::Int(value) => match (i64::try_from(*value), u64::try_from(*value)) {
            (Ok(value), _) => Unexpected::Signed(value),
            (_, Ok(value)) => Unexpected::Unsigned(value),
            _ => Unexpected::Other("an integer beyond 64 bits"),
        },
        Value::Float(value) => Unexpected::Float(*value),
        Value::String(text) => Unexpected::Str(text),
        Value::List(_) => Unexpected::Seq,
        Value::Map(_) => Unexpected::Map,
    }
}
