//! Where a gRPC client connects to: the `endpoint` key.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The destination of a client, parsed from `endpoint`.
///
/// Accepted (reference: collector-core, 5.8): `host:port`, `http://host:port` and `https://host:port` (the scheme is
/// dropped here), `dns:///host:port`, `passthrough:///host:port`, `unix:///path` and `unix:path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A name that is resolved to all its addresses, again and again.
    Dns(HostPort),
    /// A name that only the dialer looks at: one connection, to the first of its addresses that answers.
    Passthrough(HostPort),
    /// A unix socket.
    Unix(PathBuf),
}

/// A host name or IP address, and a port. Prints as `host:port`, with brackets around an IPv6 address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Why a text is no endpoint. Texts that the Go collector has too are worded as there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// There is nothing behind the scheme.
    #[error("requires a non-empty \"endpoint\"")]
    Empty,
    /// No `:port`.
    #[error("address {0}: missing port in address")]
    MissingPort(String),
    /// An IPv6 address without brackets, or plain nonsense.
    #[error("address {0}: too many colons in address")]
    TooManyColons(String),
    /// An opening bracket without its partner.
    #[error("address {0}: missing ']' in address")]
    MissingBracket(String),
    /// The port is not a number from 0 to 65535.
    #[error("invalid port \"{0}\"")]
    InvalidPort(String),
    /// The host has a character that neither names nor addresses have.
    #[error("invalid host \"{0}\"")]
    InvalidHost(String),
    /// `unix://` alone.
    #[error("unix socket path cannot be empty")]
    EmptyUnixPath,
    /// `dns://server/name`.
    #[error(
        "a name server in the endpoint (\"{0}\") is not supported; write dns:///host:port with three slashes"
    )]
    NameServer(String),
    /// A resolver that is not here.
    #[error("unsupported scheme \"{0}\" in endpoint; supported are dns, http, https, passthrough and unix")]
    Scheme(String),
}

