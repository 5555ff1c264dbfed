//! The little of gRPC that both ends need, on HTTP/2 itself so that they cost as little as possible.

use bytes::{BufMut, Bytes, BytesMut};
use h2::RecvStream;

use crate::Outcome;

/// The largest frame that Go's clients and servers send and take.
pub(crate) const GO_FRAME_BYTES: u32 = 16 << 10;
/// Flow control must not be what is measured.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 8 << 20;
/// As above, for a connection.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
/// A flag (not compressed) and the length.
pub(crate) const PREFIX_BYTES: usize = 5;
/// The method that takes traces.
pub(crate) const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// The prefix of an uncompressed message of `length` bytes.
pub(crate) fn prefix(length: usize) -> [u8; PREFIX_BYTES] {
    let mut prefix = [0; PREFIX_BYTES];
    prefix[1..].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    prefix
}

/// Reads a body to its end and gives its bytes back to flow control.
pub(crate) async fn read(body: &mut RecvStream) -> Outcome<Bytes> {
    let mut whole = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        whole.put(chunk);
    }
    Ok(whole.freeze())
}
