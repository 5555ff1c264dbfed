//! Attribute values as text (reference: collector-core, 11.2).

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};

use super::go::JsonNumber;

/// A value as plain text: `abc`, `1`, `{"a":1}`.
pub(super) struct Plain<'a>(pub(super) Option<&'a AnyValue>);

/// A value with its type: `Str(abc)`, `Int(1)`, `Map({"a":1})`.
pub(super) struct Typed<'a>(pub(super) Option<&'a AnyValue>);

/// A value as compact JSON.
struct Json<'a>(Option<&'a AnyValue>);

/// Attributes as `key=value`, joined.
pub(super) struct Joined<'a> {
    pub(super) attributes: &'a [KeyValue],
    /// Written before the first one, if there is one.
    pub(super) lead: &'static str,
    /// Written between two.
    pub(super) separator: &'static str,
}

fn inner(value: Option<&AnyValue>) -> Option<&Value> {
    value.and_then(|value| value.value.as_ref())
}

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match inner(self.0) {
            // A string table index has a meaning in profiles only.
            None | Some(Value::StringValueStrindex(_)) => Ok(()),
            Some(Value::StringValue(text)) => f.write_str(text),
            Some(Value::BoolValue(flag)) => write!(f, "{flag}"),
            Some(Value::IntValue(number)) => write!(f, "{number}"),
            Some(Value::DoubleValue(number)) => write!(f, "{}", JsonNumber(*number)),
            Some(Value::BytesValue(bytes)) => write!(f, "{}", Base64Display::new(bytes, &STANDARD)),
            Some(Value::ArrayValue(_) | Value::KvlistValue(_)) => write!(f, "{}", Json(self.0)),
        }
    }
}

impl fmt::Display for Typed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match inner(self.0) {
            None | Some(Value::StringValueStrindex(_)) => "Empty",
            Some(Value::StringValue(_)) => "Str",
            Some(Value::BoolValue(_)) => "Bool",
            Some(Value::IntValue(_)) => "Int",
            Some(Value::DoubleValue(_)) => "Double",
            Some(Value::BytesValue(_)) => "Bytes",
            Some(Value::ArrayValue(_)) => "Slice",
            Some(Value::KvlistValue(_)) => "Map",
        };
        write!(f, "{name}({})", Plain(self.0))
    }
}

impl fmt::Display for Json<'_> {
    /// Recurses once a nesting level; decoding has bounded those (protobuf's usual 100).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match inner(self.0) {
            None | Some(Value::StringValueStrindex(_)) => f.write_str("null"),
            Some(Value::StringValue(text)) => write_json_string(f, text),
            Some(Value::BoolValue(flag)) => write!(f, "{flag}"),
            Some(Value::IntValue(number)) => write!(f, "{number}"),
            Some(Value::DoubleValue(number)) if number.is_finite() => write!(f, "{}", JsonNumber(*number)),
            // JSON has no such numbers. Go prints nothing for the whole value then; the name says more.
            Some(Value::DoubleValue(number)) => write!(f, "\"{}\"", JsonNumber(*number)),
            Some(Value::BytesValue(bytes)) => write!(f, "\"{}\"", Base64Display::new(bytes, &STANDARD)),
            Some(Value::ArrayValue(list)) => write_json_list(f, list),
            Some(Value::KvlistValue(map)) => write_json_map(f, map),
        }
    }
}

fn write_json_list(f: &mut fmt::Formatter<'_>, list: &ArrayValue) -> fmt::Result {
    f.write_char('[')?;
    for (index, value) in list.values.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(f, "{comma}{}", Json(Some(value)))?;
    }
    f.write_char(']')
}

