//! Edits of the attributes of items. What is left unchanged is copied in ranges as long as possible.

use bytes::Bytes;
use smallvec::SmallVec;

use super::fields::{MetricView, ScopeView};
use super::{Item, ItemKind, Place};
use crate::attributes::Attributes;
use crate::memory::Account;
use crate::resources::ResourceView;
use crate::shape::{Level, metric_data_start};
use crate::wire::{Field, Fields, len_field_size, len_key, put_varint, replace_varint, varint_len};
use crate::{Payload, Signal};

/// Who edits the attributes of items with [`Payload::edit_item_attributes`]. It is asked on the way down, so that what
/// depends on the resource or scope alone is found out once for all their items.
pub trait EditAttributes {
    /// A resource comes; whether to look at its items.
    fn resource(&mut self, resource: ResourceView<'_>) -> bool {
        let _ = resource;
        true
    }

    /// A scope of the resource comes; whether to look at its items.
    fn scope(&mut self, scope: ScopeView<'_>) -> bool {
        let _ = scope;
        true
    }

    /// A metric of the scope comes; whether to look at its data points.
    fn metric(&mut self, metric: MetricView<'_>) -> bool {
        let _ = metric;
        true
    }

    /// Edits the attributes of one item: a span's own, not those of its events and links; a log record's; a data
    /// point's, not those of its exemplars.
    fn item(&mut self, item: Item<'_>, attributes: &mut Attributes<'_>);
}

impl Payload {
    /// Edits the attributes of items, in order. A segment in which nothing is changed shares its bytes with this payload;
    /// in others only the changed items, and the lengths around them, are written anew.
    #[must_use]
    pub fn edit_item_attributes(&self, editor: &mut impl EditAttributes) -> Payload {
        let mut edited = Payload::empty(self.signal());
        for segment in self.segments() {
            edited.push_segment(edit_segment(self.signal(), segment, editor));
        }
        edited.set_items(self.items());
        edited
    }
}

fn edit_segment(signal: Signal, segment: &Bytes, editor: &mut impl EditAttributes) -> Bytes {
    let attributes = Attributes::new(0, SmallVec::new());
    let mut walk = Walk { signal, editor, frames: SmallVec::new(), attributes, out: Vec::new() };
    let kind = if signal == Signal::Logs { ItemKind::LogRecord } else { ItemKind::Span };
    let place = Place { resource: ResourceView::new(signal, &[]), scope: &[], metric: None, kind };
    walk.container(Level::Request, Frame::request(segment), place);
    let mut out = walk.out;
    if out.is_empty() {
        return segment.clone();
    }
    if out.capacity() - out.len() > out.len() / 4 {
        out.shrink_to_fit();
    }
    Account::process().segment(out)
}

/// A message on the way down to an item.
struct Frame<'a> {
    message: &'a [u8],
    /// Its field number, and where the field begins and ends in the message around it.
    number: u32,
    start: usize,
    end: usize,
    /// How much of it is settled: written, or replaced.
    settled: usize,
    /// Where its length stands in what is written; `None` as long as nothing in it has changed.
    length_at: Option<usize>,
}

impl<'a> Frame<'a> {
    fn request(segment: &'a [u8]) -> Self {
        Self { message: segment, number: 0, start: 0, end: 0, settled: 0, length_at: Some(0) }
    }

    fn of(field: &Field, container: &'a [u8]) -> Self {
        let (number, start, end) = (field.number, field.start, field.end);
        Self { message: field.content(container), number, start, end, settled: 0, length_at: None }
    }

    /// Writes the message up to `until`, and takes what is there up to `resume` for replaced.
    fn settle(&mut self, until: usize, resume: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(self.message.get(self.settled..until).unwrap_or_default());
        self.settled = resume;
    }
}

