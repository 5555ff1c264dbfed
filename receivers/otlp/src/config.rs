//! What users write under `receivers::otlp`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanbridge_component::{Problems, Validate};
use spanbridge_config::Toggle;
use spanbridge_transport::grpc::ServerConfig;

/// The endpoint of OTLP/gRPC where the configuration names none: only local clients (reference: collector-core, 6.1).
const GRPC_ENDPOINT: &str = "localhost:4317";
/// The receiver's own default of `read_buffer_size` (reference: collector-core, 6.1).
const GRPC_READ_BUFFER_BYTES: i64 = 512 * 1024;

/// Configuration of the `otlp` receiver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The protocols to serve, at least one. Naming one, even without any keys, switches it on.
    pub protocols: Protocols,
    /// What to do with a string that is not UTF-8 (not a key of the Go collector, which lets it through, so that a
    /// strict backend refuses the whole batch later).
    pub invalid_utf8: InvalidUtf8,
}

/// The protocols of the `otlp` receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Protocols {
    /// OTLP/gRPC. Off unless written; then the endpoint is `localhost:4317` unless it says otherwise.
    pub grpc: Toggle<ServerConfig>,
}

/// What to do with strings that are not UTF-8, which protobuf forbids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum InvalidUtf8 {
    /// Put the replacement character in place of what is wrong, and count it.
    #[default]
    Repair,
    /// Refuse the request with `INVALID_ARGUMENT`.
    Refuse,
}

impl Default for Protocols {
    fn default() -> Self {
        Self {
            grpc: Toggle::off(ServerConfig {
                endpoint: GRPC_ENDPOINT.to_owned(),
                read_buffer_size: GRPC_READ_BUFFER_BYTES,
                ..ServerConfig::default()
            }),
        }
    }
}

impl From<InvalidUtf8> for spanbridge_pdata::InvalidUtf8 {
    fn from(policy: InvalidUtf8) -> Self {
        match policy {
            InvalidUtf8::Repair => Self::Repair,
            InvalidUtf8::Refuse => Self::Refuse,
        }
    }
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        problems.nested("protocols", &self.protocols);
    }
}

impl Validate for Protocols {
    fn validate(&self, problems: &mut Problems) {
        if !self.grpc.is_on() {
            problems
                .error("must specify at least one protocol when using the OTLP receiver")
                .help("write `grpc:` under `protocols`");
        }
        problems.nested("grpc", &self.grpc);
    }
}

#[cfg(test)]
mod tests {
    use spanbridge_component::ReceiverFactory as _;
    use spanbridge_config::{Decoded, Document, Duration};
    use spanbridge_transport::grpc::server::Transport;

    use super::*;

    /// Decodes `receivers::<id>` of `yaml`.
    fn decoded(yaml: &str, id: &str) -> Decoded<Config> {
        let document = Document::from_yaml(yaml).unwrap();
        let node = document.root().get("receivers").unwrap().get(id).unwrap().clone();
        let unsupported = crate::Factory.descriptor().unsupported;
        document.decode_and_validate(&node, &["receivers", id], unsupported)
    }

    fn of(keys: &str) -> (Option<Config>, Vec<String>) {
        let (config, found) = decoded(&format!("receivers: {{otlp: {keys}}}"), "otlp").into_parts();
        (config, found.into_iter().map(|diagnostic| diagnostic.message).collect())
    }

    #[test]
    fn a_protocol_without_keys_is_on_with_the_receivers_defaults() {
        for keys in
            ["{protocols: {grpc: }}", "{protocols: {grpc: {}}}", "{protocols: {grpc: {enabled: true}}}"]
        {
            let (config, problems) = of(keys);
            assert_eq!(problems, Vec::<String>::new(), "{keys}");
            let config = config.unwrap();
            let grpc = config.protocols.grpc.as_ref().unwrap();
            assert_eq!((grpc.endpoint.as_str(), grpc.read_buffer_size), ("localhost:4317", 524_288));
            assert_eq!(config.invalid_utf8, InvalidUtf8::Repair);
        }
    }

