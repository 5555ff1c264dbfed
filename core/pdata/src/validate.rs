//! The door: a walk over every field of every message of a request.
//!
//! Nothing malformed gets past it, because after the door requests of different clients are merged, and one client's bad
//! bytes would spoil the others'. What prost (and with it any conforming decoder) refuses is refused here. Beyond that
//! three things are refused that prost would decode: groups in unknown fields, ids of a wrong length, and strings that
//! are not UTF-8 where a later value replaces them (prost refuses those as well).

use crate::ascii::AsciiRun;
use crate::malformed::{Fault, Malformed};
use crate::schema::{Message, Role, Type};
use crate::wire::{WireType, read_varint};

/// How deep messages may be nested, counted as prost does: the request is at depth 0.
pub(crate) const MAX_DEPTH: usize = 100;

/// Keys with an entry in the table: those of field numbers 0 to 16, the largest that OTLP uses.
const TABLE_KEYS: usize = 17 * 8;

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
        pos: 0,
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
        Err((fault, field)) => Err(walk.malformed(root, fault, field)),
    }
}

/// A fault and the number of the field that it is in, 0 if unknown.
type Stop = (Fault, u32);

/// What to do on meeting a key in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Known(Type),
    /// One element of a packed field, given by itself.
    Unpacked(WireType),
    Unknown(WireType),
    WrongWireType,
    Group,
    BadKey,
}

static ACTIONS: [[Action; TABLE_KEYS]; Message::ALL.len()] = actions();

const fn actions() -> [[Action; TABLE_KEYS]; Message::ALL.len()] {
    let mut table = [[Action::BadKey; TABLE_KEYS]; Message::ALL.len()];
    let mut message = 0;
    while message < Message::ALL.len() {
        let fields = Message::ALL[message].fields();
        let mut key = 0;
        while key < TABLE_KEYS {
            table[message][key] = unknown_action(key);
            key += 1;
        }
        let mut field = 0;
        while field < fields.len() {
            let mut wire = 0;
            while wire < 8 {
                let key = fields[field].number as usize * 8 + wire;
                table[message][key] = known_action(fields[field].ty, table[message][key]);
                wire += 1;
            }
            field += 1;
        }
        message += 1;
    }
    table
}

/// The action for a key of a field that the message type does not know.
const fn unknown_action(key: usize) -> Action {
    match (key >> 3, key & 7) {
        (0, _) => Action::BadKey,
        (_, 0) => Action::Unknown(WireType::Varint),
        (_, 1) => Action::Unknown(WireType::Fixed64),
        (_, 2) => Action::Unknown(WireType::Len),
        (_, 5) => Action::Unknown(WireType::Fixed32),
        (_, 3 | 4) => Action::Group,
        _ => Action::BadKey,
    }
}