struct Walk<'a, 'e, E> {
    signal: Signal,
    editor: &'e mut E,
    /// The messages around the item at hand, the request first.
    frames: SmallVec<[Frame<'a>; 5]>,
    attributes: Attributes<'a>,
    /// The edited segment; empty as long as nothing has changed.
    out: Vec<u8>,
}

impl<'a, E: EditAttributes> Walk<'a, '_, E> {
    fn container(&mut self, level: Level, frame: Frame<'a>, place: Place<'a>) {
        let message = frame.message;
        self.frames.push(frame);
        // What stands before is data that another alternative has replaced.
        let counts_from = if level == Level::Metric { metric_data_start(message) } else { 0 };
        for field in Fields::new(message).filter(|field| level.is_child(field) && field.start >= counts_from)
        {
            match level.child(self.signal) {
                Level::Item => self.item(&field, field.content(message), place),
                child => {
                    let frame = Frame::of(&field, message);
                    if let Some(place) = self.enter(child, &frame, place) {
                        self.container(child, frame, place);
                    }
                }
            }
        }
        self.close();
    }

    /// Where the children of a message are; `None` when nobody wants to see them.
    fn enter(&mut self, level: Level, frame: &Frame<'a>, place: Place<'a>) -> Option<Place<'a>> {
        let message = frame.message;
        let (wanted, place) = match level {
            Level::Resource => {
                let resource = ResourceView::new(self.signal, message);
                (self.editor.resource(resource), Place { resource, ..place })
            }
            Level::Scope => (self.editor.scope(ScopeView(message)), Place { scope: message, ..place }),
            Level::Metric => {
                (self.editor.metric(MetricView(message)), Place { metric: Some(message), ..place })
            }
            _ => (true, Place { kind: ItemKind::of_metric_data(frame.number), ..place }),
        };
        wanted.then_some(place)
    }

    fn item(&mut self, field: &Field, bytes: &'a [u8], place: Place<'a>) {
        let Place { resource, scope, metric, kind } = place;
        self.attributes.reset(kind.attributes(), bytes);
        self.editor.item(Item { kind, bytes, resource, scope, metric }, &mut self.attributes);
        if !self.attributes.is_changed() {
            return;
        }
        let len = self.attributes.encoded_len();
        let size = len_field_size(len_key(field.number), len);
        self.make_room(field.end - field.start, size);
        self.open();
        if let Some(innermost) = self.frames.last_mut() {
            innermost.settle(field.start, field.end, &mut self.out);
        }
        put_varint(&mut self.out, u64::from(len_key(field.number)));
        put_varint(&mut self.out, len as u64);
        self.attributes.encode(&mut self.out);
    }

    /// Makes room for the segment at its first change, on the assumption that its items are alike.
    fn make_room(&mut self, before: usize, after: usize) {
        if self.out.capacity() == 0
            && let Some(request) = self.frames.first()
        {
            let len = request.message.len();
            let growth = after.saturating_sub(before).saturating_mul(len / before.max(1) + 1);
            self.out.reserve_exact(len + growth.min(len).max(after));
        }
    }

    /// Begins the messages around the item at hand that have not begun, each with the length that it had.
    fn open(&mut self) {
        let mut outer: Option<&mut Frame<'a>> = None;
        for frame in &mut self.frames {
            if let Some(outer) = outer
                && frame.length_at.is_none()
            {
                outer.settle(frame.start, frame.end, &mut self.out);
                put_varint(&mut self.out, u64::from(len_key(frame.number)));
                frame.length_at = Some(self.out.len());
                put_varint(&mut self.out, frame.message.len() as u64);
            }
            outer = Some(frame);
        }
    }

    /// Ends the innermost message.
    fn close(&mut self) {
        let Some(mut frame) = self.frames.pop() else { return };
        let Some(length_at) = frame.length_at else { return };
        if self.frames.is_empty() {
            // The request has no length; it is only written if something in it has changed.
            if frame.settled > 0 {
                frame.settle(frame.message.len(), frame.message.len(), &mut self.out);
            }
            return;
        }
        frame.settle(frame.message.len(), frame.message.len(), &mut self.out);
        let width = varint_len(frame.message.len() as u64);
        let len = self.out.len() - length_at - width;
        replace_varint(&mut self.out, length_at, width, len as u64);
    }
}
