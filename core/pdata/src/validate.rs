//! The door: a walk over every field of every message of a request.
//!
//! Nothing malformed gets past it, because after the door requests of different clients are merged, and one client's bad
//! bytes would spoil the others'. What prost (and with it any conforming decoder) refuses is refused here. Beyond that
//! two things are refused that prost would decode: groups among unknown fields, and ids of a wrong length.

mod actions;
mod read;

use crate::ascii::AsciiRun;
use crate::malformed::{Fault, Malformed};
use crate::schema::{Message, Role};
use crate::wire::read_varint;
use actions::{Op, action};
use read::{
    Stop, read_content, read_id, read_key, skip_fixed, skip_packed_fixed64, skip_packed_varints, skip_varint,
};

/// How deep messages may be nested, counted as prost does: the request is at depth 0.
pub(crate) const MAX_DEPTH: usize = 100;

/// Segments of a path that an error names before it abbreviates.
const MAX_PATH_SEGMENTS: usize = 16;

/// What a walk found in valid bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Census {
    /// Spans, log records or data points.
    pub(crate) items: usize,
    /// Strings that are not UTF-8; always 0 if they are refused.
    pub(crate) invalid_strings: usize,
}

/// Validates `bytes` as a message of type `root` that lies `depth` messages below the request. `tolerate` says whether
/// strings that are not UTF-8 are counted instead of refused.
pub(crate) fn validate(
    root: Message,
    depth: usize,
    bytes: &[u8],
    tolerate: bool,
) -> Result<Census, Malformed> {
    let mut walk = Walk {
        bytes,
        message: root,
        base: depth,
        stack: Vec::with_capacity(16),
        ascii: AsciiRun::default(),
        census: Census { items: usize::from(root.role() == Role::Item), invalid_strings: 0 },
        metric: MetricState::default(),
        tolerate,
    };
    match walk.run() {
        Ok(()) => Ok(walk.census),
        Err(stop) => Err(walk.malformed(stop)),
    }
}

/// A message that contains the one being walked.
#[derive(Debug, Clone, Copy)]
struct Frame {
    message: Message,
    /// Where the message ends.
    end: usize,
    /// The field of `message` that is being walked.
    field: u32,
}

/// The items before the current metric and the alternative of its data: setting another one discards the earlier.
#[derive(Debug, Default)]
struct MetricState {
    items_before: usize,
    data: u32,
}

struct Walk<'a> {
    bytes: &'a [u8],
    /// The type of the innermost message.
    message: Message,
    base: usize,
    stack: Vec<Frame>,
    ascii: AsciiRun,
    census: Census,
    metric: MetricState,
    tolerate: bool,
}

impl<'a> Walk<'a> {
    fn run(&mut self) -> Result<(), Stop> {
        // Reads are bounded by the end of the innermost message: nothing may reach beyond it.
        let mut window = self.bytes;
        let mut pos = 0;
        loop {
            if pos == window.len() {
                let Some(outer) = self.stack.pop() else { return Ok(()) };
                self.message = outer.message;
                window = self.window(outer.end);
                continue;
            }
            let (key, value) = read_key(window, pos)?;
            let field = key >> 3;
            let action = action(self.message, key);
            pos = match action.op {
                Op::KeyValue => match self.plain_key_values(window, key, value) {
                    PlainRun::To(end) => end,
                    PlainRun::Until(pair) => {
                        let (start, stop) = read_content(window, pair, field)?;
                        self.enter(window.len(), field, Message::KeyValue, start)?;
                        window = self.window(stop);
                        start
                    }
                },
                Op::Message => {
                    let (start, stop) = read_content(window, value, field)?;
                    self.enter(window.len(), field, action.child, start)?;
                    window = self.window(stop);
                    start
                }
                Op::Str => self.string(window, value, field)?,
                Op::Bytes => read_content(window, value, field)?.1,
                Op::TraceId => read_id(window, value, field, 16, Fault::TraceIdLength)?,
                Op::SpanId => read_id(window, value, field, 8, Fault::SpanIdLength)?,
                Op::Varint => skip_varint(window, value, field)?,
                Op::Fixed64 => skip_fixed(window, value, field, 8)?,
                Op::Fixed32 => skip_fixed(window, value, field, 4)?,
                Op::PackedVarint => skip_packed_varints(window, value, field)?,
                Op::PackedFixed64 => skip_packed_fixed64(window, value, field)?,
                op => self.unknown(window, value, field, op)?,
            };
        }
    }

