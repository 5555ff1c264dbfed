//! The deserializer over a node.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde::Deserializer;
use serde::de::{IntoDeserializer, Visitor};

use super::access::{Entries, Items, Pieces};
use super::context::Context;
use super::error::Error;
use super::path::Path;
use super::{block, scalar};
use crate::diagnostic::hide_value;
use crate::document::{Node, Origin, Span, Value};
use crate::values::protocol;

/// What a literal null means to a scalar, list or map (structs always take all defaults).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nulls {
    /// The field of a struct keeps its default.
    KeepDefault,
    /// An item of a list or map becomes the zero value.
    Zero,
}

/// Reads a value: what the user wrote, over the default of the same place.
#[derive(Clone, Copy)]
pub(super) struct NodeDeserializer<'a> {
    pub(super) cx: &'a Context<'a>,
    pub(super) node: &'a Node,
    /// The default of this place, if the container's default has one.
    pub(super) fallback: Option<&'a Node>,
    pub(super) path: &'a Path<'a>,
    /// Where the key stands whose value this is.
    pub(super) key: Span,
    pub(super) nulls: Nulls,
    /// Without the `enabled` key, which belongs to the optional block around.
    pub(super) without_enabled: bool,
    /// Collects the keys that parts of a squashed configuration know.
    pub(super) known: Option<&'a RefCell<BTreeSet<&'static str>>>,
    pub(super) secret: bool,
}

impl<'a> NodeDeserializer<'a> {
    pub(super) fn child(
        self,
        node: &'a Node,
        fallback: Option<&'a Node>,
        path: &'a Path<'a>,
        key: Span,
    ) -> Self {
        Self {
            node,
            fallback: fallback.filter(|fallback| !self.cx.is_aside(fallback)),
            path,
            key,
            nulls: Nulls::KeepDefault,
            without_enabled: false,
            known: None,
            ..self
        }
    }

    /// Replaces a literal null that keeps the default by the default.
    pub(super) fn over_null(self) -> Result<Self, Error> {
        if self.nulls == Nulls::Zero || !self.is_literal_null() {
            return Ok(self);
        }
        match self.fallback {
            Some(fallback) => Ok(Self { node: fallback, fallback: None, ..self }),
            None => self.place(Err(Error::silent())),
        }
    }

    /// A null that somebody wrote, rather than one that a reference stands for.
    fn is_literal_null(self) -> bool {
        self.is_null() && matches!(self.node.origin, Origin::Literal | Origin::Inside { .. })
    }

    fn is_null(self) -> bool {
        self.node.is_null()
    }
}

macro_rules! integers {
    ($($method:ident $visit:ident $int:ty, $go:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let this = self.over_null()?;
            let result = match scalar::integer(&this.node.value, $go) {
                Some(Ok(int)) => match <$int>::try_from(int) {
                    Ok(int) => visitor.$visit(int),
                    Err(_) => Err(scalar::overflows(int, $go)),
                },
                Some(Err(error)) => Err(error),
                None => return this.invalid(&visitor),
            };
            this.place(result)
        }
    )*};
}

