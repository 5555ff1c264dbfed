//! Configuration: sources, `${}` expansion, merging, decoding with positions, diagnostics.
//!
//! The way of a configuration: [`load()`] reads every source into one [`Document`], a tree of [`Node`]s that know where
//! they were written; [`Document::decode`] turns a part of it into a typed configuration and collects every error;
//! [`Document::diagnose`] finds the places of what validation reports; [`Diagnostics`] print.

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
