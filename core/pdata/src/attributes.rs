//! The attributes of a resource or an item: looking at them and editing them without touching the others' bytes.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::value::{MAX_VALUE_DEPTH, Value, ValueRef, encode_key_value, key_of, text};
use crate::wire::{Fields, len_field_size, len_key, put_len_field};

/// An attribute that is serialized once and then put into any number of resources or items. Cloning copies handles.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribute {
    /// The content of the `KeyValue` message.
    pair: Bytes,
    key: Arc<str>,
}

impl Attribute {
    /// Serializes an attribute. Of lists and maps nested deeper than [`MAX_VALUE_DEPTH`] the deeper part is left empty.
    pub fn new(key: impl Into<Arc<str>>, value: impl Into<Value>) -> Self {
        let key = key.into();
        let pair = encode_key_value(&key, &value.into(), MAX_VALUE_DEPTH).into();
        Self { pair, key }
    }

    /// The content of the `KeyValue` message.
    pub(crate) fn pair(&self) -> &[u8] {
        &self.pair
    }

    /// The key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The value.
    pub fn value(&self) -> ValueRef<'_> {
        ValueRef::of_key_value(&self.pair)
    }
}

/// A piece of the message that has the attributes, as the editor sees it.
#[derive(Debug, Clone)]
enum Entry<'a> {
    /// An attribute as it came: its key and the content of its `KeyValue`.
    Kept { key: &'a [u8], pair: &'a [u8] },
    /// An attribute that was put in.
    Put(Attribute),
    /// Other fields of the message, one after the other, with their keys and lengths.
    Others(&'a [u8]),
}

impl Entry<'_> {
    fn key(&self) -> Option<&[u8]> {
        match self {
            Entry::Kept { key, .. } => Some(key),
            Entry::Put(attribute) => Some(attribute.key.as_bytes()),
            Entry::Others(_) => None,
        }
    }

    fn pair(&self) -> Option<(&[u8], &[u8])> {
        match self {
            Entry::Kept { key, pair } => Some((key, pair)),
            Entry::Put(attribute) => Some((attribute.key.as_bytes(), &attribute.pair)),
            Entry::Others(_) => None,
        }
    }
}

