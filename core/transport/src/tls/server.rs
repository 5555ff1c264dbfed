//! The server's side of a handshake.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::config::ServerTls;
use super::explain::{HandshakeError, Kind, Side};
use super::opening::Opening;
use super::pem::Texts;
use super::protocol::Protocol;
use super::reload::{Built, Reloading};
use super::stream::{READ_AHEAD_BYTES, Session, Stream};
use super::verify::ClientVerifier;
use super::{TlsError, identity, trust};
use crate::log_gate::LogGate;

/// What needs no word in a handshake: it is what HTTPS is without ALPN.
const HTTP1: &[u8] = b"http/1.1";
/// Time that a client has for its side of the handshake.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// Handshakes under way at a time; further clients are turned away, so that slow ones cannot take every connection of the
/// server.
const HANDSHAKES_MAX: usize = 1024;
/// Time for a client that was refused to read why.
const LINGER_MAX: Duration = Duration::from_millis(500);

/// Accepts TLS connections. Follows changes of the files it was made from.
pub struct Acceptor {
    protocol: &'static [u8],
    config: Reloading<rustls::ServerConfig>,
    slots: Semaphore,
    /// One for each sort of failure, so that a flood of one does not hide the others.
    gates: [LogGate; Kind::COUNT],
}

impl Acceptor {
    /// An acceptor for this configuration, whose clients have to speak `protocol` (ALPN).
    ///
    /// Call it in a runtime; changed files are looked for in the current span.
    ///
    /// # Errors
    /// What validation finds as well.
    pub fn new(config: &ServerTls, protocol: &'static [u8]) -> Result<Self, TlsError> {
        let settings = config.clone();
        let config = Reloading::start(
            config.sources(),
            !config.client_ca_file_reload,
            config.settings.poll_interval(),
            move |texts| build(&settings, texts, protocol),
        )?;
        Ok(Self { protocol, config, slots: Semaphore::new(HANDSHAKES_MAX), gates: Default::default() })
    }

    /// Whether the protocol that a client chose (ALPN) will do. Clients of HTTP/1.1 may leave the choice out.
    fn is_spoken(&self, chosen: Option<&[u8]>) -> bool {
        chosen.map_or(self.protocol == HTTP1, |chosen| chosen == self.protocol)
    }

    /// Logs why `peer` was refused, at a rate that peers cannot choose. Who went away without a word, as health checks do,
    /// is worth no more than a debug line.
    pub fn report(&self, error: &HandshakeError, peer: &dyn fmt::Display) {
        let kind = error.kind();
        if kind == Kind::Silence {
            tracing::debug!(%peer, %error, "TLS handshake failed");
        } else if let Some(held_back) = self.gates[kind as usize].open() {
            tracing::warn!(%peer, %error, held_back, "TLS handshake failed");
        }
    }

    /// Shakes hands over `socket`. Who is refused has had a moment to read why when this returns.
    ///
    /// # Errors
    /// Why there is no secure connection, for the operator.
    pub async fn accept<S>(&self, socket: S) -> Result<(Stream<S>, Session), HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let _slot = self.slots.try_acquire().map_err(|_| HandshakeError::busy(HANDSHAKES_MAX))?;
        let acceptor = TlsAcceptor::from(self.config.current());
        let (socket, heard) = Opening::new(socket);
        let io = BufReader::with_capacity(READ_AHEAD_BYTES, socket);
        match timeout(HANDSHAKE_TIME_MAX, acceptor.accept(io).into_fallible()).await {
            Ok(Ok(mut stream)) => {
                if !self.is_spoken(stream.get_ref().1.alpn_protocol()) {
                    let _ = timeout(LINGER_MAX, stream.shutdown()).await;
                    return Err(HandshakeError::no_protocol(Side::Server));
                }
                let session = Session::of(&stream);
                Ok((stream.into(), session))
            }
            Ok(Err((error, io))) => {
                let failure = HandshakeError::new(Side::Server, &error, heard.spoken());
                linger(io).await;
                Err(failure)
            }
            Err(_) => Err(HandshakeError::late(Side::Server, heard.spoken())),
        }
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

/// Reads on for a moment: closing with unread data would make the kernel send a reset, which can overtake the alert.
async fn linger(mut io: impl AsyncRead + AsyncWrite + Unpin) {
    let last_words = async {
        io.shutdown().await?;
        let mut scrap = [0; 4096];
        while io.read(&mut scrap).await? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    let _ = timeout(LINGER_MAX, last_words).await;
}

fn build(
    config: &ServerTls,
    texts: &Texts,
    protocol: &'static [u8],
) -> Result<Built<rustls::ServerConfig>, TlsError> {
    let Protocol { provider, versions } = Protocol::new(&config.settings)?;
    let (Some(cert), Some(key)) = (&texts.cert, &texts.key) else {
        let message = "TLS configuration must include both certificate and key for server connections";
        return Err(TlsError::new("cert_file", message));
    };
    let identity = identity::load(cert, key, &provider)?;
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .map_err(|error| TlsError::new("tls", error.to_string()))?;
    let builder = match &texts.client_ca {
        None => builder.with_no_client_auth(),
        Some(text) => {
            let anchors = trust::anchors(text)?;
            let verifier = ClientVerifier::new(anchors, config.client_certificate_optional, &provider)
                .map_err(|error| TlsError::new(text.key, error.to_string()))?;
            builder.with_client_cert_verifier(Arc::new(verifier))
        }
    };
    let resolver = SingleCertAndKey::from(identity.certified.clone());
    let mut built = builder.with_cert_resolver(Arc::new(resolver));
    built.alpn_protocols = vec![protocol.to_vec()];
    if texts.client_ca.is_some() {
        // A session that is taken up again shows no certificate, so nobody would see that it has expired.
        built.session_storage = Arc::new(NoServerSessionStorage {});
        built.send_tls13_tickets = 0;
    }
    Ok(Built { config: Arc::new(built), own: Some(identity.facts) })
}
