//! Bounded decompression of messages that are received.
//!
//! Contexts are kept for each thread and used again: an inflate state has 40 KiB, a zstd one its window (at most
//! 8 MiB), a snappy one 140 KiB.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Cursor, Read as _};

use bytes::Bytes;
use flate2::{Crc, Decompress, FlushDecompress, Status};
use snap::read::FrameDecoder;
use spanbridge_pdata::memory::Charge;
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, InBuffer, Operation as _, OutBuffer};

use super::Encoding;

/// Base-2 logarithm of the largest zstd window.
///
/// RFC 8878: "it is recommended for decoders to support values of `Window_Size` up to 8 MB".
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// First guess of the output's size where the input does not tell, in multiples of the input's.
const EXPANSION_GUESS: usize = 4;
/// Deflate cannot expand further than this (zlib: "1032:1"), so a larger hint is a lie.
const DEFLATE_EXPANSION_MAX: usize = 1032;
/// Smallest piece of memory asked for.
const OUTPUT_BYTES_MIN: usize = 512;

/// Why a message was not decompressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The output is larger than allowed; decompression stopped there.
    #[error("larger than {max_bytes} bytes after decompression")]
    TooLarge {
        /// The limit.
        max_bytes: usize,
    },
    /// There is no memory for more output; decompression stopped there.
    #[error("not enough memory")]
    OutOfMemory {
        /// Room for the output that would have let it go on.
        output_bytes: usize,
    },
    /// The input is not what its encoding says, or ends too early.
    #[error("{0}")]
    Malformed(String),
}

/// Decompresses `input` into at most `max_bytes` bytes. Memory and time are bounded by the input's size and
/// `max_bytes`, whatever the input claims.
///
/// # Errors
/// See [`DecodeError`].
pub fn decompress(encoding: Encoding, input: &Bytes, max_bytes: usize) -> Result<Bytes, DecodeError> {
    let output_bytes = expected_bytes(encoding, input, max_bytes);
    decompress_within(encoding, input, output_bytes, Bounds { max_bytes, memory: None })
}

/// As [`decompress`], with the output charged to `memory` before it is taken; `memory` stands for the input already, and
/// goes with the output. There is room for `output_bytes` at first; what is needed beyond is asked for, and not waited for.
///
/// # Errors
/// See [`DecodeError`].
pub fn decompress_charged(
    encoding: Encoding,
    input: &Bytes,
    output_bytes: usize,
    max_bytes: usize,
    memory: &mut Charge,
) -> Result<Bytes, DecodeError> {
    decompress_within(encoding, input, output_bytes, Bounds { max_bytes, memory: Some(memory) })
}

/// How many bytes `input` says or is likely to become. Not to be trusted; what there is memory for is better asked before.
pub fn expected_bytes(encoding: Encoding, input: &[u8], max_bytes: usize) -> usize {
    let hint = match encoding {
        Encoding::Gzip => gzip_size_hint(input),
        Encoding::Zstd | Encoding::Snappy => input.len().saturating_mul(EXPANSION_GUESS),
    };
    hint.clamp(OUTPUT_BYTES_MIN, max_bytes.saturating_add(1).max(OUTPUT_BYTES_MIN))
}

fn decompress_within(
    encoding: Encoding,
    input: &Bytes,
    output_bytes: usize,
    bounds: Bounds<'_>,
) -> Result<Bytes, DecodeError> {
    let mut output = Output::new(output_bytes, input.len(), bounds)?;
    CONTEXTS.with_borrow_mut(|contexts| match encoding {
        Encoding::Gzip => {
            let inflate = contexts.inflate.get_or_insert_with(|| Decompress::new(false));
            gunzip(inflate, input, &mut output)
        }
        Encoding::Zstd => contexts.unzstd(input, &mut output),
        Encoding::Snappy => contexts.unsnap(input, &mut output),
    })?;
    output.finish()
}

/// What the output may take.
struct Bounds<'a> {
    max_bytes: usize,
    /// Stands for the input and, from its beginning on, for the output.
    memory: Option<&'a mut Charge>,
}

thread_local! {
    static CONTEXTS: RefCell<Contexts> = const { RefCell::new(Contexts { inflate: None, zstd: None, snappy: None }) };
}

