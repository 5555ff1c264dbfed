//! Length-prefixed messages: one byte of flags, four of length, then the message.
//!
//! "Length-Prefixed-Message → Compressed-Flag Message-Length Message". A unary call carries exactly one in each
//! direction, cut into HTTP/2 DATA frames wherever the sender liked.

use bytes::{Bytes, BytesMut};
use spanbridge_component::Code;

use super::Status;
use super::compression::Encoding;
use super::compression::decode::{DecodeError, decompress};

/// Bytes before each message.
pub const PREFIX_BYTES: usize = 5;

/// The five bytes before a message of `len` bytes; `None` if it does not fit into 32 bits.
pub fn prefix(compressed: bool, len: usize) -> Option<[u8; PREFIX_BYTES]> {
    let [a, b, c, d] = u32::try_from(len).ok()?.to_be_bytes();
    Some([u8::from(compressed), a, b, c, d])
}

/// A complete message as it was on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Whether it is compressed with the encoding that the headers name.
    pub compressed: bool,
    /// The message without its prefix.
    pub bytes: Bytes,
}

/// Why a body is not one message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The prefix declares more than the receiver takes. Texts as grpc-go's, which people search for.
    #[error("grpc: received message larger than max ({declared} vs. {limit})")]
    TooLarge {
        /// What the prefix says, in bytes.
        declared: usize,
        /// What the receiver takes, in bytes.
        limit: usize,
    },
    /// The flags are neither 0 nor 1.
    #[error("grpc: received unexpected payload format {0}")]
    BadFlags(u8),
    /// The body ends within the prefix or the message.
    #[error("grpc: body ended after {received} of {expected} bytes")]
    Truncated {
        /// Bytes that came.
        received: usize,
        /// Bytes announced, as far as that is known.
        expected: usize,
    },
    /// The body goes on after the message.
    #[error("grpc: cardinality violation: a unary call takes one message, more data follows the first")]
    SecondMessage,
    /// The body is empty.
    #[error("grpc: cardinality violation: a unary call takes one message, none was sent")]
    NoMessage,
}

impl FrameError {
    /// The code for it in the gRPC project's "Status codes and their use in gRPC".
    pub fn code(&self) -> Code {
        match self {
            FrameError::TooLarge { .. } => Code::ResourceExhausted,
            FrameError::BadFlags(_) | FrameError::Truncated { .. } => Code::Internal,
            // "Request cardinality violation (method requires exactly one request but client sent some other number
            // of requests): UNIMPLEMENTED".
            FrameError::SecondMessage | FrameError::NoMessage => Code::Unimplemented,
        }
    }
}

impl From<FrameError> for Status {
    fn from(error: FrameError) -> Self {
        Status::new(error.code(), error.to_string())
    }
}

/// Puts the message of a unary call together from the chunks it comes in.
///
/// A message within one chunk is a slice of it. A message over several chunks is copied once, into memory of the
/// declared size, which is checked against the limit before it is allocated.
#[derive(Debug)]
pub struct Assembler {
    limit: usize,
    prefix: [u8; PREFIX_BYTES],
    prefix_len: usize,
    declared: usize,
    body: Body,
}

#[derive(Debug)]
enum Body {
    /// All of what came, so far in one piece.
    Whole(Bytes),
    /// All of what came, with room for the rest.
    Copied(BytesMut),
}

impl Body {
    fn len(&self) -> usize {
        match self {
            Body::Whole(bytes) => bytes.len(),
            Body::Copied(bytes) => bytes.len(),
        }
    }
}

