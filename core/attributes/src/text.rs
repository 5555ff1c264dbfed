//! Values as text (reference: collector-core, 11.2).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use spanbridge_pdata::Value;

/// The canonical text of a value: a text as it is, numbers in decimal, bytes in base64, lists and maps as compact JSON
/// with sorted keys. Nothing is empty.
pub fn text_of(value: &Value) -> String {
    match value {
        Value::Empty => String::new(),
        Value::Str(text) => text.clone(),
        Value::Bool(value) => value.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Double(number) => double(*number),
        Value::Bytes(bytes) => STANDARD.encode(bytes),
        Value::List(_) | Value::Map(_) => {
            let mut out = String::new();
            json(value, &mut out);
            out
        }
    }
}

/// Recursion is bounded by what an owned value can nest ([`spanbridge_pdata::MAX_VALUE_DEPTH`]).
fn json(value: &Value, out: &mut String) {
    match value {
        Value::Empty => out.push_str("null"),
        Value::Bool(_) | Value::Int(_) => out.push_str(&text_of(value)),
        Value::Double(number) if number.is_finite() => out.push_str(&double(*number)),
        Value::Str(_) | Value::Double(_) | Value::Bytes(_) => quote(&text_of(value), out),
        Value::List(values) => {
            out.push('[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                json(value, out);
            }
            out.push(']');
        }
        Value::Map(pairs) => {
            // Of equal keys the last counts, as in a Go map.
            let sorted: BTreeMap<&str, &Value> =
                pairs.iter().map(|(key, value)| (key.as_str(), value)).collect();
            out.push('{');
            for (index, (key, value)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                quote(key, out);
                out.push(':');
                json(value, out);
            }
            out.push('}');
        }
    }
}

/// A JSON string with what Go's encoder escapes when it does not escape HTML.
fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{0}'..='\u{1f}' | '\u{2028}' | '\u{2029}' => {
                // Writing to a text does not fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A number as JSON has it: the shortest digits, with an exponent below 1e-6 and from 1e21 on.
fn double(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let size = number.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{number:e}");
        return if size >= 1.0 { text.replace('e', "e+") } else { text };
    }
    number.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_json_does() {
        for (number, text) in [
            (0.0, "0"),
            (-1.5, "-1.5"),
            (100.0, "100"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (0.000_001, "0.000001"),
            (1.5e-7, "1.5e-7"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(text_of(&Value::Double(number)), text);
        }
    }

    #[test]
    fn lists_and_maps_are_compact_json_with_sorted_keys() {
        let list = Value::List(vec![Value::Int(1), "a\"\u{1}<".into(), Value::Empty, Value::Bytes(vec![1])]);
        let map = Value::Map(vec![("b".into(), list), ("a".into(), Value::Bool(true))]);
        assert_eq!(text_of(&map), r#"{"a":true,"b":[1,"a\"\u0001<",null,"AQ=="]}"#);
    }

    #[test]
    fn nothing_is_the_empty_text_and_bytes_are_base64() {
        assert_eq!(text_of(&Value::Empty), "");
        assert_eq!(text_of(&Value::Bytes(b"hi".to_vec())), "aGk=");
    }
}