    #[test]
    fn keys_that_are_written_leave_the_other_defaults() {
        let (config, _) = of("{protocols: {grpc: {endpoint: \"0.0.0.0:4317\"}}}");
        let grpc = config.unwrap().protocols.grpc.into_option().unwrap();
        assert_eq!((grpc.endpoint.as_str(), grpc.read_buffer_size), ("0.0.0.0:4317", 524_288));
    }

    #[test]
    fn at_least_one_protocol_is_needed() {
        for keys in ["", "{}", "{protocols: }", "{protocols: {}}", "{protocols: {grpc: {enabled: false}}}"] {
            let (_, problems) = of(keys);
            assert_eq!(
                problems,
                ["must specify at least one protocol when using the OTLP receiver"],
                "{keys}"
            );
        }
    }

    #[test]
    fn what_is_not_there_yet_is_refused_by_name() {
        for key in ["http", "grpc: {tls: {tpm: {enabled: true}}}, ignored"] {
            let (_, problems) = of(&format!("{{protocols: {{{key}: }}}}"));
            assert!(
                problems.iter().any(|p| p.contains("later version") || p.contains("not supported")),
                "{key}: {problems:?}"
            );
        }
        let (_, problems) = of("{protocols: {grpc: , thrift: }}");
        assert!(problems[0].contains("thrift"), "{problems:?}");
    }

    #[test]
    fn every_key_is_read() {
        let decoded = decoded(include_str!("../testdata/full.yaml"), "otlp/full");
        let (config, problems) = decoded.into_parts();
        assert!(problems.is_empty());
        let config = config.unwrap();
        assert_eq!(config.invalid_utf8, InvalidUtf8::Refuse);
        let grpc = config.protocols.grpc.into_option().unwrap();
        assert_eq!((grpc.endpoint.as_str(), grpc.transport), ("[::1]:14317", Transport::Tcp6));
        assert_eq!((grpc.max_recv_msg_size_mib, grpc.max_concurrent_streams), (32, 16));
        assert_eq!((grpc.read_buffer_size, grpc.write_buffer_size), (131_072, 65_536));
        assert!(grpc.include_metadata);
        let server = &grpc.keepalive.server_parameters;
        assert_eq!(server.max_connection_idle, Duration::from_secs(11));
        assert_eq!(server.max_connection_age, Duration::from_secs(12 * 60));
        assert_eq!(server.max_connection_age_grace, Duration::from_secs(13));
        assert_eq!((server.time, server.timeout), (Duration::from_secs(30), Duration::from_secs(5)));
        let policy = &grpc.keepalive.enforcement_policy;
        assert_eq!((policy.min_time, policy.permit_without_stream), (Duration::from_secs(10), true));
    }

    #[test]
    fn bad_values_are_refused_with_the_reason() {
        for (keys, message) in [
            ("endpoint: localhost", "missing port"),
            ("endpoint: \"\"", "endpoint must not be empty"),
            ("transport: udp", "cannot carry gRPC"),
            ("transport: carrier-pigeon", "unsupported transport type \"carrier-pigeon\""),
            ("max_recv_msg_size_mib: -1", "invalid max_recv_msg_size_mib value"),
            ("read_buffer_size: -1", "invalid read_buffer_size value: -1"),
            ("max_concurrent_streams: -1", ""),
            ("keepalive: {server_parameters: {time: -1s}}", "negative"),
        ] {
            let (_, problems) = of(&format!("{{protocols: {{grpc: {{{keys}}}}}}}"));
            assert!(problems.iter().any(|p| p.contains(message)), "{keys}: {problems:?}");
        }
    }

    #[test]
    fn the_schema_lists_the_transports() {
        let schema = serde_json::to_string(&schemars::schema_for!(Config)).unwrap();
        for transport in ["tcp", "tcp4", "tcp6", "unix", "repair", "refuse"] {
            assert!(schema.contains(&format!("\"{transport}\"")), "{transport}: {schema}");
        }
    }
}