impl Assembler {
    /// Takes messages of up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, prefix: [0; PREFIX_BYTES], prefix_len: 0, declared: 0, body: Body::Whole(Bytes::new()) }
    }

    /// The declared length of the message, once the prefix is there.
    pub fn declared(&self) -> Option<usize> {
        (self.prefix_len == PREFIX_BYTES).then_some(self.declared)
    }

    /// Whether the message is compressed; false until the prefix is there.
    pub fn is_compressed(&self) -> bool {
        self.prefix_len == PREFIX_BYTES && self.prefix[0] == 1
    }

    /// Takes the next chunk.
    ///
    /// # Errors
    /// When the body cannot become one acceptable message. The assembler is of no use then.
    pub fn push(&mut self, mut chunk: Bytes) -> Result<(), FrameError> {
        if self.prefix_len < PREFIX_BYTES {
            self.take_prefix(&mut chunk)?;
        }
        if chunk.is_empty() {
            return Ok(());
        }
        let missing = self.declared - self.body.len();
        if chunk.len() > missing {
            return Err(FrameError::SecondMessage);
        }
        match &mut self.body {
            Body::Whole(bytes) if bytes.is_empty() => *bytes = chunk,
            Body::Whole(bytes) => {
                let mut copied = BytesMut::with_capacity(self.declared);
                copied.extend_from_slice(bytes);
                copied.extend_from_slice(&chunk);
                self.body = Body::Copied(copied);
            }
            Body::Copied(bytes) => bytes.extend_from_slice(&chunk),
        }
        Ok(())
    }

    fn take_prefix(&mut self, chunk: &mut Bytes) -> Result<(), FrameError> {
        let count = chunk.len().min(PREFIX_BYTES - self.prefix_len);
        let part = chunk.split_to(count);
        self.prefix[self.prefix_len..self.prefix_len + count].copy_from_slice(&part);
        self.prefix_len += count;
        let [flags, a, b, c, d] = self.prefix;
        if self.prefix_len > 0 && flags > 1 {
            return Err(FrameError::BadFlags(flags));
        }
        if self.prefix_len == PREFIX_BYTES {
            self.declared = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
            if self.declared > self.limit {
                return Err(FrameError::TooLarge { declared: self.declared, limit: self.limit });
            }
        }
        Ok(())
    }

    /// The message, now that the body has ended.
    ///
    /// # Errors
    /// If the body ended too early.
    pub fn finish(self) -> Result<Message, FrameError> {
        match self.prefix_len {
            0 => return Err(FrameError::NoMessage),
            PREFIX_BYTES => {}
            received => return Err(FrameError::Truncated { received, expected: PREFIX_BYTES }),
        }
        if self.body.len() < self.declared {
            return Err(FrameError::Truncated {
                received: PREFIX_BYTES + self.body.len(),
                expected: PREFIX_BYTES + self.declared,
            });
        }
        let bytes = match self.body {
            Body::Whole(bytes) => bytes,
            Body::Copied(bytes) => bytes.freeze(),
        };
        Ok(Message { compressed: self.prefix[0] == 1, bytes })
    }
}

impl Message {
    /// The message, decompressed if need be, into at most `limit` bytes.
    ///
    /// # Errors
    /// The status that says what is wrong, for the peer.
    pub fn into_decompressed(self, encoding: Option<Encoding>, limit: usize) -> Result<Bytes, Status> {
        if !self.compressed {
            return Ok(self.bytes);
        }
        Ok(decompress(named(encoding)?, &self.bytes, limit)?)
    }
}

/// The encoding of a compressed message.
///
/// # Errors
/// "If the Compressed-Flag is set and the encoding is absent or identity: INTERNAL".
pub(crate) fn named(encoding: Option<Encoding>) -> Result<Encoding, Status> {
    encoding.ok_or_else(|| {
        Status::new(Code::Internal, "grpc: compressed flag set with identity or empty encoding")
    })
}

