//! Compression of messages that are sent.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use bytes::Bytes;
use flate2::{Compress, FlushCompress};
use snap::write::FrameEncoder;
use spanbridge_component::Code;
use tokio::sync::Semaphore;
use zstd::stream::raw::{Encoder as ZstdEncoder, InBuffer, Operation, OutBuffer};

use super::Encoding;
use crate::grpc::Status;

/// Messages up to this many bytes are compressed by the task that sends them; larger ones go to a thread that may block,
/// so that the runtime's threads stay free. The sizes are about half a millisecond of work each.
const fn inline_max_bytes(encoding: Encoding) -> usize {
    match encoding {
        Encoding::Gzip => 32 * 1024,
        Encoding::Zstd => 128 * 1024,
        Encoding::Snappy => 512 * 1024,
    }
}

/// gzip level: zlib's default, and what the Go collector uses.
const GZIP_LEVEL: u32 = 6;

/// Base-two logarithm of the gzip window; 15 is the format's largest.
const GZIP_WINDOW_BITS: u8 = 15;

/// zstd level: the library's default, and what the Go collector uses.
const ZSTD_LEVEL: i32 = 3;

/// First size of an output buffer, and the least room added to one that is full.
const OUTPUT_STEP_BYTES: usize = 8 * 1024;

/// Compresses the messages of one channel.
///
/// Compression contexts are expensive to create (gzip 270 kB, zstd more), so they are kept: at most one for each
/// processor. As many messages are compressed on blocking threads at a time, the rest wait.
#[derive(Debug)]
pub(crate) struct Compressor {
    encoding: Encoding,
    contexts: Mutex<Vec<Context>>,
    contexts_max: usize,
    blocking: Arc<Semaphore>,
}

