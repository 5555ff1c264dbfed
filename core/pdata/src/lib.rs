//! OTLP payloads as serialized bytes.
//!
//! Inside a pipeline telemetry stays what it was on the wire: the serialized `Export*ServiceRequest`. This crate owns
//! every operation on those bytes; no other crate parses protobuf by hand. It does no I/O and knows no async.

mod payload;
mod signal;

pub use payload::Payload;
pub use signal::Signal;
