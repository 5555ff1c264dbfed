//! The `memory_limiter` processor: keeps the process within a limit of memory.
//!
//! It works at two places. Its soft limit, less what the process needs by itself, is the limit of the account of
//! telemetry ([`spanbridge_pdata::memory`]), which receivers ask *before* they read a request. And it looks at the resident
//! memory of the process again and again; should that get beyond the soft limit all the same, it refuses what comes by.
//! The measure is defined in the README.

mod config;
mod factory;
mod limiter;
mod limits;
mod processor;
mod system;
mod telemetry;

pub use config::Config;
pub use factory::Factory;
