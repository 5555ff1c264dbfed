//! Blocks that are off unless written.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{self, SeqAccess};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use spanbridge_component::{Problems, Validate};

use super::{protocol, toggle};

/// A block without default: absent or null is off, a map (`{}` too) is on with `T`'s defaults for what it leaves out.
///
/// `enabled: false` in the map switches the block off; its contents must decode all the same. Examples: `tls` of a
/// server, `auth`, `cors`. Reference: collector-core, 3.1 (the "None" flavour).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Optional<T>(Option<T>);

impl<T> Optional<T> {
    /// A block that is on.
    pub const fn on(config: T) -> Self {
        Self(Some(config))
    }

    /// A block that is off.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Whether it is on.
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The contents, if it is on.
    pub const fn as_ref(&self) -> Option<&T> {
        self.0.as_ref()
    }

    /// The contents to change, if it is on.
    pub const fn as_mut(&mut self) -> Option<&mut T> {
        self.0.as_mut()
    }

    /// As the standard library's type.
    pub fn into_option(self) -> Option<T> {
        self.0
    }
}

impl<T> Default for Optional<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> From<Option<T>> for Optional<T> {
    fn from(option: Option<T>) -> Self {
        Self(option)
    }
}

impl<T: Validate> Validate for Optional<T> {
    fn validate(&self, problems: &mut Problems) {
        if let Some(config) = &self.0 {
            config.validate(problems);
        }
    }
}

impl<T: Serialize> Serialize for Optional<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Optional<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple_struct(protocol::OPTIONAL, 2, Visitor(PhantomData))
    }
}

struct Visitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
    type Value = Optional<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Optional::off())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let (enabled, config) = toggle::parts(&mut seq)?;
        Ok(Optional(enabled.then_some(config)))
    }
}

impl<T: JsonSchema> JsonSchema for Optional<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("Optional_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        toggle::block_schema::<T>(generator)
    }
}
