//! An outgoing message as h2 sends it: prefix and segments, never copied into one piece.

use std::io::IoSlice;

use bytes::{Buf, Bytes};
use smallvec::SmallVec;
use spanbridge_component::Code;

use crate::grpc::Status;
use crate::grpc::frame::{PREFIX_BYTES, prefix};

/// Largest message: what grpc-go sends at most, and what HTTP/2 can have outstanding on a stream.
const MESSAGE_MAX_BYTES: usize = i32::MAX as usize - PREFIX_BYTES;

/// A length-prefixed gRPC message. Cheap to clone: handles are copied, bytes are not.
///
/// h2 cuts it into DATA frames of the size that the peer allows as the peer's window opens; a frame may hold the
/// prefix and the ends of several segments.
#[derive(Debug, Clone, Default)]
pub(crate) struct OutgoingMessage {
    prefix: [u8; PREFIX_BYTES],
    prefix_sent: usize,
    segments: SmallVec<[Bytes; 4]>,
    /// Index of the first segment that is not sent in full. Earlier ones are released.
    next: usize,
    /// Bytes of segments still to send.
    rest: usize,
}

impl OutgoingMessage {
    /// A message made of `segments`, `compressed` or not.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` if it is too large to be sent.
    pub(crate) fn new(segments: &[Bytes], compressed: bool) -> Result<Self, Status> {
        let len: usize = segments.iter().map(Bytes::len).sum();
        let prefix = prefix(compressed, len).filter(|_| len <= MESSAGE_MAX_BYTES).ok_or_else(|| {
            let text = format!("trying to send message larger than max ({len} vs. {MESSAGE_MAX_BYTES})");
            Status::new(Code::ResourceExhausted, text)
        })?;
        let segments = segments.iter().filter(|s| !s.is_empty()).cloned().collect();
        Ok(Self { prefix, prefix_sent: 0, segments, next: 0, rest: len })
    }
}

impl Buf for OutgoingMessage {
    fn remaining(&self) -> usize {
        PREFIX_BYTES - self.prefix_sent + self.rest
    }

    fn chunk(&self) -> &[u8] {
        if self.prefix_sent < PREFIX_BYTES {
            return &self.prefix[self.prefix_sent..];
        }
        self.segments.get(self.next).map_or(&[], |s| s)
    }

    fn chunks_vectored<'a>(&'a self, dst: &mut [IoSlice<'a>]) -> usize {
        let prefix = &self.prefix[self.prefix_sent..];
        let segments = self.segments[self.next..].iter().map(|s| &s[..]);
        let mut filled = 0;
        let chunks = std::iter::once(prefix).chain(segments).filter(|c| !c.is_empty());
        for (slot, chunk) in dst.iter_mut().zip(chunks) {
            *slot = IoSlice::new(chunk);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.remaining(), "cannot advance past the end of the message");
        let of_prefix = count.min(PREFIX_BYTES - self.prefix_sent);
        self.prefix_sent += of_prefix;
        let mut count = count - of_prefix;
        self.rest -= count;
        while count > 0 {
            let segment = &mut self.segments[self.next];
            if count < segment.len() {
                segment.advance(count);
                return;
            }
            count -= segment.len();
            // Let go of what is sent: the memory may be needed long before the last byte is out.
            *segment = Bytes::new();
            self.next += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(segments: &[&'static str]) -> OutgoingMessage {
        let segments: Vec<_> = segments.iter().map(|s| Bytes::from_static(s.as_bytes())).collect();
        OutgoingMessage::new(&segments, false).unwrap()
    }

    const WIRE: &[u8] = b"\0\0\0\0\x06abcdef";

    #[test]
    fn reads_as_prefix_and_segments_whatever_the_step() {
        for step in 1..=WIRE.len() {
            let mut message = message(&["ab", "", "c", "def"]);
            let mut out = Vec::new();
            while message.has_remaining() {
                let mut part = (&mut message).take(step);
                while part.has_remaining() {
                    let chunk = part.chunk().to_vec();
                    part.advance(chunk.len());
                    out.extend(chunk);
                }
            }
            assert_eq!(out, WIRE, "step {step}");
        }
    }

    #[test]
    fn vectored_chunks_are_the_whole_message_from_any_position() {
        for position in 0..WIRE.len() {
            let mut message = message(&["ab", "c", "def"]);
            message.advance(position);
            let mut slots = [IoSlice::new(&[]); 8];
            let filled = message.chunks_vectored(&mut slots);
            let all: Vec<u8> = slots[..filled].iter().flat_map(|s| s.to_vec()).collect();
            assert_eq!(all, WIRE[position..], "position {position}");
            assert_eq!(message.chunks_vectored(&mut []), 0);
        }
    }

    #[test]
    fn the_flag_says_whether_it_is_compressed_and_an_empty_message_is_its_prefix() {
        let mut message = OutgoingMessage::new(&[], true).unwrap();
        assert_eq!(message.copy_to_bytes(message.remaining()), &b"\x01\0\0\0\0"[..]);
        assert_eq!(message.chunk(), b"");
    }
}
