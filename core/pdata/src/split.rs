//! Splits a payload into parts of limited size, in one pass over its bytes.

mod cursor;
mod part;

use std::num::NonZeroUsize;

use crate::Payload;
use cursor::{Cursor, Limit};

impl Payload {
    /// Splits into parts of up to `first` items (the first part) and up to `rest` items (the others). Every part but the
    /// last is full.
    ///
    /// A cut inside a resource or scope repeats what belongs to all of its items (resource, scope, schema URL, unknown
    /// fields) in each part; a metric is cut between its data points, repeating name, description, unit, metadata and
    /// temporality. Whole resources share the bytes of this payload, cut ones are copied. What has no items goes along
    /// with its neighbours, so nothing is lost.
    ///
    /// The iterator is lazy: parts that are not taken are not made.
    pub fn split_items(self, first: NonZeroUsize, rest: NonZeroUsize) -> SplitItems {
        SplitItems { cursor: Cursor::new(self), next: first, rest }
    }

    /// Splits into parts of up to `max` bytes, as [`Payload::split_items`] does it by items. A single item whose part is
    /// larger than that comes by itself as [`SplitPart::TooLarge`].
    pub fn split_bytes(self, max: NonZeroUsize) -> SplitBytes {
        SplitBytes { cursor: Cursor::new(self), max }
    }
}

/// The parts of a payload, limited by items: see [`Payload::split_items`].
#[derive(Debug)]
pub struct SplitItems {
    cursor: Cursor,
    next: NonZeroUsize,
    rest: NonZeroUsize,
}

impl Iterator for SplitItems {
    type Item = Payload;

    fn next(&mut self) -> Option<Payload> {
        let limit = Limit::Items(self.next.get());
        self.next = self.rest;
        match self.cursor.next_part(limit)? {
            SplitPart::Fits(part) | SplitPart::TooLarge(part) => Some(part),
        }
    }
}

/// The parts of a payload, limited by bytes: see [`Payload::split_bytes`].
#[derive(Debug)]
pub struct SplitBytes {
    cursor: Cursor,
    max: NonZeroUsize,
}

impl Iterator for SplitBytes {
    type Item = SplitPart;

    fn next(&mut self) -> Option<SplitPart> {
        self.cursor.next_part(Limit::Bytes(self.max.get()))
    }
}

/// One part of a payload split by bytes.
#[derive(Debug, Clone)]
pub enum SplitPart {
    /// A part within the limit.
    Fits(Payload),
    /// One item, or one resource, scope or metric without items, which together with what must be repeated around it is
    /// over the limit.
    TooLarge(Payload),
}

impl SplitPart {
    /// The part, whatever its size.
    pub fn into_payload(self) -> Payload {
        match self {
            SplitPart::Fits(payload) | SplitPart::TooLarge(payload) => payload,
        }
    }
}
