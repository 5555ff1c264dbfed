//! Configuration: sources, `${}` expansion, merging, decoding with positions, diagnostics.
//!
//! The way of a configuration: [`load()`] reads every source into one [`Document`], a tree of [`Node`]s that know where
//! they were written; [`Document::decode`] turns a part of it into a typed configuration and collects every error;
//! [`Document::diagnose`] finds the places of what validation reports; [`Diagnostics`] print.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use spanbridge_config::{Diagnostics, Duration, NoEnvironment, Sources, load};
//!
//! #[derive(Default, Serialize, Deserialize)]
//! #[serde(default, deny_unknown_fields)]
//! struct Config {
//!     timeout: Duration,
//! }
//!
//! let sources = Sources { configs: vec!["yaml:exporters: {x: {timeot: 5s}}".into()], sets: vec![] };
//! let document = load(&sources, &NoEnvironment)?;
//! let node = document.root().get("exporters").and_then(|exporters| exporters.get("x")).unwrap();
//! let (config, found) = document.decode::<Config>(node, &["exporters", "x"], &[]).into_parts();
//! assert!(config.is_none());
//! assert_eq!(
//!     found.into_iter().collect::<Diagnostics>().to_string(),
//!     r#"error: unknown key "timeot"
//!   --> yaml:1:17
//!    |
//!  1 | exporters: {x: {timeot: 5s}}
//!    |                 ^^^^^^ at exporters.x
//!    = help: did you mean "timeout"?
//!
//! 1 error
//! "#
//! );
//! # Ok::<(), Diagnostics>(())
//! ```

// What `squash!` expands to names this crate; in its own tests too.
#[cfg(test)]
extern crate self as spanbridge_config;

pub mod de;
pub mod diagnostic;
pub mod document;
mod emit;
mod load;
pub mod schema;
mod suggest;
pub mod values;
mod yaml;

#[doc(hidden)]
pub mod squash;

pub use de::Decoded;
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use document::{Node, SourceMap, Span, Value};
pub use emit::to_yaml;
pub use load::{Document, Environment, NoEnvironment, ProcessEnvironment, Sources, from_yaml, load};
pub use suggest::nearest;
pub use values::{AnyValue, Duration, Headers, Opaque, Optional, Toggle};
