//! How backends are spoken to: `protocol`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanbridge_component::{Problems, Validate};
use spanbridge_config::{Duration, Toggle};
use spanbridge_exporterhelper::{QueueConfig, RetryConfig};
use spanbridge_otlp::client_config_default;
use spanbridge_transport::grpc::ClientConfig;

/// How backends are spoken to.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProtocolConfig {
    /// OTLP/gRPC, with the keys and defaults of the `otlp_grpc` exporter; the only protocol.
    pub otlp: OtlpConfig,
}

spanbridge_config::squash! {
    /// One OTLP/gRPC client for each backend.
    #[derive(Debug, Clone)]
    pub struct OtlpConfig {
        /// The client; its keys stand at this level. `endpoint` is overwritten with the address of each backend.
        pub flatten client: ClientConfig,
        /// How long one attempt at a backend may take, connecting included. 0 sets no limit. Default 5s.
        pub timeout: Duration,
        /// Must not be on: retries are made at the exporter's own level, where the backends are chosen anew.
        pub retry_on_failure: RetryConfig,
        /// Must not be on: the queue is at the exporter's own level. What waited in the queue of a single backend would be
        /// lost or stuck when the backend leaves.
        pub sending_queue: Toggle<QueueConfig>,
    }
}

impl Default for OtlpConfig {
    fn default() -> Self {
        Self {
            client: client_config_default(),
            timeout: Duration::from_secs(5),
            retry_on_failure: RetryConfig { enabled: false, ..RetryConfig::default() },
            sending_queue: Toggle::off(QueueConfig::default()),
        }
    }
}

impl OtlpConfig {
    /// The client of the backend at `endpoint`.
    pub(crate) fn client_of(&self, endpoint: &str) -> ClientConfig {
        ClientConfig { endpoint: endpoint.to_owned(), ..self.client.clone() }
    }
}

impl Validate for ProtocolConfig {
    fn validate(&self, problems: &mut Problems) {
        problems.nested("otlp", &self.otlp);
    }
}

impl Validate for OtlpConfig {
    fn validate(&self, problems: &mut Problems) {
        const HELP: &str = "write it at the exporter's own level, beside routing_key: what one backend did not take is \
                            sent again to the backend that is right by then";
        if !self.client.endpoint.is_empty() {
            problems.warn_at("endpoint", "is overwritten with the address of each backend");
        }
        self.client_of("backend:4317").validate(problems);
        for (key, is_on) in [
            ("retry_on_failure", self.retry_on_failure.enabled),
            ("sending_queue", self.sending_queue.is_on()),
        ] {
            if is_on {
                let text = format!("{key} of a single backend is not supported");
                problems.error_at(key, text).help(HELP);
            }
        }
    }
}
