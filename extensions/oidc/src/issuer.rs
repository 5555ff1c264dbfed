//! Asking an issuer for its keys (`OpenID` Connect Discovery 1.0, 4).

use std::time::Duration;

use serde_json::Value;
use spanbridge_transport::http::{Client, Limits, Request, Response, shown};

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

/// An issuer that is asked over HTTP.
pub(crate) struct Issuer {
    url: String,
    client: Client,
}

impl Issuer {
    pub(crate) fn new(config: &ProviderConfig) -> Self {
        let limits = Limits {
            connect_timeout: CONNECT_TIMEOUT,
            timeout: TIMEOUT,
            body_bytes_max: ANSWER_BYTES_MAX,
            redirects_max: REDIRECTS_MAX,
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
        if self.url.starts_with("https://") && !keys.starts_with("https://") {
            return Err(format!("{location}: its jwks_uri is not https"));
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