/// Texts as grpc-go's.
impl From<DecodeError> for Status {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::TooLarge { max_bytes } => Status::new(
                Code::ResourceExhausted,
                format!("grpc: received message after decompression larger than max {max_bytes}"),
            ),
            DecodeError::OutOfMemory { .. } => Status::out_of_memory(),
            DecodeError::Malformed(why) => {
                Status::new(Code::Internal, format!("grpc: failed to decompress the received message: {why}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(flags: u8, message: &[u8]) -> Vec<u8> {
        let mut bytes = prefix(false, message.len()).unwrap().to_vec();
        bytes[0] = flags;
        bytes.extend_from_slice(message);
        bytes
    }

    fn assembled(limit: usize, chunks: &[&[u8]]) -> Result<Message, FrameError> {
        let mut assembler = Assembler::new(limit);
        for chunk in chunks {
            assembler.push(Bytes::copy_from_slice(chunk))?;
        }
        assembler.finish()
    }

    #[test]
    fn a_message_within_one_chunk_is_not_copied() {
        let chunk = Bytes::from(framed(0, b"payload"));
        let mut assembler = Assembler::new(100);
        assembler.push(chunk.clone()).unwrap();
        assert_eq!(assembler.declared(), Some(7));
        let message = assembler.finish().unwrap();
        assert_eq!((message.compressed, message.bytes.as_ref()), (false, b"payload".as_slice()));
        assert_eq!(message.bytes.as_ptr(), chunk[PREFIX_BYTES..].as_ptr());
    }

    #[test]
    fn a_prefix_in_a_chunk_of_its_own_still_saves_the_copy() {
        let mut assembler = Assembler::new(100);
        let body = Bytes::from_static(b"payload");
        assembler.push(Bytes::from(framed(0, b"payload")).slice(..PREFIX_BYTES)).unwrap();
        assembler.push(body.clone()).unwrap();
        assert_eq!(assembler.finish().unwrap().bytes.as_ptr(), body.as_ptr());
    }

    #[test]
    fn the_declared_length_is_checked_before_anything_is_buffered() {
        let mut assembler = Assembler::new(4_194_304);
        let error = assembler.push(Bytes::from_static(&[0, 0, 0x50, 0, 0])).unwrap_err();
        assert_eq!(error.to_string(), "grpc: received message larger than max (5242880 vs. 4194304)");
        assert_eq!(error.code(), Code::ResourceExhausted);
        assert!(assembled(7, &[&framed(0, b"payload")]).is_ok());
    }

    #[test]
    fn what_is_not_one_message_has_its_code() {
        let second = [framed(0, b"one"), framed(0, b"two")].concat();
        for (chunks, code) in [
            (vec![second.as_slice()], Code::Unimplemented),
            (vec![&framed(0, b"one"), b"x"], Code::Unimplemented),
            (vec![], Code::Unimplemented),
            (vec![b"".as_slice(), b""], Code::Unimplemented),
            (vec![b"\0\0"], Code::Internal),
            (vec![&framed(0, b"one")[..7]], Code::Internal),
            (vec![&framed(2, b"one")], Code::Internal),
        ] {
            assert_eq!(assembled(100, &chunks).unwrap_err().code(), code, "{chunks:?}");
        }
        assert!(assembled(100, &[&framed(0, b"")]).unwrap().bytes.is_empty());
    }

    #[test]
    fn a_compressed_message_needs_a_named_encoding() {
        let message = Message { compressed: true, bytes: Bytes::from_static(b"x") };
        let status = message.clone().into_decompressed(None, 10).unwrap_err();
        assert_eq!(status.code(), Code::Internal);
        let status = message.into_decompressed(Some(Encoding::Gzip), 10).unwrap_err();
        assert_eq!(status.code(), Code::Internal);
        let plain = Message { compressed: false, bytes: Bytes::from_static(b"x") };
        assert_eq!(plain.into_decompressed(Some(Encoding::Gzip), 10).unwrap(), "x");
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(
            message in proptest::collection::vec(any::<u8>(), 0..300),
            compressed in any::<bool>(),
            cuts in proptest::collection::vec(0_usize..305, 0..8),
        ) {
            let whole = framed(u8::from(compressed), &message);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(whole.len())).collect();
            cuts.push(whole.len());
            cuts.sort_unstable();
            let mut start = 0;
            let chunks: Vec<&[u8]> = cuts.iter().map(|&end| {
                let chunk = &whole[start..end];
                start = end;
                chunk
            }).collect();
            let message = Message { compressed, bytes: message.into() };
            prop_assert_eq!(assembled(300, &chunks), Ok(message));
        }

        #[test]
        fn any_bytes_give_a_message_within_the_limit_or_an_error(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..6),
        ) {
            let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            if let Ok(message) = assembled(16, &chunks) {
                prop_assert!(message.bytes.len() <= 16);
                prop_assert_eq!(chunks.concat().len(), PREFIX_BYTES + message.bytes.len());
            }
        }
    }
}
