//! The `headers_setter` extension: headers of outgoing requests, from values, files, and what is known of the client that
//! the telemetry came from.

mod action;
mod config;
mod extension;
mod factory;

pub use config::{Action, Config, Header};
pub use factory::Factory;
