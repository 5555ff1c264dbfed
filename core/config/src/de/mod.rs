//! From nodes to typed configurations, with every error collected.
//!
//! Plain serde types are decoded by a deserializer that follows the Go collector's rules (reference: collector-core, 2.6
//! and 3.1). serde stops at the first error, so a value that fails is reported, put aside, and the whole is decoded
//! again without it, until nothing fails. What the user wrote is laid over the serialized default of the type, so that
//! the `Default` of the outermost type decides every default inside it, as in Go.

mod access;
mod block;
mod context;
mod deserializer;
mod error;
mod fallback;
mod path;
mod place;
mod scalar;

use serde::Serialize;
use serde::de::DeserializeOwned;
use spanbridge_component::{Problem, Problems, Severity, Unsupported, Validate};

use crate::diagnostic::Diagnostic;
use crate::document::{Node, SourceMap};
use context::Context;
use deserializer::NodeDeserializer;
use path::Path;
pub(crate) use path::step;
pub(crate) use place::mask_reference;

/// How often a configuration is decoded anew because a value in it failed or was null.
const ROUNDS_MAX: usize = 1000;

/// The outcome of decoding.
#[derive(Debug)]
pub struct Decoded<T> {
    value: Option<T>,
    diagnostics: Vec<Diagnostic>,
    failed: Vec<Vec<String>>,
}

impl<T> Decoded<T> {
    /// The value, unless there is an error.
    pub fn value(&self) -> Option<&T> {
        if self.has_errors() { None } else { self.value.as_ref() }
    }

    /// The value, with defaults in the places that failed; `None` when nothing could be decoded at all.
    pub fn partial(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// What was found, in the order of discovery.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Whether anything refuses the value.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }

    /// The value, unless there is an error, and what was found.
    pub fn into_parts(self) -> (Option<T>, Vec<Diagnostic>) {
        let valid = !self.has_errors();
        (self.value.filter(|_| valid), self.diagnostics)
    }

    pub(crate) fn add(&mut self, diagnostics: Vec<Diagnostic>) {
        self.diagnostics.extend(diagnostics);
    }
}

impl<T: Validate> Decoded<T> {
    /// What validation finds, but for what may only follow from a value that failed to decode.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut problems = Problems::new();
        if let Some(value) = &self.value {
            value.validate(&mut problems);
        }
        let follows = |problem: &Problem| {
            self.failed
                .iter()
                .any(|failed| failed.starts_with(&problem.path) || problem.path.starts_with(failed))
        };
        let mut found = problems.into_found();
        found.retain(|problem| problem.severity == Severity::Warning || !follows(problem));
        found
    }
}

/// Decodes `node`, which stands at `path`.
pub(crate) fn decode<T>(
    node: &Node,
    path: &[&str],
    unsupported: &[Unsupported],
    sources: &SourceMap,
) -> Decoded<T>
where
    T: DeserializeOwned + Serialize + Default,
{
    let fallback = fallback::of(&T::default());
    decode_over(node, fallback.as_ref(), path, unsupported, sources)
}

fn decode_over<T: DeserializeOwned>(
    node: &Node,
    fallback: Option<&Node>,
    path: &[&str],
    unsupported: &[Unsupported],
    sources: &SourceMap,
) -> Decoded<T> {
    let context = Context::new(sources, path, unsupported);
    let root = Path::root(context::identity(node));
    let mut value = None;
    for _ in 0..ROUNDS_MAX {
        let deserializer = NodeDeserializer::root(&context, node, fallback, &root);
        match deserializer.place(T::deserialize(deserializer)) {
            Ok(decoded) => {
                value = Some(decoded);
                break;
            }
            Err(error) => {
                if !context.put_aside(error) {
                    break;
                }
            }
        }
    }
    let (mut diagnostics, failed) = context.into_found(value.is_none());
    diagnostics.sort_by_key(|diagnostic| diagnostic.location.as_ref().map(|location| location.span));
    Decoded { value, diagnostics, failed }
}

#[cfg(test)]
mod tests;