/// Keys are sorted, and of equal ones the last counts, as in a Go map.
fn write_json_map(f: &mut fmt::Formatter<'_>, map: &KeyValueList) -> fmt::Result {
    let entries: BTreeMap<&str, _> =
        map.values.iter().map(|entry| (entry.key.as_str(), entry.value.as_ref())).collect();
    f.write_char('{')?;
    for (index, (key, value)) in entries.into_iter().enumerate() {
        if index > 0 {
            f.write_char(',')?;
        }
        write_json_string(f, key)?;
        write!(f, ":{}", Json(value))?;
    }
    f.write_char('}')
}

/// A JSON string with what Go's encoder escapes when it does not escape HTML.
fn write_json_string(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    let mut rest = text;
    while let Some(at) = rest.find(needs_escape) {
        f.write_str(&rest[..at])?;
        let mut chars = rest[at..].chars();
        match chars.next() {
            Some('"') => f.write_str("\\\"")?,
            Some('\\') => f.write_str("\\\\")?,
            Some('\n') => f.write_str("\\n")?,
            Some('\r') => f.write_str("\\r")?,
            Some('\t') => f.write_str("\\t")?,
            Some('\u{8}') => f.write_str("\\b")?,
            Some('\u{c}') => f.write_str("\\f")?,
            Some(other) => write!(f, "\\u{:04x}", u32::from(other))?,
            None => {}
        }
        rest = chars.as_str();
    }
    f.write_str(rest)?;
    f.write_char('"')
}

fn needs_escape(c: char) -> bool {
    matches!(c, '"' | '\\' | '\u{0}'..='\u{1f}' | '\u{2028}' | '\u{2029}')
}

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, attribute) in self.attributes.iter().enumerate() {
            f.write_str(if index == 0 { self.lead } else { self.separator })?;
            write!(f, "{}={}", attribute.key, Plain(attribute.value.as_ref()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(value: Value) -> AnyValue {
        AnyValue { value: Some(value) }
    }

    fn entry(key: &str, value: Value) -> KeyValue {
        KeyValue { key: key.into(), value: Some(any(value)), ..Default::default() }
    }

    fn typed(value: Value) -> String {
        Typed(Some(&any(value))).to_string()
    }

    #[test]
    fn scalar_values_print_their_type_and_text() {
        assert_eq!(Typed(None).to_string(), "Empty()");
        assert_eq!(Typed(Some(&AnyValue { value: None })).to_string(), "Empty()");
        assert_eq!(typed(Value::StringValue("a\nb".into())), "Str(a\nb)");
        assert_eq!(typed(Value::BoolValue(true)), "Bool(true)");
        assert_eq!(typed(Value::IntValue(-3)), "Int(-3)");
        assert_eq!(typed(Value::DoubleValue(1e-7)), "Double(1e-7)");
        assert_eq!(typed(Value::DoubleValue(f64::NAN)), "Double(NaN)");
        assert_eq!(typed(Value::BytesValue(vec![1, 2, 3, 4])), "Bytes(AQIDBA==)");
    }

    #[test]
    fn maps_and_slices_print_compact_json_with_sorted_keys() {
        let map = Value::KvlistValue(KeyValueList {
            values: vec![
                entry("z", Value::BytesValue(vec![255])),
                entry("dup", Value::IntValue(1)),
                entry("a", Value::StringValue("<\"\u{1}\u{2028}\u{8}>".into())),
                entry("dup", Value::IntValue(2)),
                KeyValue { key: "none".into(), ..Default::default() },
                entry(
                    "list",
                    Value::ArrayValue(ArrayValue {
                        values: vec![any(Value::DoubleValue(1.0)), any(Value::DoubleValue(f64::INFINITY))],
                    }),
                ),
            ],
        });
        assert_eq!(
            typed(map),
            "Map({\"a\":\"<\\\"\\u0001\\u2028\\b>\",\"dup\":2,\"list\":[1,\"Infinity\"],\"none\":null,\"z\":\"/w==\"})"
        );
        assert_eq!(typed(Value::ArrayValue(ArrayValue::default())), "Slice([])");
        assert_eq!(typed(Value::KvlistValue(KeyValueList::default())), "Map({})");
    }
}
