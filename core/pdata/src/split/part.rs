//! A part under construction.

use bytes::Bytes;

use crate::assembler::{Assembler, Mark};
use crate::split::cursor::{Frame, Limit};
use crate::{Payload, Signal};

/// What has been put into one part so far: whole top-level fields as slices of the payload, and a resource that is cut
/// as a plan of what to copy.
#[derive(Debug)]
pub(super) struct Part {
    payload: Payload,
    limit: Limit,
    items: usize,
    /// Bytes in the finished segments.
    finished_len: usize,
    /// Adjacent fields of the innermost message, not yet copied.
    run: Option<Run>,
    /// The resource that is cut, with its messages open down to the one that is being cut.
    cut: Assembler<Bytes>,
    open: Vec<OpenFrame>,
}

#[derive(Debug)]
struct Run {
    body: Bytes,
    start: usize,
    end: usize,
}

#[derive(Debug)]
struct OpenFrame {
    /// Before the message began.
    mark: Mark,
    /// Messages to end: two for a metric and its data.
    messages: usize,
    /// Whether something was put into it; its header alone is nothing.
    filled: bool,
}

impl Part {
    /// An empty part. It continues inside the given messages, outermost first.
    pub(super) fn new(signal: Signal, limit: Limit, frames: &[Frame]) -> Self {
        let mut part = Self {
            payload: Payload::empty(signal),
            limit,
            items: 0,
            finished_len: 0,
            run: None,
            cut: Assembler::new(),
            open: Vec::new(),
        };
        for frame in frames {
            part.open(frame);
        }
        part
    }

    /// Whether nothing was put in yet.
    pub(super) fn is_blank(&self) -> bool {
        self.payload.is_empty() && self.run.is_none() && self.open.iter().all(|open| !open.filled)
    }

    /// Whether the limit on items is reached.
    pub(super) fn is_full(&self) -> bool {
        matches!(self.limit, Limit::Items(limit) if self.items >= limit)
    }

    /// Whether `len` more bytes of the innermost message fit. `items` counts the items in them, if that matters.
    pub(super) fn fits(&self, len: usize, items: impl FnOnce() -> usize) -> bool {
        match self.limit {
            Limit::Items(limit) => self.items + items() <= limit,
            Limit::Bytes(limit) => self.len_with(len) <= limit,
        }
    }

    /// The size of the part if `extra` more bytes were put into the innermost message.
    fn len_with(&self, extra: usize) -> usize {
        let run = self.run.as_ref().map_or(0, |run| run.end - run.start);
        // The cut resource is a finished segment as soon as it is closed.
        self.finished_len + self.cut.len_with(run + extra)
    }

    /// Puts in the fields at `start..end` of `body`, the innermost message.
    pub(super) fn put(&mut self, body: &Bytes, start: usize, end: usize, items: usize) {
        self.items += items;
        if let Some(open) = self.open.last_mut() {
            open.filled = true;
        }
        match &mut self.run {
            Some(run) if run.end == start => run.end = end,
            _ => {
                self.flush_run();
                self.run = Some(Run { body: body.clone(), start, end });
            }
        }
    }

    /// Begins a message that is cut, with what is repeated of it.
    pub(super) fn open(&mut self, frame: &Frame) {
        self.flush_run();
        let mark = self.cut.mark();
        let depth = self.cut.depth();
        for wrapper in &frame.wrappers {
            self.cut.begin(wrapper.key);
            self.cut.copy(wrapper.header.clone());
        }
        self.open.push(OpenFrame { mark, messages: self.cut.depth() - depth, filled: false });
    }

    /// Ends the innermost message that is cut; it vanishes if nothing was put into it.
    pub(super) fn close(&mut self) {
        self.flush_run();
        let Some(frame) = self.open.pop() else { return };
        if !frame.filled {
            self.cut.roll_back(frame.mark);
            return;
        }
        (0..frame.messages).for_each(|_| self.cut.end());
        if let Some(outer) = self.open.last_mut() {
            outer.filled = true;
        } else {
            let cut = std::mem::replace(&mut self.cut, Assembler::new());
            self.push(cut.finish_segment());
        }
    }

    /// Ends the adjacent fields, for what follows is not adjacent.
    pub(super) fn flush_run(&mut self) {
        let Some(run) = self.run.take() else { return };
        let content = run.body.slice(run.start..run.end);
        if self.open.is_empty() { self.push(content) } else { self.cut.copy(content) }
    }

    fn push(&mut self, segment: Bytes) {
        self.finished_len += segment.len();
        self.payload.push_segment(segment);
    }

    pub(super) fn finish(mut self) -> Payload {
        self.flush_run();
        while !self.open.is_empty() {
            self.close();
        }
        self.payload.set_items(self.items);
        self.payload
    }
}
