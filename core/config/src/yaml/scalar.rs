//! The type of a plain scalar, as `yaml.v3` resolves it into an untyped value.

use crate::document::Value;

/// Types a plain (unquoted) scalar. What is nothing else is a string; timestamps stay strings.
pub(crate) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Value::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        _ => {}
    }
    number(text).unwrap_or_else(|| Value::String(text.to_owned()))
}

fn number(text: &str) -> Option<Value> {
    let first = *text.as_bytes().first()?;
    if !matches!(first, b'0'..=b'9' | b'+' | b'-' | b'.') {
        return None;
    }
    // Underscores group digits in all but numbers that start with a dot.
    let plain = if first == b'.' { text.to_owned() } else { text.replace('_', "") };
    if first != b'.'
        && let Some(int) = integer(&plain)
    {
        return Some(Value::Int(int));
    }
    if is_float(&plain) { plain.parse().ok().map(Value::Float) } else { None }
}

/// An integer as Go's `strconv` reads it with base 0: `0x`, `0o`, `0b`, and a leading 0 for octal.
fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    // `from_str_radix` would take a second sign.
    if !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = i128::from(u64::from_str_radix(digits, radix).ok()?);
    let value = if negative { -magnitude } else { magnitude };
    (value >= i128::from(i64::MIN)).then_some(value)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    if let Some(exponent) = exponent
        && !digits(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))
    {
        return false;
    }
    match mantissa.split_once('.') {
        None => digits(mantissa),
        Some(("", fraction)) => digits(fraction),
        Some((whole, fraction)) => digits(whole) && (fraction.is_empty() || digits(fraction)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_scalars_as_yaml_v3_does() {
        for (text, value) in [
            ("0123", Value::Int(83)),
            ("0o17", Value::Int(15)),
            ("0x1F", Value::Int(31)),
            ("0b1", Value::Int(1)),
            ("-0x10", Value::Int(-16)),
            ("1_000", Value::Int(1000)),
            ("+7", Value::Int(7)),
            ("0", Value::Int(0)),
            ("08", Value::Float(8.0)),
            ("18446744073709551615", Value::Int(i128::from(u64::MAX))),
            ("18446744073709551616", Value::Float(18_446_744_073_709_551_616.0)),
            ("1e3", Value::Float(1000.0)),
            (".5", Value::Float(0.5)),
            ("5.", Value::Float(5.0)),
            ("-.5", Value::Float(-0.5)),
            ("-.inf", Value::Float(f64::NEG_INFINITY)),
            ("~", Value::Null),
            ("True", Value::Bool(true)),
            ("FALSE", Value::Bool(false)),
        ] {
            assert_eq!(resolve(text), value, "{text}");
        }
    }

    #[test]
    fn leaves_everything_else_a_string() {
        for text in [
            "yes",
            "no",
            "on",
            "off",
            "y",
            "n",
            "tRue",
            "nULL",
            "2023-03-20T03:17:55Z",
            "2023-03-20",
            "1h",
            "0x",
            "0xZ",
            "--1",
            "-",
            "+",
            ".",
            "1.2.3",
            "e3",
            "1e",
            "_1",
            "12:30:45",
            "0.0.0.0:4317",
            "infinity",
            "NaN",
            "inf",
            "0b2",
            "+-1",
            "0x+1",
            "._5",
        ] {
            assert_eq!(resolve(text), Value::String(text.into()));
        }
    }
}