/// The action for a field of type `ty`, given what would be done if it were unknown.
const fn known_action(ty: Type, unknown: Action) -> Action {
    let Action::Unknown(wire) = unknown else { return unknown };
    match (ty, wire) {
        (Type::Varint, WireType::Varint)
        | (Type::Fixed64, WireType::Fixed64)
        | (Type::Fixed32, WireType::Fixed32)
        | (
            Type::Str
            | Type::Bytes
            | Type::TraceId
            | Type::SpanId
            | Type::PackedVarint
            | Type::PackedFixed64
            | Type::Message(_),
            WireType::Len,
        ) => Action::Known(ty),
        (Type::PackedVarint, WireType::Varint) | (Type::PackedFixed64, WireType::Fixed64) => {
            Action::Unpacked(wire)
        }
        _ => Action::WrongWireType,
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
    pos: usize,
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
        loop {
            while self.pos == window.len() {
                let Some(outer) = self.stack.pop() else { return Ok(()) };
                self.message = outer.message;
                window = self.bytes.get(..outer.end).unwrap_or_default();
            }
            let key = self.key(window)?;
            let field = key >> 3;
            let action = match ACTIONS[self.message as usize].get(key as usize) {
                Some(action) => *action,
                None => unknown_action(key as usize),
            };
            match action {
                Action::Known(Type::Message(child)) => {
                    let stop = self.length(window, field)?;
                    if child == Message::KeyValue && self.plain_key_value(window, stop) {
                        self.pos = stop;
                    } else {
                        self.enter(window.len(), field, child)?;
                        window = self.bytes.get(..stop).unwrap_or_default();
                    }
                }
                Action::Known(ty) => self.known(window, field, ty)?,
                Action::Unpacked(wire) => self.skip(window, field, wire)?,
                Action::Unknown(wire) => {
                    // prost refuses these at its limit, too.
                    if self.depth() == MAX_DEPTH {
                        return Err((Fault::TooDeep, field));
                    }
                    self.skip(window, field, wire)?;
                }
                Action::WrongWireType => return Err((Fault::WireType, field)),
                Action::Group => return Err((Fault::Group, field)),
                Action::BadKey => return Err((Fault::Key, field)),
            }
        }
    }

    fn depth(&self) -> usize {
        self.base + self.stack.len()
    }

    #[inline]
    fn key(&mut self, window: &[u8]) -> Result<u32, Stop> {
        let key = self.varint(window, 0)?;
        u32::try_from(key).map_err(|_| (Fault::Key, 0))
    }

    #[inline]
    fn varint(&mut self, window: &[u8], field: u32) -> Result<u64, Stop> {
        match read_varint(window, self.pos) {
            Some((value, pos)) => {
                self.pos = pos;
                Ok(value)
            }
            None => Err((self.varint_fault(window), field)),
        }
    }

    #[cold]
    fn varint_fault(&self, window: &[u8]) -> Fault {
        let rest = window.get(self.pos..).unwrap_or_default();
        if rest.len() < 10 && rest.iter().all(|byte| *byte >= 0x80) {
            Fault::Truncated
        } else {
            Fault::Varint
        }
    }

    /// Reads the length of a field and returns where its content ends.
    #[inline]
    fn length(&mut self, window: &[u8], field: u32) -> Result<usize, Stop> {
        let len = self.varint(window, field)?;
        if len > (window.len() - self.pos) as u64 {
            return Err((Fault::Truncated, field));
        }
        #[expect(clippy::cast_possible_truncation, reason = "not above the length of a slice")]
        Ok(self.pos + len as usize)
    }

    #[inline]
    fn fixed(&mut self, window: &[u8], field: u32, size: usize) -> Result<(), Stop> {
        if window.len() - self.pos < size {
            return Err((Fault::Truncated, field));
        }
        self.pos += size;
        Ok(())
    }

    #[inline]
    fn skip(&mut self, window: &[u8], field: u32, wire: WireType) -> Result<(), Stop> {
        match wire {
            WireType::Varint => self.varint(window, field).map(|_| ()),
            WireType::Fixed64 => self.fixed(window, field, 8),
            WireType::Fixed32 => self.fixed(window, field, 4),
            WireType::Len => {
                self.pos = self.length(window, field)?;
                Ok(())
            }
        }
    }

    /// Checks a known field that is not a message.
    #[inline]
    fn known(&mut self, window: &[u8], field: u32, ty: Type) -> Result<(), Stop> {
        match ty {
            Type::Varint => self.varint(window, field).map(|_| ()),
            Type::Fixed64 => self.fixed(window, field, 8),
            Type::Fixed32 => self.fixed(window, field, 4),
            Type::Str => {
                let stop = self.length(window, field)?;
                if !self.ascii.is_utf8(self.bytes, self.pos, stop) {
                    self.invalid_string(field)?;
                }
                self.pos = stop;
                Ok(())
            }
            Type::TraceId => self.id(window, field, 16, Fault::TraceIdLength),
            Type::SpanId => self.id(window, field, 8, Fault::SpanIdLength),
            Type::Bytes | Type::Message(_) => self.skip(window, field, WireType::Len),
            Type::PackedVarint => {
                let stop = self.length(window, field)?;
                let window = window.get(..stop).unwrap_or_default();
                while self.pos < stop {
                    self.varint(window, field)?;
                }
                Ok(())
            }
            Type::PackedFixed64 => {
                let stop = self.length(window, field)?;
                if !(stop - self.pos).is_multiple_of(8) {
                    return Err((Fault::Truncated, field));
                }
                self.pos = stop;
                Ok(())
            }
        }
    }

    #[cold]
    fn invalid_string(&mut self, field: u32) -> Result<(), Stop> {
        self.census.invalid_strings += 1;
        if self.tolerate { Ok(()) } else { Err((Fault::Utf8, field)) }
    }

    #[inline]
    fn id(&mut self, window: &[u8], field: u32, want: usize, fault: fn(usize) -> Fault) -> Result<(), Stop> {
        let stop = self.length(window, field)?;
        let len = stop - self.pos;
        if len != want && len != 0 {
            return Err((fault(len), field));
        }
        self.pos = stop;
        Ok(())
    }

    #[inline]
    fn enter(&mut self, end: usize, field: u32, child: Message) -> Result<(), Stop> {
        if self.depth() == MAX_DEPTH {
            return Err((Fault::TooDeep, field));
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

    /// Recognizes the usual forms of an attribute at once: an ASCII key, then a value that is an ASCII string, a
    /// number or a bool, each field once, all lengths of one byte. Anything else, valid or not, is `false`.
    #[inline]
    fn plain_key_value(&mut self, window: &'a [u8], stop: usize) -> bool {
        let start = self.pos;
        let Some(pair) = window.get(start..stop) else { return false };
        let &[0x0a, key_len, ref rest @ ..] = pair else { return false };
        let key_len = usize::from(key_len);
        let Some((key, rest)) = rest.split_at_checked(key_len) else { return false };
        let &[0x12, value_len, value_key, ref value @ ..] = rest else { return false };
        if key_len >= 0x80 || usize::from(value_len) != value.len() + 1 || self.depth() + 2 > MAX_DEPTH {
            return false;
        }
        let key_end = start + 2 + key.len();
        match (value_key, value) {
            (0x0a, &[len, ref text @ ..]) => {
                usize::from(len) == text.len() && len < 0x80 && self.ascii.covers(self.bytes, start, stop)
            }
            (0x10 | 0x18, &[byte]) if byte < 0x80 => self.ascii.covers(self.bytes, start, key_end),
            (0x10 | 0x18, _) => {
                read_varint(value, 0).is_some_and(|(_, end)| end == value.len())
                    && self.ascii.covers(self.bytes, start, key_end)
            }
            (0x21, [_, _, _, _, _, _, _, _]) => self.ascii.covers(self.bytes, start, key_end),
            _ => false,
        }
    }

    #[cold]
    fn malformed(&self, root: Message, fault: Fault, field: u32) -> Malformed {
        let names = self.stack.iter().map(|frame| frame.message.field_name(frame.field));
        let last = if self.stack.is_empty() { root } else { self.message }.field_name(field);
        let names: Vec<&str> = names.chain([last]).flatten().collect();
        let mut path = names.iter().take(MAX_PATH_SEGMENTS).copied().collect::<Vec<_>>().join(".");
        if names.len() > MAX_PATH_SEGMENTS {
            path.push_str("...");
        }
        Malformed::new(fault, self.pos, &path)
    }
}
