//! A request body in arbitrary chunks: assembly, limits, decompression.
//!
//! The first byte selects the kind of body, the second how it is cut:
//! arbitrary bytes; an arbitrary message in a good frame; a truly compressed message with some bytes damaged.

#![no_main]

use std::io::Write as _;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use spanbridge_transport::grpc::Encoding;
use spanbridge_transport::grpc::frame::{Assembler, Message, PREFIX_BYTES, prefix};

const LIMIT: usize = 1 << 16;

fuzz_target!(|data: &[u8]| {
    let [kind, cut, rest @ ..] = data else { return };
    let encoding = Encoding::ALL[usize::from(kind / 3) % Encoding::ALL.len()];
    let body = match kind % 3 {
        0 => rest.to_vec(),
        1 => framed(rest),
        _ => framed(&damaged(encoding, rest)),
    };
    let Some(message) = assemble(&body, usize::from(*cut) + 1) else { return };
    assert!(message.bytes.len() <= LIMIT);
    assert_eq!(message.bytes.len() + PREFIX_BYTES, body.len());
    if let Ok(message) = message.into_decompressed(Some(encoding), LIMIT) {
        assert!(message.len() <= LIMIT);
    }
});

fn framed(message: &[u8]) -> Vec<u8> {
    let mut body = prefix(true, message.len()).expect("fuzz inputs are small").to_vec();
    body.extend_from_slice(message);
    body
}

fn assemble(body: &[u8], chunk: usize) -> Option<Message> {
    let mut assembler = Assembler::new(LIMIT);
    for chunk in body.chunks(chunk) {
        assembler.push(Bytes::copy_from_slice(chunk)).ok()?;
        assert!(assembler.declared().is_none_or(|declared| declared <= LIMIT));
    }
    assembler.finish().ok()
}

/// Compresses most of `data`; the first eight bytes say what is then damaged: four positions and masks.
fn damaged(encoding: Encoding, data: &[u8]) -> Vec<u8> {
    let Some((damage, data)) = data.split_first_chunk::<8>() else { return Vec::new() };
    let mut packed = compressed(encoding, data);
    for pair in damage.chunks_exact(2) {
        let position = usize::from(pair[0]) % packed.len().max(1);
        if let Some(byte) = packed.get_mut(position) {
            *byte ^= pair[1];
        }
    }
    packed
}

fn compressed(encoding: Encoding, data: &[u8]) -> Vec<u8> {
    let packed = match encoding {
        Encoding::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(data).and_then(|()| encoder.finish())
        }
        Encoding::Zstd => zstd::stream::encode_all(data, 1),
        Encoding::Snappy => {
            let mut encoder = snap::write::FrameEncoder::new(Vec::new());
            encoder.write_all(data).and_then(|()| encoder.into_inner().map_err(|e| e.into_error()))
        }
    };
    packed.expect("memory takes every write")
}