impl Endpoint {
    /// What goes into `:authority` unless the user overrides it. Its host is the name that a TLS certificate must have.
    pub fn authority(&self) -> String {
        match self {
            Endpoint::Dns(target) | Endpoint::Passthrough(target) => {
                // The zone of a link-local address means something on this machine only.
                let host = target.host.split('%').next().unwrap_or_default().to_owned();
                HostPort { host, port: target.port }.to_string()
            }
            // The gRPC naming document leaves no authority for unix sockets; every implementation sends this.
            Endpoint::Unix(_) => "localhost".to_owned(),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Dns(target) | Endpoint::Passthrough(target) => target.fmt(f),
            Endpoint::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if let Some(path) = text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:")) {
            return if path.is_empty() {
                Err(EndpointError::EmptyUnixPath)
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return host_port(text).map(Self::Dns);
        };
        match scheme {
            "http" | "https" => host_port(rest).map(Self::Dns),
            "dns" => host_port(without_name_server(rest)?).map(Self::Dns),
            "passthrough" => host_port(without_name_server(rest)?).map(Self::Passthrough),
            other => Err(EndpointError::Scheme(other.to_owned())),
        }
    }
}

/// What follows the (empty) authority of a resolver URI: `/host:port` gives `host:port`.
fn without_name_server(rest: &str) -> Result<&str, EndpointError> {
    match rest.split_once('/') {
        Some(("", target)) => Ok(target),
        _ if rest.is_empty() => Ok(rest),
        Some((server, _)) => Err(EndpointError::NameServer(server.to_owned())),
        None => Err(EndpointError::NameServer(rest.to_owned())),
    }
}

/// Splits as Go's `net.SplitHostPort` does, with its messages.
fn host_port(text: &str) -> Result<HostPort, EndpointError> {
    if text.is_empty() {
        return Err(EndpointError::Empty);
    }
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) =
            rest.split_once(']').ok_or_else(|| EndpointError::MissingBracket(text.to_owned()))?;
        (host, rest.strip_prefix(':').ok_or_else(|| EndpointError::MissingPort(text.to_owned()))?)
    } else {
        let (host, port) =
            text.rsplit_once(':').ok_or_else(|| EndpointError::MissingPort(text.to_owned()))?;
        if host.contains(':') {
            return Err(EndpointError::TooManyColons(text.to_owned()));
        }
        (host, port)
    };
    let port = port.parse().map_err(|_| EndpointError::InvalidPort(port.to_owned()))?;
    // `%` introduces the zone of a link-local address.
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    if !host.chars().all(fits) {
        return Err(EndpointError::InvalidHost(host.to_owned()));
    }
    // As in Go, an empty host is this machine.
    let host = if host.is_empty() { "localhost" } else { host };
    Ok(HostPort { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns(host: &str, port: u16) -> Endpoint {
        Endpoint::Dns(HostPort { host: host.into(), port })
    }

    fn parsed(text: &str) -> Result<Endpoint, String> {
        text.parse().map_err(|e: EndpointError| e.to_string())
    }

    #[test]
    fn understands_every_documented_form() {
        assert_eq!(parsed("backend:4317"), Ok(dns("backend", 4317)));
        assert_eq!(parsed("http://backend:4317"), Ok(dns("backend", 4317)));
        assert_eq!(parsed("https://backend:4317"), Ok(dns("backend", 4317)));
        assert_eq!(parsed("dns:///backend:4317"), Ok(dns("backend", 4317)));
        assert_eq!(parsed("[::1]:4317"), Ok(dns("::1", 4317)));
        assert_eq!(parsed(":4317"), Ok(dns("localhost", 4317)));
        assert_eq!(
            parsed("passthrough:///b:1"),
            Ok(Endpoint::Passthrough(HostPort { host: "b".into(), port: 1 }))
        );
        assert_eq!(parsed("unix:///run/otel.sock"), Ok(Endpoint::Unix("/run/otel.sock".into())));
        assert_eq!(parsed("unix:otel.sock"), Ok(Endpoint::Unix("otel.sock".into())));
    }

    #[test]
    fn refuses_what_go_refuses_with_its_words() {
        let text = |endpoint| parsed(endpoint).unwrap_err();
        assert_eq!(text("backend"), "address backend: missing port in address");
        assert_eq!(text("http://backend"), "address backend: missing port in address");
        assert_eq!(text("backend:otlp"), "invalid port \"otlp\"");
        assert_eq!(text("http://backend:4317/"), "invalid port \"4317/\"");
        assert_eq!(text("backend:70000"), "invalid port \"70000\"");
        assert_eq!(text("::1:4317"), "address ::1:4317: too many colons in address");
        assert_eq!(text("[::1"), "address [::1: missing ']' in address");
        assert_eq!(text("[::1]"), "address [::1]: missing port in address");
        assert_eq!(text("unix://"), "unix socket path cannot be empty");
        for empty in ["", "http://", "https://", "dns://", "dns:///"] {
            assert_eq!(text(empty), "requires a non-empty \"endpoint\"", "{empty}");
        }
    }

    #[test]
    fn refuses_what_this_version_does_not_have_by_name() {
        assert!(parsed("dns://8.8.8.8/backend:4317").unwrap_err().contains("\"8.8.8.8\""));
        assert!(parsed("dns://backend:4317").unwrap_err().contains("three slashes"));
        assert!(parsed("xds:///backend").unwrap_err().contains("unsupported scheme \"xds\""));
        assert_eq!(parsed("bad host:1").unwrap_err(), "invalid host \"bad host\"");
    }

    #[test]
    fn authority_keeps_brackets_and_has_a_stand_in_for_unix_sockets() {
        assert_eq!(parsed("[::1]:4317").unwrap().authority(), "[::1]:4317");
        assert_eq!(parsed("[fe80::1%eth0]:4317").unwrap().authority(), "[fe80::1]:4317");
        assert_eq!(parsed("unix:///x").unwrap().authority(), "localhost");
    }
}
