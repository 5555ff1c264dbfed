//! What a forwarder's receiver asks of its clients, and what clients need for it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::Outcome;

const USER: &str = "edge";
const PASSWORD: &str = "a password of the rig";
/// What htpasswd tables are made with today.
const BCRYPT_COST: u32 = 12;

/// A receiver's settings for security, and what gets through them.
#[derive(Default)]
pub(crate) struct Door {
    /// The definitions of extensions.
    pub(crate) extensions: String,
    /// Their ids.
    pub(crate) running: &'static str,
    /// Further keys of the receiver's `grpc` block, each with a comma before it.
    pub(crate) keys: String,
    /// The `authorization` header of those who may come in.
    pub(crate) authorization: Option<String>,
    /// How its clients speak TLS.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

impl Door {
    /// One that asks for a password of which it has the bcrypt hash, cost 12.
    pub(crate) fn with_passwords(dir: &Path) -> Outcome<Self> {
        let table = dir.join("htpasswd");
        fs::write(&table, format!("{USER}:{}\n", bcrypt::hash(PASSWORD, BCRYPT_COST)?))?;
        Ok(Self {
            extensions: format!(
                "extensions:\n  basicauth/server: {{htpasswd: {{file: '{}'}}}}\n",
                table.display()
            ),
            running: "basicauth/server",
            keys: ", auth: {authenticator: basicauth/server}".to_owned(),
            authorization: Some(basic(PASSWORD)),
            tls: None,
        })
    }

    /// One that speaks TLS, with a certificate that its clients trust.
    pub(crate) fn with_tls(dir: &Path) -> Outcome<Self> {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let (certificate, key) = (dir.join("server.crt"), dir.join("server.key"));
        fs::write(&certificate, own.cert.pem())?;
        fs::write(&key, own.signing_key.serialize_pem())?;
        let mut trusted = RootCertStore::empty();
        trusted.add(own.cert.der().clone())?;
        let mut tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(trusted)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let files = format!("cert_file: '{}', key_file: '{}'", certificate.display(), key.display());
        Ok(Self { keys: format!(", tls: {{{files}}}"), tls: Some(Arc::new(tls)), ..Self::default() })
    }
}

/// The header for this password.
pub(crate) fn basic(password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{USER}:{password}")))
}