impl<'de> Deserializer<'de> for NodeDeserializer<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let this = self.over_null()?;
        let result = match &this.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(value) => match (i64::try_from(*value), u64::try_from(*value)) {
                (Ok(value), _) => visitor.visit_i64(value),
                (_, Ok(value)) => visitor.visit_u64(value),
                _ => visitor.visit_i128(*value),
            },
            Value::Float(value) => visitor.visit_f64(*value),
            Value::String(text) => visitor.visit_str(text),
            Value::List(items) => visitor.visit_seq(Items::new(this, items)),
            Value::Map(_) => visitor.visit_map(Entries::all(this, None)),
        };
        this.place(result)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let this = self.over_null()?;
        match this.node.value {
            Value::Bool(value) => this.place(visitor.visit_bool(value)),
            Value::Null => this.place(visitor.visit_bool(false)),
            _ => this.invalid(&visitor),
        }
    }

    integers! {
        deserialize_i8 visit_i8 i8, "int8";
        deserialize_i16 visit_i16 i16, "int16";
        deserialize_i32 visit_i32 i32, "int32";
        deserialize_i64 visit_i64 i64, "int64";
        deserialize_i128 visit_i128 i128, "int128";
        deserialize_u8 visit_u8 u8, "uint8";
        deserialize_u16 visit_u16 u16, "uint16";
        deserialize_u32 visit_u32 u32, "uint32";
        deserialize_u64 visit_u64 u64, "uint64";
        deserialize_u128 visit_u128 u128, "uint128";
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    #[expect(clippy::cast_precision_loss, reason = "the field asks for a float")]
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let this = self.over_null()?;
        match this.node.value {
            Value::Float(value) => this.place(visitor.visit_f64(value)),
            Value::Int(value) => this.place(visitor.visit_f64(value as f64)),
            Value::Null => this.place(visitor.visit_f64(0.0)),
            _ => this.invalid(&visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let this = self.over_null()?;
        match this.node.as_str() {
            Some(text) => this.place(visitor.visit_str(text)),
            None if this.is_null() => this.place(visitor.visit_str("")),
            None => this.invalid(&visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let this = match self.fallback {
            Some(fallback) if self.is_literal_null() => Self { node: fallback, fallback: None, ..self },
            _ => self,
        };
        if this.is_null() { this.place(visitor.visit_none()) } else { this.place(visitor.visit_some(this)) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_null() { self.place(visitor.visit_unit()) } else { self.invalid(&visitor) }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        let mut this = self;
        if name == protocol::OPAQUE {
            this.secret = true;
            hide_value(this.node, this.cx.sources);
        }
        if name == protocol::DURATION
            && let Value::Int(number @ 1..) = this.node.value
        {
            this.cx.bare_duration(this.node, number, this.path);
        }
        this.place(visitor.visit_newtype_struct(this))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let this = self.over_null()?;
        let result = match &this.node.value {
            Value::List(items) => visitor.visit_seq(Items::new(this, items)),
            Value::Null => visitor.visit_seq(Items::new(this, &[])),
            Value::String(text) => visitor.visit_seq(Pieces::new(this, text)),
            _ => return this.invalid(&visitor),
        };
        this.place(result)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match name {
            protocol::SQUASH => block::squash(self, visitor),
            protocol::OPTIONAL => block::optional(self, visitor),
            protocol::TOGGLE => block::toggle(self, visitor),
            _ => self.deserialize_seq(visitor),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let this = self.over_null()?;
        match &this.node.value {
            Value::Map(_) => this.place(visitor.visit_map(Entries::all(this, this.fallback))),
            Value::Null => this.place(visitor.visit_map(Entries::all(this, None))),
            _ => this.invalid(&visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if !matches!(self.node.value, Value::Map(_) | Value::Null) {
            return self.invalid(&"a map");
        }
        match self.known {
            Some(known) => known.borrow_mut().extend(fields),
            None => self.report_unknown(fields),
        }
        let entries = Entries::of_struct(self, fields);
        visitor.visit_map(entries).map_err(|error| self.placed_in_struct(error))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let this = self.over_null()?;
        if let Some(text) = this.node.as_str() {
            return this.place(visitor.visit_enum(text.into_deserializer()));
        }
        match &this.node.value {
            Value::Null if variants.contains(&"") => this.place(visitor.visit_enum("".into_deserializer())),
            Value::Map(map) if let [entry] = map.entries() => {
                this.place(visitor.visit_enum(block::Variant::new(this, entry)))
            }
            _ => this.invalid(&format!("one of {}", variants.join(", ")).as_str()),
        }
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.place(visitor.visit_unit())
    }
}

impl<'a> NodeDeserializer<'a> {
    /// The value that is decoded, which stands at `path`.
    pub(super) fn root(
        cx: &'a Context<'a>,
        node: &'a Node,
        fallback: Option<&'a Node>,
        path: &'a Path<'a>,
    ) -> Self {
        Self {
            cx,
            node,
            fallback,
            path,
            key: Span::NONE,
            nulls: Nulls::Zero,
            without_enabled: false,
            known: None,
            secret: false,
        }
    }
}