impl Compressor {
    pub(crate) fn new(encoding: Encoding) -> Arc<Self> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Arc::new(Self {
            encoding,
            contexts: Mutex::default(),
            contexts_max: processors,
            blocking: Arc::new(Semaphore::new(processors)),
        })
    }

    /// `segments`, which are `len` bytes together, as one compressed message.
    pub(crate) async fn compress(self: &Arc<Self>, segments: &[Bytes], len: usize) -> Result<Bytes, Status> {
        if len <= inline_max_bytes(self.encoding) {
            return self.compress_now(segments, len).map_err(|e| failed(self.encoding, &e));
        }
        let turn = Arc::clone(&self.blocking).acquire_owned().await.map_err(|e| failed(self.encoding, &e))?;
        let (this, segments) = (Arc::clone(self), segments.to_vec());
        let work = move || {
            // The turn ends with the work, not with a caller that has gone away.
            let _turn = turn;
            this.compress_now(&segments, len)
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|e| failed(self.encoding, &e))?
            .map_err(|e| failed(self.encoding, &e))
    }

    fn compress_now(&self, segments: &[Bytes], len: usize) -> io::Result<Bytes> {
        let kept = self.lock().pop();
        let mut context = match kept {
            Some(context) => context,
            None => Context::new(self.encoding)?,
        };
        // A context that has failed is not put back.
        let output = context.compress(segments, len)?;
        let mut contexts = self.lock();
        if contexts.len() < self.contexts_max {
            contexts.push(context);
        }
        Ok(output.into())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Context>> {
        self.contexts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(encoding: Encoding, error: &dyn std::error::Error) -> Status {
    Status::new(Code::Internal, format!("grpc: error while compressing with {}: {error}", encoding.name()))
}

/// The reusable state of one compression at a time.
enum Context {
    Gzip(Compress),
    Snappy { encoder: Box<FrameEncoder<Vec<u8>>>, fresh: bool },
    Zstd(ZstdEncoder<'static>),
}

impl Context {
    fn new(encoding: Encoding) -> io::Result<Self> {
        Ok(match encoding {
            Encoding::Gzip => {
                Context::Gzip(Compress::new_gzip(flate2::Compression::new(GZIP_LEVEL), GZIP_WINDOW_BITS))
            }
            Encoding::Snappy => {
                Context::Snappy { encoder: Box::new(FrameEncoder::new(Vec::new())), fresh: true }
            }
            Encoding::Zstd => Context::Zstd(ZstdEncoder::new(ZSTD_LEVEL)?),
        })
    }

    fn compress(&mut self, segments: &[Bytes], len: usize) -> io::Result<Vec<u8>> {
        // Rich telemetry shrinks to a fifth or less.
        let mut output = Vec::with_capacity(len / 4 + OUTPUT_STEP_BYTES);
        match self {
            Context::Gzip(encoder) => gzip(encoder, segments, &mut output)?,
            Context::Snappy { encoder, fresh } => return snappy(encoder, fresh, segments, output),
            Context::Zstd(encoder) => zstd(encoder, segments, len, &mut output)?,
        }
        Ok(output)
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Context")
    }
}

fn gzip(encoder: &mut Compress, segments: &[Bytes], output: &mut Vec<u8>) -> io::Result<()> {
    encoder.reset();
    for segment in segments {
        let mut rest = &segment[..];
        while !rest.is_empty() {
            ensure_room(output);
            let before = encoder.total_in();
            encoder.compress_vec(rest, output, FlushCompress::None)?;
            let taken = usize::try_from(encoder.total_in() - before).map_err(io::Error::other)?;
            rest = &rest[taken..];
        }
    }
    loop {
        ensure_room(output);
        if encoder.compress_vec(&[], output, FlushCompress::Finish)? == flate2::Status::StreamEnd {
            return Ok(());
        }
    }
}

fn zstd(
    encoder: &mut ZstdEncoder<'static>,
    segments: &[Bytes],
    len: usize,
    output: &mut Vec<u8>,
) -> io::Result<()> {
    encoder.reinit()?;
    // With its size known, a small message gets small tables and a window no larger than itself.
    encoder.set_pledged_src_size(u64::try_from(len).ok())?;
    for segment in segments {
        let mut input = InBuffer::around(segment);
        while input.pos() < segment.len() {
            ensure_room(output);
            let written = output.len();
            encoder.run(&mut input, &mut OutBuffer::around_pos(output, written))?;
        }
    }
    loop {
        ensure_room(output);
        let written = output.len();
        if encoder.finish(&mut OutBuffer::around_pos(output, written), true)? == 0 {
            return Ok(());
        }
    }
}

/// The stream identifier that opens the framed format ("Snappy framing format description", 4.1).
const SNAPPY_STREAM_IDENTIFIER: &[u8] = b"\xff\x06\x00\x00sNaPpY";

fn snappy(
    encoder: &mut FrameEncoder<Vec<u8>>,
    fresh: &mut bool,
    segments: &[Bytes],
    mut output: Vec<u8>,
) -> io::Result<Vec<u8>> {
    // The encoder writes the identifier once in its life; each message needs it, an empty one too.
    if !*fresh || segments.iter().all(Bytes::is_empty) {
        output.extend_from_slice(SNAPPY_STREAM_IDENTIFIER);
    }
    *encoder.get_mut() = output;
    for segment in segments {
        *fresh &= segment.is_empty();
        encoder.write_all(segment)?;
    }
    encoder.flush()?;
    Ok(std::mem::take(encoder.get_mut()))
}

/// Makes sure that `output` can take something more.
fn ensure_room(output: &mut Vec<u8>) {
    if output.len() == output.capacity() {
        output.reserve(output.len().max(OUTPUT_STEP_BYTES));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn unpack(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        match encoding {
            Encoding::Gzip => {
                flate2::read::GzDecoder::new(bytes).read_to_end(&mut output).map(drop).unwrap();
            }
            Encoding::Snappy => {
                snap::read::FrameDecoder::new(bytes).read_to_end(&mut output).map(drop).unwrap();
            }
            Encoding::Zstd => output = zstd::decode_all(bytes).unwrap(),
        }
        output
    }

    /// Compresses and unpacks with the reading half of each library, several messages on one context.
    #[tokio::test]
    async fn every_encoding_round_trips_with_reused_contexts() {
        let mut random = fastrand::Rng::with_seed(7);
        for encoding in Encoding::ALL {
            let compressor = Compressor::new(encoding);
            for size in [0, 1, 100, 70_000, 300_000, 900_000] {
                let alphabet = if size == 300_000 { u8::MAX } else { 9 };
                let segments: Vec<Bytes> = (0..3)
                    .map(|_| (0..size / 3).map(|_| random.u8(0..alphabet)).collect::<Vec<_>>().into())
                    .collect();
                let plain = segments.concat();
                let packed = compressor.compress(&segments, plain.len()).await.unwrap();
                assert_eq!(unpack(encoding, &packed), plain, "{encoding:?} {size}");
            }
        }
    }

    #[tokio::test]
    async fn large_messages_use_no_more_contexts_than_processors() {
        let compressor = Compressor::new(Encoding::Gzip);
        let message = [Bytes::from(vec![b'a'; 400_000])];
        let all = futures_util::future::join_all((0..32).map(|_| compressor.compress(&message, 400_000)));
        assert!(all.await.iter().all(Result::is_ok));
        let kept = compressor.lock().len();
        assert!((1..=compressor.contexts_max).contains(&kept), "{kept}");
    }
}
