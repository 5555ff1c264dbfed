//! Requests in every encoding that protobuf allows, however odd.
//!
//! Generated straight as bytes from the official descriptors: fields in any order, singular fields and embedded messages
//! given several times (they merge), several alternatives of a oneof, packed fields unpacked and in pieces, unknown
//! fields, over-long varints, empty messages. The choices come from a tape of bytes, so that a failing case shrinks.

use prost_types::field_descriptor_proto::Type;
use spanbridge_pdata::Signal;

use crate::descriptors::{FieldType, MessageType, request_type};

/// Deepest nesting that is generated.
const MAX_DEPTH: usize = 24;

/// Keys from a small set, so that edits meet them.
pub const KEYS: [&str; 6] = ["", "a", "b", "service.name", "k8s.pod.name", "\u{43a}\u{43b}\u{44e}\u{447}"];

const TEXTS: [&str; 6] = [
    "",
    "x",
    "checkout",
    "gr\u{fc}n \u{1f600}",
    "a text of more than sixty-four bytes, for which the vectorized check is used",
    "\u{43e}\u{447}\u{435}\u{43d}\u{44c} \u{434}\u{43b}\u{438}\u{43d}\u{43d}\u{44b}\u{439} \u{442}\u{435}\u{43a}\u{441}\u{442}, \u{434}\u{43b}\u{438}\u{43d}\u{43d}\u{435}\u{435} \u{448}\u{435}\u{441}\u{442}\u{438}\u{434}\u{435}\u{441}\u{44f}\u{442}\u{438} \u{447}\u{435}\u{442}\u{44b}\u{440}\u{451}\u{445}",
];

/// What to generate beyond what is legal.
#[derive(Debug, Clone, Copy, Default)]
pub struct Oddities {
    /// Strings that are not UTF-8, sometimes.
    pub invalid_utf8: bool,
    /// Ids of any length, sometimes.
    pub bad_ids: bool,
    /// Groups among the unknown fields, sometimes.
    pub groups: bool,
}

/// Choices read from bytes; 0 when they are used up.
struct Tape<'a> {
    bytes: &'a [u8],
    oddities: Oddities,
}

