//! JSON values as YAML.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json};

use crate::document::Value;
use crate::yaml::resolve;

/// Blanks a level, as Go's `yaml.v3` indents.
const INDENT: usize = 4;

/// Writes a value as a YAML document that reads back as the same value, keys in their order.
///
/// Texts are quoted where YAML 1.1 or 1.2 could read something else.
pub fn to_yaml(value: &Json) -> String {
    let mut out = String::new();
    match value {
        Json::Object(map) if !map.is_empty() => write_map(&mut out, map, 0, false),
        Json::Array(items) if !items.is_empty() => write_list(&mut out, items, 0),
        other => {
            out.push_str(&scalar(other));
            out.push('\n');
        }
    }
    out
}

/// Writes the entries of a map; the first key may stand behind a dash already.
fn write_map(out: &mut String, map: &Map<String, Json>, indent: usize, behind_dash: bool) {
    for (index, (key, value)) in map.iter().enumerate() {
        if index > 0 || !behind_dash {
            out.extend(std::iter::repeat_n(' ', indent));
        }
        out.push_str(&text(key));
        out.push(':');
        match value {
            Json::Object(map) if !map.is_empty() => {
                out.push('\n');
                write_map(out, map, indent + INDENT, false);
            }
            Json::Array(items) if !items.is_empty() => {
                out.push('\n');
                write_list(out, items, indent + INDENT);
            }
            other => {
                out.push(' ');
                out.push_str(&scalar(other));
                out.push('\n');
            }
        }
    }
}

fn write_list(out: &mut String, items: &[Json], indent: usize) {
    for item in items {
        out.extend(std::iter::repeat_n(' ', indent));
        out.push('-');
        match item {
            Json::Object(map) if !map.is_empty() => {
                out.push(' ');
                write_map(out, map, indent + 2, true);
            }
            Json::Array(items) if !items.is_empty() => {
                out.push('\n');
                write_list(out, items, indent + INDENT);
            }
            other => {
                out.push(' ');
                out.push_str(&scalar(other));
                out.push('\n');
            }
        }
    }
}

fn scalar(value: &Json) -> String {
    match value {
        Json::Object(_) => "{}".to_owned(),
        Json::Array(_) => "[]".to_owned(),
        Json::String(string) => text(string),
        Json::Null | Json::Bool(_) | Json::Number(_) => value.to_string(),
    }
}

/// A text: plain where every reader takes it for that text, else in quotes.
fn text(text: &str) -> String {
    if is_plain(text) {
        text.to_owned()
    } else if text.chars().any(needs_escape) {
        double_quoted(text)
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

fn is_plain(text: &str) -> bool {
    // Words that YAML 1.1 reads as booleans, and its numbers in base 60, are texts in 1.2; other tools may differ.
    const WORDS: [&str; 6] = ["yes", "no", "on", "off", "y", "n"];
    let safe = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+() ,*=&?~".contains(c);
    text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '/')
        && text.chars().all(safe)
        && !text.contains(": ")
        && !text.ends_with([':', ' '])
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
        && !is_base_60(text)
        && resolve(text) == Value::String(text.to_owned())
        && !text.eq_ignore_ascii_case("true")
        && !text.eq_ignore_ascii_case("false")
        && !text.eq_ignore_ascii_case("null")
        && !is_timestamp(text)
}

/// Whether YAML 1.1 could read a number in base 60: `12:30`.
fn is_base_60(text: &str) -> bool {
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit() || matches!(c, ':' | '_'));
    text.split_once(':')
        .is_some_and(|(first, rest)| digits(first) && digits(rest.split('.').next().unwrap_or(rest)))
}

/// Whether it starts as a date: `yaml.v3` would read a time.
fn is_timestamp(text: &str) -> bool {
    let year = text.bytes().take_while(u8::is_ascii_digit).count();
    year == 4 && text[year..].starts_with('-')
}

fn needs_escape(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

fn double_quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if needs_escape(c) => drop(write!(out, "\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::document::{Node, SourceId};
    use crate::yaml;

    fn json_of(node: &Node) -> Json {
        match &node.value {
            Value::Null => Json::Null,
            Value::Bool(value) => json!(value),
            Value::Int(value) => {
                i64::try_from(*value).map_or_else(|_| json!(u64::try_from(*value).unwrap()), |v| json!(v))
            }
            Value::Float(value) => json!(value),
            Value::String(text) => json!(text),
            Value::List(items) => items.iter().map(json_of).collect(),
            Value::Map(map) => {
                Json::Object(map.entries().iter().map(|e| (e.key.text.clone(), json_of(&e.value))).collect())
            }
        }
    }

    fn any_text() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[ -~\\n\\t]{0,12}",
            "[0-9_.:eExXob+-]{0,8}",
            proptest::sample::select(vec![
                "true",
                "No",
                "null",
                "~",
                "",
                " ",
                "- a",
                "a: b",
                "#",
                "a #b",
                "|",
                ">",
                "&a",
                "*a",
                "!x",
                "%",
                "@",
                "`",
                "${env:X}",
                "<<",
                "...",
                "---",
                "? a",
                "2023-03-20",
                "12:30",
                "0123",
                "1e3",
                ".inf",
                "=",
                "\u{feff}",
                "\u{85}",
            ])
            .prop_map(str::to_owned),
        ]
    }

    fn any_json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            any::<u64>().prop_map(Json::from),
            (-1e9..1e9).prop_map(|float: f64| json!(float)),
            any_text().prop_map(Json::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            let key = any_text().prop_filter("is split", |key| !key.contains("::"));
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Json::from),
                proptest::collection::btree_map(key, inner, 0..5)
                    .prop_map(|map| Json::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(value in any_json()) {
            let yaml = to_yaml(&value);
            let read = yaml::parse(&yaml, SourceId::NONE);
            prop_assert!(read.is_ok(), "{yaml}\n{:?}", read.err());
            prop_assert_eq!(json_of(&read.unwrap()), value, "{}", yaml);
        }
    }

    #[test]
    fn maps_and_lists_nest_as_in_go() {
        let value = json!({
            "a": { "b": [1, { "c": "x", "d": { "e": null } }], "f": {}, "g": [] },
            "h": [["i"], []]
        });
        let yaml = "a:\n    b:\n        - 1\n        - c: x\n          d:\n              e: null\n    f: {}\n    g: []\n\
                    h:\n    -\n        - i\n    - []\n";
        assert_eq!(to_yaml(&value), yaml);
    }

    #[test]
    fn texts_that_yaml_would_read_as_something_else_are_quoted() {
        for (string, yaml) in [
            ("localhost:4317", "localhost:4317"),
            ("0.0.0.0:4317", "0.0.0.0:4317"),
            ("1m30s", "1m30s"),
            ("0123", "'0123'"),
            ("12:30", "'12:30'"),
            ("12:30:01.5", "'12:30:01.5'"),
            ("2023-03-20", "'2023-03-20'"),
            ("True", "'True'"),
            ("tRUE", "'tRUE'"),
            ("No", "'No'"),
            ("", "''"),
            ("[REDACTED]", "'[REDACTED]'"),
            ("it's", "'it''s'"),
            ("a: b", "'a: b'"),
            ("a #b", "'a #b'"),
            ("two\nlines", "\"two\\nlines\""),
            ("${env:X}", "'${env:X}'"),
        ] {
            assert_eq!(text(string), yaml);
        }
    }
}
