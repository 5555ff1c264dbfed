//! Asking an issuer for its keys (`OpenID` Connect Discovery 1.0, 4).

use std::time::Duration;

use serde_json::Value;
use spanbridge_transport::http::{Client, Limits, Request, Response, shown};
use url::{Host, Url};

use crate::ProviderConfig;
use crate::json;
use crate::keys::KeySet;

const WELL_KNOWN: &str = "/.well-known/openid-configuration";
/// From the name to a connection, as in the Go collector.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// One request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer of an issuer.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
const REDIRECTS_MAX: usize = 5;

/// What keys pass on their way from a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Nobody can put in others.
    Tls,
    /// Whoever is on this machine can.
    Loopback,
    /// Anybody on the way can.
    Open,
}

impl Way {
    /// The way to this URL, read as the client reads it. What is none leads nowhere, so it is open.
    pub(crate) fn to(url: &str) -> Self {
        let Ok(url) = Url::parse(url) else { return Self::Open };
        let is_loopback = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        match url.scheme() {
            "https" => Self::Tls,
            _ if is_loopback => Self::Loopback,
            _ => Self::Open,
        }
    }
}

/// An issuer that is asked over HTTP.
pub(crate) struct Issuer {
    url: String,
    client: Client,
}

impl Issuer {
    pub(crate) fn new(config: &ProviderConfig) -> Self {
        // From plain HTTP a redirect may lead anywhere, in the clear as well.
        let redirects_max = if Way::to(&config.issuer_url) == Way::Tls { REDIRECTS_MAX } else { 0 };
        let limits = Limits {
            connect_timeout: CONNECT_TIMEOUT,
            timeout: TIMEOUT,
            body_bytes_max: ANSWER_BYTES_MAX,
            redirects_max,
        };
        Self { url: config.issuer_url.clone(), client: Client::new(limits, config.tls()) }
    }

    /// The keys that it signs with now.
    ///
    /// # Errors
    /// What failed, for the user.
    pub(crate) async fn keys(&self) -> Result<KeySet, String> {
        let location = format!("{}{WELL_KNOWN}", self.url.trim_end_matches('/'));
        let found = self.get(&location).await?;
        let found = json::object(&found.body).map_err(|error| format!("{location}: {error}"))?;
        let text = |name: &str| found.get(name).and_then(Value::as_str).unwrap_or_default();
        if text("issuer") != self.url {
            return Err(format!(
                "{location} is of the issuer \"{}\", and issuer_url says \"{}\"; the two have to be equal",
                text("issuer"),
                self.url
            ));
        }
        let keys = text("jwks_uri");
        if keys.is_empty() {
            return Err(format!("{location} has no jwks_uri"));
        }
        match (Way::to(&self.url), Way::to(keys)) {
            (_, Way::Open) | (Way::Tls, Way::Loopback) => {
                return Err(format!("{location}: its jwks_uri is not https"));
            }
            _ => {}
        }
        let answer = self.get(keys).await?;
        KeySet::parse(&answer.body).map_err(|error| format!("{}: {error}", shown(keys)))
    }

    async fn get(&self, url: &str) -> Result<Response, String> {
        let request = Request::get(url).and_then(|request| request.header("accept", "application/json"));
        let request = request.map_err(|error| error.to_string())?;
        // The block is not `tls` here, and its one key has another name.
        let answer = self.client.send(request).await;
        let answer = answer.map_err(|error| error.to_string().replace("ca_file", "issuer_ca_path"))?;
        if answer.status.as_u16() != 200 {
            return Err(format!("GET {}: it answers {}", shown(url), answer.status));
        }
        Ok(answer)
    }

    /// Ends what it does in the background.
    pub(crate) fn release(&self) {
        self.client.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tls_and_this_machine_are_no_open_way() {
        for (url, way) in [
            ("https://issuer.example", Way::Tls),
            ("HTTPS://127.0.0.1/a", Way::Tls),
            ("http://127.0.0.1:8080", Way::Loopback),
            ("http://127.255.0.9/a", Way::Loopback),
            ("http://[::1]:8080", Way::Loopback),
            ("http://LOCALHOST:8080", Way::Loopback),
            ("http://issuer.example", Way::Open),
            ("HTTP://issuer.example", Way::Open),
            ("http://10.0.0.1", Way::Open),
            ("http://[2001:db8::1]", Way::Open),
            ("http://localhost.example", Way::Open),
            ("http://127.0.0.1.example", Way::Open),
            ("http://127.0.0.1@issuer.example", Way::Open),
            ("issuer", Way::Open),
        ] {
            assert_eq!(Way::to(url), way, "{url}");
        }
    }
}