struct Contexts {
    inflate: Option<Decompress>,
    zstd: Option<ZstdDecoder<'static>>,
    snappy: Option<FrameDecoder<Cursor<Bytes>>>,
}

fn malformed(error: impl fmt::Display) -> DecodeError {
    DecodeError::Malformed(error.to_string())
}

fn truncated() -> DecodeError {
    malformed("unexpected end of compressed data")
}

/// Output that grows by doubling, up to one byte more than allowed: that byte proves that there is more.
struct Output<'a> {
    bytes: Vec<u8>,
    input_len: usize,
    max_bytes: usize,
    memory: Option<&'a mut Charge>,
}

impl<'a> Output<'a> {
    fn new(capacity: usize, input_len: usize, bounds: Bounds<'a>) -> Result<Self, DecodeError> {
        let Bounds { max_bytes, memory } = bounds;
        let mut output = Self { bytes: Vec::new(), input_len, max_bytes, memory };
        output.grow(capacity)?;
        Ok(output)
    }

    /// Makes room for `more` bytes than there are, asking for it first. Old and new room are there at the same time while
    /// one is copied to the other.
    fn grow(&mut self, more: usize) -> Result<(), DecodeError> {
        let grown = self.bytes.len().saturating_add(more);
        if let Some(memory) = &mut self.memory
            && !memory.try_raise(self.input_len + self.bytes.capacity() + grown)
        {
            return Err(DecodeError::OutOfMemory { output_bytes: grown });
        }
        self.bytes.reserve_exact(more);
        Ok(())
    }

    /// Makes room for more, unless there is some.
    fn make_room(&mut self) -> Result<(), DecodeError> {
        self.check()?;
        if self.bytes.len() == self.bytes.capacity() {
            self.grow(self.bytes.len().min(self.max_bytes + 1 - self.bytes.len()).max(1))?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), DecodeError> {
        if self.bytes.len() > self.max_bytes {
            return Err(DecodeError::TooLarge { max_bytes: self.max_bytes });
        }
        Ok(())
    }

    /// The output, without much unused memory behind it: it may be held for long.
    fn finish(mut self) -> Result<Bytes, DecodeError> {
        self.check()?;
        if self.bytes.capacity() / 2 > self.bytes.len() {
            self.bytes.shrink_to_fit();
        }
        Ok(match self.memory {
            Some(memory) => memory.take().hold(self.bytes),
            None => self.bytes.into(),
        })
    }
}

// === gzip ===

/// RFC 1952: "A gzip file consists of a series of members".
fn gunzip(inflate: &mut Decompress, input: &[u8], output: &mut Output<'_>) -> Result<(), DecodeError> {
    let mut rest = input;
    loop {
        rest = gzip_member(inflate, rest, output)?;
        if rest.is_empty() {
            return Ok(());
        }
    }
}

/// The size that the last member claims, as far as that is possible.
fn gzip_size_hint(input: &[u8]) -> usize {
    let claimed = input.last_chunk().map_or(0, |size| u32::from_le_bytes(*size));
    usize::try_from(claimed).unwrap_or(usize::MAX).min(input.len().saturating_mul(DEFLATE_EXPANSION_MAX))
}

/// Decompresses one member; returns what comes after it.
fn gzip_member<'a>(
    inflate: &mut Decompress,
    input: &'a [u8],
    output: &mut Output<'_>,
) -> Result<&'a [u8], DecodeError> {
    let mut rest = gzip_header(input)?;
    let start = output.bytes.len();
    inflate.reset(false);
    loop {
        output.make_room()?;
        let before = (inflate.total_in(), output.bytes.len());
        let status =
            inflate.decompress_vec(rest, &mut output.bytes, FlushDecompress::None).map_err(malformed)?;
        let consumed = usize::try_from(inflate.total_in() - before.0).unwrap_or(rest.len());
        rest = rest.get(consumed..).ok_or_else(truncated)?;
        if status == Status::StreamEnd {
            break;
        }
        if consumed == 0 && output.bytes.len() == before.1 {
            return Err(truncated());
        }
    }
    output.check()?;
    let (trailer, after) = rest.split_first_chunk::<8>().ok_or_else(truncated)?;
    let mut crc = Crc::new();
    crc.update(&output.bytes[start..]);
    let expected = u64::from(crc.amount()) << 32 | u64::from(crc.sum());
    if u64::from_le_bytes(*trailer) != expected {
        return Err(malformed("gzip: invalid checksum"));
    }
    Ok(after)
}

