//! Optional blocks, squashed configurations and enum variants with content.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde::de::{DeserializeSeed, EnumAccess, IntoDeserializer, SeqAccess, VariantAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::context::identity;
use super::deserializer::NodeDeserializer;
use super::error::{Error, Kind};
use super::path::Step;
use crate::document::{Entry, Value};
use crate::values::protocol;

/// A block without default: null is off.
pub(super) fn optional<'de, V: Visitor<'de>>(
    de: NodeDeserializer<'_>,
    visitor: V,
) -> Result<V::Value, Error> {
    if !de.node.is_null() {
        return toggle(de, visitor);
    }
    match de.fallback {
        Some(fallback) if !fallback.is_null() => {
            toggle(NodeDeserializer { node: fallback, fallback: None, ..de }, visitor)
        }
        _ => de.place(visitor.visit_unit()),
    }
}

/// A block with a default: null is on. Yields the `enabled` key and everything else.
pub(super) fn toggle<'de, V: Visitor<'de>>(de: NodeDeserializer<'_>, visitor: V) -> Result<V::Value, Error> {
    if !matches!(de.node.value, Value::Map(_) | Value::Null) {
        return de.invalid(&"a map");
    }
    let enabled = enabled(de)?;
    de.place(visitor.visit_seq(Block {
        next: BlockPart::Enabled(enabled),
        de: NodeDeserializer { without_enabled: true, ..de },
    }))
}

fn enabled(de: NodeDeserializer<'_>) -> Result<bool, Error> {
    let Some(entry) = de.node.as_map().and_then(|map| map.entry(protocol::ENABLED)) else { return Ok(true) };
    let node = &entry.value;
    let shown = match &node.value {
        Value::Bool(enabled) => return Ok(*enabled),
        Value::Null => return Ok(true),
        _ if de.cx.is_aside(node) => return Ok(true),
        Value::String(text) => ("string", text.clone()),
        Value::Int(int) => ("int", int.to_string()),
        Value::Float(float) => ("float64", float.to_string()),
        Value::List(_) => ("list", "[...]".to_owned()),
        Value::Map(_) => ("map", "{...}".to_owned()),
    };
    let path = de.path.child(Step::Key(protocol::ENABLED), identity(node));
    let message = format!(
        "unexpected type {} for 'enabled': got '{}' value expected 'true' or 'false'",
        shown.0, shown.1
    );
    de.child(node, None, &path, entry.key.span).place(Err(Error::new(Kind::Custom(message))))
}

/// What a block yields, in this order.
enum BlockPart {
    Enabled(bool),
    Contents,
    /// Whether it was written as null.
    IsNull,
}

struct Block<'a> {
    next: BlockPart,
    de: NodeDeserializer<'a>,
}

impl<'de> SeqAccess<'de> for Block<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        match self.next {
            BlockPart::Enabled(enabled) => {
                self.next = BlockPart::Contents;
                seed.deserialize(enabled.into_deserializer()).map(Some)
            }
            BlockPart::Contents => {
                self.next = BlockPart::IsNull;
                seed.deserialize(self.de).map(Some)
            }
            BlockPart::IsNull => seed.deserialize(self.de.node.is_null().into_deserializer()).map(Some),
        }
    }
}

/// A configuration made of parts that all read the same map; what none of them knows is unknown.
pub(super) fn squash<'de, V: Visitor<'de>>(de: NodeDeserializer<'_>, visitor: V) -> Result<V::Value, Error> {
    if !matches!(de.node.value, Value::Map(_) | Value::Null) {
        return de.invalid(&"a map");
    }
    if de.known.is_some() {
        return visitor.visit_seq(Parts { de }).map_err(|error| de.placed_in_struct(error));
    }
    let known = RefCell::new(BTreeSet::new());
    let parts = Parts { de: NodeDeserializer { known: Some(&known), ..de } };
    let value = visitor.visit_seq(parts).map_err(|error| de.placed_in_struct(error))?;
    de.report_unknown(&known.into_inner().into_iter().collect::<Vec<_>>());
    Ok(value)
}

struct Parts<'a> {
    de: NodeDeserializer<'a>,
}

impl<'de> SeqAccess<'de> for Parts<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        seed.deserialize(self.de).map(Some)
    }
}

/// An enum variant with content: `{variant: content}`.
#[derive(Clone, Copy)]
pub(super) struct Variant<'a> {
    de: NodeDeserializer<'a>,
    entry: &'a Entry,
}

impl<'a> Variant<'a> {
    pub(super) fn new(de: NodeDeserializer<'a>, entry: &'a Entry) -> Self {
        Self { de, entry }
    }

    fn content<R>(self, read: impl FnOnce(NodeDeserializer<'_>) -> Result<R, Error>) -> Result<R, Error> {
        let node = &self.entry.value;
        if self.de.cx.is_aside(node) {
            return self.de.place(Err(Error::silent()));
        }
        let path = self.de.path.child(Step::Key(&self.entry.key.text), identity(node));
        let child = self.de.child(node, None, &path, self.entry.key.span);
        child.place(read(child))
    }
}

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let name: serde::de::value::StrDeserializer<'_, Error> =
            self.entry.key.text.as_str().into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        self.content(|de| <()>::deserialize(de))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        self.content(|de| seed.deserialize(de))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        self.content(|de| de.deserialize_tuple(len, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.content(|de| de.deserialize_struct("", fields, visitor))
    }
}
