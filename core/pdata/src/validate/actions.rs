//! The schema as a table of what to do on meeting a key.

use crate::schema::{Message, Type};

/// Keys with an entry in the table: those of field numbers 0 to 16, the largest that OTLP uses.
const TABLE_KEYS: usize = 17 * 8;

/// What to do on meeting a key. One flat list, so that the walk needs one jump a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Message,
    /// A message of type `KeyValue`, for which there is a shortcut.
    KeyValue,
    Str,
    Bytes,
    TraceId,
    SpanId,
    Varint,
    Fixed64,
    Fixed32,
    PackedVarint,
    PackedFixed64,
    UnknownVarint,
    UnknownFixed64,
    UnknownLen,
    UnknownFixed32,
    WrongWireType,
    Group,
    BadKey,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Action {
    pub(super) op: Op,
    /// The type of an embedded message; without meaning for other fields.
    pub(super) child: Message,
}

/// What to do on meeting `key` in a message of this type.
#[inline]
pub(super) fn action(message: Message, key: u32) -> Action {
    match ACTIONS[message as usize].get(key as usize) {
        Some(action) => *action,
        None => Action { op: unknown_op(key as usize), child: message },
    }
}

static ACTIONS: [[Action; TABLE_KEYS]; Message::ALL.len()] = actions();

const fn actions() -> [[Action; TABLE_KEYS]; Message::ALL.len()] {
    let mut table = [[Action { op: Op::BadKey, child: Message::KeyValue }; TABLE_KEYS]; Message::ALL.len()];
    let mut message = 0;
    while message < Message::ALL.len() {
        let fields = Message::ALL[message].fields();
        let mut key = 0;
        while key < TABLE_KEYS {
            table[message][key].op = unknown_op(key);
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

/// What to do on meeting a key of a field that the message type does not know.
const fn unknown_op(key: usize) -> Op {
    match (key >> 3, key & 7) {
        (0, _) => Op::BadKey,
        (_, 0) => Op::UnknownVarint,
        (_, 1) => Op::UnknownFixed64,
        (_, 2) => Op::UnknownLen,
        (_, 5) => Op::UnknownFixed32,
        (_, 3 | 4) => Op::Group,
        _ => Op::BadKey,
    }
}

/// What to do on meeting a field of type `ty`, given what would be done if it were unknown.
const fn known_action(ty: Type, unknown: Action) -> Action {
    let op = match (ty, unknown.op) {
        (_, Op::Group | Op::BadKey) => unknown.op,
        (Type::Message(Message::KeyValue), Op::UnknownLen) => Op::KeyValue,
        (Type::Message(child), Op::UnknownLen) => return Action { op: Op::Message, child },
        (Type::Str, Op::UnknownLen) => Op::Str,
        (Type::Bytes, Op::UnknownLen) => Op::Bytes,
        (Type::TraceId, Op::UnknownLen) => Op::TraceId,
        (Type::SpanId, Op::UnknownLen) => Op::SpanId,
        (Type::PackedVarint, Op::UnknownLen) => Op::PackedVarint,
        (Type::PackedFixed64, Op::UnknownLen) => Op::PackedFixed64,
        // One element of a packed field may be given by itself.
        (Type::Varint | Type::PackedVarint, Op::UnknownVarint) => Op::Varint,
        (Type::Fixed64 | Type::PackedFixed64, Op::UnknownFixed64) => Op::Fixed64,
        (Type::Fixed32, Op::UnknownFixed32) => Op::Fixed32,
        _ => Op::WrongWireType,
    };
    Action { op, ..unknown }
}
