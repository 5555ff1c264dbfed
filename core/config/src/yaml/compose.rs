//! From parser events to nodes.

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, StrInput, Tag};

use super::{ALIAS_MAX_WEIGHT, DEPTH_MAX, DOCUMENT_MAX_BYTES, keys, scalar, too_deep};
use crate::document::{Entry, Key, Map, Node, Position, SourceId, Span, Value};

/// Why a text is no YAML that a configuration may be written in.
#[derive(Debug, Clone)]
pub(crate) struct ParseError {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    pub(crate) span: Span,
}

/// Parses the first document of a text.
pub(crate) fn parse(text: &str, source: SourceId) -> Result<Node, ParseError> {
    let start = Span { source, start: Position::START, end: Position::START };
    if text.len() > DOCUMENT_MAX_BYTES {
        return Err(ParseError::new(format!("is longer than {DOCUMENT_MAX_BYTES} bytes"), start));
    }
    refuse_control_characters(text, source)?;
    let mut composer =
        Composer { parser: Parser::new_from_str(text), source, anchors: HashMap::new(), alias_weight: 0 };
    let mut node = composer.document(start)?;
    keys::split(&mut node, 0)?;
    Ok(node)
}

impl ParseError {
    pub(super) fn new(message: impl Into<String>, span: Span) -> Self {
        Self { message: message.into(), help: None, span }
    }

    pub(super) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The parser takes NUL for the end of the text; `yaml.v3` refuses all of them.
fn refuse_control_characters(text: &str, source: SourceId) -> Result<(), ParseError> {
    let is_refused = |c: char| c < ' ' && !matches!(c, '\t' | '\n' | '\r') || c == '\u{7f}';
    let Some((offset, found)) = text.char_indices().find(|(_, c)| is_refused(*c)) else { return Ok(()) };
    let before = &text[..offset];
    let line_start = before.rfind(['\n', '\r']).map_or(0, |index| index + 1);
    let at = |extra: usize| Position {
        line: small(before.lines().count().max(1) + usize::from(before.ends_with('\n'))),
        column: small(before[line_start..].chars().count() + 1 + extra),
    };
    let span = Span { source, start: at(0), end: at(1) };
    Err(ParseError::new(format!("control characters are not allowed: U+{:04X}", u32::from(found)), span))
}

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// How much memory a value takes, about: 64 for each value and key, and the bytes of the texts.
pub(crate) fn weight(node: &Node) -> usize {
    const EACH: usize = 64;
    EACH + match &node.value {
        Value::String(text) => text.len(),
        Value::List(items) => items.iter().map(weight).sum(),
        Value::Map(map) => {
            map.entries().iter().map(|entry| EACH + entry.key.text.len() + weight(&entry.value)).sum()
        }
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => 0,
    }
}

struct Composer<'t> {
    parser: Parser<'t, StrInput<'t>>,
    source: SourceId,
    anchors: HashMap<usize, Node>,
    alias_weight: usize,
}

type Spanned<'t> = (Event<'t>, Span);

impl<'t> Composer<'t> {
    fn document(&mut self, start: Span) -> Result<Node, ParseError> {
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(_) | Event::Nothing => {}
                Event::DocumentEnd | Event::StreamEnd => return Ok(Node::new(Value::Null, start)),
                _ => return self.node((event, span), 0),
            }
        }
    }

    fn next(&mut self) -> Result<Spanned<'t>, ParseError> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                let span = Span { source: self.source, start: position(span.start), end: position(span.end) };
                Ok((event, span))
            }
            Some(Err(error)) => Err(self.scan_error(&error)),
            None => Ok((Event::StreamEnd, Span::NONE)),
        }
    }

    fn scan_error(&self, error: &ScanError) -> ParseError {
        let start = position(*error.marker());
        let end = Position { line: start.line, column: start.column + 1 };
        let message = format!("invalid YAML: {}", error.info());
        let error = ParseError::new(message, Span { source: self.source, start, end });
        if error.message.contains("tabs") { error.with_help("indent with spaces") } else { error }
    }

    fn node(&mut self, (event, span): Spanned<'t>, depth: usize) -> Result<Node, ParseError> {
        if depth > DEPTH_MAX {
            return Err(too_deep(span));
        }
        let (anchor, node) = match event {
            Event::Alias(anchor) => return self.alias(anchor, span, depth),
            Event::Scalar(text, style, anchor, tag) => {
                (anchor, Node::new(scalar_value(&text, style, tag.as_deref(), span)?, span))
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_tag(tag.as_deref(), "seq", span)?;
                (anchor, self.list(span, depth)?)
            }
            Event::MappingStart(anchor, tag) => {
                refuse_tag(tag.as_deref(), "map", span)?;
                (anchor, self.map(span, depth)?)
            }
            _ => return Err(ParseError::new("the document ends too early", span)),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn alias(&mut self, anchor: usize, span: Span, depth: usize) -> Result<Node, ParseError> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(ParseError::new("the alias stands inside the value that it refers to", span));
        };
        self.alias_weight = self.alias_weight.saturating_add(weight(node));
        if self.alias_weight > ALIAS_MAX_WEIGHT {
            return Err(ParseError::new("the document's aliases expand to too much", span));
        }
        if depth + height(node) > DEPTH_MAX {
            return Err(too_deep(span));
        }
        Ok(node.clone())
    }

    fn list(&mut self, start: Span, depth: usize) -> Result<Node, ParseError> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Node::new(Value::List(items), Span { end: span.end, ..start }));
            }
            items.push(self.node((event, span), depth + 1)?);
        }
    }

    fn map(&mut self, start: Span, depth: usize) -> Result<Node, ParseError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen: HashMap<String, Span> = HashMap::new();
        let mut merged = None;
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                if let Some(merged) = merged {
                    merge(&mut entries, merged)?;
                }
                return Ok(Node::new(
                    Value::Map(entries.into_iter().collect()),
                    Span { end: span.end, ..start },
                ));
            }
            let (key, is_merge) = self.key((event, span))?;
            if let Some(first) = seen.insert(key.text.clone(), key.span) {
                return Err(ParseError::new(format!("the key \"{}\" is given twice", key.text), key.span)
                    .with_help(format!("it is first given on line {}", first.start.line)));
            }
            let event = self.next()?;
            let value = self.node(event, depth + 1)?;
            if is_merge {
                merged = Some(value);
            } else {
                entries.push(Entry { key, value });
            }
        }
    }

    /// A key, and whether it is a merge key.
    fn key(&mut self, (event, span): Spanned<'t>) -> Result<(Key, bool), ParseError> {
        if matches!(event, Event::MappingStart(..) | Event::SequenceStart(..)) {
            return Err(ParseError::new("a key must be a string, not a map or list", span));
        }
        let node = self.node((event.clone(), span), 0)?;
        if let Event::Scalar(text, ScalarStyle::Plain, _, None) = &event
            && text == "<<"
        {
            return Ok((Key { text: text.clone().into_owned(), span }, true));
        }
        match node.value {
            Value::String(text) => Ok((Key { text, span }, false)),
            other => {
                let error = ParseError::new(format!("a key must be a string, not {}", other.kind()), span);
                Err(match event {
                    Event::Scalar(text, ..) => error.with_help(format!("quote it: \"{text}\"")),
                    _ => error,
                })
            }
        }
    }
}

