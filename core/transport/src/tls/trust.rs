//! Certificate authorities: which are trusted, and why a file of them is none.

use std::sync::OnceLock;

use rustls::pki_types::CertificateDer;
use rustls::{DistinguishedName, RootCertStore};

use super::TlsError;
use super::certificate::{Authority, Facts};
use super::identity::{certificates, no_certificate};
use super::pem::PemText;

/// What a set of authorities amounts to.
#[derive(Debug, Clone)]
pub(super) struct Anchors {
    /// Those that may sign others. The verifier takes whatever is in here for an authority.
    pub(super) roots: RootCertStore,
    /// All of them: each is trusted as what it is, also one that signed itself and may sign no other.
    pub(super) exact: Vec<CertificateDer<'static>>,
    /// The names of all of them.
    pub(super) subjects: Vec<DistinguishedName>,
    pub(super) warnings: Vec<String>,
}

impl Anchors {
    fn none() -> Self {
        Self { roots: RootCertStore::empty(), exact: Vec::new(), subjects: Vec::new(), warnings: Vec::new() }
    }

    /// Takes a certificate in, if it can be read.
    fn add(&mut self, certificate: &CertificateDer<'static>, authority: Authority) -> bool {
        let mut alone = RootCertStore::empty();
        if alone.add(certificate.clone()).is_err() {
            return false;
        }
        self.subjects.extend(alone.subjects());
        self.exact.push(certificate.clone());
        if authority == Authority::Yes {
            self.roots.roots.extend(alone.roots);
        }
        true
    }
}

/// The authorities of a PEM text.
///
/// Those that have expired are left out: the verifier does not look at that. A certificate that may not sign others is of
/// use only if it signed itself, and then for itself alone.
///
/// # Errors
/// If none is left.
pub(super) fn anchors(text: &PemText) -> Result<Anchors, TlsError> {
    let found = certificates(text)?;
    if found.is_empty() {
        return Err(no_certificate(text));
    }
    let mut anchors = Anchors::none();
    for (index, certificate) in found.iter().enumerate() {
        let place = format!("{}, certificate {}", text.name, index + 1);
        match judge(certificate) {
            Ok(authority) if anchors.add(certificate, authority) => {}
            Ok(_) => anchors.warnings.push(format!("{place}: malformed")),
            Err(reason) => anchors.warnings.push(format!("{place}: {reason}")),
        }
    }
    if !anchors.exact.is_empty() {
        return Ok(anchors);
    }
    let reasons = anchors.warnings.join("; ");
    Err(TlsError::new(text.key, format!("no certificate authority in {}: {reasons}", text.name))
        .help("expected is the certificate of the authority that signs the peers' certificates"))
}

fn judge(certificate: &CertificateDer<'_>) -> Result<Authority, String> {
    let Some(facts) = Facts::of(certificate) else { return Err("malformed".to_owned()) };
    if facts.authority == Authority::No {
        return Err(format!("\"{}\" is no certificate authority (basicConstraints)", facts.subject));
    }
    if facts.is_expired() {
        return Err(format!("has expired: {}", facts.validity_text()));
    }
    Ok(facts.authority)
}

/// The authorities that the operating system trusts, read once. `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.
pub(super) fn system() -> &'static RootCertStore {
    static SYSTEM: OnceLock<RootCertStore> = OnceLock::new();
    SYSTEM.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        if let Some(error) = found.errors.first() {
            tracing::warn!(%error, "cannot read all of the system's certificate authorities");
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        roots
    })
}
