//! Edits of single items: keep, drop or replace each one's bytes.

mod attributes;
mod fields;
mod partition;

use bytes::Bytes;

use crate::assembler::Assembler;
use crate::malformed::Malformed;
use crate::resources::ResourceView;
use crate::schema::Message;
use crate::shape::{Level, copy_header, metric_data};
use crate::validate::validate;
use crate::wire::{Fields, len_key};
use crate::{Payload, Signal};

pub use attributes::EditAttributes;
pub use fields::{MetricView, ScopeView};

/// The message type of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemKind {
    /// `opentelemetry.proto.trace.v1.Span`
    Span,
    /// `opentelemetry.proto.logs.v1.LogRecord`
    LogRecord,
    /// `opentelemetry.proto.metrics.v1.NumberDataPoint`, of a gauge or a sum
    NumberDataPoint,
    /// `opentelemetry.proto.metrics.v1.HistogramDataPoint`
    HistogramDataPoint,
    /// `opentelemetry.proto.metrics.v1.ExponentialHistogramDataPoint`
    ExponentialHistogramDataPoint,
    /// `opentelemetry.proto.metrics.v1.SummaryDataPoint`
    SummaryDataPoint,
}

impl ItemKind {
    /// The kind of the items in the metric data with this field number.
    fn of_metric_data(number: u32) -> Self {
        match number {
            9 => Self::HistogramDataPoint,
            10 => Self::ExponentialHistogramDataPoint,
            11 => Self::SummaryDataPoint,
            _ => Self::NumberDataPoint,
        }
    }

    fn message(self) -> Message {
        match self {
            Self::Span => Message::Span,
            Self::LogRecord => Message::LogRecord,
            Self::NumberDataPoint => Message::NumberDataPoint,
            Self::HistogramDataPoint => Message::HistogramDataPoint,
            Self::ExponentialHistogramDataPoint => Message::ExponentialHistogramDataPoint,
            Self::SummaryDataPoint => Message::SummaryDataPoint,
        }
    }

    /// How many messages contain an item, the request included.
    fn depth(self) -> usize {
        match self {
            Self::Span | Self::LogRecord => 3,
            _ => 5,
        }
    }
}

/// One item and what it stands in.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    kind: ItemKind,
    bytes: &'a [u8],
    resource: ResourceView<'a>,
    scope: &'a [u8],
    metric: Option<&'a [u8]>,
}

impl<'a> Item<'a> {
    /// Which message type the bytes are.
    pub fn kind(&self) -> ItemKind {
        self.kind
    }

    /// The serialized item, for decoding with the type that [`Item::kind`] says.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The resource of the item.
    pub fn resource(&self) -> ResourceView<'a> {
        self.resource
    }

    /// The serialized `ScopeSpans`, `ScopeMetrics` or `ScopeLogs` that the item is in, all its items included.
    pub fn scope_bytes(&self) -> &'a [u8] {
        self.scope
    }

    /// The serialized `Metric` that a data point is in, all its points included.
    pub fn metric_bytes(&self) -> Option<&'a [u8]> {
        self.metric
    }
}

/// What becomes of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemEdit {
    /// It stays as it is.
    Keep,
    /// It goes. A metric, scope or resource that loses its last item goes, too.
    Drop,
    /// Its bytes become these: a serialized message of the same type.
    Replace(Bytes),
}

impl Payload {
    /// Edits every item, in order. What is left unchanged is passed on as it is; a segment without changes shares its
    /// bytes with this payload. Metrics, scopes and resources that had no items before stay.
    ///
    /// # Errors
    /// A replacement that is not a valid item. The error names the position inside the replacement.
    pub fn edit_items(&self, edit: impl FnMut(Item<'_>) -> ItemEdit) -> Result<Payload, Malformed> {
        let mut editor = Editor { signal: self.signal(), edit, dropped: 0 };
        let mut edited = Payload::empty(self.signal());
        for segment in self.segments() {
            edited.push_segment(editor.segment(segment)?);
        }
        edited.set_items(self.items().saturating_sub(editor.dropped));
        Ok(edited)
    }
}

struct Editor<F> {
    signal: Signal,
    edit: F,
    dropped: usize,
}

/// What contains the message at hand.
#[derive(Clone, Copy)]
struct Place<'a> {
    resource: ResourceView<'a>,
    scope: &'a [u8],
    metric: Option<&'a [u8]>,
    kind: ItemKind,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Same,
    Changed,
    /// It lost everything it held.
    Emptied,
}

