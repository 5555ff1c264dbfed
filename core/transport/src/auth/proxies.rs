//! Whose request it is that came through a proxy.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The header in which proxies write where a request came from, each after those before it.
pub const FORWARDED_FOR: &str = "x-forwarded-for";
/// Proxies in a row that are followed back.
const HOPS_MAX: usize = 16;

/// A network, or one address: `10.0.0.0/8`, `10.1.2.3`, `fd00::/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(IpNet);

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// Whether it is every address of its family.
    pub fn is_everything(self) -> bool {
        self.0.prefix_len() == 0
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(Network).map_err(|_| {
            format!(
                "\"{text}\" is no network; write one as 10.0.0.0/8 or fd00::/8, or an address as 10.1.2.3"
            )
        })
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl JsonSchema for Network {
    fn schema_name() -> Cow<'static, str> {
        "Network".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A network as address/length, or an address.",
            "type": "string"
        })
    }
}

/// Where a request comes from that `peer` has sent: `peer` itself, unless it is one of `proxies`. Then it is what that
/// proxy has written, and so on back to the first address that is none of them.
///
/// Only what a trusted proxy has written counts, so nobody else can write himself another address. Where a proxy has
/// written nothing that can be read, it is the proxy. The port is 0 where it is not told.
pub(super) fn origin(proxies: &[Network], peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
    let is_proxy = |address: SocketAddr| {
        let address = address.ip().to_canonical();
        proxies.iter().any(|network| network.contains(address))
    };
    if !is_proxy(peer) {
        return peer;
    }
    let written =
        headers.get_all(FORWARDED_FOR).iter().rev().flat_map(|value| value.as_bytes().rsplit(|b| *b == b','));
    let mut found = peer;
    for text in written.take(HOPS_MAX) {
        let Some(address) = address(text) else { break };
        found = address;
        if !is_proxy(found) {
            break;
        }
    }
    found
}

/// An address, with a port or without.
fn address(text: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().map(|ip: IpAddr| SocketAddr::new(ip, 0)).or_else(|_| text.parse()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn networks(texts: &[&str]) -> Vec<Network> {
        texts.iter().map(|text| Network::try_from((*text).to_owned()).unwrap()).collect()
    }

    /// What comes of these values of the header, in order.
    fn from(peer: &str, values: &[&str]) -> String {
        let proxies = networks(&["10.0.0.0/8", "192.0.2.7", "fd00::/8"]);
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(FORWARDED_FOR, value.parse().unwrap());
        }
        origin(&proxies, peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_what_a_trusted_proxy_has_written_counts() {
        for (peer, values, expected) in [
            ("198.51.100.1:9", &["203.0.113.5"][..], "198.51.100.1:9"),
            ("10.0.0.1:9", &["203.0.113.5"], "203.0.113.5:0"),
            ("[::ffff:10.0.0.1]:9", &["203.0.113.5"], "203.0.113.5:0"),
            // The client has written the first one.
            ("10.0.0.1:9", &["1.2.3.4, 203.0.113.5"], "203.0.113.5:0"),
            ("10.0.0.1:9", &["1.2.3.4", "203.0.113.5"], "203.0.113.5:0"),
            ("10.0.0.1:9", &["1.2.3.4,203.0.113.5 ,192.0.2.7, [fd00::1]:443"], "203.0.113.5:0"),
            ("10.0.0.1:9", &["2001:db8::1"], "[2001:db8::1]:0"),
            ("10.0.0.1:9", &["[2001:db8::1]"], "[2001:db8::1]:0"),
            ("10.0.0.1:9", &["203.0.113.5:1234"], "203.0.113.5:1234"),
            // Nobody but proxies: the one that is farthest away.
            ("10.0.0.1:9", &["10.0.0.3, 10.0.0.2"], "10.0.0.3:0"),
            ("10.0.0.1:9", &[], "10.0.0.1:9"),
            ("10.0.0.1:9", &["unknown"], "10.0.0.1:9"),
            ("10.0.0.1:9", &["1.2.3.4, unknown, 10.0.0.2"], "10.0.0.2:0"),
            ("10.0.0.1:9", &["1.2.3.4,"], "10.0.0.1:9"),
        ] {
            assert_eq!(from(peer, values), expected, "{peer} {values:?}");
        }
        let long = format!("1.2.3.4, {}", ["10.0.0.2"; 100].join(", "));
        assert_eq!(from("10.0.0.1:9", &[&long]), "10.0.0.2:0");
    }

    #[test]
    fn networks_and_addresses_are_read_and_written() {
        for (text, written) in
            [("10.0.0.0/8", "10.0.0.0/8"), ("10.1.2.3", "10.1.2.3/32"), ("fd00::1", "fd00::1/128")]
        {
            assert_eq!(networks(&[text])[0].to_string(), written);
        }
        assert!(networks(&["::/0"])[0].is_everything() && !networks(&["10.0.0.0/8"])[0].is_everything());
        for text in ["", "ingress", "10.0.0.0/33", "10.0.0", "10.0.0.1:80"] {
            let error = Network::try_from(text.to_owned()).unwrap_err();
            assert!(error.starts_with(&format!("\"{text}\" is no network; ")), "{error}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_stranger_writes_before_its_proxy_it_keeps_its_address(written in "\\PC{0,40}", port in 0..9u16) {
            let Ok(written) = http::HeaderValue::from_str(&format!("{written}, 203.0.113.5")) else { return Ok(()) };
            let peer = SocketAddr::new([10, 0, 0, 1].into(), port);
            let headers = HeaderMap::from_iter([(http::HeaderName::from_static(FORWARDED_FOR), written)]);
            let found = origin(&networks(&["10.0.0.0/8"]), peer, &headers);
            prop_assert_eq!(found.to_string(), "203.0.113.5:0");
        }
    }
}
