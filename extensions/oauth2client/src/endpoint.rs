//! Asking the token endpoint.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use spanbridge_component::async_trait;
use spanbridge_transport::http::{Client, Limits, Request, shown};

use crate::Config;
use crate::answer::{self, Grant, Refusal};
use crate::config::Credentials;
use crate::tokens::Source;

/// Time for one fetch where `timeout` says nothing.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// From the name to a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer of a token endpoint.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// The token endpoint, with what it is asked for.
pub(crate) struct Endpoint {
    config: Config,
    client: Client,
    /// Whether it wants the credentials in the form, found out by trying.
    wants_form: AtomicBool,
}

impl Endpoint {
    pub(crate) fn new(config: Config) -> Self {
        let timeout = if config.timeout.is_zero() { TIMEOUT_DEFAULT } else { config.timeout.get() };
        let limits = Limits {
            connect_timeout: CONNECT_TIMEOUT.min(timeout),
            timeout,
            body_bytes_max: ANSWER_BYTES_MAX,
            // A form with a secret in it goes nowhere else.
            redirects_max: 0,
        };
        let client = Client::new(limits, config.tls.clone());
        Self { config, client, wants_form: AtomicBool::new(false) }
    }

    /// One request; the outer error is that there is no answer.
    async fn ask(&self, credentials: &Credentials, in_form: bool) -> Result<Result<Grant, Refusal>, String> {
        let request = self.request(credentials, in_form).map_err(|error| error.cause().to_owned())?;
        let response = self.client.send(request).await.map_err(|error| error.cause().to_owned())?;
        Ok(answer::read(&response, &credentials.secret))
    }

    fn request(
        &self,
        credentials: &Credentials,
        in_form: bool,
    ) -> Result<Request, spanbridge_transport::http::Error> {
        let scope = self.config.scopes.join(" ");
        let mut pairs = Vec::new();
        if !self.config.endpoint_params.contains_key("grant_type") {
            pairs.push(("grant_type", self.config.grant_type.as_str()));
        }
        if !scope.is_empty() {
            pairs.push(("scope", &scope));
        }
        for (name, values) in &self.config.endpoint_params {
            pairs.extend(values.iter().map(|value| (name.as_str(), value.expose())));
        }
        if in_form {
            pairs.push(("client_id", &credentials.id));
            pairs.push(("client_secret", credentials.secret.expose()));
        }
        let request =
            Request::post_form(&self.config.token_url, pairs)?.header("accept", "application/json")?;
        if in_form {
            return Ok(request);
        }
        let (id, secret) = (encoded(&credentials.id), encoded(credentials.secret.expose()));
        request.header("authorization", &format!("Basic {}", STANDARD.encode(format!("{id}:{secret}"))))
    }
}

#[async_trait]
impl Source for Endpoint {
    /// Endpoints want the credentials in a header or in the form (RFC 6749, 2.3.1). As in the Go collector, the header is
    /// tried first, and what has worked is kept to.
    async fn fetch(&self) -> Result<Grant, String> {
        let url = shown(&self.config.token_url);
        let failed = |cause: String| {
            format!("failed to get security token from token endpoint (endpoint \"{url}\"): {cause}")
        };
        // Small files; the read is bounded.
        let config = self.config.clone();
        let credentials = tokio::task::spawn_blocking(move || config.credentials()).await;
        let credentials =
            credentials.unwrap_or_else(|_| Err("reading them panicked".to_owned())).map_err(failed)?;
        let wants_form = self.wants_form.load(Ordering::Relaxed);
        let first = match self.ask(&credentials, wants_form).await.map_err(failed)? {
            Ok(grant) => return Ok(grant),
            Err(refusal) => refusal,
        };
        if wants_form || !first.is_of_client {
            return Err(failed(first.text));
        }
        match self.ask(&credentials, true).await.map_err(failed)? {
            Ok(grant) => {
                self.wants_form.store(true, Ordering::Relaxed);
                Ok(grant)
            }
            Err(second) if second.text == first.text => Err(failed(first.text)),
            Err(second) => {
                let cause = format!("{}; with the credentials in the form {}", first.text, second.text);
                Err(failed(cause))
            }
        }
    }

    fn close(&self) {
        self.client.release();
    }
}

/// As a value of a form, which the two halves of the header have to be.
fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests;
