//! Values with their places.

use std::sync::Arc;

use super::source::Span;

/// A value of the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Where it was written. A value that came out of `${...}` points at the reference, unless it lies inside a map or
    /// list read from a file: then at its place in that file.
    pub span: Span,
    /// How it came about.
    pub origin: Origin,
}

/// The content of a value, typed as YAML 1.2 with the leftovers of 1.1 that Go's `yaml.v3` keeps.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer within `i64::MIN..=u64::MAX`.
    Int(i128),
    /// A floating-point number.
    Float(f64),
    /// A text.
    String(String),
    /// A list.
    List(Vec<Node>),
    /// A map with text keys, in the order of the source.
    Map(Map),
}

/// How a value came about; decides its type in text fields and whether diagnostics may show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Written as it is.
    Literal,
    /// The whole value was one `${...}`. A text field takes the raw text, other fields the parsed value.
    Reference {
        /// The reference as written.
        reference: Arc<str>,
        /// The text before it was parsed; `None` if a reference inside it could not be expanded.
        text: Option<String>,
    },
    /// A text with one or more `${...}` inside.
    Interpolated {
        /// The text as written.
        template: Arc<str>,
    },
    /// Inside a map or list that a whole-value reference to something other than a file stands for.
    Inside {
        /// The reference as written.
        reference: Arc<str>,
    },
    /// Not written: a default.
    Default,
}

/// A map in the order of its source; keys are unique.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Map {
    entries: Vec<Entry>,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// The value.
    pub value: Node,
}

/// A key of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its text.
    pub text: String,
    /// Where it was written.
    pub span: Span,
}

// === impl Node ===

impl Node {
    /// A value written as it is at `span`.
    pub fn new(value: Value, span: Span) -> Self {
        Self { value, span, origin: Origin::Literal }
    }

    /// An empty map that no text holds.
    pub fn empty_map() -> Self {
        Self::new(Value::Map(Map::default()), Span::NONE)
    }

    /// The value of a key, if this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.get(key)
    }

    /// The entries of a map in order; nothing for other values.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.as_map().into_iter().flat_map(|map| map.entries.iter())
    }

    /// The items of a list in order; nothing for other values.
    pub fn items(&self) -> impl Iterator<Item = &Node> {
        let items: &[Node] = if let Value::List(items) = &self.value { items } else { &[] };
        items.iter()
    }

    /// As a map.
    pub fn as_map(&self) -> Option<&Map> {
        if let Value::Map(map) = &self.value { Some(map) } else { None }
    }

    /// As a text: a text, or the raw text of a whole-value reference.
    pub fn as_str(&self) -> Option<&str> {
        match (&self.origin, &self.value) {
            (Origin::Reference { text: Some(text), .. }, _) | (_, Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// Whether it is null, written or expanded.
    pub fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// Whether it came out of a `${...}`; its content must not be shown.
    pub fn is_expanded(&self) -> bool {
        self.written().is_some()
    }

    /// Whether no one wrote it.
    pub(crate) fn is_default(&self) -> bool {
        self.origin == Origin::Default
    }

    /// Its place, if that shows the value in one line.
    pub(crate) fn handy_span(&self) -> Option<Span> {
        let Span { start, end, .. } = self.span;
        (self.span.is_some() && start.line == end.line && start != end).then_some(self.span)
    }

    /// The value as the source has it: the reference instead of what it stands for.
    pub fn written(&self) -> Option<&str> {
        match &self.origin {
            Origin::Reference { reference, .. } | Origin::Inside { reference } => Some(reference),
            Origin::Interpolated { template } => Some(template),
            Origin::Literal | Origin::Default => None,
        }
    }
}

impl Value {
    /// What it is in words: `a string`, `a list`.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Int(_) => "an integer",
            Value::Float(_) => "a number",
            Value::String(_) => "a string",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

// === impl Map ===

impl Map {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// A key with its value.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key.text == key)
    }

    /// All entries in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn entries_mut(&mut self) -> &mut Vec<Entry> {
        &mut self.entries
    }

    pub(crate) fn into_entries(self) -> Vec<Entry> {
        self.entries
    }
}

impl FromIterator<Entry> for Map {
    /// Takes the keys as they are: the caller sees to it that they are unique.
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        Self { entries: entries.into_iter().collect() }
    }
}
