//! The immutable unit that travels through a pipeline.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::memory::Account;
use crate::repair::repair;
use crate::shape::{Level, count_metrics, request};
use crate::validate::validate;
use crate::{Malformed, Signal};

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

    /// Takes in bytes from outside: validates every field of every message, counts the items, and deals with strings that
    /// are not UTF-8 as told. Without such strings the payload shares `bytes`.
    ///
    /// # Errors
    /// What is malformed, and where; the text suits an `INVALID_ARGUMENT`.
    pub fn from_wire(signal: Signal, bytes: Bytes, invalid: InvalidUtf8) -> Result<Received, Malformed> {
        let census = validate(request(signal), 0, &bytes, invalid == InvalidUtf8::Repair)?;
        let bytes = if census.invalid_strings == 0 {
            bytes
        } else {
            Account::process().segment(repair(request(signal), &bytes))
        };
        let payload = Self::from_valid(signal, bytes, census.items);
        Ok(Received { payload, repaired_strings: census.invalid_strings })
    }

    /// Appends another payload, sharing its bytes.
    ///
    /// # Errors
    /// The other payload, if it is of another signal: those cannot be merged, and it is the caller's again.
    pub fn append(&mut self, other: Payload) -> Result<(), Payload> {
        if other.signal != self.signal {
            return Err(other);
        }
        self.items += other.items;
        self.segments.extend(other.segments);
        Ok(())
    }

    pub(crate) fn into_segments(self) -> SmallVec<[Bytes; 1]> {
        self.segments
    }

    /// Appends a segment of valid bytes, without counting its items.
    pub(crate) fn push_segment(&mut self, segment: Bytes) {
        if !segment.is_empty() {
            self.segments.push(segment);
        }
    }

    pub(crate) fn set_items(&mut self, items: usize) {
        self.items = items;
    }

    /// Which signal this is.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// Spans, log records or metric data points in here.
    pub fn items(&self) -> usize {
        self.items
    }

    /// Metrics in here, whatever the number of their data points; 0 for other signals. Counted on each call.
    pub fn metrics(&self) -> usize {
        if self.signal != Signal::Metrics {
            return 0;
        }
        self.segments.iter().map(|segment| count_metrics(Level::Request, segment)).sum()
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

/// What to do with strings that are not UTF-8 at the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InvalidUtf8 {
    /// Put U+FFFD in place of what is not UTF-8, and count the strings.
    #[default]
    Repair,
    /// Refuse the request.
    Refuse,
}

/// A request that came through the door.
#[derive(Debug, Clone)]
pub struct Received {
    /// The telemetry.
    pub payload: Payload,
    /// Strings that were not UTF-8 and have been repaired; more than 0 is worth a log line and a metric.
    pub repaired_strings: usize,
}
