//! `sending_queue::batch` (reference: collector-core, 5.12).

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanbridge_component::{Payload, Problems, Validate};
use spanbridge_config::Duration;

use super::Sizer;

/// How requests from the queue are put together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueueBatchConfig {
    /// How long the first request of a batch waits at most for others. Default `200ms`.
    pub flush_timeout: Duration,
    /// A batch of this size is sent without waiting. Default 8192; 0 sends every request at once.
    pub min_size: i64,
    /// No batch is larger than this; larger requests are cut. Default 0: no limit.
    pub max_size: i64,
    /// What the sizes count: `items` or `bytes`. Default: what `sending_queue::sizer` says if that is written, and
    /// `items` otherwise. `batch:` without contents always counts items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sizer: Option<Sizer>,
    /// What is kept apart.
    pub partition: PartitionConfig,
}

/// What is kept apart while requests are put together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PartitionConfig {
    /// Only requests with equal values of this request metadata share a batch, which carries it on. Default none. Names
    /// are compared without regard to case; the receiver needs `include_metadata: true`.
    pub metadata_keys: Vec<String>,
}

/// What the size of a batch counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchSizer {
    /// Spans, data points, log records.
    Items,
    /// Bytes of serialized OTLP.
    Bytes,
}

impl BatchSizer {
    /// How much `payload` counts.
    pub(crate) fn size(self, payload: &Payload) -> u64 {
        match self {
            Self::Items => payload.items() as u64,
            Self::Bytes => payload.len() as u64,
        }
    }
}

impl Default for QueueBatchConfig {
    fn default() -> Self {
        Self {
            flush_timeout: Duration::from_millis(200),
            min_size: 8192,
            max_size: 0,
            sizer: None,
            partition: PartitionConfig::default(),
        }
    }
}

impl Validate for QueueBatchConfig {
    fn validate(&self, problems: &mut Problems) {
        if self.flush_timeout.is_zero() {
            problems.error_at("flush_timeout", "`flush_timeout` must be positive, found 0");
        }
        if self.min_size < 0 {
            problems.error_at("min_size", "`min_size` must be non-negative");
        }
        if self.max_size < 0 {
            problems.error_at("max_size", "`max_size` must be non-negative");
        } else if self.max_size > 0 && self.max_size < self.min_size {
            let (max, min) = (self.max_size, self.min_size);
            problems.error_at(
                "max_size",
                format!("`max_size` ({max}) must be greater or equal to `min_size` ({min})"),
            );
        }
        problems.nested("partition", &self.partition);
    }
}

impl Validate for PartitionConfig {
    fn validate(&self, problems: &mut Problems) {
        let mut seen = HashSet::new();
        problems.at("metadata_keys", |problems| {
            for (index, key) in self.metadata_keys.iter().enumerate() {
                if !seen.insert(key.to_lowercase()) {
                    let message = format!(
                        "duplicate entry in metadata_keys: {:?} (case-insensitive)",
                        key.to_lowercase()
                    );
                    problems.error_at(&index.to_string(), message);
                }
            }
        });
    }
}
