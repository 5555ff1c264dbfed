//! Where a load goes, and what it shows there to be let in.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use h2::client::SendRequest;
use http::request::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::spawn_local;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::Outcome;
use crate::grpc::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES, TRACES};

/// A place that takes traces.
#[derive(Clone)]
pub(crate) struct Target {
    address: SocketAddr,
    /// The value of the `authorization` header.
    authorization: Option<String>,
    /// How TLS is spoken; `None` is plaintext.
    tls: Option<Arc<ClientConfig>>,
    /// The address that connections come from.
    from: Ipv4Addr,
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self { address, authorization: None, tls: None, from: Ipv4Addr::LOCALHOST }
    }
}

impl Target {
    /// The same, with this `authorization` header.
    pub(crate) fn with_authorization(mut self, value: Option<String>) -> Self {
        self.authorization = value;
        self
    }

    /// The same, over TLS.
    pub(crate) fn with_tls(mut self, tls: Option<Arc<ClientConfig>>) -> Self {
        self.tls = tls;
        self
    }

    /// The same, from another address of this machine.
    pub(crate) fn seen_from(mut self, from: Ipv4Addr) -> Self {
        self.from = from;
        self
    }

    /// A new connection. What breaks it later shows in the requests on it.
    ///
    /// # Errors
    /// When nobody listens there, or a handshake fails.
    pub(crate) async fn connect(&self) -> Outcome<SendRequest<Bytes>> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((self.from, 0).into())?;
        let socket: TcpStream = socket.connect(self.address).await?;
        socket.set_nodelay(true)?;
        match &self.tls {
            None => handshake(socket).await,
            Some(tls) => {
                let name = ServerName::try_from("localhost")?;
                handshake(TlsConnector::from(tls.clone()).connect(name, socket).await?).await
            }
        }
    }

    /// The head of an export.
    pub(crate) fn export(&self) -> Builder {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let request = http::Request::post(format!("{scheme}://localhost{TRACES}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        match &self.authorization {
            Some(value) => request.header("authorization", value),
            None => request,
        }
    }
}

async fn handshake<T>(io: T) -> Outcome<SendRequest<Bytes>>
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(STREAM_WINDOW_BYTES).initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    let (client, connection) = builder.handshake(io).await?;
    spawn_local(async move {
        let _ = connection.await;
    });
    Ok(client)
}
