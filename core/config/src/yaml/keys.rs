//! Keys with `::` address nested maps.

use std::collections::HashMap;

use super::compose::ParseError;
use super::{DEPTH_MAX, too_deep};
use crate::document::{Entry, Key, Map, Node, Value};

const DELIMITER: &str = "::";

/// Splits every key of a tree that contains `::` into nested maps, which are merged with what stands there already.
pub(super) fn split(node: &mut Node, depth: usize) -> Result<(), ParseError> {
    match &mut node.value {
        Value::List(items) => items.iter_mut().try_for_each(|item| split(item, depth + 1)),
        Value::Map(map) => split_map(map, depth),
        _ => Ok(()),
    }
}

fn split_map(map: &mut Map, depth: usize) -> Result<(), ParseError> {
    let has_nested = map.entries().iter().any(|entry| entry.key.text.contains(DELIMITER));
    for entry in map.entries_mut() {
        let steps = entry.key.text.matches(DELIMITER).count();
        if depth + steps >= DEPTH_MAX {
            return Err(too_deep(entry.key.span));
        }
        split(&mut entry.value, depth + steps + 1)?;
    }
    if !has_nested {
        return Ok(());
    }
    let mut joined = Joined::default();
    for entry in std::mem::take(map.entries_mut()) {
        joined.insert(nested(entry))?;
    }
    *map = joined.entries.into_iter().collect();
    Ok(())
}

/// `a::b: v` as `a: {b: v}`.
fn nested(entry: Entry) -> Entry {
    let Entry { key: Key { text, span }, value } = entry;
    let keys = text.rsplit(DELIMITER).map(|step| Key { text: step.to_owned(), span });
    let (mut outer, mut value) = (None, value);
    for key in keys {
        if let Some(inner) = outer.replace(key) {
            let entry = Entry { key: inner, value };
            value = Node::new(Value::Map(std::iter::once(entry).collect()), span);
        }
    }
    Entry { key: outer.unwrap_or(Key { text: String::new(), span }), value }
}

/// Entries with unique keys: maps under the same key are joined, anything else is refused.
#[derive(Default)]
struct Joined {
    entries: Vec<Entry>,
    places: HashMap<String, usize>,
}

impl Joined {
    fn insert(&mut self, entry: Entry) -> Result<(), ParseError> {
        let Some(&place) = self.places.get(&entry.key.text) else {
            self.places.insert(entry.key.text.clone(), self.entries.len());
            self.entries.push(entry);
            return Ok(());
        };
        let there = &mut self.entries[place];
        let first_line = there.key.span.start.line;
        match (&mut there.value.value, entry.value.value) {
            (Value::Map(there), Value::Map(more)) => {
                let mut joined = Self::default();
                for entry in std::mem::take(there.entries_mut()).into_iter().chain(more.into_entries()) {
                    joined.insert(entry)?;
                }
                *there = joined.entries.into_iter().collect();
                Ok(())
            }
            _ => {
                Err(ParseError::new(format!("the key \"{}\" is given twice", entry.key.text), entry.key.span)
                    .with_help(format!("it is first given on line {first_line}")))
            }
        }
    }
}
