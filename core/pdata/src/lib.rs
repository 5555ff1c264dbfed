//! OTLP payloads as serialized bytes.
//!
//! Inside a pipeline telemetry stays what it was on the wire: the serialized `Export*ServiceRequest`. This crate owns
//! every operation on those bytes; no other crate parses protobuf by hand. It does no I/O and knows no async.
//!
//! [`Payload::from_wire`] is the door for bytes from outside: it validates a request to full depth once. Every operation
//! after it relies on that and preserves it; none panics on other bytes either. All of them do work that is linear in
//! the bytes they read and write, and none recurses deeper than [the validated depth](Fault::TooDeep).

mod ascii;
mod assembler;
mod attributes;
mod codec;
#[cfg(test)]
mod hostile;
mod items;
mod malformed;
pub mod memory;
mod payload;
mod repair;
mod resources;
pub mod sample;
mod schema;
mod shape;
mod signal;
mod split;
mod validate;
mod value;
mod wire;

pub use attributes::{Attribute, Attributes};
pub use codec::Decoded;
pub use items::{EditAttributes, Item, ItemEdit, ItemKind, MetricView, ScopeView};
pub use malformed::{Fault, Malformed};
pub use payload::{InvalidUtf8, Payload, Received};
pub use resources::ResourceView;
pub use shape::count_items;
pub use signal::Signal;
pub use split::{SplitBytes, SplitItems, SplitPart};
pub use value::{ListRef, MAX_VALUE_DEPTH, MapRef, Value, ValueRef};
