//! YAML as Go's `yaml.v3` reads it, with the place of every key and value.

mod compose;
mod keys;
mod scalar;

pub(crate) use compose::{ParseError, parse, weight};
pub(crate) use scalar::resolve;

use crate::document::Span;

/// The longest text that is parsed, in bytes.
pub(crate) const DOCUMENT_MAX_BYTES: usize = 10 << 20;
/// How deep maps and lists may nest.
pub(crate) const DEPTH_MAX: usize = 100;
/// How much the aliases and merge keys of one document may add, in the unit of [`compose::weight`] (about bytes).
/// Bounds "billion laughs".
pub(crate) const ALIAS_MAX_WEIGHT: usize = 16 << 20;

fn too_deep(span: Span) -> ParseError {
    ParseError::new(format!("nests deeper than {DEPTH_MAX} levels"), span)
}

#[cfg(test)]
mod tests;
