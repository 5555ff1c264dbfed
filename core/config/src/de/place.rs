//! Errors get their place.

use serde::de::Unexpected;

use super::context::identity;
use super::deserializer::NodeDeserializer;
use super::error::{At, Error, Kind};
use crate::diagnostic::{Diagnostic, hide_value, shown_references};
use crate::document::{Node, Span, Value};

impl NodeDeserializer<'_> {
    /// Gives an error its place, unless it has one from further inside.
    pub(super) fn place<T>(self, result: Result<T, Error>) -> Result<T, Error> {
        result.map_err(|error| if error.at.is_some() { error } else { self.placed(error) })
    }

    /// The value is of the wrong type.
    pub(super) fn invalid<T>(self, expected: &dyn serde::de::Expected) -> Result<T, Error> {
        let unexpected: Unexpected<'_> = super::scalar::unexpected(&self.node.value);
        self.place(Err(serde::de::Error::invalid_type(unexpected, expected)))
    }

    /// As [`Self::place`] for errors of a struct as a whole: some of them only follow from others.
    pub(super) fn placed_in_struct(self, error: Error) -> Error {
        if error.at.is_some() {
            return error;
        }
        match *error.kind {
            // The key is there, but its value was put aside.
            Kind::MissingField(field) if self.node.get(field).is_some_and(|node| self.cx.is_aside(node)) => {
                self.placed(Error::silent())
            }
            // The user wrote an alias of a key whose default came under its main name.
            Kind::DuplicateField(field) if self.node.get(field).is_none() => {
                let mut error = self.placed(Error::silent());
                if let (Some(at), Some(default)) = (&mut error.at, self.fallback.and_then(|f| f.get(field))) {
                    at.nodes.insert(0, identity(default));
                }
                error
            }
            _ => self.placed(error),
        }
    }

    fn placed(self, error: Error) -> Error {
        let mut nodes = vec![identity(self.node)];
        nodes.extend(self.path.nodes());
        let silent = matches!(*error.kind, Kind::Silent) || self.node.is_default();
        let diagnostic = if silent { None } else { Some(self.diagnostic(&error.kind)) };
        Error { at: Some(Box::new(At { nodes, steps: self.path.steps(), diagnostic })), ..error }
    }

    fn diagnostic(self, kind: &Kind) -> Diagnostic {
        let is_misplaced = self.may_be_a_misplaced_secret(kind);
        if is_misplaced {
            hide_value(self.node, self.cx.sources);
        }
        let hide = self.secret || is_misplaced || self.node.is_expanded();
        let (message, help) = kind.describe(hide);
        let mut diagnostic = Diagnostic {
            help,
            path: self.path.dotted(&self.cx.base),
            location: self.cx.sources.locate(self.best_span()),
            ..Diagnostic::error(message)
        };
        if self.node.is_expanded() {
            mask_reference(&mut diagnostic, self.node);
        } else if self.secret {
            diagnostic.message = masked(&diagnostic.message, self.node, "[REDACTED]");
        } else if diagnostic.help.is_none()
            && let Kind::Unfit { expected, .. } = kind
        {
            diagnostic.help = self.advice(expected);
        }
        diagnostic
    }

    /// Whether a text stands where an extension's block belongs: `bearertokenauth: <token>`. What such blocks hold are
    /// mostly credentials.
    fn may_be_a_misplaced_secret(self, kind: &Kind) -> bool {
        let in_extension = self.path.dotted(&self.cx.base).starts_with("extensions.");
        let Kind::Unfit { expected, .. } = kind else { return false };
        in_extension && self.node.as_str().is_some() && matches!(expected.as_str(), "a map" | "a list")
    }

    /// The value if it stands on one line, otherwise its key.
    fn best_span(self) -> Span {
        self.node.handy_span().unwrap_or(if self.key.is_some() { self.key } else { self.node.span })
    }

    /// What to write instead, for common slips.
    fn advice(self, expected: &str) -> Option<String> {
        let text = self.written_text()?;
        match (&self.node.value, expected) {
            (Value::Int(_) | Value::Float(_) | Value::Bool(_), "a string") => {
                Some(format!("quote it: \"{text}\""))
            }
            (Value::String(word), "true or false") => match word.to_ascii_lowercase().as_str() {
                "yes" | "on" | "y" | "true" | "1" => Some("write true".to_owned()),
                "no" | "off" | "n" | "false" | "0" => Some("write false".to_owned()),
                _ => None,
            },
            (Value::String(word), _) if expected.contains("integer") || expected == "a number" => {
                word.parse::<f64>().ok().map(|_| format!("leave out the quotes: {word}"))
            }
            _ => None,
        }
    }

    /// The value as it stands in its text, if that is on one line.
    fn written_text(self) -> Option<String> {
        let span = self.node.span;
        let location = self.cx.sources.locate(span).filter(|_| span.start.line == span.end.line)?;
        let line = location.source.line(span.start.line);
        let (start, end) = (span.start.column as usize, span.end.column as usize);
        Some(line.chars().skip(start - 1).take(end.saturating_sub(start)).collect())
    }
}

/// Says the reference in place of the value it stands for, which may be a secret.
pub(crate) fn mask_reference(diagnostic: &mut Diagnostic, node: &Node) {
    if let Some(written) = node.written().map(shown_references) {
        let written = written.as_str();
        diagnostic.message = masked(&diagnostic.message, node, written);
        let help = || Some(format!("the value comes from {written}"));
        diagnostic.help = diagnostic.help.take().map(|help| masked(&help, node, written)).or_else(help);
    }
}

/// Takes the value out of a message that some type made of it.
fn masked(message: &str, node: &Node, mask: &str) -> String {
    /// Shorter values are no secrets, and would be found in every word.
    const SECRET_MIN_BYTES: usize = 4;
    let shown = match (&node.value, node.as_str()) {
        (_, Some(text)) => text.to_owned(),
        (Value::Int(int), _) => int.to_string(),
        (Value::Float(float), _) => float.to_string(),
        _ => return message.to_owned(),
    };
    let mut out = message.to_owned();
    for form in [shown.clone(), shown.escape_debug().to_string(), shown.trim().to_owned()] {
        if form.len() >= SECRET_MIN_BYTES {
            out = out.replace(&form, mask);
        }
    }
    masked_quotes(&out, &shown, mask)
}

/// Takes quoted pieces of the value out: a type may name the part of the value that is wrong.
fn masked_quotes(message: &str, value: &str, mask: &str) -> String {
    let mut out = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(open) = rest.find(['"', '\'', '`']) {
        let quote = &rest[open..=open];
        let (before, after) = (&rest[..=open], &rest[open + 1..]);
        let Some(close) = after.find(quote) else { break };
        let inside = &after[..close];
        out.push_str(before);
        out.push_str(if !inside.is_empty() && value.contains(inside) { mask } else { inside });
        out.push_str(quote);
        rest = &after[close + 1..];
    }
    out.push_str(rest);
    out
}
