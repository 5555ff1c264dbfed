//! Rewrites strings that are not UTF-8.
//!
//! The slow path of the door, taken only by requests that have such strings. The Go collector lets them through, and
//! strict backends then refuse the whole batch.

use crate::ascii::is_utf8;
use crate::schema::{Message, Type};
use crate::wire::{Field, Fields, len_field_size, len_key, put_varint};

/// The bytes of U+FFFD, the replacement character.
const REPLACEMENT: &str = "\u{fffd}";

/// Rewrites every string field of a structurally valid message that is not UTF-8: each maximal sequence of bytes that
/// cannot continue a character becomes U+FFFD. The lengths of the messages around it change accordingly. The result is
/// at most a few times as long.
pub(crate) fn repair(root: Message, bytes: &[u8]) -> Vec<u8> {
    let mut repair = Repair { broken: Vec::new(), next: 0 };
    let len = repair.measure(root, bytes, 0).unwrap_or(bytes.len());
    let mut out = Vec::with_capacity(len);
    if repair.take(0).is_some() {
        repair.write(root, bytes, 0, &mut out);
    } else {
        out.extend_from_slice(bytes);
    }
    out
}

/// A message with a broken string somewhere in it.
#[derive(Debug)]
struct Broken {
    /// Where its content starts in the request.
    start: usize,
    /// The length that its content will have.
    len: usize,
}

struct Repair {
    /// In the order in which a walk meets the messages.
    broken: Vec<Broken>,
    /// The first of `broken` that the writing walk has not met yet.
    next: usize,
}

impl Repair {
    /// The length that the message will have; `None` if nothing in it is broken. `start` is where its content starts.
    fn measure(&mut self, ty: Message, message: &[u8], start: usize) -> Option<usize> {
        let slot = self.broken.len();
        self.broken.push(Broken { start, len: 0 });
        let mut len = 0;
        let mut is_broken = false;
        for field in Fields::new(message) {
            let content = field.content(message);
            let new_len = match type_of(ty, &field) {
                Some(Type::Str) if !is_utf8(content) => Some(repaired_len(content)),
                Some(Type::Message(child)) => self.measure(child, content, start + field.value),
                _ => None,
            };
            is_broken |= new_len.is_some();
            len += new_len.map_or(field.end - field.start, |len| len_field_size(len_key(field.number), len));
        }
        if !is_broken {
            self.broken.truncate(slot);
            return None;
        }
        if let Some(broken) = self.broken.get_mut(slot) {
            broken.len = len;
        }
        Some(len)
    }

    /// Writes the content of a message that is broken.
    fn write(&mut self, ty: Message, message: &[u8], start: usize, out: &mut Vec<u8>) {
        for field in Fields::new(message) {
            let content = field.content(message);
            match type_of(ty, &field) {
                Some(Type::Str) if !is_utf8(content) => {
                    put_len_key(out, field.number, repaired_len(content));
                    put_repaired(out, content);
                }
                Some(Type::Message(child)) => match self.take(start + field.value) {
                    Some(len) => {
                        put_len_key(out, field.number, len);
                        self.write(child, content, start + field.value, out);
                    }
                    None => out.extend_from_slice(field.raw(message)),
                },
                _ => out.extend_from_slice(field.raw(message)),
            }
        }
    }

    /// The new length of the message that starts here, if it is broken.
    fn take(&mut self, start: usize) -> Option<usize> {
        let broken = self.broken.get(self.next).filter(|broken| broken.start == start)?;
        self.next += 1;
        Some(broken.len)
    }
}

/// The type of a length-delimited field; of no interest for others.
fn type_of(message: Message, field: &Field) -> Option<Type> {
    let spec = message.fields().iter().find(|spec| field.is_len(spec.number))?;
    Some(spec.ty)
}

fn put_len_key(out: &mut Vec<u8>, number: u32, len: usize) {
    put_varint(out, u64::from(len_key(number)));
    put_varint(out, len as u64);
}

fn repaired_len(text: &[u8]) -> usize {
    let chunks = text.utf8_chunks();
    chunks
        .map(|chunk| chunk.valid().len() + if chunk.invalid().is_empty() { 0 } else { REPLACEMENT.len() })
        .sum()
}

fn put_repaired(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        out.extend_from_slice(chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(REPLACEMENT.as_bytes());
        }
    }
}
