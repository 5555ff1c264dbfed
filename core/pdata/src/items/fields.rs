//! Single fields of an item and of what contains it, read without decoding the rest.

use crate::items::{Item, ItemKind};
use crate::value::{ValueRef, key_of, text};
use crate::wire::{Fields, WireType};

/// Field numbers of `ScopeX` and `InstrumentationScope`.
const SCOPE: u32 = 1;
const SCOPE_NAME: u32 = 1;
const SCOPE_VERSION: u32 = 2;
const SCOPE_ATTRIBUTES: u32 = 3;
/// Field number of the name of a `Metric`.
const METRIC_NAME: u32 = 1;
/// Field numbers of a `Span`.
const SPAN_TRACE_ID: u32 = 1;
const SPAN_NAME: u32 = 5;
const SPAN_KIND: u32 = 6;
/// Field numbers of a `LogRecord`.
const LOG_SEVERITY_NUMBER: u32 = 2;
const LOG_SEVERITY_TEXT: u32 = 3;
const LOG_BODY: u32 = 5;
const LOG_TRACE_ID: u32 = 9;

/// An instrumentation scope, as it stands in the payload.
#[derive(Debug, Clone, Copy)]
pub struct ScopeView<'a>(pub(super) &'a [u8]);

impl<'a> ScopeView<'a> {
    /// The name; empty if there is none. Each call walks over all items of the scope.
    pub fn name(&self) -> &'a str {
        text(scope_text(self.0, SCOPE_NAME))
    }

    /// The version; empty if there is none. Each call walks over all items of the scope.
    pub fn version(&self) -> &'a str {
        text(scope_text(self.0, SCOPE_VERSION))
    }
}

/// A metric, as it stands in the payload.
#[derive(Debug, Clone, Copy)]
pub struct MetricView<'a>(pub(super) &'a [u8]);

impl<'a> MetricView<'a> {
    /// The name; empty if there is none.
    pub fn name(&self) -> &'a str {
        text(last(self.0, METRIC_NAME))
    }
}

impl ItemKind {
    /// Field number of the attributes.
    pub(super) const fn attributes(self) -> u32 {
        match self {
            Self::Span | Self::HistogramDataPoint => 9,
            Self::LogRecord => 6,
            Self::NumberDataPoint | Self::SummaryDataPoint => 7,
            Self::ExponentialHistogramDataPoint => 1,
        }
    }
}

impl<'a> Item<'a> {
    /// The trace id of a span or log record: 16 bytes, or none. Data points have none.
    pub fn trace_id(&self) -> &'a [u8] {
        match self.kind {
            ItemKind::Span => last(self.bytes, SPAN_TRACE_ID),
            ItemKind::LogRecord => last(self.bytes, LOG_TRACE_ID),
            _ => &[],
        }
    }

    /// The name of a span, or of the metric that a data point is of. Log records have none.
    pub fn name(&self) -> &'a str {
        match (self.kind, self.metric) {
            (ItemKind::Span, _) => text(last(self.bytes, SPAN_NAME)),
            (_, Some(metric)) => MetricView(metric).name(),
            _ => "",
        }
    }

    /// The number of the kind of a span (`SpanKind`: 1 internal, 2 server, 3 client, 4 producer, 5 consumer); 0 if it has
    /// none, and for other items.
    pub fn span_kind(&self) -> i32 {
        if self.kind == ItemKind::Span { number(self.bytes, SPAN_KIND) } else { 0 }
    }

    /// The number of the severity of a log record; 0 if it has none, and for other items.
    pub fn severity_number(&self) -> i32 {
        if self.kind == ItemKind::LogRecord { number(self.bytes, LOG_SEVERITY_NUMBER) } else { 0 }
    }

    /// The severity of a log record as its source words it.
    pub fn severity_text(&self) -> &'a str {
        if self.kind == ItemKind::LogRecord { text(last(self.bytes, LOG_SEVERITY_TEXT)) } else { "" }
    }

    /// The body of a log record.
    pub fn body(&self) -> ValueRef<'a> {
        let mut body = ValueRef::Empty;
        if self.kind == ItemKind::LogRecord {
            for field in Fields::new(self.bytes).filter(|field| field.is_len(LOG_BODY)) {
                body.merge(field.content(self.bytes));
            }
        }
        body
    }

    /// Keys and values of the item's own attributes, in order.
    pub fn attributes(&self) -> impl Iterator<Item = (&'a str, ValueRef<'a>)> + use<'a> {
        pairs(self.bytes, self.kind.attributes()).map(key_and_value)
    }

    /// The value of the item's first attribute with this key.
    pub fn attribute(&self, key: &str) -> Option<ValueRef<'a>> {
        find(pairs(self.bytes, self.kind.attributes()), key)
    }

    /// Keys and values of the attributes of the item's scope, in order.
    pub fn scope_attributes(&self) -> impl Iterator<Item = (&'a str, ValueRef<'a>)> + use<'a> {
        scopes(self.scope).flat_map(|scope| pairs(scope, SCOPE_ATTRIBUTES)).map(key_and_value)
    }

    /// The value of the scope's first attribute with this key.
    pub fn scope_attribute(&self, key: &str) -> Option<ValueRef<'a>> {
        find(scopes(self.scope).flat_map(|scope| pairs(scope, SCOPE_ATTRIBUTES)), key)
    }

    /// The name of the item's scope.
    pub fn scope_name(&self) -> &'a str {
        ScopeView(self.scope).name()
    }

    /// The version of the item's scope.
    pub fn scope_version(&self) -> &'a str {
        ScopeView(self.scope).version()
    }
}

/// The content of the last length-delimited field `number`: of a scalar given twice the last counts.
fn last(message: &[u8], number: u32) -> &[u8] {
    let fields = Fields::new(message).filter(|field| field.is_len(number));
    fields.last().map_or(&[], |field| field.content(message))
}

/// The enum in field `number`.
fn number(message: &[u8], number: u32) -> i32 {
    let fields = Fields::new(message).filter(|f| f.number == number && f.wire == WireType::Varint);
    #[expect(clippy::cast_possible_truncation, reason = "an enum is the low 32 bits of its varint")]
    fields.last().map_or(0, |field| field.varint(message) as i32)
}

/// The pieces of the scope in a `ScopeX`, usually one.
fn scopes(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    // The scope comes first in what encoders write, but need not, and items are many: the whole message is walked.
    Fields::new(message).filter(|field| field.is_len(SCOPE)).map(|field| field.content(message))
}

fn scope_text(message: &[u8], number: u32) -> &[u8] {
    let pieces = scopes(message).flat_map(|scope| {
        Fields::new(scope).filter(move |field| field.is_len(number)).map(|field| field.content(scope))
    });
    pieces.last().unwrap_or_default()
}

/// The contents of the `KeyValue`s in field `number`.
fn pairs(message: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    Fields::new(message).filter(move |field| field.is_len(number)).map(|field| field.content(message))
}

fn key_and_value(pair: &[u8]) -> (&str, ValueRef<'_>) {
    (text(key_of(pair)), ValueRef::of_key_value(pair))
}

fn find<'a>(mut pairs: impl Iterator<Item = &'a [u8]>, key: &str) -> Option<ValueRef<'a>> {
    pairs.find(|pair| key_of(pair) == key.as_bytes()).map(ValueRef::of_key_value)
}
