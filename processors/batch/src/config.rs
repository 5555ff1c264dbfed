//! What users write under `processors::batch`.

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanbridge_component::{Problems, Validate};
use spanbridge_config::Duration;

/// Configuration of the `batch` processor (reference: collector-core, 10.1).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long the first request of a batch waits at most for others. Default `200ms`. With `0s` nothing waits: every
    /// request is exported at once, and only `send_batch_max_size` still has a meaning.
    pub timeout: Duration,

    /// A batch that has this many items (spans, log records, data points) is exported without waiting for the timeout.
    /// Default 8192. With 0 every request is exported at once, as with `timeout: 0s`.
    pub send_batch_size: u32,

    /// No batch has more items than this; larger requests are cut. Default 0: no limit. Otherwise it must not be
    /// smaller than `send_batch_size`. Set it where the destination limits the size of a message.
    pub send_batch_max_size: u32,

    /// Batches are kept apart by the values of this request metadata, and carry it on; all other metadata ends here.
    /// Default none. Names are compared without regard to case; the receiver needs `include_metadata: true`.
    pub metadata_keys: Vec<String>,

    /// How many combinations of metadata values may be in use at the same time; a request with one more is refused.
    /// Default 1000. 0 means no limit: then clients decide how much memory is used for it.
    pub metadata_cardinality_limit: u32,

    /// What success means to the caller. Default `auto`.
    pub acknowledge: Acknowledge,
}

/// What success of a request means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Acknowledge {
    /// `accepted` where every exporter behind this processor takes over with a sending queue in memory, and `delivered`
    /// everywhere else.
    #[default]
    Auto,
    /// The request is in a batch in memory. Its caller goes on at once and never learns of a failure, as with the Go
    /// collector: what cannot be exported is lost.
    Accepted,
    /// The batches that carry the request have been taken by whoever comes next. Callers wait up to the timeout longer,
    /// and get the errors of their batches.
    Delivered,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timeout: Duration::from_millis(200),
            send_batch_size: 8192,
            send_batch_max_size: 0,
            metadata_keys: Vec::new(),
            metadata_cardinality_limit: 1000,
            acknowledge: Acknowledge::Auto,
        }
    }
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        if self.send_batch_max_size > 0 && self.send_batch_max_size < self.send_batch_size {
            problems
                .error_at(
                    "send_batch_max_size",
                    "send_batch_max_size must be greater or equal to send_batch_size",
                )
                .help(format!("send_batch_size is {} here (its default is 8192)", self.send_batch_size));
        }
        let mut seen = HashSet::new();
        problems.at("metadata_keys", |problems| {
            for (index, key) in self.metadata_keys.iter().enumerate() {
                let key = key.to_lowercase();
                if seen.contains(&key) {
                    let message = format!("duplicate entry in metadata_keys: {key:?} (case-insensitive)");
                    problems.error_at(&index.to_string(), message);
                }
                seen.insert(key);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use spanbridge_component::Problem;

    use super::*;

    fn problems(config: &Config) -> Vec<Problem> {
        let mut problems = Problems::new();
        config.validate(&mut problems);
        problems.into_found()
    }

    #[test]
    fn the_defaults_are_the_references() {
        let config = Config::default();
        assert_eq!(config.timeout, Duration::from_millis(200));
        assert_eq!((config.send_batch_size, config.send_batch_max_size), (8192, 0));
        assert_eq!((config.metadata_keys.len(), config.metadata_cardinality_limit), (0, 1000));
        assert!(problems(&config).is_empty());
    }

    #[test]
    fn every_key_is_read() {
        let config: Config =
            spanbridge_config::from_yaml(include_str!("../testdata/every_key.yaml")).unwrap();
        assert_eq!(config.timeout, Duration::from_secs(1));
        assert_eq!((config.send_batch_size, config.send_batch_max_size), (4096, 8192));
        assert_eq!(config.metadata_keys, ["x-tenant", "Authorization"]);
        assert_eq!(config.metadata_cardinality_limit, 50);
        assert_eq!(config.acknowledge, Acknowledge::Delivered);
        assert!(problems(&config).is_empty());
    }

    #[test]
    fn one_text_of_keys_is_split_as_lists_of_texts_are() {
        let yaml = include_str!("../testdata/one_text_of_keys.yaml");
        let config: Config = spanbridge_config::from_yaml(yaml).unwrap();
        assert_eq!(config.metadata_keys, ["x-tenant", "x-cluster"]);
    }

    #[test]
    fn what_a_value_cannot_be_is_refused_while_reading() {
        let refused = |yaml| spanbridge_config::from_yaml::<Config>(yaml).unwrap_err().to_string();
        let negative = refused(include_str!("../testdata/negative_timeout.yaml"));
        assert!(negative.contains("duration \"-1s\" is negative"), "{negative}");
        let acknowledge = refused(include_str!("../testdata/unknown_acknowledge.yaml"));
        assert!(acknowledge.contains("recieved"), "{acknowledge}");
    }

    #[test]
    fn a_maximum_below_the_size_is_refused_and_zero_is_no_maximum() {
        let with =
            |size, max| Config { send_batch_size: size, send_batch_max_size: max, ..Config::default() };
        let found = problems(&with(1000, 999));
        assert_eq!(found[0].path, ["send_batch_max_size"]);
        assert_eq!(found[0].message, "send_batch_max_size must be greater or equal to send_batch_size");
        assert!(problems(&with(1000, 1000)).is_empty());
        assert!(problems(&with(1000, 0)).is_empty());
        assert!(problems(&with(0, 5)).is_empty());
    }

    #[test]
    fn a_metadata_key_given_twice_is_refused_where_it_stands() {
        let keys = ["tenant", "x-id", "Tenant"].map(String::from).to_vec();
        let found = problems(&Config { metadata_keys: keys, ..Config::default() });
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, ["metadata_keys", "2"]);
        assert_eq!(found[0].message, "duplicate entry in metadata_keys: \"tenant\" (case-insensitive)");
    }
}
