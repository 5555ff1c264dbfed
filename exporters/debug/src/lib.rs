//! The `debug` exporter: prints telemetry for a human, in the Go collector's layouts.

mod config;
mod counts;
mod exporter;
mod factory;
mod print;
mod sampler;
mod streams;
mod text;
mod writer;

pub use config::{Config, LogLevel, Verbosity};
pub use factory::Factory;

#[cfg(test)]
mod tests;
