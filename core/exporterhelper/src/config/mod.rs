//! What users write for the parts that every exporter has.

mod batch;
mod dead_letter;
mod queue;
mod retry;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanbridge_component::{Problems, Validate};
use spanbridge_config::{Duration, Optional, Toggle};

pub use batch::{BatchSizer, PartitionConfig, QueueBatchConfig};
pub use dead_letter::DeadLetterConfig;
pub use queue::{QueueConfig, Sizer};
pub use retry::RetryConfig;

/// The keys that an exporter takes in beside its own (`flatten helper: HelperConfig` in `squash!`).
///
/// The default is the OTLP exporters': a timeout of 5 s, retries on, a queue in memory on, no batching (reference:
/// collector-core, 8.6). An exporter with other defaults sets the fields in its own `Default`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HelperConfig {
    /// How long one attempt to send may take, connecting included. Default `5s`. 0 sets no limit; the deadline of a
    /// client that waits for the outcome holds in any case.
    pub timeout: Duration,
    /// What happens to a request that the destination did not take, but may take later. On by default.
    pub retry_on_failure: RetryConfig,
    /// A queue between the pipeline and the destination. On by default, in memory.
    pub sending_queue: Toggle<QueueConfig>,
    /// Where requests go that are given up for good. Off by default: they are counted and gone. Not a key of the Go
    /// collector.
    pub dead_letter: Optional<DeadLetterConfig>,
}

impl HelperConfig {
    /// One attempt without a timeout and without a queue: the caller waits for the outcome.
    pub fn plain() -> Self {
        Self {
            timeout: Duration::ZERO,
            retry_on_failure: RetryConfig { enabled: false, ..RetryConfig::default() },
            sending_queue: Toggle::off(QueueConfig::default()),
            dead_letter: Optional::off(),
        }
    }
}

impl Default for HelperConfig {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            retry_on_failure: RetryConfig::default(),
            sending_queue: Toggle::on(QueueConfig::default()),
            dead_letter: Optional::off(),
        }
    }
}

impl Validate for HelperConfig {
    fn validate(&self, problems: &mut Problems) {
        problems.nested("retry_on_failure", &self.retry_on_failure);
        problems.nested("sending_queue", &self.sending_queue);
        problems.nested("dead_letter", &self.dead_letter);
    }
}

#[cfg(test)]
mod tests;
