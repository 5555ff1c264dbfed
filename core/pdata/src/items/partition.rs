//! Deals the items of a payload out to several payloads, in one pass over its bytes.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::assembler::Assembler;
use crate::items::{Item, ItemKind, Place};
use crate::resources::ResourceView;
use crate::shape::{Level, count, header, metric_data};
use crate::wire::{Field, Fields, len_key};
use crate::{Payload, Signal};

impl Payload {
    /// Deals the items out to `parts` payloads: `part_of` says for each item, in order, to which; a number that is too
    /// large means the last.
    ///
    /// What belongs to all items of a resource, scope or metric (attributes, schema URL, unknown fields) is repeated in
    /// each part that has one of them. A segment whose items all go to one part is shared with this payload, others are
    /// copied. Resources, scopes and metrics without items go along or are left out.
    pub fn partition_items(&self, parts: usize, part_of: impl FnMut(Item<'_>) -> usize) -> Vec<Payload> {
        let mut dealer = Dealer {
            signal: self.signal(),
            part_of,
            parts: (0..parts.max(1)).map(|_| Part::new(self.signal())).collect(),
            path: SmallVec::new(),
            opened: 0,
        };
        for segment in self.segments() {
            dealer.segment(segment);
        }
        dealer.parts.into_iter().map(|part| part.payload).collect()
    }

    /// Deals whole resources out to `parts` payloads, as [`Payload::partition_items`] does it with items. Resources
    /// without items go along. Neighbours that go to the same part share the bytes of this payload.
    pub fn partition_resources(
        &self,
        parts: usize,
        mut part_of: impl FnMut(ResourceView<'_>) -> usize,
    ) -> Vec<Payload> {
        let signal = self.signal();
        let mut dealt: Vec<Payload> = (0..parts.max(1)).map(|_| Payload::empty(signal)).collect();
        let last = dealt.len() - 1;
        for segment in self.segments() {
            let mut run = Run { part: 0, start: 0, end: 0, items: 0 };
            for field in Fields::new(segment).filter(|field| Level::Request.is_child(field)) {
                let content = field.content(segment);
                let part = part_of(ResourceView::new(signal, content)).min(last);
                if part != run.part && run.items_or_bytes() {
                    // Unknown fields of the request between two resources stay with the former.
                    let next = Run { part, start: field.start, end: field.start, items: 0 };
                    std::mem::replace(&mut run, next).push_to(&mut dealt, segment, field.start);
                }
                run.part = part;
                run.end = field.end;
                run.items += count(signal, Level::Resource, content);
            }
            run.push_to(&mut dealt, segment, segment.len());
        }
        dealt
    }
}

/// Neighbouring resources of a segment that go to the same part.
struct Run {
    part: usize,
    start: usize,
    end: usize,
    items: usize,
}

impl Run {
    fn items_or_bytes(&self) -> bool {
        self.end > self.start
    }

    fn push_to(self, dealt: &mut [Payload], segment: &Bytes, end: usize) {
        if let Some(payload) = dealt.get_mut(self.part) {
            payload.set_items(payload.items() + self.items);
            payload.push_segment(segment.slice(self.start..end));
        }
    }
}

struct Dealer<F> {
    signal: Signal,
    part_of: F,
    parts: Vec<Part>,
    /// The messages around the item at hand, outermost first: request, resource, scope, metric, metric data.
    path: SmallVec<[Frame; 5]>,
    /// Messages entered so far.
    opened: u64,
}

/// A message on the way down to an item.
struct Frame {
    /// Tells it from every other.
    serial: u64,
    /// `None` for the request.
    key: Option<u32>,
    level: Level,
    message: Bytes,
    /// What is repeated of it; made when the first part needs it.
    header: Option<Bytes>,
}

impl Frame {
    fn header(&mut self) -> Bytes {
        self.header.get_or_insert_with(|| header(self.level, &self.message)).clone()
    }
}

impl<F: FnMut(Item<'_>) -> usize> Dealer<F> {
    fn segment(&mut self, segment: &Bytes) {
        let kind = if self.signal == Signal::Logs { ItemKind::LogRecord } else { ItemKind::Span };
        let place = Place { resource: ResourceView::new(self.signal, &[]), scope: &[], metric: None, kind };
        self.container(None, Level::Request, segment, place);
        let mut used = self.parts.iter_mut().filter(|part| part.is_used());
        if let (Some(only), None) = (used.next(), used.next()) {
            only.share(segment);
            return;
        }
        self.parts.iter_mut().filter(|part| part.is_used()).for_each(Part::finish_segment);
    }

    fn container(&mut self, key: Option<u32>, level: Level, message: &Bytes, place: Place<'_>) {
        self.opened += 1;
        self.path.push(Frame { serial: self.opened, key, level, message: message.clone(), header: None });
        for field in Fields::new(message).filter(|field| level.is_child(field)) {
            match level.child(self.signal) {
                Level::Item => self.item(&field, message, place),
                child => self.child(child, field.number, &message.slice(field.value..field.end), place),
            }
        }
        self.path.pop();
    }

    fn child(&mut self, level: Level, number: u32, message: &Bytes, place: Place<'_>) {
        let key = Some(len_key(number));
        match level {
            Level::Resource => {
                let resource = ResourceView::new(self.signal, message);
                self.container(key, level, message, Place { resource, ..place });
            }
            Level::Metric => {
                let Some(data) = metric_data(message) else { return };
                let kind = ItemKind::of_metric_data(data.number);
                let place = Place { metric: Some(message), kind, ..place };
                self.opened += 1;
                let (serial, message) = (self.opened, message.clone());
                self.path.push(Frame { serial, key, level, message, header: None });
                self.container(Some(len_key(data.number)), Level::MetricData, &data.content, place);
                self.path.pop();
            }
            _ => self.container(key, level, message, Place { scope: message, ..place }),
        }
    }

    fn item(&mut self, field: &Field, container: &Bytes, place: Place<'_>) {
        let Place { resource, scope, metric, kind } = place;
        let item = Item { kind, bytes: field.content(container), resource, scope, metric };
        let index = (self.part_of)(item).min(self.parts.len() - 1);
        if let Some(part) = self.parts.get_mut(index) {
            part.put(&mut self.path, container, field.start, field.end);
        }
    }
}

/// One payload under construction.
struct Part {
    payload: Payload,
    /// What the segment at hand gives.
    segment: Assembler<Bytes>,
    /// The serials of the messages that are open in it.
    open: SmallVec<[u64; 5]>,
    /// Adjacent items of the innermost message, not yet copied.
    run: Option<(Bytes, usize, usize)>,
    items: usize,
}

impl Part {
    fn new(signal: Signal) -> Self {
        let (segment, open) = (Assembler::new(), SmallVec::new());
        Self { payload: Payload::empty(signal), segment, open, run: None, items: 0 }
    }

    /// Whether the segment at hand has an item for it.
    fn is_used(&self) -> bool {
        self.items > 0
    }

    /// Puts in the item at `start..end` of `container`, which is the innermost message of `path`.
    fn put(&mut self, path: &mut [Frame], container: &Bytes, start: usize, end: usize) {
        self.items += 1;
        // Serials are unique, so the innermost stands for the whole path.
        let is_here = self.open.last() == path.last().map(|frame| &frame.serial);
        if let Some((_, _, run_end)) = &mut self.run
            && is_here
            && *run_end == start
        {
            *run_end = end;
            return;
        }
        self.flush_run();
        if !is_here {
            self.go_to(path);
        }
        self.run = Some((container.clone(), start, end));
    }

    /// Closes and opens messages until those of `path` are open.
    fn go_to(&mut self, path: &mut [Frame]) {
        let common =
            self.open.iter().zip(path.iter()).take_while(|(open, frame)| **open == frame.serial).count();
        while self.open.len() > common {
            self.open.pop();
            self.segment.end();
        }
        for frame in path.iter_mut().skip(common) {
            if let Some(key) = frame.key {
                self.segment.begin(key);
            }
            self.segment.copy(frame.header());
            self.open.push(frame.serial);
        }
    }

    fn flush_run(&mut self) {
        if let Some((container, start, end)) = self.run.take() {
            self.segment.copy(container.slice(start..end));
        }
    }

    fn finish_segment(&mut self) {
        self.flush_run();
        let segment = std::mem::replace(&mut self.segment, Assembler::new()).finish();
        self.push(segment.into());
    }

    /// The segment has items for this part only.
    fn share(&mut self, segment: &Bytes) {
        self.run = None;
        self.segment = Assembler::new();
        self.push(segment.clone());
    }

    fn push(&mut self, segment: Bytes) {
        self.open.clear();
        self.payload.push_segment(segment);
        self.payload.set_items(self.payload.items() + std::mem::take(&mut self.items));
    }
}
