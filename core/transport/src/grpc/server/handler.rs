//! What a service implements.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use http::uri::Authority;
use http::{HeaderMap, Uri};
use spanbridge_component::AuthData;
use tokio::time::Instant;

use crate::grpc::{Status, frame};
use crate::tls::Session;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A TCP client.
    Tcp(SocketAddr),
    /// A client on a unix socket; those have no address worth telling.
    Unix,
}

impl Peer {
    /// The address of a TCP client.
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Peer::Tcp(address) => Some(address),
            Peer::Unix => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => address.fmt(f),
            Peer::Unix => f.write_str("unix socket"),
        }
    }
}

/// One unary request, complete and decompressed.
#[derive(Debug)]
pub struct UnaryRequest {
    /// The request target: its path is `/package.Service/Method`.
    pub uri: Uri,
    /// Request metadata as it came, without the pseudo headers.
    pub metadata: HeaderMap,
    /// Who sent it.
    pub peer: Peer,
    /// What the server's authenticator knows of the client; `None` without one.
    pub auth: Option<Arc<dyn AuthData>>,
    /// What the TLS handshake established: the client's certificates, if any. `None` for plaintext.
    pub security: Option<Arc<Session>>,
    /// The message.
    pub message: Bytes,
    /// When the client stops waiting, if it said so (`grpc-timeout`). The server cancels the call at that time.
    pub deadline: Option<Instant>,
}

impl UnaryRequest {
    /// `package.Service` and `Method`.
    pub fn service_and_method(&self) -> Option<(&str, &str)> {
        split_path(self.uri.path())
    }

    /// The `:authority` the client used.
    pub fn authority(&self) -> Option<&Authority> {
        self.uri.authority()
    }
}

/// `package.Service` and `Method` of `/package.Service/Method`.
pub(super) fn split_path(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix('/')?.rsplit_once('/')
}

/// The message of an answer, framed.
#[derive(Debug, Clone)]
pub struct Reply(pub(super) Bytes);

impl Reply {
    /// Frames `message`, at most 4 GiB of it. An answer that is always the same is best framed once and cloned.
    pub fn new(message: &[u8]) -> Option<Self> {
        let prefix = frame::prefix(false, message.len())?;
        let mut framed = BytesMut::with_capacity(prefix.len() + message.len());
        framed.put_slice(&prefix);
        framed.put_slice(message);
        Some(Self(framed.freeze()))
    }
}

/// What a handler knows of a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// It is served.
    Found,
    /// The service is served, and has no such method.
    UnknownMethod,
    /// No such service.
    UnknownService,
}

/// The methods of one or more services.
///
/// # Contract
///
/// - `call` is called concurrently, for what `route` has [`Route::Found`].
/// - Its future is dropped when the client resets the call or disconnects, when the deadline passes, and at the end of
///   the grace period of a shutdown.
/// - A panic in it is answered with `INTERNAL` and logged; the connection goes on.
#[async_trait]
pub trait UnaryHandler: Send + Sync + 'static {
    /// Whether `method` of `service` (`package.Service`) is served. What is not is answered `UNIMPLEMENTED`.
    fn route(&self, service: &str, method: &str) -> Route;

    /// Handles one request.
    ///
    /// # Errors
    /// The status the client gets.
    async fn call(&self, request: UnaryRequest) -> Result<Reply, Status>;
}
