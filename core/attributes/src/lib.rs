//! Actions on attributes: insert, update, upsert, delete, hash, extract, convert.
//!
//! The `attributes` and the `resource` processor take the same actions, one on items and one on resources. The actions
//! of a configuration are compiled once into [`Actions`]; what they put in is serialized once. Where an action changes
//! nothing, nothing is allocated.

mod action;
mod actions;
mod compile;
mod config;
mod context;
mod convert;
mod hash;
mod text;

pub use action::FromContext;
pub use actions::Actions;
pub use compile::{Fault, suggestion, typed};
pub use config::{ActionConfig, validate};
pub use text::text_of;
