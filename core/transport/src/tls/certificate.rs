//! What a certificate says about itself.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, SubjectAltName};

/// The parts of a certificate that are judged and shown.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) subject: String,
    pub(super) issuer: String,
    /// Host names and addresses that it is for.
    pub(super) names: Vec<String>,
    /// Whether it may sign others, as far as it says.
    pub(super) authority: Authority,
    not_before: SystemTime,
    not_after: SystemTime,
    now: SystemTime,
}

/// Whether a certificate may sign others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Authority {
    /// It says so, or it is of an age in which nothing was said.
    Yes,
    /// It may not, but is signed by itself, so that it can be trusted for itself.
    SelfSigned,
    /// It may not.
    No,
}

impl Facts {
    /// Reads a certificate; `None` if it is none.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        Self::at(certificate, SystemTime::now())
    }

    fn at(certificate: &CertificateDer<'_>, now: SystemTime) -> Option<Self> {
        let certificate = Certificate::from_der(certificate).ok()?;
        let body = certificate.tbs_certificate();
        let constraints = body.get_extension::<BasicConstraints>().ok()?;
        let authority = match constraints {
            Some((_, BasicConstraints { ca: true, .. })) => Authority::Yes,
            None if body.extensions().is_none() => Authority::Yes,
            _ if body.issuer() == body.subject() => Authority::SelfSigned,
            _ => Authority::No,
        };
        let names = match body.get_extension::<SubjectAltName>().ok()? {
            Some((_, SubjectAltName(names))) => names.iter().filter_map(name).collect(),
            None => Vec::new(),
        };
        Some(Self {
            subject: body.subject().to_string(),
            issuer: body.issuer().to_string(),
            names,
            authority,
            not_before: body.validity().not_before.to_system_time(),
            not_after: body.validity().not_after.to_system_time(),
            now,
        })
    }

    /// Whether its time is over.
    pub(super) fn is_expired(&self) -> bool {
        self.now > self.not_after
    }

    /// Whether its time has not come.
    pub(super) fn is_not_yet_valid(&self) -> bool {
        self.now < self.not_before
    }

    /// Time until it expires; `None` afterwards.
    pub(super) fn time_left(&self) -> Option<Duration> {
        self.not_after.duration_since(self.now).ok()
    }

    /// When it is valid: `subject "CN=x", valid from ... to ...`.
    pub(super) fn validity_text(&self) -> String {
        format!(
            "subject \"{}\", valid from {} to {}",
            self.subject,
            time_text(self.not_before),
            time_text(self.not_after)
        )
    }

    /// When it expires, for logs.
    pub(super) fn expiry_text(&self) -> String {
        time_text(self.not_after)
    }
}

/// `2026-11-21T03:00:00Z`.
pub(super) fn time_text(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| "an unknown time".to_owned(), |time| time.to_string())
}

fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
        GeneralName::IpAddress(octets) => {
            let bytes = octets.as_bytes();
            let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}
