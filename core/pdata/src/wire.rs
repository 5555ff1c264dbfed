//! The protobuf wire format: varints, keys and a walker over the fields of one message.
//!
//! Everything here is total: bytes that are not protobuf end a walk, they never panic. The rules are those of the
//! [encoding specification](https://protobuf.dev/programming-guides/encoding/), and of prost where that leaves room.

/// Longest encoding of a varint in bytes.
const MAX_VARINT_LEN: usize = 10;

/// How the value of a field is encoded: the low three bits of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WireType {
    Varint,
    Fixed64,
    Len,
    Fixed32,
}

impl WireType {
    /// The wire type in the low bits of `key`; `None` for groups (deprecated, never in OTLP) and reserved values.
    #[inline]
    pub(crate) fn of_key(key: u64) -> Option<Self> {
        match key & 7 {
            0 => Some(Self::Varint),
            1 => Some(Self::Fixed64),
            2 => Some(Self::Len),
            5 => Some(Self::Fixed32),
            _ => None,
        }
    }
}

/// The key of a length-delimited field, for field numbers below 16 one byte on the wire.
pub(crate) const fn len_key(number: u32) -> u32 {
    (number << 3) | 2
}

/// Reads the varint at `pos`: its value and the position after it. Over-long encodings are read as prost does: up to
/// ten bytes, of which the tenth may be 0 or 1.
#[inline]
pub(crate) fn read_varint(bytes: &[u8], pos: usize) -> Option<(u64, usize)> {
    #[cfg(test)]
    steps::add();
    let first = *bytes.get(pos)?;
    if first < 0x80 {
        return Some((u64::from(first), pos + 1));
    }
    let second = *bytes.get(pos + 1)?;
    if second < 0x80 {
        return Some((u64::from(first & 0x7f) | (u64::from(second) << 7), pos + 2));
    }
    read_long_varint(bytes, pos)
}

#[cold]
fn read_long_varint(bytes: &[u8], pos: usize) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (index, &byte) in bytes.get(pos..)?.iter().take(MAX_VARINT_LEN).enumerate() {
        if index == MAX_VARINT_LEN - 1 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Some((value, pos + index + 1));
        }
    }
    None
}

/// Encoded length of `value` in bytes, 1 to 10.
#[inline]
pub(crate) const fn varint_len(value: u64) -> usize {
    ((value | 1).ilog2() as usize * 9 + 73) / 64
}

/// Appends `value` to `out`.
#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        #[expect(clippy::cast_possible_truncation, reason = "the low seven bits are what is wanted")]
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    #[expect(clippy::cast_possible_truncation, reason = "below 0x80 after the loop")]
    out.push(value as u8);
}

/// Puts `value` in the place of the varint of `width` bytes at `at`; what follows moves if it needs more or fewer.
pub(crate) fn replace_varint(out: &mut Vec<u8>, at: usize, width: usize, value: u64) {
    if width != varint_len(value) {
        let mut varint = Vec::with_capacity(MAX_VARINT_LEN);
        put_varint(&mut varint, value);
        out.splice(at..at + width, varint);
        return;
    }
    for (index, byte) in out.iter_mut().skip(at).take(width).enumerate() {
        let more = if index + 1 < width { 0x80 } else { 0 };
        #[expect(clippy::cast_possible_truncation, reason = "the low seven bits are what is wanted")]
        let bits = (value >> (7 * index)) as u8 & 0x7f;
        *byte = bits | more;
    }
}

/// Size of a length-delimited field with this key and `len` bytes of content.
#[inline]
pub(crate) const fn len_field_size(key: u32, len: usize) -> usize {
    varint_len(key as u64) + varint_len(len as u64) + len
}

/// Appends a length-delimited field.
pub(crate) fn put_len_field(out: &mut Vec<u8>, number: u32, content: &[u8]) {
    put_varint(out, u64::from(len_key(number)));
    put_varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

/// One field of a message, as offsets into the message's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) number: u32,
    pub(crate) wire: WireType,
    /// Where the key starts.
    pub(crate) start: usize,
    /// Where the value starts: after the key, and after the length of a length-delimited field.
    pub(crate) value: usize,
    /// Where the field ends.
    pub(crate) end: usize,
}

impl Field {
    /// Whether this is the length-delimited field `number`, which is how every message, string and bytes field looks.
    #[inline]
    pub(crate) fn is_len(&self, number: u32) -> bool {
        self.number == number && self.wire == WireType::Len
    }

    /// The content of a length-delimited field, or the encoded scalar.
    #[inline]
    pub(crate) fn content<'a>(&self, message: &'a [u8]) -> &'a [u8] {
        message.get(self.value..self.end).unwrap_or_default()
    }

    /// The whole field with its key and length.
    #[inline]
    pub(crate) fn raw<'a>(&self, message: &'a [u8]) -> &'a [u8] {
        message.get(self.start..self.end).unwrap_or_default()
    }

    /// The value of a varint field; 0 for other wire types.
    pub(crate) fn varint(&self, message: &[u8]) -> u64 {
        if self.wire == WireType::Varint {
            read_varint(message, self.value).map_or(0, |(value, _)| value)
        } else {
            0
        }
    }
}

