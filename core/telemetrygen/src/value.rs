//! Values on the command line: attributes and durations (reference: contrib-components, G.1).

use std::str::FromStr;

use spanbridge_config::Duration;

const FORMAT_ERROR: &str = "value should be in one of the following formats: key=\"value\", key=true, key=false, \
                            key=<integer>, or key=[<value1>, <value2>, ...]";
const QUOTES_ERROR: &str = "value should be a string wrapped in double quotes";
const MIXED_ERROR: &str = "all items in a slice should be of the same type";
const EMPTY_ERROR: &str = "slice should not be empty";

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `"text"`
    Text(String),
    /// `true` or `false`
    Bool(bool),
    /// `123`
    Int(i64),
    /// `["a", "b"]`, `[1, 2]` or `[true, false]`: items of one type.
    List(Vec<Value>),
}

/// One `key=value` of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// What stands before the first `=`.
    pub key: String,
    /// What stands after it.
    pub value: Value,
}

/// A duration, or no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DurationOrInf {
    /// A Go duration; zero stands for "not given".
    Finite(Duration),
    /// `inf`: until the process is told to stop.
    Infinite,
}

impl FromStr for KeyValue {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, value) = text.split_once('=').ok_or(FORMAT_ERROR)?;
        let value = match value.strip_prefix('[').and_then(|v| v.strip_suffix(']')) {
            Some(items) => list(items.trim())?,
            None => scalar(value)?,
        };
        Ok(Self { key: key.to_owned(), value })
    }
}

fn scalar(text: &str) -> Result<Value, &'static str> {
    if let Ok(flag) = text.parse() {
        return Ok(Value::Bool(flag));
    }
    if let Ok(number) = text.parse() {
        return Ok(Value::Int(number));
    }
    let inner = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).ok_or(QUOTES_ERROR)?;
    Ok(Value::Text(inner.to_owned()))
}

fn list(text: &str) -> Result<Value, &'static str> {
    let items = split_items(text).into_iter().map(scalar).collect::<Result<Vec<_>, _>>()?;
    let first = items.first().ok_or(EMPTY_ERROR)?;
    let kind = std::mem::discriminant(first);
    if items.iter().any(|item| std::mem::discriminant(item) != kind) {
        return Err(MIXED_ERROR);
    }
    Ok(Value::List(items))
}

/// Splits at the commas outside double quotes; blank items are skipped.
fn split_items(text: &str) -> Vec<&str> {
    let mut quoted = false;
    text.split(|c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
    .map(str::trim)
    .filter(|item| !item.is_empty())
    .collect()
}

impl FromStr for DurationOrInf {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("inf") {
            return Ok(Self::Infinite);
        }
        text.parse().map(Self::Finite).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Result<Value, &'static str> {
        text.parse::<KeyValue>().map(|kv| {
            assert_eq!(kv.key, "k");
            kv.value
        })
    }

    #[test]
    fn values_are_quoted_text_booleans_integers_or_lists_of_one_of_them() {
        assert_eq!(value("k=\"a=b\""), Ok(Value::Text("a=b".into())));
        assert_eq!(value("k=\"\""), Ok(Value::Text(String::new())));
        assert_eq!(value("k=true"), Ok(Value::Bool(true)));
        assert_eq!(value("k=-12"), Ok(Value::Int(-12)));
        assert_eq!(
            value(r#"k=["a, b" , "c"]"#),
            Ok(Value::List(vec![Value::Text("a, b".into()), Value::Text("c".into())]))
        );
        assert_eq!(value("k=[1,2]"), Ok(Value::List(vec![Value::Int(1), Value::Int(2)])));
    }

    #[test]
    fn malformed_values_are_refused_with_the_texts_users_know() {
        assert_eq!("k".parse::<KeyValue>(), Err(FORMAT_ERROR));
        assert_eq!(value("k=text"), Err(QUOTES_ERROR));
        assert_eq!(value("k=\""), Err(QUOTES_ERROR));
        assert_eq!(value("k=1.5"), Err(QUOTES_ERROR));
        assert_eq!(value("k=[]"), Err(EMPTY_ERROR));
        assert_eq!(value("k=[,]"), Err(EMPTY_ERROR));
        assert_eq!(value("k=[1,true]"), Err(MIXED_ERROR));
        assert_eq!(value("k=[1,\"a]"), Err(QUOTES_ERROR));
    }

    #[test]
    fn duration_may_be_infinite() {
        assert_eq!("INF".parse(), Ok(DurationOrInf::Infinite));
        assert_eq!("2s".parse(), Ok(DurationOrInf::Finite(Duration::from_secs(2))));
        assert!("2".parse::<DurationOrInf>().is_err());
    }
}
