//! Maps and lists.

use std::collections::HashSet;

use serde::de::{self, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};

use super::context::identity;
use super::deserializer::{NodeDeserializer, Nulls};
use super::error::{At, Error, Kind};
use super::path::{Path, Step};
use crate::diagnostic::{Diagnostic, hide_value};
use crate::document::{Entry, Node, Span};
use crate::values::protocol;

/// The entries of a map, what the user wrote over the defaults.
pub(super) struct Entries<'a> {
    de: NodeDeserializer<'a>,
    fields: std::vec::IntoIter<Field<'a>>,
    current: Option<Field<'a>>,
    nulls: Nulls,
}

#[derive(Clone, Copy)]
struct Field<'a> {
    key: &'a str,
    key_span: Span,
    node: &'a Node,
    fallback: Option<&'a Node>,
    /// Another key is the same but for white space around it.
    repeated: bool,
}

impl<'a> Entries<'a> {
    /// Every entry, over those of `fallback`.
    pub(super) fn all(de: NodeDeserializer<'a>, fallback: Option<&'a Node>) -> Self {
        Self::new(de, fallback, |_| true, Nulls::Zero)
    }

    /// The entries of a struct's fields.
    pub(super) fn of_struct(de: NodeDeserializer<'a>, fields: &'static [&'static str]) -> Self {
        let takes = |key: &str| fields.contains(&key) && !de.hides(key);
        Self::new(de, de.fallback, takes, Nulls::KeepDefault)
    }

    fn new(
        de: NodeDeserializer<'a>,
        fallback: Option<&'a Node>,
        takes: impl Fn(&str) -> bool,
        nulls: Nulls,
    ) -> Self {
        let default_of = |key: &str| fallback.and_then(|f| f.get(key)).filter(|node| !de.cx.is_aside(node));
        let mut fields = Vec::new();
        let (mut written, mut trimmed) = (HashSet::new(), HashSet::new());
        for entry in de.node.entries().filter(|entry| takes(&entry.key.text)) {
            let key = entry.key.text.as_str();
            let fallback = default_of(key);
            let repeated = !trimmed.insert(key.trim());
            written.insert(key);
            let field = Field { key, key_span: entry.key.span, node: &entry.value, fallback, repeated };
            if !de.cx.is_aside(&entry.value) {
                fields.push(field);
            } else if let Some(default) = fallback {
                fields.push(Field { node: default, fallback: None, ..field });
            }
        }
        let defaults = fallback.into_iter().flat_map(Node::entries);
        for Entry { key, value } in defaults {
            if takes(&key.text) && !written.contains(key.text.as_str()) && !de.cx.is_aside(value) {
                let key_span = Span::NONE;
                fields.push(Field { key: &key.text, key_span, node: value, fallback: None, repeated: false });
            }
        }
        Self { de, fields: fields.into_iter(), current: None, nulls }
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.current = self.fields.next();
        let Some(field) = self.current else { return Ok(None) };
        let key = KeyDeserializer { de: self.de, field };
        key.place(seed.deserialize(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some(field) = self.current.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        let path = self.de.path.child(Step::Key(field.key), identity(field.node));
        let child = self.de.child(field.node, field.fallback, &path, field.key_span);
        child.deserialize_into(seed, self.nulls)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.fields.len())
    }
}

impl NodeDeserializer<'_> {
    /// Decodes the value. Types that parse themselves report what is wrong when the deserializer is gone: here their
    /// errors get their place.
    fn deserialize_into<'de, S: DeserializeSeed<'de>>(
        self,
        seed: S,
        nulls: Nulls,
    ) -> Result<S::Value, Error> {
        let this = Self { nulls, ..self };
        this.place(seed.deserialize(this))
    }

    /// Whether a key belongs to the optional block around this map.
    pub(super) fn hides(&self, key: &str) -> bool {
        self.without_enabled && key == protocol::ENABLED
    }

    /// Reports every key of this map that `known` does not have.
    pub(super) fn report_unknown(self, known: &[&str]) {
        if self.node.is_default() {
            return;
        }
        for entry in self.node.entries() {
            if !known.contains(&entry.key.text.as_str()) && !self.hides(&entry.key.text) {
                self.cx.unknown_key(entry, self.path, known);
            }
        }
    }
}

#[derive(Clone, Copy)]
/// The key of an entry. Keys are strings; ids and enum names are parsed from them.
struct KeyDeserializer<'a> {
    de: NodeDeserializer<'a>,
    field: Field<'a>,
}

