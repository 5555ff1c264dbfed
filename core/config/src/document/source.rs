//! Texts that configurations were read from, and places in them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Which text a [`Span`] lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(u32);

/// A place in a text: line and column, both from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

/// A stretch of a text; the end is exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The text.
    pub source: SourceId,
    /// First character.
    pub start: Position,
    /// One past the last character.
    pub end: Position,
}

/// One text and where it came from.
#[derive(Debug)]
pub struct SourceText {
    name: String,
    text: String,
    line_starts: Vec<usize>,
    secrets: Mutex<BTreeSet<Span>>,
}

/// A place that a diagnostic points at, with the text it lies in.
#[derive(Debug, Clone)]
pub struct Location {
    /// The text.
    pub source: Arc<SourceText>,
    /// Where in it.
    pub span: Span,
}

/// Every text of one configuration.
#[derive(Debug, Clone, Default)]
pub struct SourceMap {
    sources: Vec<Arc<SourceText>>,
}

impl SourceId {
    /// The place of what no text holds: defaults, values made by code.
    pub const NONE: Self = Self(u32::MAX);
}

impl Position {
    /// The first character of a text.
    pub const START: Self = Self { line: 1, column: 1 };
}

impl Span {
    /// The place of what no text holds.
    pub const NONE: Self = Self { source: SourceId::NONE, start: Position::START, end: Position::START };

    /// Whether it lies in a text.
    pub fn is_some(self) -> bool {
        self.source != SourceId::NONE
    }
}

// === impl SourceText ===

impl SourceText {
    fn new(name: String, text: String) -> Self {
        let line_starts = line_starts(&text);
        Self { name, text, line_starts, secrets: Mutex::default() }
    }

    /// What users know it by: `config.yaml`, `--set`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The number of lines.
    pub fn line_count(&self) -> u32 {
        u32::try_from(self.line_starts.len()).unwrap_or(u32::MAX)
    }

    /// The text of a line (from 1) without its end; empty beyond the last line.
    pub fn line(&self, number: u32) -> &str {
        let index = number.saturating_sub(1) as usize;
        let Some(&start) = self.line_starts.get(index) else { return "" };
        let end = self.line_starts.get(index + 1).copied().unwrap_or(self.text.len());
        self.text.get(start..end).unwrap_or("").trim_end_matches(['\n', '\r'])
    }

    /// Remembers that `span` holds a secret, so that no diagnostic shows it.
    pub fn hide(&self, span: Span) {
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.insert(span);
    }

    /// The secrets that touch a line.
    pub fn hidden_on(&self, line: u32) -> Vec<Span> {
        let secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.iter().filter(|s| s.start.line <= line && line <= s.end.line).copied().collect()
    }
}

/// Byte offsets at which lines start; a line ends with `\n`, `\r\n` or `\r`, as in YAML.
fn line_starts(text: &str) -> Vec<usize> {
    let bytes = text.as_bytes();
    let mut starts = vec![0];
    for (index, byte) in bytes.iter().enumerate() {
        if *byte == b'\n' || (*byte == b'\r' && bytes.get(index + 1) != Some(&b'\n')) {
            starts.push(index + 1);
        }
    }
    starts
}

// === impl SourceMap ===

impl SourceMap {
    /// No texts yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a text under the name that users know it by.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> SourceId {
        let id = SourceId(u32::try_from(self.sources.len()).unwrap_or(u32::MAX));
        self.sources.push(Arc::new(SourceText::new(name.into(), text.into())));
        id
    }

    /// The text of an id.
    pub fn get(&self, id: SourceId) -> Option<&Arc<SourceText>> {
        self.sources.get(id.0 as usize)
    }

    /// A span together with its text; `None` for [`Span::NONE`].
    pub fn locate(&self, span: Span) -> Option<Location> {
        self.get(span.source).map(|source| Location { source: source.clone(), span })
    }

    /// The beginning of the first text: where to point for what is missing from the configuration as a whole. `None` if
    /// there is no text.
    pub fn beginning(&self) -> Option<Location> {
        self.locate(Span { source: SourceId(0), start: Position::START, end: Position::START })
    }

    /// Remembers that `span` holds a secret, so that no diagnostic shows it.
    pub fn hide(&self, span: Span) {
        if let Some(source) = self.get(span.source) {
            source.hide(span);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_as_in_yaml_and_lines_beyond_the_end_are_empty() {
        let text = SourceText::new("x".into(), "a\r\nb\rc\n".into());
        assert_eq!([1, 2, 3, 4, 99].map(|n| text.line(n).to_owned()), ["a", "b", "c", "", ""]);
    }
}
