//! What the server has to know of a connection and `h2` does not tell: pings of the client, and its first bytes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
const PREFACE_BYTES: usize = 24;
const FRAME_HEADER_BYTES: usize = 9;
const FRAME_HEADERS: u8 = 1;
const FRAME_PING: u8 = 6;
const FLAG_ACK: u8 = 1;

/// An IO that looks at the frame headers of what is read through it.
#[derive(Debug)]
pub(super) struct Watched<S> {
    io: S,
    seen: Seen,
}

/// What has been seen so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Bytes read.
    bytes: u64,
    /// The first bytes, to name other protocols.
    opening: [u8; 8],
    /// Bytes of the current frame that are still to come.
    skip: usize,
    header: [u8; FRAME_HEADER_BYTES],
    header_len: usize,
    pings: u32,
    last_stream: u32,
}

/// What a client speaks that is not HTTP/2 in plain text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Foreign {
    /// A TLS handshake.
    Tls,
    /// HTTP/1.
    Http1,
}

impl<S> Watched<S> {
    pub(super) fn new(io: S) -> Self {
        Self { io, seen: Seen { skip: PREFACE_BYTES, ..Seen::default() } }
    }

    pub(super) fn seen(&mut self) -> &mut Seen {
        &mut self.seen
    }
}

impl Seen {
    /// Bytes read in all.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Pings of the client since the last time this was asked.
    pub(super) fn take_pings(&mut self) -> u32 {
        std::mem::take(&mut self.pings)
    }

    /// The highest stream that the client has opened.
    pub(super) fn last_stream(&self) -> u32 {
        self.last_stream
    }

    /// What the client speaks, if its first bytes are known and not HTTP/2.
    pub(super) fn foreign(&self) -> Option<Foreign> {
        match self.opening {
            // TLS record: handshake, version 3.x.
            [0x16, 3, ..] => Some(Foreign::Tls),
            opening
                if [b"GET ".as_slice(), b"POST ", b"PUT ", b"HEAD ", b"OPTIONS ", b"DELETE "]
                    .into_iter()
                    .any(|method| opening.starts_with(method)) =>
            {
                Some(Foreign::Http1)
            }
            _ => None,
        }
    }

    fn look_at(&mut self, mut read: &[u8]) {
        if let Ok(at) = usize::try_from(self.bytes)
            && let Some(opening) = self.opening.get_mut(at..)
        {
            let count = opening.len().min(read.len());
            opening[..count].copy_from_slice(&read[..count]);
        }
        self.bytes += read.len() as u64;
        while !read.is_empty() {
            if self.skip > 0 {
                let count = self.skip.min(read.len());
                self.skip -= count;
                read = &read[count..];
                continue;
            }
            let count = (FRAME_HEADER_BYTES - self.header_len).min(read.len());
            self.header[self.header_len..self.header_len + count].copy_from_slice(&read[..count]);
            self.header_len += count;
            read = &read[count..];
            if self.header_len == FRAME_HEADER_BYTES {
                self.header_len = 0;
                self.take_header();
            }
        }
    }

    fn take_header(&mut self) {
        let [l1, l2, l3, kind, flags, stream @ ..] = self.header;
        self.skip = usize::from(l1) << 16 | usize::from(l2) << 8 | usize::from(l3);
        match kind {
            FRAME_PING if flags & FLAG_ACK == 0 => self.pings = self.pings.saturating_add(1),
            FRAME_HEADERS => {
                let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
                self.last_stream = self.last_stream.max(stream);
            }
            _ => {}
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, into))?;
        self.seen.look_at(&into.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: usize) -> Vec<u8> {
        let len = u32::try_from(payload).unwrap().to_be_bytes();
        let mut frame = vec![len[1], len[2], len[3], kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend(std::iter::repeat_n(FRAME_PING, payload));
        frame
    }

    #[test]
    fn pings_are_counted_however_the_bytes_are_cut() {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(4, 0, 0, 0));
        bytes.extend(frame(FRAME_PING, 0, 0, 8));
        bytes.extend(frame(FRAME_HEADERS, 4, 5, 70_000));
        bytes.extend(frame(0, 0, 5, 300));
        bytes.extend(frame(FRAME_PING, FLAG_ACK, 0, 8));
        bytes.extend(frame(FRAME_PING, 0, 0, 8));
        for size in [1, 2, 3, 9, 10, 100, 1_000_000] {
            let mut seen = Watched::new(()).seen;
            bytes.chunks(size).for_each(|chunk| seen.look_at(chunk));
            assert_eq!((seen.take_pings(), seen.last_stream(), seen.take_pings()), (2, 5, 0), "{size}");
            assert_eq!((seen.bytes(), seen.foreign()), (bytes.len() as u64, None));
        }
    }

    #[test]
    fn other_protocols_are_known_by_their_first_bytes() {
        for (bytes, foreign) in [
            (b"\x16\x03\x01\x02\x00\x01".as_slice(), Some(Foreign::Tls)),
            (b"GET / HTTP/1.1\r\n", Some(Foreign::Http1)),
            (b"POST /v1/traces HTTP/1.1\r\n", Some(Foreign::Http1)),
            (b"PRI * HTTP/2.0\r\n", None),
            (b"\x00\x01", None),
        ] {
            let mut seen = Watched::new(()).seen;
            bytes.chunks(3).for_each(|chunk| seen.look_at(chunk));
            assert_eq!(seen.foreign(), foreign, "{bytes:?}");
        }
    }
}