/// The attributes of one resource or item, open for editing.
///
/// Nothing is parsed before the first look, and nothing is rewritten before the first change. Keys should be unique;
/// where they are not, the first attribute with a key is the one that is read and changed, and deleting removes all.
#[derive(Debug)]
pub struct Attributes<'a> {
    /// The field number of the attributes.
    number: u32,
    pieces: SmallVec<[&'a [u8]; 1]>,
    /// What the message consists of; empty before the first look.
    entries: SmallVec<[Entry<'a>; 16]>,
    parsed: bool,
    changed: bool,
}

impl<'a> Attributes<'a> {
    /// The attributes in field `number` of a message given in these pieces, usually one.
    pub(crate) fn new(number: u32, pieces: SmallVec<[&'a [u8]; 1]>) -> Self {
        Self { number, pieces, entries: SmallVec::new(), parsed: false, changed: false }
    }

    /// Goes on to the attributes in field `number` of another message, in the memory that was used for the last.
    pub(crate) fn reset(&mut self, number: u32, message: &'a [u8]) {
        self.number = number;
        self.pieces.clear();
        self.pieces.push(message);
        self.entries.clear();
        (self.parsed, self.changed) = (false, false);
    }

    /// The value of the attribute with this key.
    pub fn get(&mut self, key: &str) -> Option<ValueRef<'_>> {
        let index = self.position(key)?;
        let (_, pair) = self.entries().get(index)?.pair()?;
        Some(ValueRef::of_key_value(pair))
    }

    /// Keys and values in order.
    pub fn iter(&mut self) -> impl Iterator<Item = (&str, ValueRef<'_>)> {
        let pairs = self.entries().iter().filter_map(Entry::pair);
        pairs.map(|(key, pair)| (text(key), ValueRef::of_key_value(pair)))
    }

    /// Adds the attribute if there is none with its key; says whether it did.
    pub fn insert(&mut self, attribute: &Attribute) -> bool {
        if self.position(&attribute.key).is_some() {
            return false;
        }
        self.entries().push(Entry::Put(attribute.clone()));
        self.changed = true;
        true
    }

    /// Replaces the attribute with this key in its place if there is one; says whether there is. To replace an attribute by
    /// the same is no change.
    pub fn update(&mut self, attribute: &Attribute) -> bool {
        let Some(index) = self.position(&attribute.key) else { return false };
        if let Some(entry) = self.entries().get_mut(index)
            && entry.pair().is_none_or(|(_, pair)| *pair != *attribute.pair)
        {
            *entry = Entry::Put(attribute.clone());
            self.changed = true;
        }
        true
    }

    /// Replaces the attribute with this key in its place, or adds it.
    pub fn upsert(&mut self, attribute: &Attribute) {
        if !self.update(attribute) {
            self.insert(attribute);
        }
    }

    /// Removes every attribute with this key; says whether there was one.
    pub fn delete(&mut self, key: &str) -> bool {
        self.remove_if(|entry| entry.key() == Some(key.as_bytes()))
    }

    /// Removes the attributes for whose keys `keep` says no.
    pub fn retain_keys(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.remove_if(|entry| entry.key().is_some_and(|key| !keep(text(key))));
    }

    /// Removes the attributes for which `keep` says no.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, ValueRef<'_>) -> bool) {
        self.remove_if(|entry| {
            entry.pair().is_some_and(|(key, pair)| !keep(text(key), ValueRef::of_key_value(pair)))
        });
    }

    fn remove_if(&mut self, mut remove: impl FnMut(&Entry<'a>) -> bool) -> bool {
        let entries = self.entries();
        let before = entries.len();
        entries.retain(|entry| !remove(entry));
        let removed = entries.len() != before;
        self.changed |= removed;
        removed
    }

    fn position(&mut self, key: &str) -> Option<usize> {
        self.entries().iter().position(|entry| entry.key() == Some(key.as_bytes()))
    }

    fn entries(&mut self) -> &mut SmallVec<[Entry<'a>; 16]> {
        if !self.parsed {
            self.parsed = true;
            for piece in &self.pieces {
                parse(self.number, piece, &mut self.entries);
            }
        }
        &mut self.entries
    }

    /// Whether anything was changed.
    pub(crate) fn is_changed(&self) -> bool {
        self.changed
    }

    /// Size of the content of the edited message in bytes.
    pub(crate) fn encoded_len(&mut self) -> usize {
        let key = len_key(self.number);
        let sizes = self.entries().iter().map(|entry| match (entry, entry.pair()) {
            (_, Some((_, pair))) => len_field_size(key, pair.len()),
            (Entry::Others(raw), _) => raw.len(),
            _ => 0,
        });
        sizes.sum()
    }

    /// Appends the content of the edited message.
    pub(crate) fn encode(&mut self, out: &mut Vec<u8>) {
        let number = self.number;
        for entry in self.entries() {
            if let Some((_, pair)) = entry.pair() {
                put_len_field(out, number, pair);
            } else if let Entry::Others(raw) = entry {
                out.extend_from_slice(raw);
            }
        }
    }
}

fn parse<'a>(number: u32, message: &'a [u8], entries: &mut SmallVec<[Entry<'a>; 16]>) {
    let (mut others, mut end) = (0, 0);
    for field in Fields::new(message) {
        if field.is_len(number) {
            if others < field.start {
                entries.extend(message.get(others..field.start).map(Entry::Others));
            }
            let pair = field.content(message);
            entries.push(Entry::Kept { key: key_of(pair), pair });
            others = field.end;
        }
        end = field.end;
    }
    if others < end {
        entries.extend(message.get(others..end).map(Entry::Others));
    }
}
