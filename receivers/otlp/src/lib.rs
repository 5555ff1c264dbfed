//! The `otlp` receiver: traces, metrics and logs over OTLP/gRPC, all on one socket.
//!
//! A request travels: gRPC server (framing, decompression) → [`spanbridge_pdata::Payload::from_wire`] (full validation,
//! counting) → the pipeline's first consumer → answer. The client is acknowledged with what the pipeline answered.

mod config;
mod factory;
mod receiver;
mod service;
mod telemetry;

pub use config::{Config, InvalidUtf8, Protocols};
pub use factory::Factory;
