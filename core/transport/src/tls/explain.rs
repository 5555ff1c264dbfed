//! Why a handshake failed, said so that the reader knows what to do.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

use super::certificate::time_text;
use super::opening::Spoken;
use crate::grpc::client::dial::cause;

const USE_PLAINTEXT: &str = "if the server is plaintext on purpose, set tls: {insecure: true}";
const USE_HTTP: &str = "if the server is plaintext on purpose, write http:// in place of https://";
const USE_TLS: &str = "make the client use TLS (an exporter: without tls: {insecure: true})";

/// Why there is no secure connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct HandshakeError {
    text: String,
    kind: Kind,
}

/// Sorts of failures; each has a rate of its own in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The peer went away without a word, as health checks and port scans do.
    Silence,
    /// The peer does not speak TLS.
    Plaintext,
    /// The peer has no certificate, and should.
    NoCertificate,
    /// Something is wrong with the peer's certificate.
    Certificate,
    /// The peer refuses us.
    Refused,
    /// Too slow, or too many at a time.
    Load,
    /// Anything else.
    Other,
}

impl Kind {
    /// How many there are.
    pub(crate) const COUNT: usize = 7;
}

/// Which side we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client(Over),
    Server,
}

/// What a client wants to speak over TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// gRPC, which needs HTTP/2.
    Grpc,
    /// HTTP/1, whose URL says whether there is TLS.
    Http,
}

impl HandshakeError {
    /// What sort of failure it is.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    fn of(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// From what the handshake ended with, and the peer's first bytes.
    pub(super) fn new(side: Side, error: &io::Error, spoken: Spoken) -> Self {
        let peer = side.peer();
        match spoken {
            Spoken::Http2 => return plaintext(side, "plaintext HTTP/2"),
            Spoken::Http1 => return plaintext(side, "plaintext HTTP/1"),
            Spoken::Unknown => return plaintext(side, "something that is not TLS"),
            _ => {}
        }
        if let Some(error) = tls_error(error) {
            let (kind, text) = explain(side, error);
            return Self::of(kind, text);
        }
        let gone = if error.kind() == io::ErrorKind::UnexpectedEof {
            format!("the {peer} closed the connection during the TLS handshake")
        } else {
            format!("the connection broke during the TLS handshake: {}", cause(error))
        };
        match side {
            // A plaintext server that cannot make sense of TLS mostly just closes.
            Side::Client(over) => Self::of(Kind::Other, format!("{gone}; {}", over.use_plaintext())),
            Side::Server if spoken == Spoken::Nothing => Self::of(Kind::Silence, gone),
            Side::Server => {
                Self::of(Kind::Refused, format!("{gone}; it may not trust this server's certificate"))
            }
        }
    }

    /// The peer took too long.
    pub(super) fn late(side: Side, spoken: Spoken) -> Self {
        let peer = side.peer();
        match (side, spoken) {
            (Side::Client(_), Spoken::Http2) => plaintext(side, "plaintext HTTP/2"),
            (Side::Client(over), Spoken::Nothing) => {
                let advice = over.use_plaintext();
                Self::of(
                    Kind::Load,
                    format!("the {peer} does not answer the TLS handshake (i/o timeout); {advice}"),
                )
            }
            (Side::Server, Spoken::Nothing) => {
                Self::of(Kind::Silence, format!("the {peer} said nothing until it was too late"))
            }
            _ => Self::of(
                Kind::Load,
                format!("the {peer} did not complete the TLS handshake in time (i/o timeout)"),
            ),
        }
    }

    /// The peer did not agree to an application protocol.
    pub(super) fn no_protocol(side: Side) -> Self {
        let text = match side {
            Side::Client(Over::Http) => "the server did not agree to HTTP/1.1 (ALPN \"http/1.1\")",
            Side::Client(Over::Grpc) => {
                "the server did not agree to HTTP/2 (ALPN \"h2\"), which gRPC needs; it may be an HTTP/1 server, or a proxy \
                 that is not set up for HTTP/2"
            }
            Side::Server => "the client did not ask for HTTP/2 (ALPN \"h2\"), which gRPC needs",
        };
        Self::of(Kind::Other, text)
    }

    /// There are too many already.
    pub(super) fn busy(limit: usize) -> Self {
        Self::of(Kind::Load, format!("{limit} TLS handshakes are under way already"))
    }
}

impl Over {
    fn use_plaintext(self) -> &'static str {
        match self {
            Over::Grpc => USE_PLAINTEXT,
            Over::Http => USE_HTTP,
        }
    }
}

impl Side {
    fn peer(self) -> &'static str {
        match self {
            Side::Client(_) => "server",
            Side::Server => "client",
        }
    }
}

fn plaintext(side: Side, what: &str) -> HandshakeError {
    let text = match side {
        Side::Client(over) => {
            format!("the server speaks {what}, and this client TLS; {}", over.use_plaintext())
        }
        Side::Server => format!("the client speaks {what}, and this endpoint TLS; {USE_TLS}"),
    };
    HandshakeError::of(Kind::Plaintext, text)
}

/// What TLS says of an error, if it comes from there: a peer may refuse our certificate after the handshake.
pub(crate) fn explained(error: &io::Error) -> Option<String> {
    if let Some(error) = tls_error(error) {
        return Some(explain(Side::Client(Over::Grpc), error).1);
    }
    // HTTP/2 hands errors on as texts.
    let text = error.to_string();
    let alert = ALERTS.into_iter().find(|alert| Error::AlertReceived(*alert).to_string() == text)?;
    Some(refused(Side::Client(Over::Grpc), alert))
}

