//! The default of a type as nodes.

use serde::Serialize;
use serde_json::Value as Json;

use crate::document::{Entry, Key, Map, Node, Origin, Span, Value};
use crate::values::as_defaults;

/// What `default` serializes to; `None` if it does not serialize.
pub(super) fn of<T: Serialize>(default: &T) -> Option<Node> {
    as_defaults(|| serde_json::to_value(default)).ok().map(node)
}

fn node(json: Json) -> Node {
    let value = match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(value),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Value::Int(int.into()),
            (None, Some(int)) => Value::Int(int.into()),
            (None, None) => Value::Float(number.as_f64().unwrap_or(0.0)),
        },
        Json::String(text) => Value::String(text),
        Json::Array(items) => Value::List(items.into_iter().map(node).collect()),
        Json::Object(entries) => Value::Map(entries.into_iter().map(entry).collect::<Map>()),
    };
    Node { value, span: Span::NONE, origin: Origin::Default }
}

fn entry((text, value): (String, Json)) -> Entry {
    Entry { key: Key { text, span: Span::NONE }, value: node(value) }
}
