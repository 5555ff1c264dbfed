//! JSON that means one thing: no member twice, no nesting without end.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Arrays and objects within one another.
const DEPTH_MAX: usize = 16;

/// Reads an object. Of two members of one name, two readers may take different ones, so there are none here.
///
/// # Errors
/// What is wrong; nothing of the text is in it.
pub(crate) fn object(bytes: &[u8]) -> Result<Map<String, Value>, &'static str> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict(DEPTH_MAX).deserialize(&mut deserializer);
    match value.and_then(|value| deserializer.end().map(|()| value)) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("it is not a JSON object"),
        Err(_) => Err("it is not JSON, or has a member twice, or is nested too deeply"),
    }
}

/// A value within this many more levels.
struct Strict(usize);

impl Strict {
    fn inner<E: Error>(&self) -> Result<Self, E> {
        self.0.checked_sub(1).map(Self).ok_or_else(|| E::custom("nested too deeply"))
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = access.next_element_seed(self.inner()?)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            let value = access.next_value_seed(self.inner()?)?;
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("a member twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_means_two_things_or_has_no_end_is_refused() {
        for text in [
            r#"{"iss":"a","iss":"b"}"#,
            r#"{"a":{"b":1,"b":1}}"#,
            r#"{"a":[{"b":1,"\u0062":1}]}"#,
            r#"{"a":1} x"#,
            "[1]",
            "",
            "{\"a\":\"\u{0}",
            &format!("{{\"a\":{}1{}}}", "[".repeat(17), "]".repeat(17)),
            &"[".repeat(100_000),
        ] {
            assert!(object(text.as_bytes()).is_err(), "{}", &text[..text.len().min(40)]);
        }
        assert!(object(b"\xff").is_err());
    }

    #[test]
    fn everything_else_is_read_as_serde_reads_it() {
        let text = r#" {"a":[1,-2,3.5,"x\n",true,null,{"b":{}}],"c":"\u00e4"} "#;
        let expected: Value = serde_json::from_str(text).unwrap();
        assert_eq!(Value::Object(object(text.as_bytes()).unwrap()), expected);
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(15), "]".repeat(15));
        assert!(object(deep.as_bytes()).is_ok());
    }

    proptest! {
        #[test]
        fn it_never_panics_and_takes_nothing_that_serde_refuses(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if object(&bytes).is_ok() {
                prop_assert!(serde_json::from_slice::<Value>(&bytes).is_ok());
            }
        }

        #[test]
        fn texts_that_look_like_json_do_not_either(text in r#"[\{\}\[\]":,a01eE.\-\\ ]{0,60}"#) {
            if object(text.as_bytes()).is_ok() {
                prop_assert!(serde_json::from_str::<Value>(&text).is_ok());
            }
        }
    }
}
