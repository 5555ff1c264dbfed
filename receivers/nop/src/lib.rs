//! The `nop` receiver: it never produces anything.
//!
//! It stands in where a pipeline needs a receiver and there is nothing to receive: pipelines that only a test or a
//! connector feeds, and configurations that are being taken apart to find a fault.

mod config;
mod factory;
mod receiver;

pub use config::Config;
pub use factory::Factory;
