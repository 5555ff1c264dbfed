//! Views of the resources of a payload, and edits of their attributes.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::attributes::Attributes;
use crate::memory::Account;
use crate::shape::{Level, count};
use crate::value::{ValueRef, key_of, text};
use crate::wire::{Fields, len_field_size, len_key, put_varint};
use crate::{Payload, Signal};

/// Field number of the resource in a `ResourceX`, and of the resource's attributes.
const RESOURCE: u32 = 1;
const ATTRIBUTES: u32 = 1;
const SCHEMA_URL: u32 = 3;

/// A resource with its scopes and items, as it stands in the payload.
#[derive(Debug, Clone, Copy)]
pub struct ResourceView<'a> {
    signal: Signal,
    /// The content of the `ResourceX` message.
    message: &'a [u8],
}

impl<'a> ResourceView<'a> {
    pub(crate) fn new(signal: Signal, message: &'a [u8]) -> Self {
        Self { signal, message }
    }

    /// Keys and values of the resource's attributes, in order.
    pub fn attributes(&self) -> impl Iterator<Item = (&'a str, ValueRef<'a>)> + use<'a> {
        pairs(self.message).map(|pair| (text(key_of(pair)), ValueRef::of_key_value(pair)))
    }

    /// The value of the first attribute with this key.
    pub fn get(&self, key: &str) -> Option<ValueRef<'a>> {
        let mut pairs = pairs(self.message);
        pairs.find(|pair| key_of(pair) == key.as_bytes()).map(ValueRef::of_key_value)
    }

    /// The schema URL of the resource; empty if there is none.
    pub fn schema_url(&self) -> &'a str {
        let fields = Fields::new(self.message).filter(|field| field.is_len(SCHEMA_URL));
        fields.last().map_or("", |field| text(field.content(self.message)))
    }

    /// Spans, log records or data points of this resource; counted on each call.
    pub fn items(&self) -> usize {
        count(self.signal, Level::Resource, self.message)
    }

    /// Serialized size with scopes and items, in bytes.
    pub fn len(&self) -> usize {
        self.message.len()
    }

    /// Whether the message has no bytes at all: no attributes, no scopes.
    pub fn is_empty(&self) -> bool {
        self.message.is_empty()
    }
}

/// The `KeyValue`s of the resource in a `ResourceX`, over all pieces of the resource.
fn pairs(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    let pieces =
        Fields::new(message).filter(|field| field.is_len(RESOURCE)).map(|field| field.content(message));
    pieces.flat_map(|piece| {
        Fields::new(piece).filter(|field| field.is_len(ATTRIBUTES)).map(|field| field.content(piece))
    })
}

impl Payload {
    /// The resources in order.
    pub fn resources(&self) -> impl Iterator<Item = ResourceView<'_>> {
        let signal = self.signal();
        self.segments().iter().flat_map(move |segment| {
            let fields = Fields::new(segment).filter(|field| Level::Request.is_child(field));
            fields.map(move |field| ResourceView::new(signal, field.content(segment)))
        })
    }

    /// Edits the attributes of every resource. What the edit leaves unchanged is passed on as it is: a payload without
    /// changes shares its bytes with this one; beside changed attributes the bytes of scopes and items are copied, not
    /// parsed. A `ResourceX` without a resource gets one when an attribute is put in.
    #[must_use]
    pub fn edit_resources(&self, mut edit: impl FnMut(&mut Attributes<'_>)) -> Payload {
        let mut edited = Payload::empty(self.signal());
        for segment in self.segments() {
            edited.push_segment(edit_segment(segment, &mut edit));
        }
        edited.set_items(self.items());
        edited
    }
}

fn edit_segment(segment: &Bytes, edit: &mut impl FnMut(&mut Attributes<'_>)) -> Bytes {
    let mut out = Vec::new();
    let mut copied = 0;
    for field in Fields::new(segment).filter(|field| Level::Request.is_child(field)) {
        let mut parts = Parts::of(field.content(segment));
        edit(&mut parts.attributes);
        if !parts.attributes.is_changed() {
            continue;
        }
        let (resource_len, len) = parts.encoded_len();
        if copied == 0 {
            // Exact for the usual request of one resource. Room for growth is only taken when there is some: a request
            // may have very many resources.
            out.reserve_exact(
                segment.len() + len_field_size(len_key(1), len).saturating_sub(field.raw(segment).len()),
            );
        }
        out.extend_from_slice(segment.get(copied..field.start).unwrap_or_default());
        put_varint(&mut out, u64::from(len_key(1)));
        put_varint(&mut out, len as u64);
        parts.encode(resource_len, &mut out);
        copied = field.end;
    }
    if copied == 0 {
        return segment.clone();
    }
    out.extend_from_slice(segment.get(copied..).unwrap_or_default());
    Account::process().segment(out)
}

/// A `ResourceX` taken apart: the resource, and the fields around it.
struct Parts<'a> {
    attributes: Attributes<'a>,
    /// Ranges of whole fields other than the resource; never empty.
    others: SmallVec<[&'a [u8]; 2]>,
    /// How many of `others` come before the resource.
    before: usize,
}

impl<'a> Parts<'a> {
    fn of(message: &'a [u8]) -> Self {
        let mut pieces = SmallVec::new();
        let mut others: SmallVec<[&[u8]; 2]> = SmallVec::new();
        let mut before = None;
        let mut copied = 0;
        for part in Fields::new(message).filter(|part| part.is_len(RESOURCE)) {
            pieces.push(part.content(message));
            if copied < part.start {
                others.extend(message.get(copied..part.start));
            }
            before.get_or_insert(others.len());
            copied = part.end;
        }
        others.extend(message.get(copied..));
        Self { attributes: Attributes::new(ATTRIBUTES, pieces), others, before: before.unwrap_or(0) }
    }

    /// The sizes of the resource and of the whole `ResourceX`, without their keys and lengths.
    fn encoded_len(&mut self) -> (usize, usize) {
        let resource = self.attributes.encoded_len();
        let others: usize = self.others.iter().map(|other| other.len()).sum();
        (resource, len_field_size(len_key(RESOURCE), resource) + others)
    }

    fn encode(&mut self, resource_len: usize, out: &mut Vec<u8>) {
        for (index, other) in self.others.iter().enumerate() {
            if index == self.before {
                put_varint(out, u64::from(len_key(RESOURCE)));
                put_varint(out, resource_len as u64);
                self.attributes.encode(out);
            }
            out.extend_from_slice(other);
        }
    }
}