impl<F: FnMut(Item<'_>) -> ItemEdit> Editor<F> {
    fn segment(&mut self, segment: &Bytes) -> Result<Bytes, Malformed> {
        let kind = if self.signal == Signal::Logs { ItemKind::LogRecord } else { ItemKind::Span };
        let place = Place { resource: ResourceView::new(self.signal, &[]), scope: &[], metric: None, kind };
        let mut out = Assembler::new();
        match self.container(Level::Request, segment, place, &mut out)? {
            Outcome::Same => Ok(segment.clone()),
            Outcome::Changed | Outcome::Emptied => Ok(out.finish_segment()),
        }
    }

    /// Edits what a message holds and puts its new content into `out`; of use only if it is not the same.
    fn container(
        &mut self,
        level: Level,
        message: &Bytes,
        place: Place<'_>,
        out: &mut Assembler<Bytes>,
    ) -> Result<Outcome, Malformed> {
        let (mut copied, mut kept) = (0, false);
        for field in Fields::new(message).filter(|field| level.is_child(field)) {
            let outcome = match level.child(self.signal) {
                Level::Item => match self.item(field.content(message), place)? {
                    ItemEdit::Keep => Outcome::Same,
                    ItemEdit::Drop => {
                        out.copy(message.slice(copied..field.start));
                        Outcome::Emptied
                    }
                    ItemEdit::Replace(replacement) => {
                        out.copy(message.slice(copied..field.start));
                        out.begin(len_key(field.number));
                        out.copy(replacement);
                        out.end();
                        Outcome::Changed
                    }
                },
                child => {
                    let before_gap = out.mark();
                    out.copy(message.slice(copied..field.start));
                    let before_child = out.mark();
                    out.begin(len_key(field.number));
                    let outcome = self.child(child, &message.slice(field.value..field.end), place, out)?;
                    match outcome {
                        // It is copied together with what follows, when something else changes.
                        Outcome::Same => out.roll_back(before_gap),
                        Outcome::Changed => out.end(),
                        Outcome::Emptied => out.roll_back(before_child),
                    }
                    outcome
                }
            };
            kept |= outcome != Outcome::Emptied;
            if outcome != Outcome::Same {
                copied = field.end;
            }
        }
        if copied == 0 {
            return Ok(Outcome::Same);
        }
        out.copy(message.slice(copied..));
        Ok(if kept { Outcome::Changed } else { Outcome::Emptied })
    }

    fn child(
        &mut self,
        level: Level,
        message: &Bytes,
        place: Place<'_>,
        out: &mut Assembler<Bytes>,
    ) -> Result<Outcome, Malformed> {
        match level {
            Level::Resource => {
                let resource = ResourceView::new(self.signal, message);
                self.container(level, message, Place { resource, ..place }, out)
            }
            Level::Metric => self.metric(message, Place { metric: Some(message), ..place }, out),
            _ => self.container(level, message, Place { scope: message, ..place }, out),
        }
    }

    fn metric(
        &mut self,
        metric: &Bytes,
        place: Place<'_>,
        out: &mut Assembler<Bytes>,
    ) -> Result<Outcome, Malformed> {
        let Some(data) = metric_data(metric) else { return Ok(Outcome::Same) };
        copy_header(Level::Metric, metric, out);
        out.begin(len_key(data.number));
        let place = Place { kind: ItemKind::of_metric_data(data.number), ..place };
        let outcome = self.container(Level::MetricData, &data.content, place, out)?;
        out.end();
        Ok(outcome)
    }

    /// Asks for the edit of one item, and checks it.
    fn item(&mut self, bytes: &[u8], place: Place<'_>) -> Result<ItemEdit, Malformed> {
        let Place { resource, scope, metric, kind } = place;
        let edit = (self.edit)(Item { kind, bytes, resource, scope, metric });
        match &edit {
            ItemEdit::Keep => {}
            ItemEdit::Drop => self.dropped += 1,
            ItemEdit::Replace(replacement) => {
                validate(kind.message(), kind.depth(), replacement, false)?;
            }
        }
        Ok(edit)
    }
}