impl Tape<'_> {
    fn next(&mut self) -> u8 {
        let Some((&first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        first
    }

    fn is_used_up(&self) -> bool {
        self.bytes.is_empty()
    }

    /// One of `n`, the first when the tape is used up.
    fn choose(&mut self, n: usize) -> usize {
        usize::from(self.next()) % n
    }

    /// True once in `n`; false when the tape is used up.
    fn once_in(&mut self, n: usize) -> bool {
        self.choose(n) == n - 1
    }
}

/// A request made from the tape.
pub fn request(signal: Signal, tape: &[u8], oddities: Oddities) -> Vec<u8> {
    let mut tape = Tape { bytes: tape, oddities };
    let mut request = Vec::new();
    // The end of the tape is the end of the request, so long tapes make long requests.
    while !tape.is_used_up() {
        put_field(&mut request, request_type(signal), &mut tape, 0);
    }
    request
}

fn message(ty: &MessageType, tape: &mut Tape<'_>, depth: usize) -> Vec<u8> {
    let mut out = Vec::new();
    if depth == MAX_DEPTH {
        return out;
    }
    for _ in 0..tape.choose(if depth < 3 { 7 } else { 5 }) {
        put_field(&mut out, ty, tape, depth);
    }
    out
}

/// A field of the type, or an unknown one.
fn put_field(out: &mut Vec<u8>, ty: &MessageType, tape: &mut Tape<'_>, depth: usize) {
    if tape.once_in(24) {
        return put_unknown(out, tape);
    }
    // What leads to items is chosen more often than the rest.
    let field = match tape.choose(2) {
        0 if !ty.containers.is_empty() => &ty.fields[ty.containers[tape.choose(ty.containers.len())]],
        _ => &ty.fields[tape.choose(ty.fields.len())],
    };
    put_known(out, ty, field, tape, depth);
}

fn put_known(out: &mut Vec<u8>, ty: &MessageType, field: &FieldType, tape: &mut Tape<'_>, depth: usize) {
    match field.ty {
        Type::Message => {
            let child = field.message().expect("a message field has a type");
            let content = message(child, tape, depth + 1);
            put_len(out, field.number, &content, tape);
        }
        Type::String => {
            let text = text(ty, field, tape);
            put_len(out, field.number, &text, tape);
        }
        Type::Bytes => {
            let len = id_len(field, tape);
            let content: Vec<u8> = (0..len).map(|_| tape.next()).collect();
            put_len(out, field.number, &content, tape);
        }
        Type::Fixed64 | Type::Sfixed64 | Type::Double | Type::Uint64
            if field.repeated && tape.choose(2) == 0 =>
        {
            let mut content = Vec::new();
            for _ in 0..tape.choose(4) {
                put_scalar(&mut content, field.ty, tape);
            }
            put_len(out, field.number, &content, tape);
        }
        scalar => {
            put_key(out, field.number, wire_type(scalar), tape);
            put_scalar(out, scalar, tape);
        }
    }
}

fn text(ty: &MessageType, field: &FieldType, tape: &mut Tape<'_>) -> Vec<u8> {
    let is_key = ty.name.ends_with(".KeyValue") && field.name == "key";
    let mut text = if is_key { KEYS[tape.choose(KEYS.len())] } else { TEXTS[tape.choose(TEXTS.len())] }
        .as_bytes()
        .to_vec();
    if tape.oddities.invalid_utf8 && tape.once_in(6) {
        let at = tape.choose(text.len() + 1);
        let bad: &[u8] =
            [&[0xff][..], &[0xc3], &[0xe2, 0x82], &[0xed, 0xa0, 0x80], &[0x80, 0x80]][tape.choose(5)];
        text.splice(at..at, bad.iter().copied());
    }
    text
}

fn id_len(field: &FieldType, tape: &mut Tape<'_>) -> usize {
    let legal = match field.name.as_str() {
        "trace_id" => [0, 16],
        "span_id" | "parent_span_id" => [0, 8],
        _ => [0, 5],
    };
    if tape.oddities.bad_ids && tape.once_in(6) { tape.choose(20) } else { legal[tape.choose(2)] }
}

fn wire_type(ty: Type) -> u32 {
    match ty {
        Type::Fixed64 | Type::Sfixed64 | Type::Double => 1,
        Type::Fixed32 => 5,
        _ => 0,
    }
}

fn put_scalar(out: &mut Vec<u8>, ty: Type, tape: &mut Tape<'_>) {
    match wire_type(ty) {
        1 => out.extend([0, 0, 0, 0, 0, 0, tape.next(), tape.next()]),
        5 => out.extend([tape.next(), 0, 0, tape.next()]),
        _ => {
            let value = [0, 1, 2, 200, 100_000, u64::MAX, 1 << 63, u64::from(u32::MAX)][tape.choose(8)];
            put_varint(out, value, tape);
        }
    }
}

fn put_unknown(out: &mut Vec<u8>, tape: &mut Tape<'_>) {
    let number = [17, 100, 536_870_911][tape.choose(3)];
    match tape.choose(if tape.oddities.groups { 5 } else { 4 }) {
        0 => {
            put_key(out, number, 0, tape);
            put_scalar(out, Type::Uint64, tape);
        }
        1 => {
            put_key(out, number, 1, tape);
            out.extend([tape.next(); 8]);
        }
        2 => {
            put_key(out, number, 5, tape);
            out.extend([tape.next(); 4]);
        }
        3 => {
            let content: Vec<u8> = (0..tape.choose(6)).map(|_| tape.next()).collect();
            put_len(out, number, &content, tape);
        }
        _ => {
            put_key(out, number, 3, tape);
            put_key(out, 1, 0, tape);
            out.push(1);
            put_key(out, number, 4, tape);
        }
    }
}

fn put_len(out: &mut Vec<u8>, number: u32, content: &[u8], tape: &mut Tape<'_>) {
    put_key(out, number, 2, tape);
    put_varint(out, content.len() as u64, tape);
    out.extend_from_slice(content);
}

fn put_key(out: &mut Vec<u8>, number: u32, wire_type: u32, tape: &mut Tape<'_>) {
    put_varint(out, u64::from(number << 3 | wire_type), tape);
}

/// A varint, sometimes longer than it need be, up to ten bytes.
fn put_varint(out: &mut Vec<u8>, value: u64, tape: &mut Tape<'_>) {
    let start = out.len();
    prost::encoding::encode_varint(value, out);
    if tape.once_in(40) {
        let pad = tape.choose(11 - (out.len() - start));
        for _ in 0..pad {
            if let Some(last) = out.last_mut() {
                *last |= 0x80;
            }
            out.push(0);
        }
    }
}