/// Skips the header of a member (RFC 1952, 2.3).
fn gzip_header(input: &[u8]) -> Result<&[u8], DecodeError> {
    const FHCRC: u8 = 2;
    const FEXTRA: u8 = 4;
    const FNAME: u8 = 8;
    const FCOMMENT: u8 = 16;
    let ([0x1f, 0x8b, 8, flags, ..], mut rest) = input.split_first_chunk::<10>().ok_or_else(truncated)?
    else {
        return Err(malformed("gzip: invalid header"));
    };
    if flags & FEXTRA != 0 {
        let (len, after) = rest.split_first_chunk::<2>().ok_or_else(truncated)?;
        rest = after.get(usize::from(u16::from_le_bytes(*len))..).ok_or_else(truncated)?;
    }
    for _ in 0..(flags & (FNAME | FCOMMENT)).count_ones() {
        let end = rest.iter().position(|b| *b == 0).ok_or_else(truncated)?;
        rest = &rest[end + 1..];
    }
    if flags & FHCRC != 0 {
        rest = rest.get(2..).ok_or_else(truncated)?;
    }
    Ok(rest)
}

// === zstd and snappy ===

impl Contexts {
    fn unzstd(&mut self, input: &[u8], output: &mut Output<'_>) -> Result<(), DecodeError> {
        let decoder = match &mut self.zstd {
            Some(decoder) => {
                decoder.reinit().map_err(malformed)?;
                decoder
            }
            none => {
                let mut decoder = ZstdDecoder::new().map_err(malformed)?;
                decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX)).map_err(malformed)?;
                none.insert(decoder)
            }
        };
        let mut input = InBuffer::around(input);
        loop {
            output.make_room()?;
            let before = (input.pos(), output.bytes.len());
            let mut buffer = OutBuffer::around_pos(&mut output.bytes, before.1);
            // 0 means that a frame is complete, and another one may follow.
            let wanted = decoder.run(&mut input, &mut buffer).map_err(malformed)?;
            if wanted == 0 && input.pos() == input.src.len() {
                return Ok(());
            }
            if before == (input.pos(), output.bytes.len()) {
                return Err(truncated());
            }
        }
    }

    fn unsnap(&mut self, input: &Bytes, output: &mut Output<'_>) -> Result<(), DecodeError> {
        // A decoder that fails is left behind: only one that has read to the end is as good as new.
        let mut decoder = self.snappy.take().unwrap_or_else(|| FrameDecoder::new(Cursor::new(Bytes::new())));
        *decoder.get_mut() = Cursor::new(input.clone());
        // "The file consists of ... a stream identifier": a used decoder does not ask for one again.
        if input.first().is_some_and(|kind| *kind != 0xff) {
            return Err(malformed("snappy: missing stream identifier"));
        }
        loop {
            output.make_room()?;
            let room = output.bytes.capacity() - output.bytes.len();
            let limit = u64::try_from(room).unwrap_or(u64::MAX);
            let read = (&mut decoder).take(limit).read_to_end(&mut output.bytes).map_err(snappy_error)?;
            if read < room {
                break;
            }
        }
        output.check()?;
        *decoder.get_mut() = Cursor::new(Bytes::new());
        self.snappy = Some(decoder);
        Ok(())
    }
}

