//! The client's side of a handshake.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::config::ClientTls;
use super::explain::{HandshakeError, Over, Side};
use super::opening::Opening;
use super::pem::Texts;
use super::protocol::Protocol;
use super::reload::{Built, Reloading};
use super::stream::{READ_AHEAD_BYTES, Stream};
use super::verify::{Unverified, Verifier};
use super::{TlsError, identity, trust};

/// Time that a server has for its side of the handshake.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);

/// Makes TLS connections to servers of one name. Follows changes of the files it was made from.
pub struct Connector {
    name: ServerName<'static>,
    protocol: &'static [u8],
    over: Over,
    config: Reloading<rustls::ClientConfig>,
}

/// What an HTTP/1 client offers (ALPN).
const HTTP_1_1: &[u8] = b"http/1.1";

impl Connector {
    /// A connector for servers of which `config` says what they must show; `host` is their name or address unless the
    /// configuration overrides it. `protocol` is the only one that is offered (ALPN), and a server has to agree to it.
    ///
    /// Call it in a runtime; changed files are looked for in the current span.
    ///
    /// # Errors
    /// What validation finds as well, and a machine without certificate authorities when it should have some.
    pub fn new(config: &ClientTls, host: &str, protocol: &'static [u8]) -> Result<Self, TlsError> {
        Self::over(Over::Grpc, config, host, protocol)
    }

    /// The same for HTTP/1. A server that knows nothing of ALPN will do: it can only mean HTTP/1.
    ///
    /// # Errors
    /// As [`Connector::new`].
    pub fn for_http(config: &ClientTls, host: &str) -> Result<Self, TlsError> {
        Self::over(Over::Http, config, host, HTTP_1_1)
    }

    fn over(over: Over, config: &ClientTls, host: &str, protocol: &'static [u8]) -> Result<Self, TlsError> {
        let name = if config.server_name_override.is_empty() { host } else { &config.server_name_override };
        let name = server_name(name).map_err(|reason| TlsError::new("server_name_override", reason))?;
        let settings = config.clone();
        let config = Reloading::start(
            config.settings.sources(),
            false,
            config.settings.poll_interval(),
            move |texts| build(&settings, texts, protocol),
        )?;
        Ok(Self { name, protocol, over, config })
    }

    /// Shakes hands over `socket`.
    ///
    /// # Errors
    /// Why there is no secure connection, for the user.
    pub async fn connect<S>(&self, socket: S) -> Result<Stream<S>, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let side = Side::Client(self.over);
        let connector = TlsConnector::from(self.config.current());
        let (socket, heard) = Opening::new(socket);
        let io = BufReader::with_capacity(READ_AHEAD_BYTES, socket);
        match timeout(HANDSHAKE_TIME_MAX, connector.connect(self.name.clone(), io)).await {
            Ok(Ok(stream)) => {
                let agreed = stream.get_ref().1.alpn_protocol();
                if agreed != Some(self.protocol) && !(self.over == Over::Http && agreed.is_none()) {
                    return Err(HandshakeError::no_protocol(side));
                }
                Ok(stream.into())
            }
            Ok(Err(error)) => Err(HandshakeError::new(side, &error, heard.spoken())),
            Err(_) => Err(HandshakeError::late(side, heard.spoken())),
        }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The name that a certificate must have: a host name or an address.
pub(super) fn server_name(name: &str) -> Result<ServerName<'static>, String> {
    // The zone of a link-local address means something on this machine only.
    let name = name.split('%').next().unwrap_or_default();
    ServerName::try_from(name.to_owned()).map_err(|_| {
        format!("\"{name}\" is neither a host name nor an address, which is what certificates are for")
    })
}

fn build(
    config: &ClientTls,
    texts: &Texts,
    protocol: &'static [u8],
) -> Result<Built<rustls::ClientConfig>, TlsError> {
    let Protocol { provider, versions } = Protocol::new(&config.settings)?;
    let identity = match (&texts.cert, &texts.key) {
        (Some(cert), Some(key)) => Some(identity::load(cert, key, &provider)?),
        _ => None,
    };
    let verifier: Arc<dyn ServerCertVerifier> = if config.insecure_skip_verify {
        Arc::new(Unverified { provider: provider.clone() })
    } else {
        verifier(config, texts, &provider)?
    };
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|error| TlsError::new("tls", error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut built = match &identity {
        Some(identity) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified.clone())))
        }
        None => builder.with_no_client_auth(),
    };
    built.alpn_protocols = vec![protocol.to_vec()];
    Ok(Built { config: Arc::new(built), own: identity.map(|identity| identity.facts) })
}

fn verifier(
    config: &ClientTls,
    texts: &Texts,
    provider: &Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let (mut roots, exact) = match &texts.ca {
        Some(text) => {
            let anchors = trust::anchors(text)?;
            (anchors.roots, anchors.exact)
        }
        None => (rustls::RootCertStore::empty(), Vec::new()),
    };
    if texts.ca.is_none() || config.settings.include_system_ca_certs_pool {
        roots.roots.extend_from_slice(&trust::system().roots);
    }
    if roots.is_empty() && exact.is_empty() {
        return Err(TlsError::new("ca_file", "no certificate authority is named, and the system has none")
            .help("set ca_file, or SSL_CERT_FILE in the environment"));
    }
    let verifier =
        Verifier::new(roots, exact, provider).map_err(|error| TlsError::new("ca_file", error.to_string()))?;
    Ok(Arc::new(verifier))
}
