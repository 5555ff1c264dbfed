//! Attribute values: owned, and as lazy views of serialized ones.

use std::borrow::Cow;

use crate::wire::{Field, Fields, WireType, put_len_field, put_varint};

/// Lists and maps inside one another that are written or read by this module; what lies deeper is left out as
/// [`Value::Empty`]. Each level of maps is three messages; with 31 of them the value of a data point's attribute, which
/// begins in the eighth, is just within the 100 messages that protobuf decoders allow.
pub const MAX_VALUE_DEPTH: usize = 31;

/// An attribute value, or a log body: OTLP's `AnyValue`.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// No value is set.
    #[default]
    Empty,
    /// Text.
    Str(String),
    /// True or false.
    Bool(bool),
    /// A 64-bit integer.
    Int(i64),
    /// A floating point number.
    Double(f64),
    /// Bytes that are no text.
    Bytes(Vec<u8>),
    /// An array of values.
    List(Vec<Value>),
    /// Keys and values, in order; keys should be unique.
    Map(Vec<(String, Value)>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Str(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Str(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Int(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Value::Double(number)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl Value {
    /// The content of an `AnyValue` message, with at most `depth` further levels.
    pub(crate) fn encode(&self, depth: usize) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Value::Empty => {}
            Value::Str(text) => put_len_field(&mut out, any::STRING, text.as_bytes()),
            Value::Bool(value) => {
                put_scalar_key(&mut out, any::BOOL, 0);
                out.push(u8::from(*value));
            }
            Value::Int(number) => {
                put_scalar_key(&mut out, any::INT, 0);
                put_varint(&mut out, number.cast_unsigned());
            }
            Value::Double(number) => {
                put_scalar_key(&mut out, any::DOUBLE, 1);
                out.extend(number.to_le_bytes());
            }
            Value::Bytes(bytes) => put_len_field(&mut out, any::BYTES, bytes),
            Value::List(_) | Value::Map(_) if depth == 0 => {}
            Value::List(values) => {
                let mut list = Vec::new();
                for value in values {
                    put_len_field(&mut list, 1, &value.encode(depth - 1));
                }
                put_len_field(&mut out, any::LIST, &list);
            }
            Value::Map(pairs) => {
                let mut map = Vec::new();
                for (key, value) in pairs {
                    put_len_field(&mut map, 1, &encode_key_value(key, value, depth - 1));
                }
                put_len_field(&mut out, any::MAP, &map);
            }
        }
        out
    }
}

fn put_scalar_key(out: &mut Vec<u8>, number: u32, wire_type: u32) {
    put_varint(out, u64::from(number << 3 | wire_type));
}

/// The content of a `KeyValue` message.
pub(crate) fn encode_key_value(key: &str, value: &Value, depth: usize) -> Vec<u8> {
    let mut pair = Vec::new();
    put_len_field(&mut pair, 1, key.as_bytes());
    put_len_field(&mut pair, 2, &value.encode(depth));
    pair
}

/// Field numbers of `AnyValue`.
mod any {
    pub(super) const STRING: u32 = 1;
    pub(super) const BOOL: u32 = 2;
    pub(super) const INT: u32 = 3;
    pub(super) const DOUBLE: u32 = 4;
    pub(super) const LIST: u32 = 5;
    pub(super) const MAP: u32 = 6;
    pub(super) const BYTES: u32 = 7;
    pub(super) const STRING_INDEX: u32 = 8;
}

/// A serialized attribute value, read as far as one looks.
#[derive(Debug, Clone)]
pub enum ValueRef<'a> {
    /// No value is set.
    Empty,
    /// Text.
    Str(&'a str),
    /// True or false.
    Bool(bool),
    /// A 64-bit integer.
    Int(i64),
    /// A floating point number.
    Double(f64),
    /// Bytes that are no text.
    Bytes(&'a [u8]),
    /// An array of values.
    List(ListRef<'a>),
    /// Keys and values.
    Map(MapRef<'a>),
}

impl<'a> ValueRef<'a> {
    /// The value of a `KeyValue` message.
    pub(crate) fn of_key_value(pair: &'a [u8]) -> Self {
        let mut value = ValueRef::Empty;
        // An embedded message may come in pieces, which merge.
        for field in Fields::new(pair).filter(|field| field.is_len(2)) {
            value.merge(field.content(pair));
        }
        value
    }

    /// The value that the content of an `AnyValue` message has.
    pub(crate) fn of_any_value(message: &'a [u8]) -> Self {
        let mut value = ValueRef::Empty;
        value.merge(message);
        value
    }

    /// Takes in one more piece of an `AnyValue`. Of a oneof the last alternative counts; a message merges with the
    /// same alternative given just before.
    pub(crate) fn merge(&mut self, message: &'a [u8]) {
        for field in Fields::new(message) {
            let content = field.content(message);
            match (&mut *self, field.number, field.wire) {
                (ValueRef::List(list), any::LIST, WireType::Len) => {
                    list.content.to_mut().extend_from_slice(content);
                }
                (ValueRef::Map(map), any::MAP, WireType::Len) => {
                    map.content.to_mut().extend_from_slice(content);
                }
                _ => {
                    if let Some(value) = Self::of_field(&field, content, message) {
                        *self = value;
                    }
                }
            }
        }
    }

    fn of_field(field: &Field, content: &'a [u8], message: &[u8]) -> Option<Self> {
        Some(match (field.number, field.wire) {
            (any::STRING, WireType::Len) => ValueRef::Str(text(content)),
            (any::BOOL, WireType::Varint) => ValueRef::Bool(field.varint(message) != 0),
            (any::INT, WireType::Varint) => ValueRef::Int(field.varint(message).cast_signed()),
            (any::DOUBLE, WireType::Fixed64) => {
                ValueRef::Double(f64::from_le_bytes(*content.first_chunk().unwrap_or(&[0; 8])))
            }
            (any::LIST, WireType::Len) => ValueRef::List(ListRef { content: Cow::Borrowed(content) }),
            (any::MAP, WireType::Len) => ValueRef::Map(MapRef { content: Cow::Borrowed(content) }),
            (any::BYTES, WireType::Len) => ValueRef::Bytes(content),
            // An index into a table that only the profiles signal has.
            (any::STRING_INDEX, WireType::Varint) => ValueRef::Empty,
            _ => return None,
        })
    }

    /// Whether no value is set.
    pub fn is_empty(&self) -> bool {
        matches!(self, ValueRef::Empty)
    }

    /// The text, if this is one.
    pub fn as_str(&self) -> Option<&'a str> {
        if let ValueRef::Str(text) = self { Some(text) } else { None }
    }

    /// The bool, if this is one.
    pub fn as_bool(&self) -> Option<bool> {
        if let ValueRef::Bool(value) = self { Some(*value) } else { None }
    }

    /// The integer, if this is one.
    pub fn as_int(&self) -> Option<i64> {
        if let ValueRef::Int(number) = self { Some(*number) } else { None }
    }

    /// The floating point number, if this is one; integers are not converted.
    pub fn as_double(&self) -> Option<f64> {
        if let ValueRef::Double(number) = self { Some(*number) } else { None }
    }

    /// The bytes, if these are some; text is not converted.
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        if let ValueRef::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    /// The list, if this is one.
    pub fn as_list(&self) -> Option<&ListRef<'a>> {
        if let ValueRef::List(list) = self { Some(list) } else { None }
    }

    /// The map, if this is one.
    pub fn as_map(&self) -> Option<&MapRef<'a>> {
        if let ValueRef::Map(map) = self { Some(map) } else { None }
    }

    /// An owned copy. What is nested deeper than [`MAX_VALUE_DEPTH`] is [`Value::Empty`].
    pub fn to_value(&self) -> Value {
        self.to_value_within(MAX_VALUE_DEPTH)
    }

    fn to_value_within(&self, depth: usize) -> Value {
        match self {
            ValueRef::Empty => Value::Empty,
            ValueRef::Str(text) => Value::Str((*text).to_owned()),
            ValueRef::Bool(value) => Value::Bool(*value),
            ValueRef::Int(number) => Value::Int(*number),
            ValueRef::Double(number) => Value::Double(*number),
            ValueRef::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
            ValueRef::List(_) | ValueRef::Map(_) if depth == 0 => Value::Empty,
            ValueRef::List(list) => {
                Value::List(list.iter().map(|value| value.to_value_within(depth - 1)).collect())
            }
            ValueRef::Map(map) => Value::Map(
                map.iter().map(|(key, value)| (key.to_owned(), value.to_value_within(depth - 1))).collect(),
            ),
        }
    }
}

/// A serialized list of values.
#[derive(Debug, Clone)]
pub struct ListRef<'a> {
    content: Cow<'a, [u8]>,
}

impl ListRef<'_> {
    /// The values in order.
    pub fn iter(&self) -> impl Iterator<Item = ValueRef<'_>> {
        let content = &*self.content;
        let values = Fields::new(content).filter(|field| field.is_len(1));
        values.map(|field| ValueRef::of_any_value(field.content(content)))
    }
}

/// A serialized map.
#[derive(Debug, Clone)]
pub struct MapRef<'a> {
    content: Cow<'a, [u8]>,
}

impl MapRef<'_> {
    /// Keys and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, ValueRef<'_>)> {
        let content = &*self.content;
        let pairs = Fields::new(content).filter(|field| field.is_len(1)).map(|field| field.content(content));
        pairs.map(|pair| (text(key_of(pair)), ValueRef::of_key_value(pair)))
    }

    /// The value of the first pair with this key.
    pub fn get(&self, key: &str) -> Option<ValueRef<'_>> {
        self.iter().find_map(|(candidate, value)| (candidate == key).then_some(value))
    }
}

/// The key of a `KeyValue` message: of several the last, of none the empty one.
#[inline]
pub(crate) fn key_of(pair: &[u8]) -> &[u8] {
    Fields::new(pair).filter(|field| field.is_len(1)).last().map_or(&[], |field| field.content(pair))
}

/// The text of a validated string field.
pub(crate) fn text(bytes: &[u8]) -> &str {
    simdutf8::basic::from_utf8(bytes).unwrap_or_default()
}