/// Reads the field at `pos`; `None` if there is no well-formed one.
#[inline]
pub(crate) fn read_field(message: &[u8], pos: usize) -> Option<Field> {
    let (key, after_key) = read_varint(message, pos)?;
    let number = u32::try_from(key).ok()? >> 3;
    let wire = WireType::of_key(key)?;
    let (value, end) = match wire {
        WireType::Len => {
            let (len, value) = read_varint(message, after_key)?;
            (value, value.checked_add(usize::try_from(len).ok()?)?)
        }
        WireType::Varint => (after_key, read_varint(message, after_key)?.1),
        WireType::Fixed64 => (after_key, after_key + 8),
        WireType::Fixed32 => (after_key, after_key + 4),
    };
    (number != 0 && end <= message.len()).then_some(Field { number, wire, start: pos, value, end })
}

/// The fields of a message in the order of the wire. Ends early at bytes that are not protobuf, which only a message
/// that was never validated can contain.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    message: &'a [u8],
    pos: usize,
}

impl<'a> Fields<'a> {
    #[inline]
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self { message, pos: 0 }
    }
}

impl Iterator for Fields<'_> {
    type Item = Field;

    #[inline]
    fn next(&mut self) -> Option<Field> {
        let field = read_field(self.message, self.pos)?;
        self.pos = field.end;
        Some(field)
    }
}

/// Counts the varints read by this thread: the work of a walk, without a clock.
#[cfg(test)]
pub(crate) mod steps {
    use std::cell::Cell;

    thread_local!(static STEPS: Cell<usize> = const { Cell::new(0) });

    pub(super) fn add() {
        STEPS.set(STEPS.get() + 1);
    }

    /// The steps that `work` takes.
    pub(crate) fn of<T>(work: impl FnOnce() -> T) -> usize {
        let before = STEPS.get();
        work();
        STEPS.get() - before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varint_is_read_and_written_like_prost_does() {
        for value in
            [0, 1, 127, 128, 300, 16383, 16384, u64::from(u32::MAX), 1 << 35, 1 << 62, 1 << 63, u64::MAX]
        {
            let mut ours = Vec::new();
            put_varint(&mut ours, value);
            let mut theirs = Vec::new();
            prost::encoding::encode_varint(value, &mut theirs);
            assert_eq!(ours, theirs);
            assert_eq!(varint_len(value), ours.len());
            assert_eq!(read_varint(&ours, 0), Some((value, ours.len())));
        }
    }

    #[test]
    fn a_varint_is_replaced_in_its_place_whatever_its_width() {
        for (old, new) in [(1, 2), (1, 300), (300, 301), (300, 1), (16384, u64::MAX), (u64::MAX, 0)] {
            let mut out = vec![7];
            put_varint(&mut out, old);
            out.push(9);
            replace_varint(&mut out, 1, varint_len(old), new);
            assert_eq!(read_varint(&out, 1), Some((new, out.len() - 1)), "{old} {new}");
            assert_eq!((out[0], out.last()), (7, Some(&9)));
        }
    }

    #[test]
    fn an_over_long_varint_is_legal_up_to_ten_bytes() {
        assert_eq!(read_varint(&[0x81, 0x00], 0), Some((1, 2)));
        let mut ten = [0x80; 10];
        ten[0] = 0x85;
        ten[9] = 0x00;
        assert_eq!(read_varint(&ten, 0), Some((5, 10)));
        ten[9] = 0x01;
        assert_eq!(read_varint(&ten, 0), Some((5 | 1 << 63, 10)));
        ten[9] = 0x02;
        assert_eq!(read_varint(&ten, 0), None);
        assert_eq!(read_varint(&[0x80; 11], 0), None);
        assert_eq!(read_varint(&[0x80], 0), None);
        assert_eq!(read_varint(&[], 0), None);
        assert_eq!(read_varint(&[1], 7), None);
    }

    #[test]
    fn a_walk_ends_where_the_bytes_are_not_protobuf() {
        let good = [0x0a, 0x01, b'x', 0x10, 0x05];
        let fields: Vec<_> = Fields::new(&good).collect();
        assert_eq!(fields.len(), 2);
        assert_eq!(fields[0].content(&good), b"x");
        assert_eq!(fields[1].varint(&good), 5);
        for bad in
            [&[0x0b, 0x0c][..], &[0x02, 0x00], &[0x0a, 0x05, 0x00], &[0x09, 0x00], &[0x0d], &[0x0e, 0x00]]
        {
            assert_eq!(Fields::new(bad).count(), 0, "{bad:?}");
        }
    }
}
