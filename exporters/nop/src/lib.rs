//! The `nop` exporter: it accepts everything and discards it.
//!
//! It ends a pipeline of which only the cost, or only the internal telemetry, matters.

mod config;
mod exporter;
mod factory;

pub use config::Config;
pub use factory::Factory;
