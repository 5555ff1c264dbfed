//! The shape that the requests of all signals share, and the item count that follows from it.
//!
//! ```text
//! request   1: ResourceX   1: Resource   2: ScopeX   3: schema_url
//!                          ScopeX   1: Scope   2: span | log record | Metric   3: schema_url
//!                          Metric   5, 7, 9, 10, 11: data   1: data point
//! ```
//!
//! Everything in here expects valid bytes; other bytes give wrong answers, not panics.

use bytes::Bytes;

use crate::Signal;
use crate::assembler::Assembler;
use crate::schema::Message;
use crate::wire::{Field, Fields, WireType};

/// A message that holds items, directly or further down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Request,
    /// `ResourceSpans`, `ResourceMetrics`, `ResourceLogs`.
    Resource,
    /// `ScopeSpans`, `ScopeMetrics`, `ScopeLogs`.
    Scope,
    Metric,
    /// `Gauge`, `Sum`, ...
    MetricData,
    Item,
}

impl Level {
    /// The level of the children of this one. Items have none, so they are their own.
    pub(crate) fn child(self, signal: Signal) -> Self {
        match self {
            Level::Request => Level::Resource,
            Level::Resource => Level::Scope,
            Level::Scope if signal == Signal::Metrics => Level::Metric,
            Level::Metric => Level::MetricData,
            Level::Scope | Level::MetricData | Level::Item => Level::Item,
        }
    }

    /// Whether a field of a message of this level is one of its children.
    #[inline]
    pub(crate) fn is_child(self, field: &Field) -> bool {
        field.wire == WireType::Len
            && match self {
                Level::Request | Level::MetricData => field.number == 1,
                Level::Resource | Level::Scope => field.number == 2,
                Level::Metric => is_metric_data(field.number),
                Level::Item => false,
            }
    }
}

/// Whether field `number` of a metric is one of the alternatives of its data.
pub(crate) fn is_metric_data(number: u32) -> bool {
    matches!(number, 5 | 7 | 9 | 10 | 11)
}

/// The root message type of a signal.
pub(crate) fn request(signal: Signal) -> Message {
    match signal {
        Signal::Traces => Message::TraceRequest,
        Signal::Metrics => Message::MetricsRequest,
        Signal::Logs => Message::LogsRequest,
    }
}

/// Counts the items of one segment: spans, log records or metric data points.
///
/// Expects a valid request, as the segments of a [`Payload`](crate::Payload) are; it looks at keys and lengths only and
/// skips the rest. Of other bytes it counts what looks like items.
pub fn count_items(signal: Signal, segment: &[u8]) -> usize {
    count(signal, Level::Request, segment)
}

/// Counts the items in a message of the given level.
pub(crate) fn count(signal: Signal, level: Level, message: &[u8]) -> usize {
    let children = Fields::new(message).filter(|field| level.is_child(field));
    match (level, level.child(signal)) {
        (Level::Item, _) => 1,
        (Level::Metric, _) => {
            // Setting another alternative of a oneof discards the earlier one.
            let (mut data, mut items) = (0, 0);
            for field in children {
                if data != field.number {
                    (data, items) = (field.number, 0);
                }
                items += count(signal, Level::MetricData, field.content(message));
            }
            items
        }
        (_, Level::Item) => children.count(),
        (_, child) => children.map(|field| count(signal, child, field.content(message))).sum(),
    }
}

/// Counts the metrics in a message above them.
pub(crate) fn count_metrics(level: Level, message: &[u8]) -> usize {
    let children = Fields::new(message).filter(|field| level.is_child(field));
    match level.child(Signal::Metrics) {
        Level::Metric => children.count(),
        child => children.map(|field| count_metrics(child, field.content(message))).sum(),
    }
}

/// The data of a metric: the number of the alternative and its content, with the pieces merged.
#[derive(Debug, Clone)]
pub(crate) struct MetricData {
    pub(crate) number: u32,
    pub(crate) content: Bytes,
}

/// The data that counts of a metric: of several alternatives the last, of several pieces of it all that follow one
/// another. `None` for a metric without data.
pub(crate) fn metric_data(metric: &Bytes) -> Option<MetricData> {
    let start = metric_data_start(metric);
    let children = Fields::new(metric).filter(|field| Level::Metric.is_child(field));
    let pieces: Vec<Field> = children.filter(|field| field.start >= start).collect();
    let number = pieces.first()?.number;
    let content = match pieces.as_slice() {
        [field] => metric.slice(field.value..field.end),
        pieces => pieces.iter().flat_map(|field| field.content(metric)).copied().collect::<Vec<u8>>().into(),
    };
    Some(MetricData { number, content })
}

/// Where the data that counts of a metric begins: what stands before is discarded when another alternative is set.
pub(crate) fn metric_data_start(metric: &[u8]) -> usize {
    let (mut number, mut start) = (0, 0);
    for field in Fields::new(metric).filter(|field| Level::Metric.is_child(field)) {
        if number != field.number {
            (number, start) = (field.number, field.start);
        }
    }
    start
}

/// Copies the fields of a message that are not its children.
pub(crate) fn copy_header(level: Level, message: &Bytes, out: &mut Assembler<Bytes>) {
    let mut copied = 0;
    for child in Fields::new(message).filter(|field| level.is_child(field)) {
        out.copy(message.slice(copied..child.start));
        copied = child.end;
    }
    out.copy(message.slice(copied..));
}

/// The fields of a message that are not its children.
pub(crate) fn header(level: Level, message: &Bytes) -> Bytes {
    let mut out = Assembler::new();
    copy_header(level, message, &mut out);
    out.into_bytes()
}
