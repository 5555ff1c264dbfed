//! What is written beside the telemetry of a record on disk: the request's context, and the state of its retries.
//!
//! # Header, version 1
//!
//! | bytes | content |
//! |---|---|
//! | 1 | version: 1 |
//! | 1 | kind of the client's address: 0 none, 4 IPv4, 6 IPv6 |
//! | 0, 6 or 22 | the address: 4 or 16 bytes and the port (2), and for IPv6 the scope (4) |
//! | 2 | number of metadata names; for each: |
//! | 2 + n | length and bytes of the name |
//! | 2 | number of values; for each: |
//! | 4 + n | length and bytes of the value |
//!
//! Numbers are big-endian, texts UTF-8. What an authenticator found out is not written: it belongs to the request's moment.
//! Metadata is, and may hold credentials if the receiver has `include_metadata: true`; the files are as secret as that.
//!
//! # Note, version 1
//!
//! Version (1), three bytes of zero, failed attempts (4), milliseconds since the first attempt (8); all zeros: no
//! attempt has failed yet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use spanbridge_component::{Context, Metadata, Note};

use crate::backoff::History;

/// The largest header that is written or read.
pub(crate) const HEADER_BYTES_MAX: usize = 1 << 20;

const VERSION: u8 = 1;

/// Why a header cannot be written or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderError {
    #[error("the request's metadata is larger than {HEADER_BYTES_MAX} bytes")]
    TooLarge,
    #[error("a newer version of the program wrote it (header version {0})")]
    Version(u8),
    #[error("its header is malformed")]
    Malformed,
}

/// The header for a request with this context.
pub(crate) fn header(context: &Context) -> Result<Bytes, HeaderError> {
    let mut out = BytesMut::with_capacity(64);
    out.put_u8(VERSION);
    match context.client_address {
        None => out.put_u8(0),
        Some(SocketAddr::V4(address)) => {
            out.put_u8(4);
            out.put_slice(&address.ip().octets());
            out.put_u16(address.port());
        }
        Some(SocketAddr::V6(address)) => {
            out.put_u8(6);
            out.put_slice(&address.ip().octets());
            out.put_u16(address.port());
            out.put_u32(address.scope_id());
        }
    }
    out.put_u16(length(context.metadata.iter().count())?);
    for (name, values) in context.metadata.iter() {
        out.put_u16(length(name.len())?);
        out.put_slice(name.as_bytes());
        out.put_u16(length(values.len())?);
        for value in values {
            out.put_u32(length(value.len())?);
            out.put_slice(value.as_bytes());
        }
    }
    if out.len() > HEADER_BYTES_MAX { Err(HeaderError::TooLarge) } else { Ok(out.freeze()) }
}

fn length<N: TryFrom<usize>>(length: usize) -> Result<N, HeaderError> {
    N::try_from(length).map_err(|_| HeaderError::TooLarge)
}

/// The context that was written.
pub(crate) fn context(header: &[u8]) -> Result<Context, HeaderError> {
    if header.len() > HEADER_BYTES_MAX {
        return Err(HeaderError::TooLarge);
    }
    let mut from = header;
    match from.try_get_u8() {
        Ok(VERSION) => {}
        Ok(version) => return Err(HeaderError::Version(version)),
        Err(_) => return Err(HeaderError::Malformed),
    }
    let context = read(&mut from).ok_or(HeaderError::Malformed)?;
    if from.is_empty() { Ok(context) } else { Err(HeaderError::Malformed) }
}

fn read(from: &mut &[u8]) -> Option<Context> {
    let client_address = read_address(from)?;
    let names = from.try_get_u16().ok()?;
    let mut pairs = Vec::new();
    for _ in 0..names {
        let length = from.try_get_u16().ok()?;
        let name = read_text(from, length.into())?;
        for _ in 0..from.try_get_u16().ok()? {
            let length = from.try_get_u32().ok()?;
            pairs.push((name, read_text(from, usize::try_from(length).ok()?)?));
        }
    }
    Some(Context { client_address, metadata: Metadata::from_pairs(pairs), ..Context::default() })
}

