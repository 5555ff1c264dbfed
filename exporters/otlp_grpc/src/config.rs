//! What users write under `exporters::otlp_grpc`.

use spanbridge_component::{Problems, Unsupported, Validate};
use spanbridge_config::Duration;
use spanbridge_transport::grpc::{CLIENT_UNSUPPORTED, ClientConfig, Compression, Encoding};

spanbridge_config::squash! {
    /// Configuration of the `otlp_grpc` exporter (reference: collector-core, 8.1).
    #[derive(Debug, Clone)]
    pub struct Config {
        /// How to reach the destination; these keys stand at the exporter's own level.
        pub flatten client: ClientConfig,
        /// How long one attempt to send may take, connecting included. 0 sets no limit; the client's own deadline holds
        /// in any case. Default 5s.
        pub timeout: Duration,
    }
}

/// The Go exporter's default of `write_buffer_size`.
const WRITE_BUFFER_BYTES: usize = 512 * 1024;

impl Default for Config {
    fn default() -> Self {
        Self {
            client: ClientConfig {
                compression: Compression::With(Encoding::Gzip),
                write_buffer_size: WRITE_BUFFER_BYTES,
                ..ClientConfig::default()
            },
            timeout: Duration::from_secs(5),
        }
    }
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        self.client.validate(problems);
    }
}

/// The keys of the Go exporter that this version refuses by name.
pub(crate) static UNSUPPORTED: [Unsupported; CLIENT_UNSUPPORTED.len() + 2] = {
    const REASON: &str = "it comes with the delivery release; until then the exporter makes one attempt and its caller \
                          waits for the outcome";
    let mut all = [Unsupported { path: "retry_on_failure", reason: REASON }; CLIENT_UNSUPPORTED.len() + 2];
    all[1] = Unsupported { path: "sending_queue", reason: REASON };
    let mut index = 0;
    while index < CLIENT_UNSUPPORTED.len() {
        all[index + 2] = CLIENT_UNSUPPORTED[index];
        index += 1;
    }
    all
};

#[cfg(test)]
mod tests {
    use spanbridge_config::Document;

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
        assert_eq!(config.timeout, Duration::from_secs(5));
        assert_eq!(config.client.compression, Compression::With(Encoding::Gzip));
        assert_eq!(config.client.write_buffer_size, 524_288);
        assert!(!config.client.keepalive.is_on());
    }

    #[test]
    fn the_example_with_every_key_is_valid() {
        let config = read(include_str!("../testdata/all_keys.yaml")).unwrap();
        assert!(config.client.wait_for_ready);
        assert_eq!(config.client.headers.len(), 2);
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
