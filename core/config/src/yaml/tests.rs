use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::document::{Node, SourceId, Value};

fn shown(node: &Node) -> String {
    match &node.value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => format!("{value:?}"),
        Value::String(text) => format!("{text:?}"),
        Value::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Value::Map(map) => {
            let entries: Vec<_> =
                map.entries().iter().map(|e| format!("{}: {}", e.key.text, shown(&e.value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

/// The value, or the error with its place.
fn parsed(text: &str) -> String {
    match parse(text, SourceId::NONE) {
        Ok(node) => shown(&node),
        Err(error) => format!("{}:{}: {}", error.span.start.line, error.span.start.column, error.message),
    }
}

#[test]
fn only_the_first_document_counts() {
    assert_eq!(parsed("a: 1\n---\nb: [\n"), "{a: 1}");
    assert_eq!(parsed(""), "null");
    assert_eq!(parsed("# nothing\n"), "null");
    assert_eq!(parsed("---\n...\na: 1"), "null");
    assert_eq!(parsed("\u{feff}a: 1"), "{a: 1}");
}

#[test]
fn anchors_aliases_and_merge_keys_work() {
    let text = "base: &b {x: 1, y: 2}\nother: &o {y: 3, z: 4}\na: *b\nm: {<<: *b, x: 9}\nl: {<<: [*b, *o]}\n";
    assert_eq!(
        parsed(text),
        "{base: {x: 1, y: 2}, other: {y: 3, z: 4}, a: {x: 1, y: 2}, m: {x: 9, y: 2}, l: {x: 1, y: 2, z: 4}}"
    );
    assert_eq!(parsed("\"<<\": {a: 1}"), "{<<: {a: 1}}");
    assert_eq!(parsed("<<: 1"), "1:5: map merge requires map or sequence of maps as the value");
    assert_eq!(parsed("a: &x [*x]"), "1:8: the alias stands inside the value that it refers to");
}

#[test]
fn keys_are_unique_strings() {
    assert_eq!(parsed("a: 1\nb: 2\na: 3\n"), "3:1: the key \"a\" is given twice");
    assert_eq!(parsed("{a: 1, 'a': 2}"), "1:8: the key \"a\" is given twice");
    assert_eq!(parsed("1: a"), "1:1: a key must be a string, not an integer");
    assert_eq!(parsed("true: a"), "1:1: a key must be a string, not a boolean");
    assert_eq!(parsed("? [a]\n: b"), "1:3: a key must be a string, not a map or list");
    assert_eq!(parsed("'1': a"), "{1: \"a\"}");
}

#[test]
fn keys_with_colons_are_split() {
    assert_eq!(parsed("a::b::c: {}\na::d: 1\ne: [{f::g: 2}]"), "{a: {b: {c: {}}, d: 1}, e: [{f: {g: 2}}]}");
    assert_eq!(parsed("a::b: 1\na: {c: 2}"), "{a: {b: 1, c: 2}}");
    assert_eq!(parsed("a::b: 1\na: {b: 2}"), "2:5: the key \"b\" is given twice");
    assert_eq!(parsed("a::b: 1\na: 2"), "2:1: the key \"a\" is given twice");
}

#[test]
fn tags_set_the_type() {
    assert_eq!(
        parsed("[!!str 1, !!int \"0x10\", !!float 2, ! 3, !!null \"\"]"),
        "[\"1\", 16, 2.0, \"3\", null]"
    );
    assert_eq!(parsed("!!int x"), "1:1: the value does not fit its tag !!int");
    assert_eq!(parsed("!!binary aGk="), "1:1: the tag !!binary is not supported");
    assert_eq!(parsed("a: !mine {}"), "1:4: the tag !mine is not supported");
}

#[test]
fn quoted_and_block_scalars_are_strings() {
    assert_eq!(parsed("['1', \"true\", '']"), "[\"1\", \"true\", \"\"]");
    assert_eq!(parsed("a: |\n  1\n  2\n"), "{a: \"1\\n2\\n\"}");
}

#[test]
fn places_count_characters_from_one() {
    let node = parse("ключ:\n  - значение", SourceId::NONE).unwrap();
    let item = node.get("ключ").unwrap().items().next().unwrap();
    assert_eq!((item.span.start.line, item.span.start.column, item.span.end.column), (2, 5, 13));
    assert_eq!(parsed("a: 1\r\nb: \u{1}"), "2:4: control characters are not allowed: U+0001");
    assert_eq!(parsed("a\0b"), "1:2: control characters are not allowed: U+0000");
}

#[test]
fn what_could_take_all_memory_is_refused() {
    let laughs = (0..30).fold("a0: &a0 [x, x]\n".to_owned(), |mut text, n| {
        let _ = writeln!(text, "a{0}: &a{0} [*a{1}, *a{1}]", n + 1, n);
        text
    });
    assert!(parsed(&laughs).contains("expand to too much"), "{}", &parsed(&laughs)[..100]);
    assert!(parsed(&"[".repeat(200)).contains("nests deeper"), "{}", parsed(&"[".repeat(200)));
    assert!(parsed(&format!("{}x: 1", "a::".repeat(200))).contains("nests deeper"));
    let steps = (0..150).fold("a0: &a0 [x]\n".to_owned(), |mut text, n| {
        let _ = writeln!(text, "a{0}: &a{0} [*a{1}]", n + 1, n);
        text
    });
    assert!(parsed(&steps).contains("nests deeper"), "{}", parsed(&steps));
    assert!(parsed(&"#".repeat(DOCUMENT_MAX_BYTES + 1)).contains("longer than"));
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*") {
        let _ = parse(&text, SourceId::NONE);
    }

    #[test]
    fn no_text_of_yaml_signs_panics(text in "[-a:?{}\\[\\]&*!|>'\"%@`#,<~.01 \n\t]{0,80}") {
        let _ = parse(&text, SourceId::NONE);
    }
}
