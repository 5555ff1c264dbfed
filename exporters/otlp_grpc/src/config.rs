//! What users write under `exporters::otlp_grpc`.

use spanbridge_component::{Problems, Unsupported, Validate};
use spanbridge_exporterhelper::HelperConfig;
use spanbridge_otlp::client_config_default;
use spanbridge_transport::grpc::{CLIENT_UNSUPPORTED, ClientConfig};

spanbridge_config::squash! {
    /// Configuration of the `otlp_grpc` exporter (reference: collector-core, 8.1).
    #[derive(Debug, Clone)]
    pub struct Config {
        /// How to reach the destination; these keys stand at the exporter's own level.
        pub flatten client: ClientConfig,
        /// Timeout, retries and queue; these keys stand there, too.
        pub flatten helper: HelperConfig,
    }
}

impl Default for Config {
    fn default() -> Self {
        Self { client: client_config_default(), helper: HelperConfig::default() }
    }
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        self.client.validate(problems);
        self.helper.validate(problems);
    }
}

/// The keys of the Go exporter that this version refuses by name.
pub(crate) static UNSUPPORTED: [Unsupported; CLIENT_UNSUPPORTED.len()] = CLIENT_UNSUPPORTED;

#[cfg(test)]
mod tests {
    use spanbridge_config::{Document, Duration};
    use spanbridge_transport::grpc::{Compression, Encoding};

    use super::*;

    /// The configuration, or the messages about it.
    fn read(yaml: &str) -> Result<Config, Vec<String>> {
        let document = Document::from_yaml(yaml).unwrap();
        let decoded = document.decode_and_validate::<Config>(document.root(), &[], &UNSUPPORTED);
        let (value, problems) = decoded.into_parts();
        value
            .filter(|_| problems.is_empty())
            .ok_or_else(|| problems.iter().map(|p| format!("{}: {}", p.path, p.message)).collect())
    }

    #[test]
    fn defaults_are_the_go_exporters() {
        let config = read("{endpoint: 'backend:4317', tls: {insecure: true}}").unwrap();
        assert_eq!(config.helper, HelperConfig::default());
        assert_eq!(config.helper.timeout, Duration::from_secs(5));
        assert_eq!(config.client.compression, Compression::With(Encoding::Gzip));
        assert_eq!(config.client.write_buffer_size, 524_288);
        assert!(!config.client.keepalive.is_on());
    }

    #[test]
    fn the_example_with_every_key_is_valid() {
        let config = read(include_str!("../testdata/all_keys.yaml")).unwrap();
        assert!(config.client.wait_for_ready);
        assert_eq!(config.client.headers.len(), 2);
        assert_eq!(config.client.connections_per_address, 4);
        assert_eq!(config.helper.timeout, Duration::from_secs(2));
        assert!(!config.helper.sending_queue.is_on());
    }

    #[test]
    fn every_bad_example_gets_its_message() {
        let messages = include_str!("../testdata/refused.yaml").split("---\n").map(|example| {
            let problems = read(example).expect_err(example);
            format!("{}\n    {}", example.trim(), problems.join("\n    "))
        });
        let messages = messages.collect::<Vec<_>>().join("\n");
        insta::assert_snapshot!(messages);
    }
}
