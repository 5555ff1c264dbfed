//! The `attributes` processor: it inserts, updates, deletes, hashes, extracts and converts attributes of spans, log
//! records and data points.
//!
//! The actions and the conditions of `include` and `exclude` are compiled once. What depends on the resource or the
//! scope alone is decided once for all their items; what is left alone is never decoded, and not copied where the whole
//! request is.

mod config;
mod factory;
mod filter;
mod processor;

pub use config::{AttributeMatch, Config, LibraryMatch, MatchConfig, RegexpConfig, SeverityMatch};
pub use factory::Factory;
