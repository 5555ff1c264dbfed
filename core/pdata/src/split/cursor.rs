//! The position in a payload that is being split.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::shape::{Level, count, header, metric_data};
use crate::split::SplitPart;
use crate::split::part::Part;
use crate::wire::{Field, Fields, len_key, read_field};
use crate::{Payload, Signal};

/// The limit of a part.
#[derive(Debug, Clone, Copy)]
pub(super) enum Limit {
    Items(usize),
    Bytes(usize),
}

/// A message on the way down to the position.
#[derive(Debug)]
pub(super) struct Frame {
    level: Level,
    /// The content, of a metric that of its data.
    body: Bytes,
    /// Where in `body` the next field is.
    pos: usize,
    /// What to write before the children: nothing for a request, key and header of a resource or scope, both of a metric
    /// and of its data.
    pub(super) wrappers: SmallVec<[Wrapper; 1]>,
}

/// The beginning of a message.
#[derive(Debug)]
pub(super) struct Wrapper {
    pub(super) key: u32,
    /// The fields that are repeated in every part.
    pub(super) header: Bytes,
}

/// Walks over a payload once, handing out what fits.
#[derive(Debug)]
pub(super) struct Cursor {
    signal: Signal,
    segments: smallvec::IntoIter<[Bytes; 1]>,
    /// The request that is being walked, and the messages in it that are being cut.
    frames: Vec<Frame>,
}

/// Whether a part goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Continue,
    Full,
    TooLarge,
}

impl Cursor {
    pub(super) fn new(payload: Payload) -> Self {
        Self { signal: payload.signal(), segments: payload.into_segments().into_iter(), frames: Vec::new() }
    }

    /// The next part, `None` at the end.
    pub(super) fn next_part(&mut self, limit: Limit) -> Option<SplitPart> {
        let mut part = Part::new(self.signal, limit, self.frames.get(1..).unwrap_or_default());
        let mut step = Step::Continue;
        while step == Step::Continue && self.enter_segment() {
            step = match self.next_field(&mut part) {
                Some((field, level)) => self.field(field, level, &mut part),
                None => Step::Continue,
            };
        }
        if part.is_blank() {
            return None;
        }
        let payload = part.finish();
        Some(if step == Step::TooLarge { SplitPart::TooLarge(payload) } else { SplitPart::Fits(payload) })
    }

    /// Makes sure that there is a request to walk; false at the end of the payload.
    fn enter_segment(&mut self) -> bool {
        if self.frames.is_empty() {
            let Some(body) = self.segments.next() else { return false };
            self.frames.push(Frame { level: Level::Request, body, pos: 0, wrappers: SmallVec::new() });
        }
        true
    }

    /// The next child of the innermost message, with its level; `None` at the end of that message, which is left. In a
    /// request every field counts as a child, so that unknown ones are not lost.
    fn next_field(&mut self, part: &mut Part) -> Option<(Field, Level)> {
        let frame = self.frames.last_mut()?;
        while let Some(field) = read_field(&frame.body, frame.pos) {
            frame.pos = field.end;
            if frame.level.is_child(&field) {
                return Some((field, frame.level.child(self.signal)));
            }
            if frame.level == Level::Request {
                return Some((field, Level::Request));
            }
        }
        self.frames.pop();
        if self.frames.is_empty() {
            part.flush_run();
        } else {
            part.close();
        }
        None
    }

    /// Puts a field into the part, whole if it fits, or begins to cut it. If there is no room it stays for the next part.
    fn field(&mut self, field: Field, level: Level, part: &mut Part) -> Step {
        let Some(frame) = self.frames.last_mut() else { return Step::Full };
        let content = field.content(&frame.body);
        let items = || if level == Level::Request { 0 } else { count(self.signal, level, content) };
        if part.fits(field.end - field.start, items) {
            part.put(&frame.body, field.start, field.end, items());
            return Step::Continue;
        }
        if part.is_full() {
            frame.pos = field.start;
            return Step::Full;
        }
        if let Some(inner) = cut(&frame.body, &field, level) {
            part.open(&inner);
            self.frames.push(inner);
            return Step::Continue;
        }
        if part.is_blank() {
            part.put(&frame.body, field.start, field.end, items());
            return Step::TooLarge;
        }
        frame.pos = field.start;
        Step::Full
    }
}

/// Prepares to cut a message; `None` if it has nothing to be cut between.
fn cut(outer: &Bytes, field: &Field, level: Level) -> Option<Frame> {
    let message = outer.slice(field.value..field.end);
    let wrapper = Wrapper { key: len_key(field.number), header: Bytes::new() };
    match level {
        Level::Request | Level::Item | Level::MetricData => None,
        Level::Resource | Level::Scope => {
            Fields::new(&message).find(|field| level.is_child(field))?;
            let wrapper = Wrapper { header: header(level, &message), ..wrapper };
            Some(Frame { level, body: message, pos: 0, wrappers: SmallVec::from_iter([wrapper]) })
        }
        Level::Metric => {
            let data = metric_data(&message)?;
            let level = Level::MetricData;
            Fields::new(&data.content).find(|field| level.is_child(field))?;
            let wrapper = Wrapper { header: header(Level::Metric, &message), ..wrapper };
            let inner = Wrapper { key: len_key(data.number), header: header(level, &data.content) };
            Some(Frame { level, body: data.content, pos: 0, wrappers: SmallVec::from_iter([wrapper, inner]) })
        }
    }
}
