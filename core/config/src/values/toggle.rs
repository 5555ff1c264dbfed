//! Blocks with a built-in default.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, SeqAccess};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use spanbridge_component::{Problems, Validate};

use super::{printing_defaults, protocol};

/// A block with a built-in default: written, even as null, it is on; absent, it is what the container's `Default` says.
///
/// What the block leaves out comes from the contents that the container's `Default` gives, whether they are on or off
/// there. `enabled: false` switches the block off; its contents must decode all the same. Examples: `protocols::grpc`
/// (off unless written), `sending_queue` (on unless switched off). Reference: collector-core, 3.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toggle<T> {
    on: bool,
    config: T,
}

impl<T> Toggle<T> {
    /// A block that is on.
    pub const fn on(config: T) -> Self {
        Self { on: true, config }
    }

    /// A block that is off, with the contents it has once somebody writes its key.
    pub const fn off(config: T) -> Self {
        Self { on: false, config }
    }

    /// Whether it is on.
    pub const fn is_on(&self) -> bool {
        self.on
    }

    /// The contents, if it is on.
    pub const fn as_ref(&self) -> Option<&T> {
        if self.on { Some(&self.config) } else { None }
    }

    /// The contents to change, if it is on.
    pub const fn as_mut(&mut self) -> Option<&mut T> {
        if self.on { Some(&mut self.config) } else { None }
    }

    /// The contents, if it is on.
    pub fn into_option(self) -> Option<T> {
        self.on.then_some(self.config)
    }

    /// The contents, on or off.
    pub const fn contents(&self) -> &T {
        &self.config
    }

    /// Reads a block, and whether it was written as null: for the few blocks where `batch:` and `batch: {}` differ.
    ///
    /// # Errors
    /// As the block's own `Deserialize`.
    pub fn deserialize_with_null<'de, D>(deserializer: D) -> Result<(Self, bool), D::Error>
    where
        D: Deserializer<'de>,
        T: Deserialize<'de>,
    {
        deserializer.deserialize_tuple_struct(protocol::TOGGLE, 3, WithNull(PhantomData))
    }
}

impl<T: Validate> Validate for Toggle<T> {
    fn validate(&self, problems: &mut Problems) {
        if self.on {
            self.config.validate(problems);
        }
    }
}

#[derive(Serialize)]
struct Switch {
    enabled: bool,
}

#[derive(Serialize)]
struct SwitchAnd<'a, T> {
    enabled: bool,
    #[serde(flatten)]
    config: &'a T,
}

impl<T: Serialize> Serialize for Toggle<T> {
    /// On: the contents. Off: `enabled: false` (null would switch it on when read again).
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if printing_defaults() {
            SwitchAnd { enabled: self.on, config: &self.config }.serialize(serializer)
        } else if self.on {
            self.config.serialize(serializer)
        } else {
            Switch { enabled: false }.serialize(serializer)
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Toggle<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple_struct(protocol::TOGGLE, 2, Visitor(PhantomData))
    }
}

struct Visitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
    type Value = Toggle<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let (on, config) = parts(&mut seq)?;
        Ok(Toggle { on, config })
    }
}

struct WithNull<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> de::Visitor<'de> for WithNull<T> {
    type Value = (Toggle<T>, bool);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let (on, config) = parts(&mut seq)?;
        let is_null = seq.next_element()?.unwrap_or_default();
        Ok((Toggle { on, config }, is_null))
    }
}

/// The two parts that the deserializer makes of an optional block: its `enabled` key, and everything else.
pub(super) fn parts<'de, A: SeqAccess<'de>, T: Deserialize<'de>>(seq: &mut A) -> Result<(bool, T), A::Error> {
    let incomplete = || de::Error::custom("an optional block needs this crate's deserializer");
    let enabled = seq.next_element()?.ok_or_else(incomplete)?;
    let config = seq.next_element()?.ok_or_else(incomplete)?;
    Ok((enabled, config))
}

/// The contents' schema with the `enabled` key added, or null.
pub(super) fn block_schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut block = T::json_schema(generator);
    if let Some(properties) = block.get_mut("properties").and_then(|p| p.as_object_mut()) {
        properties.entry(protocol::ENABLED).or_insert_with(
            || serde_json::json!({ "type": "boolean", "description": "false switches the block off." }),
        );
    }
    json_schema!({ "anyOf": [block, { "type": "null" }] })
}

impl<T: JsonSchema> JsonSchema for Toggle<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("Toggle_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        block_schema::<T>(generator)
    }
}
