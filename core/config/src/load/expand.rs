//! Expansion of `${...}`. Reference: collector-core, 2.5 and 2.6.

use std::sync::Arc;

use super::loader::Loader;
use super::reference;
use super::uri::SCHEMES;
use crate::de::step;
use crate::diagnostic::Diagnostic;
use crate::document::{Map, Node, Origin, Span, Value};
use crate::yaml::{DEPTH_MAX, weight};

/// How many references one value may expand one after the other.
const ROUNDS_MAX: usize = 1000;
/// How much all references of a configuration may expand to, in the unit of [`weight`] (about bytes).
const EXPANDED_MAX_WEIGHT: usize = 32 << 20;

/// After this many failures the rest stays as it is.
const FAILURES_MAX: usize = 100;

/// Expands every reference in a tree; what fails is reported to the loader.
pub(super) fn expand(loader: &mut Loader<'_>, root: &mut Node) {
    let mut expander = Expander { loader, path: String::new(), weight: 0, failures: 0 };
    expander.node(root, 0, 0);
}

struct Expander<'l, 'e> {
    loader: &'l mut Loader<'e>,
    path: String,
    weight: usize,
    failures: usize,
}

/// A text that is on its way to a value.
struct Progress {
    text: String,
    rounds: usize,
    /// The whole text was once a reference.
    was_whole: bool,
    /// Any reference was expanded.
    changed: bool,
}

