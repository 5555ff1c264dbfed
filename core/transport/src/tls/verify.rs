//! Verifiers around those of rustls: certificates that are trusted for themselves, and no verification at all.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};

use super::certificate::Facts;
use super::trust::Anchors;

/// What both traits ask of a verifier about signatures of handshakes: `self.provider` knows.
macro_rules! signatures_by_provider {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.provider.signature_verification_algorithms.supported_schemes()
        }
    };
}

/// Verifies servers as rustls does, and takes a certificate that is its own authority, as Go does: `openssl req -x509`
/// makes them, and rustls refuses a certificate of an authority as that of a server.
#[derive(Debug)]
pub(super) struct Verifier {
    /// `None` if there is no authority.
    webpki: Option<Arc<WebPkiServerVerifier>>,
    exact: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

/// Verifies clients in the same way.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    webpki: Option<Arc<dyn ClientCertVerifier>>,
    exact: Vec<CertificateDer<'static>>,
    subjects: Vec<DistinguishedName>,
    is_optional: bool,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    /// One that trusts `roots` to sign, and each of `exact` for itself.
    pub(super) fn new(
        roots: RootCertStore,
        exact: Vec<CertificateDer<'static>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let webpki = (!roots.is_empty())
            .then(|| WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build())
            .transpose()?;
        Ok(Self { webpki, exact, provider: provider.clone() })
    }
}

impl ClientVerifier {
    /// One that trusts `anchors`. If `is_optional`, clients may come without a certificate; one that is shown is verified.
    pub(super) fn new(
        anchors: Anchors,
        is_optional: bool,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let Anchors { roots, exact, subjects, .. } = anchors;
        let webpki = (!roots.is_empty())
            .then(|| WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build())
            .transpose()?;
        Ok(Self { webpki, exact, subjects, is_optional, provider: provider.clone() })
    }
}

/// That a certificate is among those that are trusted for themselves, and that its time is now.
fn verify_exact(exact: &[CertificateDer<'_>], certificate: &CertificateDer<'_>) -> Result<(), Error> {
    if !exact.iter().any(|known| known == certificate) {
        return Err(CertificateError::UnknownIssuer.into());
    }
    let facts = Facts::of(certificate).ok_or(CertificateError::BadEncoding)?;
    if facts.is_expired() {
        return Err(CertificateError::Expired.into());
    }
    if facts.is_not_yet_valid() {
        return Err(CertificateError::NotValidYet.into());
    }
    Ok(())
}

/// Whether webpki has refused a certificate that may yet be trusted for itself: it has found no authority that signed it,
/// or says `Other` of the certificate of an authority.
fn may_be_exact(error: &Error) -> bool {
    matches!(error, Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::Other(_)))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(webpki) = &self.webpki {
            match webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
                Err(error) if may_be_exact(&error) => {}
                decided => return decided,
            }
        }
        verify_exact(&self.exact, end_entity)?;
        rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    signatures_by_provider!();
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        !self.is_optional
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(webpki) = &self.webpki {
            match webpki.verify_client_cert(end_entity, intermediates, now) {
                Err(error) if may_be_exact(&error) => {}
                decided => return decided,
            }
        }
        verify_exact(&self.exact, end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    signatures_by_provider!();
}

/// `insecure_skip_verify`: any certificate will do, as long as the server has its key.
#[derive(Debug)]
pub(super) struct Unverified {
    pub(super) provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    signatures_by_provider!();
}