    fn window(&self, end: usize) -> &'a [u8] {
        self.bytes.get(..end).unwrap_or_default()
    }

    fn depth(&self) -> usize {
        self.base + self.stack.len()
    }

    #[inline]
    fn string(&mut self, window: &[u8], pos: usize, field: u32) -> Result<usize, Stop> {
        let (start, stop) = read_content(window, pos, field)?;
        if !self.ascii.is_utf8(self.bytes, start, stop) {
            if !self.tolerate {
                return Err(Stop { fault: Fault::Utf8, field, offset: start });
            }
            self.census.invalid_strings += 1;
        }
        Ok(stop)
    }

    #[inline]
    fn enter(&mut self, end: usize, field: u32, child: Message, offset: usize) -> Result<(), Stop> {
        if self.depth() == MAX_DEPTH {
            return Err(Stop { fault: Fault::TooDeep, field, offset });
        }
        match child.role() {
            Role::Other => {}
            Role::Item => self.census.items += 1,
            Role::Metric => self.metric = MetricState { items_before: self.census.items, data: 0 },
            Role::MetricData => {
                if self.metric.data != field {
                    self.census.items = self.metric.items_before;
                    self.metric.data = field;
                }
            }
        }
        self.stack.push(Frame { message: self.message, end, field });
        self.message = child;
        Ok(())
    }

    /// Skips an unknown field, or refuses what cannot be one.
    #[cold]
    fn unknown(&self, window: &[u8], pos: usize, field: u32, op: Op) -> Result<usize, Stop> {
        let fault = match op {
            Op::WrongWireType => Fault::WireType,
            Op::Group => Fault::Group,
            Op::BadKey => Fault::Key,
            // prost refuses unknown fields at its limit, too.
            _ if self.depth() == MAX_DEPTH => Fault::TooDeep,
            Op::UnknownVarint => return skip_varint(window, pos, field),
            Op::UnknownFixed64 => return skip_fixed(window, pos, field, 8),
            Op::UnknownFixed32 => return skip_fixed(window, pos, field, 4),
            _ => return read_content(window, pos, field).map(|(_, stop)| stop),
        };
        Err(Stop { fault, field, offset: pos })
    }

    /// Walks over attributes of the usual form that follow one another. `pos` is at the length of the first one.
    #[inline]
    fn plain_key_values(&mut self, window: &'a [u8], key: u32, mut pos: usize) -> PlainRun {
        if self.depth() + 2 > MAX_DEPTH {
            return PlainRun::Until(pos);
        }
        loop {
            let Some(&len) = window.get(pos) else { return PlainRun::Until(pos) };
            let (start, stop) = (pos + 1, pos + 1 + usize::from(len));
            if len >= 0x80 || !self.plain_key_value(window, start, stop) {
                return PlainRun::Until(pos);
            }
            match window.get(stop) {
                Some(&next) if u32::from(next) == key => pos = stop + 1,
                _ => return PlainRun::To(stop),
            }
        }
    }

    /// Recognizes the usual forms of an attribute at once: an ASCII key, then a value that is an ASCII string, a
    /// number or a bool, each field once, all lengths of one byte. Anything else, valid or not, is `false`.
    #[inline]
    fn plain_key_value(&mut self, window: &'a [u8], start: usize, stop: usize) -> bool {
        let Some(&[0x0a, key_len, ref rest @ ..]) = window.get(start..stop) else { return false };
        let key_len = usize::from(key_len);
        let Some((_, rest)) = rest.split_at_checked(key_len) else { return false };
        let &[0x12, value_len, value_key, ref value @ ..] = rest else { return false };
        if key_len >= 0x80 || usize::from(value_len) != value.len() + 1 {
            return false;
        }
        let is_plain = match (value_key, value) {
            (0x0a, &[len, ref text @ ..]) => {
                return usize::from(len) == text.len() && self.ascii.covers(self.bytes, start, stop);
            }
            (0x10 | 0x18, &[byte]) => byte < 0x80,
            (0x10 | 0x18, &[first, second]) => first >= 0x80 && second < 0x80,
            (0x10 | 0x18, _) => read_varint(value, 0).is_some_and(|(_, end)| end == value.len()),
            (0x21, _) => value.len() == 8,
            _ => false,
        };
        is_plain && self.ascii.covers(self.bytes, start, start + 2 + key_len)
    }

    #[cold]
    fn malformed(&self, stop: Stop) -> Malformed {
        let names = self.stack.iter().map(|frame| frame.message.field_name(frame.field));
        let names: Vec<&str> = names.chain([self.message.field_name(stop.field)]).flatten().collect();
        let mut path = names.iter().take(MAX_PATH_SEGMENTS).copied().collect::<Vec<_>>().join(".");
        if names.len() > MAX_PATH_SEGMENTS {
            path.push_str("...");
        }
        Malformed::new(stop.fault, stop.offset, &path)
    }
}

/// How far a run of attributes of the usual form goes.
enum PlainRun {
    /// To here, where something else follows.
    To(usize),
    /// Up to an attribute that has to be walked; its length is here.
    Until(usize),
}