impl Expander<'_, '_> {
    fn node(&mut self, node: &mut Node, rounds: usize, depth: usize) {
        if self.failures >= FAILURES_MAX {
            return;
        }
        if depth > DEPTH_MAX {
            self.fail(&format!("nests deeper than {DEPTH_MAX} levels"), node.span);
            *node = Node::new(Value::Null, node.span);
            return;
        }
        match &mut node.value {
            Value::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.inside(&index.to_string(), true, |this| this.node(item, rounds, depth + 1));
                }
            }
            Value::Map(map) => self.entries(map, rounds, depth),
            Value::String(text) => {
                let text = std::mem::take(text);
                match self.string(text, node.span, rounds, depth) {
                    Ok((value, Some(origin))) => {
                        node.value = value;
                        // Inside what another reference stands for, that reference is the one to show.
                        if !matches!(node.origin, Origin::Inside { .. })
                            || matches!(origin, Origin::Reference { .. })
                        {
                            node.origin = origin;
                        }
                    }
                    Ok((value, None)) => node.value = value,
                    Err(message) => self.fail(&message, node.span),
                }
            }
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => {}
        }
    }

    fn entries(&mut self, map: &mut Map, rounds: usize, depth: usize) {
        for entry in map.entries_mut() {
            let (key, value) = (entry.key.text.as_str(), &mut entry.value);
            self.inside(key, false, |this| this.node(value, rounds, depth + 1));
        }
    }

    fn inside(&mut self, key: &str, is_index: bool, visit: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        let first = self.path.is_empty();
        self.path.push_str(&step(key, is_index, first));
        visit(self);
        self.path.truncate(length);
    }

    /// The value of a text, and how it came about if any reference was expanded.
    fn string(
        &mut self,
        written: String,
        span: Span,
        rounds: usize,
        depth: usize,
    ) -> Result<(Value, Option<Origin>), String> {
        if !written.contains('$') {
            return Ok((Value::String(written), None));
        }
        let mut progress = Progress { text: written.clone(), rounds, was_whole: false, changed: false };
        while let Some(range) = reference::next(&progress.text) {
            let is_whole = range.len() == progress.text.len();
            if let Some(structure) = self.round(&mut progress, range, span)? {
                debug_assert!(is_whole, "only a whole value can be other than a text");
                let (value, text) = self.structure(structure, &progress, &written, span, depth);
                return Ok((value, Some(Origin::Reference { reference: written.into(), text })));
            }
        }
        let Progress { mut text, was_whole, changed, .. } = progress;
        reference::unescape(&mut text);
        let origin = match (changed, was_whole) {
            (false, _) => None,
            (true, true) => Some(Origin::Reference { reference: written.into(), text: Some(text.clone()) }),
            (true, false) => Some(Origin::Interpolated { template: written.into() }),
        };
        Ok((Value::String(text), origin))
    }

    /// Expands one reference. Yields the value if the whole text was a reference to something else than a text.
    fn round(
        &mut self,
        progress: &mut Progress,
        range: std::ops::Range<usize>,
        span: Span,
    ) -> Result<Option<Node>, String> {
        progress.rounds += 1;
        if progress.rounds > ROUNDS_MAX {
            return Err(format!("too many recursive expansions: the last was {}", &progress.text[range]));
        }
        let uri = progress.text[range.clone()].to_owned();
        let parsed = self.loader.reference(&uri[2..uri.len() - 1], &self.path, span)?;
        progress.changed = true;
        if range.len() < progress.text.len() {
            // A text of which much is references may grow with every one of them.
            let occurrences = progress.text.matches(&uri).count();
            self.grow(progress.text.len() + occurrences.saturating_mul(parsed.text.len()))?;
            progress.text = progress.text.replace(&uri, &parsed.text);
            return Ok(None);
        }
        progress.was_whole = true;
        self.grow(parsed.text.len() + weight(&parsed.node))?;
        progress.text.clone_from(&parsed.text);
        Ok(if let Value::String(_) = parsed.node.value { None } else { Some(parsed.node.clone()) })
    }

    /// The value and the raw text of a whole-value reference to something else than a text.
    fn structure(
        &mut self,
        mut node: Node,
        progress: &Progress,
        written: &str,
        span: Span,
        depth: usize,
    ) -> (Value, Option<String>) {
        let reference: Arc<str> = written.into();
        if node.span == Span::NONE {
            mark_inside(&mut node, span, &reference);
        }
        self.node(&mut node, progress.rounds, depth);
        let text = self.raw_text(progress.text.clone(), progress.rounds, span);
        (node.value, text)
    }

    /// The raw text with the references inside it expanded, for text fields; `None` if that fails, which then is an
    /// error of the text field alone.
    fn raw_text(&mut self, text: String, rounds: usize, span: Span) -> Option<String> {
        let mut progress = Progress { text, rounds, was_whole: false, changed: false };
        while let Some(range) = reference::next(&progress.text) {
            if let Ok(None) = self.round(&mut progress, range, span) {
                continue;
            }
            return None;
        }
        reference::unescape(&mut progress.text);
        Some(progress.text)
    }

    fn grow(&mut self, by: usize) -> Result<(), String> {
        self.weight = self.weight.saturating_add(by);
        if self.weight > EXPANDED_MAX_WEIGHT {
            return Err(format!(
                "the configuration's references expand to more than {EXPANDED_MAX_WEIGHT} bytes"
            ));
        }
        Ok(())
    }

    fn fail(&mut self, message: &str, span: Span) {
        self.failures += 1;
        let mut diagnostic = Diagnostic::error(message).with_path(self.path.clone());
        if message.contains(":-") && (message.contains("scheme") || message.contains("invalid uri")) {
            diagnostic = diagnostic.with_help("a default needs the explicit scheme: ${env:NAME:-default}");
        } else if message.starts_with("scheme ") {
            diagnostic = diagnostic.with_help(format!("supported are {}", SCHEMES.join(", ")));
        }
        self.loader.fail(diagnostic, span);
    }
}

/// Everything inside points at the reference.
fn mark_inside(node: &mut Node, span: Span, reference: &Arc<str>) {
    node.span = span;
    node.origin = Origin::Inside { reference: reference.clone() };
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| mark_inside(item, span, reference)),
        Value::Map(map) => {
            for entry in map.entries_mut() {
                entry.key.span = span;
                mark_inside(&mut entry.value, span, reference);
            }
        }
        _ => {}
    }
}