fn snappy_error(error: io::Error) -> DecodeError {
    if error.kind() == io::ErrorKind::UnexpectedEof { truncated() } else { malformed(error) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn compressed(encoding: Encoding, data: &[u8]) -> Bytes {
        match encoding {
            Encoding::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(data).unwrap();
                encoder.finish().unwrap().into()
            }
            Encoding::Zstd => zstd::stream::encode_all(data, 1).unwrap().into(),
            Encoding::Snappy => {
                let mut encoder = snap::write::FrameEncoder::new(Vec::new());
                encoder.write_all(data).unwrap();
                encoder.into_inner().unwrap().into()
            }
        }
    }

    fn sample(len: usize) -> Vec<u8> {
        (0..len).map(|i| u8::try_from(i * i % 251).unwrap()).collect()
    }

    #[test]
    fn every_encoding_round_trips_at_every_size_and_with_used_contexts() {
        for encoding in Encoding::ALL {
            for len in [0, 1, 511, 512, 513, 70_000, 300_000, 3] {
                let data = sample(len);
                let packed = compressed(encoding, &data);
                if packed.is_empty() {
                    continue; // snappy writes nothing at all for nothing
                }
                assert_eq!(decompress(encoding, &packed, len).unwrap(), data, "{encoding:?} {len}");
            }
        }
    }

    #[test]
    fn output_beyond_the_limit_is_refused_by_a_single_byte() {
        for encoding in Encoding::ALL {
            for len in [1, 512, 100_000] {
                let packed = compressed(encoding, &sample(len));
                let refused = decompress(encoding, &packed, len - 1);
                assert_eq!(refused, Err(DecodeError::TooLarge { max_bytes: len - 1 }), "{encoding:?} {len}");
                assert!(decompress(encoding, &packed, len).is_ok());
            }
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let zeros = vec![0; 16 << 20];
        for encoding in Encoding::ALL {
            let packed = compressed(encoding, &zeros);
            let refused = decompress(encoding, &packed, 1 << 20);
            assert_eq!(refused, Err(DecodeError::TooLarge { max_bytes: 1 << 20 }));
        }
    }

    #[test]
    fn truncated_and_damaged_input_is_malformed_and_the_context_survives() {
        let data = sample(10_000);
        for encoding in Encoding::ALL {
            let packed = compressed(encoding, &data);
            for cut in [1, 5, packed.len() / 2, packed.len() - 1] {
                let error = decompress(encoding, &packed.slice(..cut), data.len()).unwrap_err();
                assert!(matches!(error, DecodeError::Malformed(_)), "{encoding:?} cut at {cut}: {error}");
            }
            let mut damaged = packed.to_vec();
            let middle = damaged.len() / 2;
            damaged[middle] ^= 0xff;
            assert_ne!(decompress(encoding, &damaged.into(), data.len()).ok(), Some(data.clone().into()));
            assert_eq!(decompress(encoding, &packed, data.len()).unwrap(), data, "context is still good");
        }
    }

    #[test]
    fn several_members_are_one_message() {
        for encoding in Encoding::ALL {
            let both = [compressed(encoding, b"one "), compressed(encoding, b"two")].concat();
            assert_eq!(decompress(encoding, &both.into(), 100).unwrap(), "one two", "{encoding:?}");
        }
    }

    #[test]
    fn a_gzip_header_may_have_every_optional_field() {
        let mut encoder = flate2::GzBuilder::new()
            .extra([1, 2, 3])
            .filename("name")
            .comment("comment")
            .write(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"body").unwrap();
        assert_eq!(decompress(Encoding::Gzip, &encoder.finish().unwrap().into(), 4).unwrap(), "body");
    }

    #[test]
    fn a_zstd_window_beyond_the_recommended_one_is_refused() {
        // Magic number, no content size, no checksum; window descriptor with exponent 21: 2 GiB.
        let frame = Bytes::from_static(&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x01, 0, 0]);
        assert!(matches!(decompress(Encoding::Zstd, &frame, 1 << 20), Err(DecodeError::Malformed(_))));
    }

    proptest! {
        #[test]
        fn any_data_round_trips(data in proptest::collection::vec(any::<u8>(), 1..5000)) {
            for encoding in Encoding::ALL {
                prop_assert_eq!(&decompress(encoding, &compressed(encoding, &data), 5000).unwrap(), &data);
            }
        }

        #[test]
        fn any_bytes_are_bounded(data in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let data = Bytes::from(data);
            for encoding in Encoding::ALL {
                if let Ok(output) = decompress(encoding, &data, 1000) {
                    prop_assert!(output.len() <= 1000);
                }
            }
        }
    }
}
