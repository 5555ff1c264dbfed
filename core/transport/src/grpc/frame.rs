//! Length-prefixed messages: one byte of flags, four of length, then the message.

/// Bytes before each message.
pub const PREFIX_BYTES: usize = 5;

/// The five bytes before a message of `len` bytes; `None` if it does not fit into 32 bits.
pub fn prefix(compressed: bool, len: usize) -> Option<[u8; PREFIX_BYTES]> {
    let [a, b, c, d] = u32::try_from(len).ok()?.to_be_bytes();
    Some([u8::from(compressed), a, b, c, d])
}
