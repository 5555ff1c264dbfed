//! Where a component listens, as far as its configuration tells.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// An address that a server takes for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A TCP port on one address, or on every address.
    Tcp {
        /// A name or an address without brackets; empty, `0.0.0.0` and `::` mean every address.
        host: String,
        /// 0 takes a free one.
        port: u16,
        /// The addresses that `host` may mean.
        family: Family,
    },
    /// The path of a unix socket.
    Unix(PathBuf),
}

/// Kinds of IP addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4 and IPv6.
    Both,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// What is known of a host without asking anybody.
enum Host<'a> {
    Every(Family),
    One(IpAddr),
    Named(&'a str),
}

impl Listen {
    /// Whether two servers cannot both have their address. Names other than `localhost` are not resolved, so that a clash
    /// of two different names is only seen when the second server starts.
    pub fn clashes_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unix(this), Self::Unix(that)) => this == that,
            (
                Self::Tcp { host: this, port, family },
                Self::Tcp { host: that, port: other_port, family: other_family },
            ) => port == other_port && *port != 0 && host(this, *family).overlaps(&host(that, *other_family)),
            _ => false,
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, .. } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Host<'_> {
    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Every(this), Self::Every(that)) => this.overlaps(*that),
            (Self::Every(family), Self::One(address)) | (Self::One(address), Self::Every(family)) => {
                family.overlaps(if address.is_ipv4() { Family::V4 } else { Family::V6 })
            }
            // A name has an address of one family or the other.
            (Self::Every(family), Self::Named(_)) | (Self::Named(_), Self::Every(family)) => {
                *family == Family::Both
            }
            (Self::One(this), Self::One(that)) => this == that,
            (Self::Named(this), Self::Named(that)) => this.eq_ignore_ascii_case(that),
            (Self::One(_), Self::Named(_)) | (Self::Named(_), Self::One(_)) => false,
        }
    }
}

impl Family {
    fn overlaps(self, other: Self) -> bool {
        self == other || self == Self::Both || other == Self::Both
    }
}

fn host(text: &str, family: Family) -> Host<'_> {
    match text.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(address) if address.is_unspecified() => Host::Every(family),
        Ok(address) => Host::One(address),
        Err(_) if text.is_empty() => Host::Every(family),
        // The first IPv4 address of a name is taken, as Go does.
        Err(_) if text.eq_ignore_ascii_case("localhost") && family != Family::V6 => {
            Host::One(Ipv4Addr::LOCALHOST.into())
        }
        Err(_) => Host::Named(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, family: Family) -> Listen {
        Listen::Tcp { host: host.to_owned(), port: 4317, family }
    }

    #[test]
    fn one_port_goes_to_one_server_of_an_address() {
        for (this, that, clash) in [
            ("localhost", "127.0.0.1", true),
            ("LOCALHOST", "localhost", true),
            ("0.0.0.0", "localhost", true),
            ("", "10.0.0.1", true),
            ("::", "10.0.0.1", true),
            ("0.0.0.0", "::", true),
            ("::1", "::1", true),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("collector", "Collector", true),
            ("collector", "0.0.0.0", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("127.0.0.1", "::1", false),
            ("collector", "10.0.0.1", false),
            ("collector", "other", false),
        ] {
            for (this, that) in [(this, that), (that, this)] {
                let (this, that) = (tcp(this, Family::Both), tcp(that, Family::Both));
                assert_eq!(this.clashes_with(&that), clash, "{this} {that}");
            }
        }
    }

    #[test]
    fn families_and_ports_tell_servers_apart() {
        let (v4, v6) = (tcp("0.0.0.0", Family::V4), tcp("::", Family::V6));
        assert!(!v4.clashes_with(&v6));
        assert!(!v4.clashes_with(&tcp("::1", Family::V6)));
        assert!(v4.clashes_with(&tcp("10.0.0.1", Family::Both)));
        assert!(v6.clashes_with(&tcp("", Family::Both)));
        let port = |port| Listen::Tcp { host: String::new(), port, family: Family::Both };
        assert!(!port(1).clashes_with(&port(2)));
        assert!(!port(0).clashes_with(&port(0)), "each takes a free one");
        let unix = |path: &str| Listen::Unix(path.into());
        assert!(unix("/run/a").clashes_with(&unix("/run/a")));
        assert!(!unix("/run/a").clashes_with(&unix("/run/b")));
        assert!(!unix("/run/a").clashes_with(&port(1)));
        assert_eq!(tcp("::1", Family::V6).to_string(), "[::1]:4317");
    }
}
