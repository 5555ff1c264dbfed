//! A connection with TLS on it.

use bytes::Bytes;
use tokio::io::BufReader;

use super::opening::Opening;

/// Bytes read ahead below TLS. rustls reads 4 KiB at a time by itself, which is a system call for a quarter of a record.
pub(crate) const READ_AHEAD_BYTES: usize = 32 * 1024;

/// A connection after its handshake.
pub type Stream<S> = tokio_rustls::TlsStream<BufReader<Opening<S>>>;

/// What the handshake of a connection established.
#[derive(Debug, Clone, Default)]
pub struct Session {
    /// The peer's certificate chain in DER, its own certificate first, verified to lead to a trusted authority. Certificates
    /// behind the first are as the peer sent them. Empty if none was asked for.
    pub peer_certificates: Box<[Bytes]>,
    /// The host name that the client asked for (SNI).
    pub server_name: Option<String>,
}

impl Session {
    /// Reads it off a connection.
    pub(super) fn of<S>(stream: &tokio_rustls::server::TlsStream<S>) -> Self {
        let (_, connection) = stream.get_ref();
        let certificates = connection.peer_certificates().unwrap_or_default();
        Self {
            peer_certificates: certificates.iter().map(|der| Bytes::copy_from_slice(der)).collect(),
            server_name: connection.server_name().map(str::to_owned),
        }
    }
}
