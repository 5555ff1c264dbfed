//! The configuration block of a small HTTP server.

use http::{HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanbridge_component::{Problems, Unsupported, Validate};
use spanbridge_config::{Headers, Optional};

use crate::auth::ServerAuthConfig;
use crate::grpc::server::{Endpoint, Transport};
use crate::tls::{ServerTls, TPM_UNSUPPORTED};

/// Keys of the Go collector's HTTP servers that these do not have.
pub const SERVER_UNSUPPORTED: [Unsupported; 11] = [
    Unsupported { path: "tls.tpm", reason: TPM_UNSUPPORTED },
    Unsupported { path: "cors", reason: "no browser is meant to ask" },
    Unsupported { path: "auth.request_params", reason: "credentials come in headers only" },
    Unsupported { path: "max_request_body_size", reason: "the body of a request is not read" },
    Unsupported { path: "compression_algorithms", reason: "the body of a request is not read" },
    Unsupported { path: "include_metadata", reason: "no telemetry comes in here" },
    Unsupported { path: "read_timeout", reason: LIMITS },
    Unsupported { path: "read_header_timeout", reason: LIMITS },
    Unsupported { path: "write_timeout", reason: LIMITS },
    Unsupported { path: "idle_timeout", reason: LIMITS },
    Unsupported { path: "middlewares", reason: "there are no middleware extensions yet" },
];
const LIMITS: &str = "the times of a connection are limited by constants, which the README names";

/// A small HTTP server: it answers from the head of a request and never reads a body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Where to listen: `host:port`, `:port` (every address), `[v6]:port`, `host:0` (any free port), or the path of a
    /// unix socket.
    pub endpoint: String,
    /// `tcp`, `tcp4`, `tcp6` or `unix`.
    pub transport: Transport,
    /// Transport security. Off by default: the server speaks plaintext.
    pub tls: Optional<ServerTls>,
    /// Who lets requests in. Off by default: everybody may come in.
    pub auth: Optional<ServerAuthConfig>,
    /// Headers of every answer.
    pub response_headers: Headers,
    /// Whether a connection may be used for more than one request. Default `true`.
    pub keep_alives_enabled: bool,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            transport: Transport::Tcp,
            tls: Optional::off(),
            auth: Optional::off(),
            response_headers: Headers::default(),
            keep_alives_enabled: true,
        }
    }
}

impl ServerConfig {
    /// The headers of every answer.
    ///
    /// # Errors
    /// The name that is none, or whose value no header may hold. The value is not in the text.
    pub(super) fn response_headers(&self) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in self.response_headers.iter() {
            let value = HeaderValue::from_str(value.expose())
                .map_err(|_| format!("the value of \"{name}\" has characters that no header may hold"))?;
            let parsed = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| format!("\"{name}\" is no name of a header"))?;
            headers.append(parsed, value);
        }
        Ok(headers)
    }
}

impl Validate for ServerConfig {
    fn validate(&self, problems: &mut Problems) {
        match Endpoint::parse(&self.endpoint, self.transport) {
            Ok(endpoint) => problems.listen_at("endpoint", endpoint.address(self.transport)),
            Err(error) => drop(problems.error_at("endpoint", error)),
        }
        problems.nested("tls", &self.tls);
        if let Some(tls) = self.tls.as_ref() {
            tls.check_auth(self.auth.is_on(), problems);
        }
        if let Some(auth) = self.auth.as_ref() {
            let asks_for_certificates = self.tls.as_ref().is_some_and(ServerTls::asks_for_certificates);
            problems.at("auth", |problems| auth.validate(asks_for_certificates, problems));
        }
        if let Err(error) = self.response_headers() {
            problems.error_at("response_headers", error);
        }
    }
}
