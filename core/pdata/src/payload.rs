//! The immutable unit that travels through a pipeline.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::Signal;

/// Telemetry of one signal as serialized OTLP.
///
/// The payload is a list of *segments*; each segment is by itself a complete, valid serialized
/// `Export*ServiceRequest`, and so is their concatenation (protobuf merges concatenated messages). Merging is
/// therefore appending segments, and nothing is copied until a socket gathers them.
///
/// Cloning copies handles, never telemetry.
#[derive(Debug, Clone)]
pub struct Payload {
    signal: Signal,
    segments: SmallVec<[Bytes; 1]>,
    items: usize,
}

impl Payload {
    /// A payload that holds nothing.
    pub fn empty(signal: Signal) -> Self {
        Self { signal, segments: SmallVec::new(), items: 0 }
    }

    /// A payload of one segment that this crate has produced or validated, holding `items` items.
    pub(crate) fn from_valid(signal: Signal, bytes: Bytes, items: usize) -> Self {
        let mut payload = Self::empty(signal);
        payload.items = items;
        if !bytes.is_empty() {
            payload.segments.push(bytes);
        }
        payload
    }

    /// Which signal this is.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// Spans, log records or metric data points in here.
    pub fn items(&self) -> usize {
        self.items
    }

    /// Serialized size in bytes.
    pub fn len(&self) -> usize {
        self.segments.iter().map(Bytes::len).sum()
    }

    /// Whether there are no bytes at all. A payload can have bytes (a resource, say) and still no items.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// The serialized request, in order. Each segment is a complete request of its own.
    pub fn segments(&self) -> &[Bytes] {
        &self.segments
    }
}
