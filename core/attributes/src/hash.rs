//! Hashes of values.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};
use spanbridge_pdata::ValueRef;

/// SHA-256 of the canonical bytes of a value, in lower-case hexadecimal.
///
/// The bytes are: of a text its own, of a bool one byte, of numbers eight in little-endian order. Everything without
/// such bytes, the empty text included, gives the empty text.
pub(crate) fn hash(value: &ValueRef<'_>) -> String {
    match value {
        ValueRef::Str(text) => hex(text.as_bytes()),
        ValueRef::Bool(value) => hex(&[u8::from(*value)]),
        ValueRef::Int(number) => hex(&number.to_le_bytes()),
        ValueRef::Double(number) => hex(&number.to_le_bytes()),
        ValueRef::Empty | ValueRef::Bytes(_) | ValueRef::List(_) | ValueRef::Map(_) => String::new(),
    }
}

fn hex(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return String::new();
    }
    let digest = Sha256::digest(bytes);
    digest.iter().fold(String::with_capacity(2 * digest.len()), |mut text, byte| {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_hashed_by_their_canonical_bytes() {
        // Digests by sha256sum: of "abc", the byte 1, the byte 0, 1 and 1.5 as eight little-endian bytes.
        let cases = [
            (ValueRef::Str("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (ValueRef::Bool(true), "4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a"),
            (ValueRef::Bool(false), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
            (ValueRef::Int(1), "7c9fa136d4413fa6173637e883b6998d32e1d675f88cddff9dcbcf331820f4b8"),
            (ValueRef::Double(1.5), "e163f8cb0f7067a7fc78ca859a77f849aea3214f38fb75b884e4a16be725c905"),
        ];
        for (value, digest) in cases {
            assert_eq!(hash(&value), digest, "{value:?}");
        }
    }

    #[test]
    fn what_has_no_bytes_is_hashed_to_the_empty_text() {
        assert_eq!(hash(&ValueRef::Str("")), "");
        assert_eq!(hash(&ValueRef::Empty), "");
        assert_eq!(hash(&ValueRef::Bytes(&[1, 2])), "");
    }
}
