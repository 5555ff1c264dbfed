//! What users write under `exporters::load_balancing` (reference: contrib-components, E.1).

mod protocol;
mod resolver;
mod unsupported;

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use spanbridge_component::{Problems, Signal, Validate};
use spanbridge_config::Duration;
use spanbridge_exporterhelper::HelperConfig;

pub use protocol::{OtlpConfig, ProtocolConfig};
pub(crate) use resolver::with_port;
pub use resolver::{DnsConfig, KubernetesConfig, Port, ResolverConfig, StaticConfig};
pub(crate) use unsupported::UNSUPPORTED;

spanbridge_config::squash! {
    /// Configuration of the `load_balancing` exporter.
    #[derive(Debug, Clone)]
    pub struct Config {
        /// Timeout, retries and queue around everything; these keys stand at the exporter's own level. Retries and a queue
        /// in memory are on by default, the timeout is off: each attempt at a backend has one of its own.
        pub flatten helper: HelperConfig,
        /// What decides the backend: `traceID` (traces, logs), `service`, `resource`, `attributes`, `metric`, `streamID`
        /// (metrics). Default: `traceID` for traces, `service` for logs and metrics.
        pub routing_key: RoutingKey,
        /// With `routing_key: attributes`: the attributes whose values decide, looked up in the resource, the scope and the
        /// item, in this order. `span.name`, `span.kind` and `log.severity` stand for these fields.
        pub routing_attributes: Vec<String>,
        /// How backends are spoken to.
        pub protocol: ProtocolConfig,
        /// Where the backends are found. Exactly one resolver.
        pub resolver: ResolverConfig,
        /// The share of a backend that has failed every request for this long goes to the next ones on the ring, until it
        /// answers again. 0 never: its share is retried, and given up with `retry_on_failure::max_elapsed_time`. Default
        /// 30s. Not a key of the Go collector.
        pub failover_after: Duration,
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            helper: HelperConfig { timeout: Duration::ZERO, ..HelperConfig::default() },
            routing_key: RoutingKey::Default,
            routing_attributes: Vec::new(),
            protocol: ProtocolConfig::default(),
            resolver: ResolverConfig::default(),
            failover_after: Duration::from_secs(30),
        }
    }
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        const KEY: &str = "routing_attributes";
        self.helper.validate(problems);
        match (self.routing_key, self.routing_attributes.is_empty()) {
            (RoutingKey::Attributes, true) => {
                problems
                    .error_at(KEY, "routing_attributes must be specified when routing_key is \"attributes\"");
            }
            (RoutingKey::Attributes, false) | (_, true) => {}
            (other, false) => {
                let text = "routing_attributes can only be used when routing_key is \"attributes\"";
                problems.error_at(KEY, format!("{text}; found {:?}", other.name()));
            }
        }
        problems.nested("protocol", &self.protocol);
        problems.nested("resolver", &self.resolver);
    }
}

/// What decides the backend of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RoutingKey {
    /// The key that suits the signal.
    #[default]
    Default,
    /// The trace id.
    TraceId,
    /// The resource attribute `service.name`.
    Service,
    /// All attributes of the resource.
    Resource,
    /// The values of `routing_attributes`.
    Attributes,
    /// The name of the metric.
    Metric,
    /// Resource, scope, metric and attributes of a data point: what makes a time series.
    StreamId,
}

impl RoutingKey {
    const ALL: [Self; 7] = [
        Self::Default,
        Self::TraceId,
        Self::Service,
        Self::Resource,
        Self::Attributes,
        Self::Metric,
        Self::StreamId,
    ];

    /// The name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "",
            Self::TraceId => "traceID",
            Self::Service => "service",
            Self::Resource => "resource",
            Self::Attributes => "attributes",
            Self::Metric => "metric",
            Self::StreamId => "streamID",
        }
    }

    /// The key for `signal`, with the default put in; `None` if items of the signal have no such key.
    pub(crate) fn of(self, signal: Signal) -> Option<Self> {
        match (self, signal) {
            (Self::Default, Signal::Traces) => Some(Self::TraceId),
            (Self::Default, Signal::Logs | Signal::Metrics) => Some(Self::Service),
            (Self::TraceId, Signal::Metrics)
            | (Self::Metric | Self::StreamId, Signal::Traces | Signal::Logs) => None,
            _ => Some(self),
        }
    }
}

impl Serialize for RoutingKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for RoutingKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        impl de::Visitor<'_> for Name {
            type Value = RoutingKey;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a routing key")
            }

            // The name is judged while it is visited, so that the error has its place.
            fn visit_str<E: de::Error>(self, name: &str) -> Result<RoutingKey, E> {
                RoutingKey::ALL.into_iter().find(|key| key.name() == name).ok_or_else(|| {
                    E::custom(format!(
                        "unsupported routing_key: {name}; valid are traceID, service, resource, attributes, metric \
                         and streamID"
                    ))
                })
            }
        }

        deserializer.deserialize_str(Name)
    }
}

impl JsonSchema for RoutingKey {
    fn schema_name() -> Cow<'static, str> {
        "LoadBalancingRoutingKey".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "What decides the backend of an item.",
            "enum": RoutingKey::ALL.map(RoutingKey::name)
        })
    }
}

#[cfg(test)]
mod tests;
