//! The `forward` connector: it hands telemetry from pipelines to other pipelines of the same signal.
//!
//! Use it to merge several pipelines into one, or to let one pipeline feed several.

mod config;
mod connector;
mod factory;

pub use config::Config;
pub use factory::Factory;
