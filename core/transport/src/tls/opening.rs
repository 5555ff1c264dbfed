//! The first bytes of a peer, to say what it speaks if that is not TLS.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Enough to tell the protocols apart.
const OPENING_BYTES: usize = 8;
/// Content types of TLS records: `change_cipher_spec` to `application_data`.
const TLS_RECORDS: std::ops::RangeInclusive<u8> = 0x14..=0x17;
const FRAME_SETTINGS: u8 = 4;

/// A socket that remembers the first bytes that were read from it.
#[derive(Debug)]
pub struct Opening<S> {
    io: S,
    bytes: [u8; OPENING_BYTES],
    len: usize,
    heard: Heard,
}

/// What was read first, also when the socket itself is out of reach.
#[derive(Debug, Clone, Default)]
pub struct Heard(Arc<Mutex<Option<Spoken>>>);

/// What the first bytes of a peer show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoken {
    /// It has said nothing.
    Nothing,
    /// TLS records.
    Tls,
    /// HTTP/2 without TLS: the preface of a client, or the first frame of a server.
    Http2,
    /// HTTP/1 without TLS.
    Http1,
    /// Something else.
    Unknown,
}

impl<S> Opening<S> {
    /// Listens in on `io`.
    pub fn new(io: S) -> (Self, Heard) {
        let heard = Heard::default();
        (Self { io, bytes: [0; OPENING_BYTES], len: 0, heard: heard.clone() }, heard)
    }
}

impl Heard {
    /// Adds to the failure of a plaintext client what its server seems to be.
    pub fn plaintext_advice(&self, failure: String) -> String {
        match self.spoken() {
            Spoken::Tls => {
                format!("{failure}; the server speaks TLS, and this client plaintext; remove insecure: true")
            }
            Spoken::Http1 => {
                format!(
                    "{failure}; the server answers in HTTP/1; if it is the TLS port of a proxy, remove insecure: true"
                )
            }
            // A TLS server that cannot make sense of plaintext mostly just closes.
            Spoken::Nothing => format!("{failure}; if the server expects TLS, remove insecure: true"),
            Spoken::Http2 | Spoken::Unknown => failure,
        }
    }

    pub(super) fn spoken(&self) -> Spoken {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(Spoken::Nothing)
    }
}

/// What these first bytes show.
fn spoken(bytes: &[u8]) -> Spoken {
    const HTTP1: [&[u8]; 8] =
        [b"HTTP/1.", b"GET ", b"POST ", b"PUT ", b"HEAD ", b"OPTIONS ", b"DELETE ", b"PATCH "];
    match bytes {
        [] => Spoken::Nothing,
        [kind, 3, ..] if TLS_RECORDS.contains(kind) => Spoken::Tls,
        [kind] if TLS_RECORDS.contains(kind) => Spoken::Tls,
        _ if bytes.starts_with(b"PRI * HT") => Spoken::Http2,
        // The first frame of an HTTP/2 server, of a plausible length.
        [0, 0, _, FRAME_SETTINGS, 0, 0, 0, 0] => Spoken::Http2,
        _ if HTTP1.iter().any(|start| bytes.starts_with(start)) => Spoken::Http1,
        _ => Spoken::Unknown,
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Opening<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, into))?;
        if self.len < OPENING_BYTES {
            let read = &into.filled()[before..];
            let (start, count) = (self.len, read.len().min(OPENING_BYTES - self.len));
            self.bytes[start..start + count].copy_from_slice(&read[..count]);
            self.len += count;
            let spoken = spoken(&self.bytes[..self.len]);
            *self.heard.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(spoken);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opening<S> {
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

    #[test]
    fn protocols_are_known_by_their_first_bytes() {
        for (bytes, expected) in [
            (b"".as_slice(), Spoken::Nothing),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01", Spoken::Tls),
            (b"\x15\x03\x03\x00\x02\x02\x0a", Spoken::Tls),
            (b"PRI * HT", Spoken::Http2),
            (b"\x00\x00\x12\x04\x00\x00\x00\x00", Spoken::Http2),
            (b"HTTP/1.1", Spoken::Http1),
            (b"POST /v1", Spoken::Http1),
            (b"SSH-2.0-", Spoken::Unknown),
            (b"\x16\x09", Spoken::Unknown),
        ] {
            assert_eq!(spoken(bytes), expected, "{bytes:?}");
        }
    }
}
