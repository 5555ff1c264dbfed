//! The attributes of a resource: looking at them and editing them without touching the others' bytes.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::value::{MAX_VALUE_DEPTH, Value, ValueRef, encode_key_value, key_of, text};
use crate::wire::{Fields, len_field_size, len_key, put_varint};

/// Field number of the attributes in a `Resource`.
const ATTRIBUTES: u32 = 1;

/// An attribute that is serialized once and then put into any number of resources. Cloning copies handles.
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

/// One field of a resource, as the editor sees it.
#[derive(Debug, Clone)]
enum Entry<'a> {
    /// An attribute as it came: its key and the content of its `KeyValue`.
    Kept { key: &'a [u8], pair: &'a [u8] },
    /// An attribute that was put in.
    Put(Attribute),
    /// Any other field of the resource, with its key and length.
    Other(&'a [u8]),
}

impl Entry<'_> {
    fn key(&self) -> Option<&[u8]> {
        match self {
            Entry::Kept { key, .. } => Some(key),
            Entry::Put(attribute) => Some(attribute.key.as_bytes()),
            Entry::Other(_) => None,
        }
    }

    fn pair(&self) -> Option<(&[u8], &[u8])> {
        match self {
            Entry::Kept { key, pair } => Some((key, pair)),
            Entry::Put(attribute) => Some((attribute.key.as_bytes(), &attribute.pair)),
            Entry::Other(_) => None,
        }
    }
}

/// The attributes of one resource, open for editing.
///
/// Nothing is parsed before the first look, and nothing is rewritten before the first change. Keys should be unique;
/// where they are not, the first attribute with a key is the one that is read and changed, and deleting removes all.
#[derive(Debug)]
pub struct Attributes<'a> {
    pieces: SmallVec<[&'a [u8]; 1]>,
    /// The fields of the resource, parsed at the first look.
    entries: Option<SmallVec<[Entry<'a>; 16]>>,
    changed: bool,
}

impl<'a> Attributes<'a> {
    /// The attributes of a resource given in these pieces, usually one.
    pub(crate) fn new(pieces: SmallVec<[&'a [u8]; 1]>) -> Self {
        Self { pieces, entries: None, changed: false }
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

    /// Replaces the attribute with this key in its place if there is one; says whether it did.
    pub fn update(&mut self, attribute: &Attribute) -> bool {
        let Some(index) = self.position(&attribute.key) else { return false };
        if let Some(entry) = self.entries().get_mut(index) {
            *entry = Entry::Put(attribute.clone());
        }
        self.changed = true;
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
        let pieces = &self.pieces;
        self.entries.get_or_insert_with(|| pieces.iter().flat_map(|piece| parse(piece)).collect())
    }

    /// Whether anything was changed.
    pub(crate) fn is_changed(&self) -> bool {
        self.changed
    }

    /// Size of the content of the edited resource in bytes.
    pub(crate) fn encoded_len(&mut self) -> usize {
        let sizes = self.entries().iter().map(|entry| match (entry, entry.pair()) {
            (_, Some((_, pair))) => len_field_size(len_key(ATTRIBUTES), pair.len()),
            (Entry::Other(raw), _) => raw.len(),
            _ => 0,
        });
        sizes.sum()
    }

    /// Appends the content of the edited resource.
    pub(crate) fn encode(&mut self, out: &mut Vec<u8>) {
        for entry in self.entries() {
            if let Some((_, pair)) = entry.pair() {
                put_varint(out, u64::from(len_key(ATTRIBUTES)));
                put_varint(out, pair.len() as u64);
                out.extend_from_slice(pair);
            } else if let Entry::Other(raw) = entry {
                out.extend_from_slice(raw);
            }
        }
    }
}

fn parse(resource: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    Fields::new(resource).map(|field| {
        if field.is_len(ATTRIBUTES) {
            let pair = field.content(resource);
            Entry::Kept { key: key_of(pair), pair }
        } else {
            Entry::Other(field.raw(resource))
        }
    })
}
