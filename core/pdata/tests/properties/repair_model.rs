//! The repair of strings, done the simple way: message by message from the official descriptors.

use prost_types::field_descriptor_proto::Type;

use crate::descriptors::MessageType;

/// The message with its strings repaired, and how many there were. Messages without any stay byte for byte.
pub fn repair(ty: &MessageType, message: &[u8]) -> (Vec<u8>, usize) {
    let mut out = Vec::new();
    let mut repaired = 0;
    let mut pos = 0;
    while pos < message.len() {
        let start = pos;
        let key = varint(message, &mut pos);
        let len = match key & 7 {
            0 => {
                varint(message, &mut pos);
                0
            }
            1 => 8,
            2 => usize::try_from(varint(message, &mut pos)).expect("a length within the message"),
            _ => 4,
        };
        let content = &message[pos..pos + len];
        pos += len;
        let field = ty.fields.iter().find(|field| key & 7 == 2 && u64::from(field.number) == key >> 3);
        let new = match field.map(|field| (field.ty, field)) {
            Some((Type::String, _)) if std::str::from_utf8(content).is_err() => {
                repaired += 1;
                Some(String::from_utf8_lossy(content).into_owned().into_bytes())
            }
            Some((Type::Message, field)) => {
                let child = field.message().expect("a message field has a type");
                let (new, count) = repair(child, content);
                repaired += count;
                (count > 0).then_some(new)
            }
            _ => None,
        };
        match new {
            Some(new) => {
                prost::encoding::encode_varint(key, &mut out);
                prost::encoding::encode_varint(new.len() as u64, &mut out);
                out.extend(new);
            }
            None => out.extend_from_slice(&message[start..pos]),
        }
    }
    (out, repaired)
}

fn varint(message: &[u8], pos: &mut usize) -> u64 {
    let mut rest = &message[*pos..];
    let value = prost::encoding::decode_varint(&mut rest).expect("a valid varint");
    *pos = message.len() - rest.len();
    value
}