#[expect(clippy::option_option, reason = "malformed, absent, and an address are three things")]
fn read_address(from: &mut &[u8]) -> Option<Option<SocketAddr>> {
    match from.try_get_u8().ok()? {
        0 => Some(None),
        4 => {
            let ip = Ipv4Addr::from_bits(from.try_get_u32().ok()?);
            Some(Some(SocketAddr::new(IpAddr::V4(ip), from.try_get_u16().ok()?)))
        }
        6 => {
            let ip = Ipv6Addr::from_bits(from.try_get_u128().ok()?);
            let port = from.try_get_u16().ok()?;
            Some(Some(SocketAddrV6::new(ip, port, 0, from.try_get_u32().ok()?).into()))
        }
        _ => None,
    }
}

fn read_text<'a>(from: &mut &'a [u8], length: usize) -> Option<&'a str> {
    let (text, rest) = from.split_at_checked(length)?;
    *from = rest;
    std::str::from_utf8(text).ok()
}

/// The note for a request that failed this often, over this time.
pub(crate) fn note(history: History) -> Note {
    let mut note = Note::default();
    note[0] = VERSION;
    note[4..8].copy_from_slice(&history.failures.to_be_bytes());
    let millis = u64::try_from(history.elapsed.as_millis()).unwrap_or(u64::MAX);
    note[8..16].copy_from_slice(&millis.to_be_bytes());
    note
}

/// How often a request failed, and over which time. A note of another version counts as none.
pub(crate) fn history(note: Note) -> History {
    let [version, _, _, _, f0, f1, f2, f3, m0, m1, m2, m3, m4, m5, m6, m7] = note;
    if version != VERSION {
        return History::default();
    }
    let millis = u64::from_be_bytes([m0, m1, m2, m3, m4, m5, m6, m7]);
    History { elapsed: Duration::from_millis(millis), failures: u32::from_be_bytes([f0, f1, f2, f3]) }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn pairs(metadata: &Metadata) -> Vec<(String, Vec<String>)> {
        metadata.iter().map(|(name, values)| (name.to_owned(), values.to_vec())).collect()
    }

    proptest! {
        #[test]
        fn a_context_comes_back_from_its_header(
            address in option::of(any::<SocketAddr>()),
            metadata in vec(("[a-z-]{1,8}", ".{0,20}"), 0..8),
        ) {
            let address = address.map(|address| match address {
                SocketAddr::V6(v6) => SocketAddrV6::new(*v6.ip(), v6.port(), 0, v6.scope_id()).into(),
                SocketAddr::V4(_) => address,
            });
            let written = Context {
                client_address: address,
                metadata: Metadata::from_pairs(metadata),
                ..Context::default()
            };
            let read = context(&header(&written).unwrap()).unwrap();
            prop_assert_eq!(read.client_address, written.client_address);
            prop_assert_eq!(pairs(&read.metadata), pairs(&written.metadata));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in vec(any::<u8>(), 0..200)) {
            let _ = context(&bytes);
            let mut with_version = vec![VERSION];
            with_version.extend(&bytes);
            let _ = context(&with_version);
        }

        #[test]
        fn the_state_of_retries_comes_back_from_its_note(count: u32, millis: u64) {
            let written = History { elapsed: Duration::from_millis(millis), failures: count };
            prop_assert_eq!(history(note(written)), written);
        }
    }

    #[test]
    fn the_encoding_is_the_documented_one() {
        let context = Context {
            client_address: Some("10.0.0.7:4317".parse().unwrap()),
            metadata: Metadata::from_pairs([("x-id", "a"), ("x-id", "bc")]),
            ..Context::default()
        };
        let expected = b"\x01\x04\x0a\x00\x00\x07\x10\xdd\x00\x01\x00\x04x-id\x00\x02\x00\x00\x00\x01a\x00\x00\x00\x02bc";
        assert_eq!(&header(&context).unwrap()[..], expected);
        let history = History { failures: 3, elapsed: Duration::from_millis(258) };
        assert_eq!(note(history), [1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 1, 2]);
    }

    #[test]
    fn what_is_too_large_or_of_another_version_is_refused() {
        let value = "x".repeat(HEADER_BYTES_MAX);
        let context_of =
            |value: &str| Context { metadata: Metadata::from_pairs([("a", value)]), ..Context::default() };
        assert_eq!(header(&context_of(&value)), Err(HeaderError::TooLarge));
        assert_eq!(context(&[2, 0, 0, 0]).unwrap_err(), HeaderError::Version(2));
        assert_eq!(context(&[]).unwrap_err(), HeaderError::Malformed);
        assert_eq!(context(&[1, 0, 0, 0, 9]).unwrap_err(), HeaderError::Malformed);
        assert_eq!(history([0; 16]), History::default());
    }
}
