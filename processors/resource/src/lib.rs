//! The `resource` processor: it inserts, updates, deletes, hashes, extracts and converts attributes of resources.
//!
//! The actions of the configuration are compiled once; what they put in is serialized once. A batch is edited by one
//! splice for each resource, and its spans, log records and data points are never decoded.

mod config;
mod factory;
mod processor;

pub use config::Config;
pub use factory::Factory;
