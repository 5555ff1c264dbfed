//! The configuration as a tree of values that know where they were written.

mod node;
mod source;

pub use node::{Entry, Key, Map, Node, Origin, Value};
pub use source::{Location, Position, SourceId, SourceMap, SourceText, Span};