/// Adds what `<<` brings: explicit keys win, earlier maps of a list win.
fn merge(entries: &mut Vec<Entry>, merged: Node) -> Result<(), ParseError> {
    let span = merged.span;
    let refuse = || ParseError::new("map merge requires map or sequence of maps as the value", span);
    let maps = match merged.value {
        Value::Map(map) => vec![map],
        Value::List(items) => items
            .into_iter()
            .map(|item| if let Value::Map(map) = item.value { Ok(map) } else { Err(refuse()) })
            .collect::<Result<Vec<Map>, _>>()?,
        _ => return Err(refuse()),
    };
    let mut have: HashSet<String> = entries.iter().map(|entry| entry.key.text.clone()).collect();
    for entry in maps.into_iter().flat_map(Map::into_entries) {
        if have.insert(entry.key.text.clone()) {
            entries.push(entry);
        }
    }
    Ok(())
}

fn height(node: &Node) -> usize {
    match &node.value {
        Value::List(items) => 1 + items.iter().map(height).max().unwrap_or(0),
        Value::Map(map) => 1 + map.entries().iter().map(|entry| height(&entry.value)).max().unwrap_or(0),
        _ => 0,
    }
}

fn position(marker: Marker) -> Position {
    Position { line: small(marker.line().max(1)), column: small(marker.col() + 1) }
}

fn scalar_value(text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Result<Value, ParseError> {
    let string = || Value::String(text.to_owned());
    let Some(tag) = tag else {
        return Ok(if style == ScalarStyle::Plain { scalar::resolve(text) } else { string() });
    };
    let resolved = scalar::resolve(text);
    let suffix = if tag.is_yaml_core_schema() { tag.suffix.as_str() } else { "" };
    match (suffix, resolved) {
        ("str", _) => Ok(string()),
        ("null", Value::Null) => Ok(Value::Null),
        ("bool", value @ Value::Bool(_))
        | ("int", value @ Value::Int(_))
        | ("float", value @ Value::Float(_)) => Ok(value),
        #[expect(clippy::cast_precision_loss, reason = "the tag asks for a float")]
        ("float", Value::Int(int)) => Ok(Value::Float(int as f64)),
        ("null" | "bool" | "int" | "float", _) => {
            Err(ParseError::new(format!("the value does not fit its tag !!{suffix}"), span))
        }
        // The tag `!` alone.
        _ if tag.handle.is_empty() && tag.suffix == "!" => Ok(string()),
        _ => Err(unknown_tag(tag, span)),
    }
}

fn refuse_tag(tag: Option<&Tag>, allowed: &str, span: Span) -> Result<(), ParseError> {
    match tag {
        Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == allowed) => Err(unknown_tag(tag, span)),
        _ => Ok(()),
    }
}

fn unknown_tag(tag: &Tag, span: Span) -> ParseError {
    let shown = if tag.is_yaml_core_schema() { format!("!!{}", tag.suffix) } else { tag.to_string() };
    ParseError::new(format!("the tag {shown} is not supported"), span)
        .with_help("only !!str, !!int, !!float, !!bool, !!null, !!seq and !!map are")
}
