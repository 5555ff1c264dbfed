//! Header maps.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, SeqAccess};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Opaque;

/// Headers: a map of names and values, or a list of `{name, value}`. Values are secrets.
///
/// The map form is sorted by name, the list form keeps its order; a name that the list repeats is refused. Values must
/// be strings. Reference: collector-core, 5.6.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, Opaque)>);

impl Headers {
    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Opaque)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The value of a name, which is compared without regard to ASCII case.
    pub fn get(&self, name: &str) -> Option<&Opaque> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The number of headers.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<N: Into<String>> FromIterator<(N, Opaque)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, Opaque)>>(headers: I) -> Self {
        Self(headers.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    name: String,
    #[serde(default)]
    value: Opaque,
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Visitor)
    }
}

struct Visitor;

impl<'de> de::Visitor<'de> for Visitor {
    type Value = Headers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of header names and values, or a list of {name, value}")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Headers, E> {
        Ok(Headers::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
        let mut headers = Vec::new();
        while let Some(header) = map.next_entry::<String, Opaque>()? {
            headers.push(header);
        }
        headers.sort_by(|(left, _), (right, _)| left.cmp(right));
        Ok(Headers(headers))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Headers, A::Error> {
        let mut headers: Vec<(String, Opaque)> = Vec::new();
        let (mut seen, mut repeated) = (BTreeSet::new(), BTreeSet::new());
        while let Some(Item { name, value }) = seq.next_element()? {
            if !seen.insert(name.clone()) {
                repeated.insert(name.clone());
            }
            headers.push((name, value));
        }
        if repeated.is_empty() {
            return Ok(Headers(headers));
        }
        let names: Vec<_> = repeated.into_iter().collect();
        Err(de::Error::custom(format!("duplicate keys in map-style list: [{}]", names.join(" "))))
    }
}

impl JsonSchema for Headers {
    fn schema_name() -> Cow<'static, str> {
        "Headers".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<Opaque>();
        json_schema!({
            "description": "Header names and values; the values are never printed.",
            "anyOf": [
                { "type": "object", "additionalProperties": value },
                {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": { "name": { "type": "string" }, "value": value },
                        "required": ["name"],
                        "additionalProperties": false
                    }
                }
            ]
        })
    }
}
