//! What all deserializers of one decoding share.

use std::cell::RefCell;
use std::collections::HashSet;

use spanbridge_component::Unsupported;

use super::error::{Error, Kind};
use super::path::Path;
use crate::diagnostic::Diagnostic;
use crate::document::{Entry, Node, SourceMap};
use crate::suggest::nearest;

/// What all deserializers of one decoding share: where texts are, and what was found.
pub(super) struct Context<'a> {
    pub(super) sources: &'a SourceMap,
    pub(super) base: Vec<String>,
    unsupported: &'a [Unsupported],
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// Values that are left out, by identity.
    aside: HashSet<usize>,
    /// Unknown keys and bare durations that were reported, by identity of their values.
    reported: HashSet<usize>,
    diagnostics: Vec<Diagnostic>,
    failed: Vec<Vec<String>>,
}

/// The identity of a node for as long as its tree lives.
pub(super) fn identity(node: &Node) -> usize {
    std::ptr::from_ref(node).addr()
}

impl<'a> Context<'a> {
    pub(super) fn new(sources: &'a SourceMap, base: &[&str], unsupported: &'a [Unsupported]) -> Self {
        let base = base.iter().map(|&step| step.to_owned()).collect();
        Self { sources, base, unsupported, state: RefCell::default() }
    }

    /// Whether a value is left out in this round.
    pub(super) fn is_aside(&self, node: &Node) -> bool {
        self.state.borrow().aside.contains(&identity(node))
    }

    /// Reports an error and leaves its value out from now on; false if there is no way on.
    pub(super) fn put_aside(&self, error: Error) -> bool {
        let mut state = self.state.borrow_mut();
        let Some(at) = error.at else { return false };
        if let Some(diagnostic) = at.diagnostic {
            state.diagnostics.push(diagnostic);
            state.failed.push(at.steps);
        }
        // A value that is out already and fails again cannot do without: the one around it goes too. Without the root
        // nothing is left.
        let Some((root, inner)) = at.nodes.split_last() else { return false };
        let next = inner.iter().find(|node| *node != root && !state.aside.contains(node));
        next.is_some_and(|node| state.aside.insert(*node))
    }

    /// Reports a key that a map does not have, once.
    pub(super) fn unknown_key(&self, entry: &Entry, path: &Path<'_>, known: &[&str]) {
        let mut state = self.state.borrow_mut();
        if !state.reported.insert(identity(&entry.value)) {
            return;
        }
        let mut steps = path.steps();
        let key = &entry.key;
        let diagnostic = if let Some(reason) = self.unsupported_reason(&steps, &key.text) {
            Diagnostic::error(format!("\"{}\" is not supported by this version: {reason}", key.text))
        } else {
            let error = Diagnostic::error(format!("unknown key \"{}\"", key.text));
            if let Some(near) = nearest(&key.text, known.iter().copied()) {
                steps.push(near.to_owned());
                error.with_help(format!("did you mean \"{near}\"?"))
            } else {
                error.with_help(valid_keys(known))
            }
        };
        state
            .diagnostics
            .push(diagnostic.with_path(path.dotted(&self.base)).with_location(self.sources.locate(key.span)));
        state.failed.push(steps);
    }

    /// Warns, once, of a duration that is written as a bare number, which the Go collector takes for nanoseconds.
    pub(super) fn bare_duration(&self, node: &Node, number: i128, path: &Path<'_>) {
        let mut state = self.state.borrow_mut();
        // A default has no place in a text.
        let Some(location) = self.sources.locate(node.span) else { return };
        if state.reported.insert(identity(node)) {
            let warning = Diagnostic::warning(format!("a bare {number} is {number} nanoseconds"));
            let help = format!("write a unit: {number}s, {number}ms; or {number}ns if that is meant");
            state.diagnostics.push(
                warning.with_path(path.dotted(&self.base)).with_location(Some(location)).with_help(help),
            );
        }
    }

    fn unsupported_reason(&self, steps: &[String], key: &str) -> Option<&'static str> {
        let matches = |pattern: &str| {
            let mut wanted = pattern.split('.');
            let mut given = steps.iter().map(String::as_str).chain([key]);
            loop {
                match (wanted.next(), given.next()) {
                    (None, None) => return true,
                    (Some(wanted), Some(given)) if wanted == "*" || wanted == given => {}
                    _ => return false,
                }
            }
        };
        self.unsupported.iter().find(|u| matches(u.path)).map(|u| u.reason)
    }

    /// Everything found; `gave_up` when not even a part could be decoded.
    pub(super) fn into_found(self, gave_up: bool) -> (Vec<Diagnostic>, Vec<Vec<String>>) {
        let mut state = self.state.into_inner();
        if gave_up && !state.diagnostics.iter().any(Diagnostic::is_error) {
            let error = Diagnostic::error("the value cannot be decoded").with_path(self.base.join("."));
            state.diagnostics.push(error);
        }
        (state.diagnostics, state.failed)
    }
}

fn valid_keys(known: &[&str]) -> String {
    if known.is_empty() {
        return "no keys are valid here".to_owned();
    }
    format!("valid keys: {}", known.join(", "))
}

impl Kind {
    /// The message and what to do about it. `hide` when the value must not be shown.
    pub(super) fn describe(&self, hide: bool) -> (String, Option<String>) {
        match self {
            Kind::Silent => (String::new(), None),
            Kind::Custom(message) => (message.clone(), None),
            Kind::Unfit { expected, found } => {
                let found = if hide { found.hidden } else { &found.shown };
                (format!("expected {expected}, found {found}"), None)
            }
            Kind::UnknownVariant { variant, expected } => unknown_variant(variant, expected, hide),
            Kind::MissingField(field) => (format!("the key \"{field}\" is missing"), None),
            Kind::DuplicateField(field) => (format!("the key \"{field}\" is given twice"), None),
        }
    }
}

fn unknown_variant(variant: &str, expected: &[&str], hide: bool) -> (String, Option<String>) {
    let named: Vec<&str> = expected.iter().copied().filter(|name| !name.is_empty()).collect();
    let found = if hide { String::new() } else { format!(" {}", super::error::quoted(variant)) };
    let help = match nearest(variant, named.iter().copied()) {
        Some(near) if !hide => format!("did you mean \"{near}\"?"),
        _ => format!("valid values: {}", named.join(", ")),
    };
    (format!("unknown value{found}"), Some(help))
}
