//! Changes of a value's type.

use spanbridge_pdata::{Value, ValueRef};

use crate::text::text_of;

/// The type to convert to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// A 64-bit integer.
    Int,
    /// A floating-point number.
    Double,
    /// A text.
    Text,
}

impl Target {
    /// As users write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Double => "double",
            Self::Text => "string",
        }
    }
}

/// `value` as `to`; `None` when it is that already, and the reason when it cannot be.
pub(crate) fn convert(value: &ValueRef<'_>, to: Target) -> Result<Option<Value>, &'static str> {
    match to {
        Target::Int => int_of(value).map(|number| number.map(Value::Int)),
        Target::Double => double_of(value).map(|number| number.map(Value::Double)),
        Target::Text => {
            Ok((!matches!(value, ValueRef::Str(_))).then(|| Value::Str(text_of(&value.to_value()))))
        }
    }
}

fn int_of(value: &ValueRef<'_>) -> Result<Option<i64>, &'static str> {
    match value {
        ValueRef::Int(_) => Ok(None),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the conversion is defined as cutting the fraction"
        )]
        ValueRef::Double(number) => Ok(Some(*number as i64)),
        ValueRef::Bool(value) => Ok(Some(i64::from(*value))),
        ValueRef::Str(text) => {
            text.parse().map(Some).map_err(|_| "the text is no decimal integer of 64 bits")
        }
        _ => Err("the value is no number, bool or text"),
    }
}

fn double_of(value: &ValueRef<'_>) -> Result<Option<f64>, &'static str> {
    match value {
        ValueRef::Double(_) => Ok(None),
        #[expect(clippy::cast_precision_loss, reason = "as numbers are converted everywhere")]
        ValueRef::Int(number) => Ok(Some(*number as f64)),
        ValueRef::Bool(value) => Ok(Some(f64::from(u8::from(*value)))),
        ValueRef::Str(text) => parse_double(text).map(Some).ok_or("the text is no number within range"),
        _ => Err("the value is no number, bool or text"),
    }
}

/// As Go reads it: a number too large is an error, where Rust yields infinity.
fn parse_double(text: &str) -> Option<f64> {
    let number: f64 = text.parse().ok()?;
    let overflowed = number.is_infinite() && text.contains(|c: char| c.is_ascii_digit());
    (!overflowed).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(value: &ValueRef<'_>, to: Target) -> Option<Value> {
        convert(value, to).unwrap_or(None)
    }

    #[test]
    fn to_int_cuts_fractions_and_reads_decimal_texts() {
        for (value, expected) in [
            (ValueRef::Double(-2.9), Some(-2)),
            (ValueRef::Bool(true), Some(1)),
            (ValueRef::Bool(false), Some(0)),
            (ValueRef::Str("-42"), Some(-42)),
            (ValueRef::Str("+7"), Some(7)),
            (ValueRef::Str("0x10"), None),
            (ValueRef::Str("1.5"), None),
            (ValueRef::Str(" 1"), None),
            (ValueRef::Str("9223372036854775808"), None),
            (ValueRef::Int(3), None),
            (ValueRef::Bytes(b"1"), None),
        ] {
            assert_eq!(converted(&value, Target::Int), expected.map(Value::Int), "{value:?}");
        }
    }

    #[test]
    fn to_double_reads_what_go_reads_and_refuses_what_is_out_of_range() {
        for (value, expected) in [
            (ValueRef::Int(3), Some(3.0)),
            (ValueRef::Bool(true), Some(1.0)),
            (ValueRef::Str("1.5e3"), Some(1500.0)),
            (ValueRef::Str("Infinity"), Some(f64::INFINITY)),
            (ValueRef::Str("1e400"), None),
            (ValueRef::Str("many"), None),
            (ValueRef::Double(1.0), None),
            (ValueRef::Empty, None),
        ] {
            assert_eq!(converted(&value, Target::Double), expected.map(Value::Double), "{value:?}");
        }
    }

    #[test]
    fn to_string_never_fails() {
        assert_eq!(converted(&ValueRef::Int(-1), Target::Text), Some("-1".into()));
        assert_eq!(converted(&ValueRef::Empty, Target::Text), Some("".into()));
        assert_eq!(converted(&ValueRef::Str("as it is"), Target::Text), None);
    }
}
