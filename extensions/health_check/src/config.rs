//! What users write under `extensions::health_check`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanbridge_component::{Problems, Validate};
use spanbridge_config::{Duration, Optional};
use spanbridge_transport::http::server::ServerConfig;

/// Where the Go collector listens, too.
const ENDPOINT: &str = "localhost:13133";

spanbridge_config::squash! {
    /// Configuration of the `health_check` extension (reference: contrib-components, D.5).
    #[derive(Debug, Clone)]
    pub struct Config {
        /// The server that probes ask. `endpoint` is `localhost:13133` by default; in a pod it has to be `${env:POD_IP}:13133`
        /// or `0.0.0.0:13133`.
        pub flatten server: ServerConfig,
        /// The path that is answered; with a `/` at its end so are all paths that begin with it. Default `/`.
        pub path: String,
        /// Texts that are answered instead of the usual JSON.
        pub response_body: Optional<ResponseBody>,
        /// Has no effect, as in the Go collector; writing it gives a warning.
        pub check_collector_pipeline: CheckCollectorPipeline,
    }
}

/// Texts that are answered instead of the usual JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResponseBody {
    /// While the pipelines work.
    pub healthy: String,
    /// While they do not.
    pub unhealthy: String,
}

/// What the Go collector once checked, and now accepts without doing anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CheckCollectorPipeline {
    /// Has no effect.
    pub enabled: bool,
    /// Has no effect.
    pub interval: Duration,
    /// Has no effect.
    pub exporter_failure_threshold: i64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: ServerConfig { endpoint: ENDPOINT.to_owned(), ..ServerConfig::default() },
            path: "/".to_owned(),
            response_body: Optional::off(),
            check_collector_pipeline: CheckCollectorPipeline::default(),
        }
    }
}

impl Default for CheckCollectorPipeline {
    fn default() -> Self {
        Self { enabled: false, interval: Duration::from_secs(300), exporter_failure_threshold: 5 }
    }
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        self.server.validate(problems);
        if !self.path.starts_with('/') {
            problems.error_at("path", "path must start with /");
        }
        if self.check_collector_pipeline != CheckCollectorPipeline::default() {
            problems
                .warn_at("check_collector_pipeline", "has no effect, here and in the Go collector")
                .help("watch otelcol_exporter_send_failed_spans and its like instead");
        }
    }
}

#[cfg(test)]
mod tests {
    use spanbridge_component::ExtensionFactory as _;
    use spanbridge_config::Document;

    use super::*;

    fn found(id: &str) -> Vec<String> {
        let document = Document::from_yaml(include_str!("../testdata/config.yaml")).unwrap();
        let node = document.root().get(id).unwrap_or_else(|| panic!("no {id}")).clone();
        let unsupported = crate::Factory.descriptor().unsupported;
        let (_, found) = document.decode_and_validate::<Config>(&node, &[id], unsupported).into_parts();
        found.into_iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect()
    }

    #[test]
    fn each_example_is_read_or_refused_with_its_reason() {
        for (id, message) in [
            ("health_check", None),
            ("health_check/every", None),
            ("health_check/endpoint", Some("endpoint must not be empty")),
            ("health_check/path", Some("path must start with /")),
            ("health_check/pipeline", Some("has no effect")),
            ("health_check/interval", Some("invalid duration")),
            ("health_check/auth", Some("names no authenticator")),
            ("health_check/tls", Some("must include both certificate and key")),
            ("health_check/cors", Some("\"cors\" is not supported")),
            ("health_check/timeout", Some("\"read_header_timeout\" is not supported")),
            ("health_check/v2", Some("\"use_v2\" is not supported")),
            ("health_check/http", Some("\"http\" is not supported")),
            ("health_check/grpc", Some("\"grpc\" is not supported")),
            ("health_check/health", Some("\"component_health\" is not supported")),
        ] {
            let found = found(id);
            match message {
                Some(message) => assert!(found.iter().any(|f| f.contains(message)), "{id}: {found:?}"),
                None => assert!(found.is_empty(), "{id}: {found:?}"),
            }
        }
    }
}
