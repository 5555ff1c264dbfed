//! The own certificate and its key.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use zeroize::Zeroize as _;

use super::TlsError;
use super::certificate::Facts;
use super::pem::PemText;

/// A certificate chain with the key that belongs to it.
pub(super) struct Identity {
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) facts: Facts,
}

/// Puts a chain and a key together.
///
/// # Errors
/// If one of them is not there or not usable, they do not belong together, or the certificate has expired.
pub(super) fn load(cert: &PemText, key: &PemText, provider: &CryptoProvider) -> Result<Identity, TlsError> {
    let chain = certificates(cert)?;
    let leaf = chain.first().ok_or_else(|| no_certificate(cert))?;
    let facts = Facts::of(leaf).ok_or_else(|| {
        TlsError::new(cert.key, format!("{}: the first certificate is malformed", cert.name))
    })?;
    let key_der = private_key(key)?;
    let signing = sign_with(key_der, key, provider)?;
    let certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
        Err(_) => return Err(mismatch(cert, key, &certified)),
    }
    if facts.is_expired() {
        let message = format!("{}: the certificate has expired: {}", cert.name, facts.validity_text());
        return Err(TlsError::new(cert.key, message).help("peers would refuse it; issue a new one"));
    }
    Ok(Identity { certified: Arc::new(certified), facts })
}

fn mismatch(cert: &PemText, key: &PemText, certified: &CertifiedKey) -> TlsError {
    let place = certified.cert.iter().position(|candidate| {
        CertifiedKey::new(vec![candidate.clone()], certified.key.clone()).keys_match().is_ok()
    });
    let message = format!("the key of {} does not belong to the certificate of {}", key.name, cert.name);
    let error = TlsError::new(key.key, message);
    match place {
        Some(index) => error.help(format!(
            "it belongs to the certificate at place {} of {}; that one has to come first",
            index + 1,
            cert.name
        )),
        None => error,
    }
}

/// Every certificate of a PEM text.
///
/// # Errors
/// If a section of it is broken.
pub(super) fn certificates(text: &PemText) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_slice_iter(&text.bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::new(text.key, format!("{}: malformed PEM: {error}", text.name)))
}

/// The error of a text without a certificate.
pub(super) fn no_certificate(text: &PemText) -> TlsError {
    TlsError::new(text.key, format!("{} holds no certificate", text.name))
        .help("expected PEM, which begins with -----BEGIN CERTIFICATE-----")
}

/// The first key. Errors of the PEM reader may quote the text, so they are not passed on.
fn private_key(text: &PemText) -> Result<PrivateKeyDer<'static>, TlsError> {
    let has = |marker: &str| text.bytes.windows(marker.len()).any(|window| window == marker.as_bytes());
    if has("BEGIN ENCRYPTED PRIVATE KEY") || has("Proc-Type: 4,ENCRYPTED") {
        return Err(TlsError::new(text.key, format!("the key of {} is encrypted", text.name))
            .help("decrypt it: openssl pkey -in encrypted.key -out plain.key, and keep it readable by this user only"));
    }
    if has("BEGIN TSS2 PRIVATE KEY") {
        let message = format!("{} holds a key for a TPM, which is not supported", text.name);
        return Err(TlsError::new(text.key, message));
    }
    PrivateKeyDer::from_pem_slice(&text.bytes).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => {
            TlsError::new(text.key, format!("{} holds no private key", text.name))
                .help("expected PEM: PRIVATE KEY (PKCS#8), RSA PRIVATE KEY (PKCS#1) or EC PRIVATE KEY (SEC1)")
        }
        _ => TlsError::new(text.key, format!("{}: malformed PEM", text.name)),
    })
}

fn sign_with(
    mut key: PrivateKeyDer<'static>,
    text: &PemText,
    provider: &CryptoProvider,
) -> Result<Arc<dyn SigningKey>, TlsError> {
    let signing = provider.key_provider.load_private_key(key.clone_key());
    key.zeroize();
    signing.map_err(|_| {
        TlsError::new(
            text.key,
            format!("the key of {} is of a kind that is not supported, or broken", text.name),
        )
        .help("supported are RSA from 2048 to 8192 bits, ECDSA with P-256 or P-384, and Ed25519")
    })
}