/// What servers say about client certificates, after the handshake in TLS 1.3.
const ALERTS: [AlertDescription; 9] = [
    // An authority of the same name with another key.
    AlertDescription::DecryptError,
    AlertDescription::CertificateRequired,
    AlertDescription::UnknownCA,
    AlertDescription::BadCertificate,
    AlertDescription::UnsupportedCertificate,
    AlertDescription::CertificateRevoked,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateUnknown,
    AlertDescription::AccessDenied,
];

fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn explain(side: Side, error: &Error) -> (Kind, String) {
    let peer = side.peer();
    match error {
        Error::InvalidCertificate(reason) => (Kind::Certificate, certificate(side, reason)),
        Error::NoCertificatesPresented => {
            let text = "the client gave no certificate, and this endpoint requires one (client_ca_file)";
            (Kind::NoCertificate, text.to_owned())
        }
        Error::AlertReceived(alert) => (Kind::Refused, refused(side, *alert)),
        Error::NoApplicationProtocol => {
            let failure = HandshakeError::no_protocol(side);
            (failure.kind, failure.text)
        }
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled,
        ) => (
            Kind::Other,
            format!("the {peer} and we have no TLS version in common (min_version, max_version)"),
        ),
        Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon) => {
            (Kind::Other, format!("the {peer} and we have no cipher suite in common (cipher_suites)"))
        }
        Error::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon) => (
            Kind::Other,
            format!("the {peer} and we have no key exchange group in common (curve_preferences)"),
        ),
        other => (Kind::Other, other.to_string()),
    }
}

/// What is wrong with the peer's certificate.
fn certificate(side: Side, reason: &CertificateError) -> String {
    let peer = side.peer();
    let whose = format!("the {peer}'s certificate");
    match reason {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            let key = match side {
                Side::Client(_) => "ca_file",
                Side::Server => "client_ca_file",
            };
            format!(
                "{whose} is signed by an unknown authority; if it is the right {peer}, add its authority to {key}"
            )
        }
        CertificateError::ExpiredContext { not_after, .. } => {
            let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(not_after.as_secs());
            format!("{whose} has expired: it was valid until {}", time_text(at))
        }
        CertificateError::Expired => format!("{whose} has expired"),
        CertificateError::NotValidYetContext { not_before, .. } => {
            let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(not_before.as_secs());
            format!("{whose} is not valid before {}; are the clocks right?", time_text(at))
        }
        CertificateError::NotValidYet => format!("{whose} is not valid yet; are the clocks right?"),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let presented = match presented.as_slice() {
                [] => "no name at all (it has no subject alternative name)".to_owned(),
                names => presented_names(names),
            };
            format!(
                "{whose} is for {presented}, not for \"{}\"; if it is the right server, set server_name_override",
                expected.to_str()
            )
        }
        CertificateError::NotValidForName => {
            format!("{whose} is for another name; if it is the right server, set server_name_override")
        }
        CertificateError::InvalidPurposeContext { .. } | CertificateError::InvalidPurpose => {
            format!("{whose} is not meant for a {peer} (extended key usage)")
        }
        CertificateError::BadEncoding => format!("{whose} is malformed"),
        other => format!("{whose} is not acceptable: {other}"),
    }
}

/// Names as rustls prints them, at most a handful: `DnsName("a.example")`.
fn presented_names(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let plain = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
        format!("\"{}\"", inner.trim_matches('"'))
    };
    let mut text = names.iter().take(SHOWN).map(plain).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(", ...");
    }
    text
}

/// What a peer means that refuses us.
fn refused(side: Side, alert: AlertDescription) -> String {
    use AlertDescription as Alert;
    let what = match (side, alert) {
        (Side::Client(_), Alert::CertificateRequired) => {
            return "the server requires a client certificate; set cert_file and key_file".to_owned();
        }
        (Side::Client(_), Alert::UnknownCA | Alert::DecryptError) => {
            "does not know the authority of our client certificate"
        }
        (Side::Client(_), Alert::CertificateExpired) => "says that our client certificate has expired",
        (Side::Client(_), Alert::CertificateRevoked) => "says that our client certificate is revoked",
        (
            Side::Client(_),
            Alert::BadCertificate | Alert::CertificateUnknown | Alert::UnsupportedCertificate,
        ) => "does not accept our client certificate, or requires one and we have none",
        (Side::Client(_), Alert::UnrecognisedName) => {
            "does not know the name that we ask for (server_name_override)"
        }
        (Side::Client(Over::Http), Alert::NoApplicationProtocol) => {
            "does not speak HTTP/1.1 (ALPN \"http/1.1\")"
        }
        (Side::Client(Over::Grpc), Alert::NoApplicationProtocol) => {
            "does not speak HTTP/2 (ALPN \"h2\"), which gRPC needs"
        }
        (_, Alert::ProtocolVersion) => "speaks none of our TLS versions (min_version, max_version)",
        (_, Alert::HandshakeFailure) => {
            "finds nothing in common with us: cipher suites, curves or signatures"
        }
        (Side::Server, Alert::UnknownCA | Alert::DecryptError) => {
            "does not trust the authority of this server's certificate (its ca_file)"
        }
        (Side::Server, Alert::CertificateExpired) => "says that this server's certificate has expired",
        (Side::Server, Alert::BadCertificate | Alert::CertificateUnknown | Alert::UnsupportedCertificate) => {
            "does not accept this server's certificate: its name, its purpose or its authority"
        }
        _ => "ended the handshake",
    };
    format!("the {} {what} (alert {alert:?})", side.peer())
}