impl KeyDeserializer<'_> {
    fn place<T>(self, result: Result<T, Error>) -> Result<T, Error> {
        let Field { key, key_span, node, .. } = self.field;
        result.map_err(|error| {
            if error.at.is_some() {
                return error;
            }
            let (message, help) = error.kind.describe(false);
            let path = self.de.path.child(Step::Key(key), identity(node));
            let diagnostic = Diagnostic {
                help,
                path: self.de.path.dotted(&self.de.cx.base),
                location: self.de.cx.sources.locate(key_span),
                ..Diagnostic::error(message)
            };
            let diagnostic = if self.de.node.is_default() { None } else { Some(diagnostic) };
            Error { at: Some(Box::new(At { nodes: path.nodes(), steps: path.steps(), diagnostic })), ..error }
        })
    }
}

impl<'de> Deserializer<'de> for KeyDeserializer<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.place(visitor.visit_str(self.field.key))
    }

    /// Types that parse themselves, which is what ids are: white space around them does not count.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.field.repeated {
            let name = self.field.key.trim();
            let message = format!("duplicate name \"{name}\" after trimming the white space around it");
            return self.place(Err(Error::new(Kind::Custom(message))));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.place(visitor.visit_enum(self.field.key.into_deserializer()))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char string bytes byte_buf option unit unit_struct seq
        tuple tuple_struct map struct identifier ignored_any
    }
}

/// The items of a list.
pub(super) struct Items<'a> {
    de: NodeDeserializer<'a>,
    items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
}

impl<'a> Items<'a> {
    pub(super) fn new(de: NodeDeserializer<'a>, items: &'a [Node]) -> Self {
        Self { de, items: items.iter().enumerate() }
    }
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let cx = self.de.cx;
        let Some((index, item)) = self.items.find(|(_, item)| !cx.is_aside(item)) else { return Ok(None) };
        let path = Path::child(self.de.path, Step::Index(index), identity(item));
        let child = self.de.child(item, None, &path, Span::NONE);
        child.deserialize_into(seed, Nulls::Zero).map(Some)
    }
}

/// The pieces of a string that stands where a list of plain strings is wanted: cut at commas, nothing trimmed.
pub(super) struct Pieces<'a> {
    de: NodeDeserializer<'a>,
    rest: Option<&'a str>,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(de: NodeDeserializer<'a>, text: &'a str) -> Self {
        Self { de, rest: Some(text).filter(|text| !text.is_empty()) }
    }
}

impl<'de> SeqAccess<'de> for Pieces<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(rest) = self.rest.take() else { return Ok(None) };
        let piece = match rest.split_once(',') {
            Some((piece, rest)) => {
                self.rest = Some(rest);
                piece
            }
            None => rest,
        };
        seed.deserialize(Piece { de: self.de, text: piece }).map(Some)
    }
}

/// One piece: only plain strings and newtypes around them come out of it.
struct Piece<'a> {
    de: NodeDeserializer<'a>,
    text: &'a str,
}

impl<'de> Deserializer<'de> for Piece<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        self.de.invalid(&"a list")
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.de.place(visitor.visit_str(self.text))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == protocol::OPAQUE {
            hide_value(self.de.node, self.de.cx.sources);
        }
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str bytes byte_buf option unit unit_struct seq
        tuple tuple_struct map struct enum identifier ignored_any
    }
}
