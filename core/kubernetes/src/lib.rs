//! The Kubernetes API as components use it.
//!
//! [`Access`] says where the API is and who asks, [`reflect`] keeps an [`Observer`] up to date about one list of objects for
//! as long as it is wanted, [`get`] reads a single object. [`Failure`] says of anything that fails what it was, whether it can
//! pass, and which [`Rule`] of RBAC is missing. Everything is bounded: pages, events, watches and pauses.

mod access;
mod failure;
mod health;
mod object;
mod pace;
mod query;
mod reflector;
mod rule;
mod send;
mod stream;

pub use access::{Access, Api, own_namespace};
pub use failure::Failure;
pub use health::{Health, HealthState};
pub use kube::Client;
pub use object::{HasMetadata, Metadata, Object, Owner, or_default, seconds};
pub use pace::Throttle;
pub use query::{Query, Resource};
pub use reflector::{Link, Observer, reflect};
pub use rule::{Rule, WATCH_VERBS};
pub use send::{get, server_version};
