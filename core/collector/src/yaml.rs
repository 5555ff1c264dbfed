//! JSON values as YAML, with the indentation of Go's `yaml.v3`.

use serde_json::{Map, Value};
use spanbridge_config::Duration;

/// Blanks a level.
const INDENT: usize = 4;
/// Words that YAML 1.1 or 1.2 reads as something else than a text.
const RESERVED: [&str; 12] =
    ["true", "false", "null", "yes", "no", "on", "off", "y", "n", ".nan", ".inf", "~"];

/// A value as a YAML document.
pub(crate) fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => write_map(&mut out, map, 0, ""),
        Value::Array(items) if !items.is_empty() => write_list(&mut out, items, 0),
        _ => {
            out.push_str(&scalar(value));
            out.push('\n');
        }
    }
    out
}

/// Writes a map; `lead` stands before its first key instead of the indentation.
fn write_map(out: &mut String, map: &Map<String, Value>, indent: usize, lead: &str) {
    for (index, (key, value)) in map.iter().enumerate() {
        if index == 0 && !lead.is_empty() {
            out.push_str(lead);
        } else {
            out.push_str(&" ".repeat(indent));
        }
        out.push_str(&text(key));
        out.push(':');
        write_value(out, value, indent + INDENT);
    }
}

fn write_list(out: &mut String, items: &[Value], indent: usize) {
    let dash = format!("{}- ", " ".repeat(indent));
    for item in items {
        match item {
            Value::Object(map) if !map.is_empty() => write_map(out, map, indent + 2, &dash),
            Value::Array(inner) if !inner.is_empty() => {
                out.push_str(dash.trim_end());
                out.push('\n');
                write_list(out, inner, indent + INDENT);
            }
            _ => {
                out.push_str(&dash);
                out.push_str(&scalar(item));
                out.push('\n');
            }
        }
    }
}

/// Writes what follows a key.
fn write_value(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            write_map(out, map, indent, "");
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            write_list(out, items, indent);
        }
        _ => {
            out.push(' ');
            out.push_str(&scalar(value));
            out.push('\n');
        }
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Object(_) => "{}".to_owned(),
        Value::Array(_) => "[]".to_owned(),
        Value::String(string) => text(string),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// A text, plain where that is safe, else quoted.
fn text(text: &str) -> String {
    if is_plain(text) {
        text.to_owned()
    } else if text.chars().any(char::is_control) {
        // A JSON string is a double-quoted YAML scalar.
        Value::from(text).to_string()
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

/// Whether YAML reads the bare text as that very text. Errs on the side of quotes.
fn is_plain(text: &str) -> bool {
    let starts_plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '/');
    let is_duration = text.ends_with(|c: char| c.is_ascii_lowercase()) && text.parse::<Duration>().is_ok();
    let is_plain_char = |c: char| c.is_alphanumeric() || "_-./:@%+ ()".contains(c);
    (starts_plain || is_duration)
        && text.chars().all(is_plain_char)
        && !text.contains(": ")
        && !text.ends_with([':', ' '])
        && !RESERVED.contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn maps_and_lists_nest_as_in_go() {
        let value = json!({
            "a": { "b": [1, { "c": "x", "d": { "e": null } }], "f": {}, "g": [] },
            "h": [["i"]]
        });
        assert_eq!(
            to_yaml(&value),
            "a:\n    b:\n        - 1\n        - c: x\n          d:\n              e: null\n    f: {}\n    g: []\n\
             h:\n    -\n        - i\n"
        );
    }

    #[test]
    fn texts_that_yaml_would_read_as_something_else_are_quoted() {
        for (string, yaml) in [
            ("localhost:4317", "localhost:4317"),
            ("200ms", "200ms"),
            ("0123", "'0123'"),
            ("true", "'true'"),
            ("No", "'No'"),
            ("", "''"),
            ("[REDACTED]", "'[REDACTED]'"),
            ("it's", "'it''s'"),
            ("a: b", "'a: b'"),
            ("a #b", "'a #b'"),
            ("two\nlines", "\"two\\nlines\""),
            ("1e3", "'1e3'"),
            ("${env:X}", "'${env:X}'"),
        ] {
            assert_eq!(text(string), yaml);
        }
    }
}
