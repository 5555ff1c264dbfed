//! `sending_queue` (reference: collector-core, 5.12).

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use spanbridge_component::{ComponentId, Payload, Problems, Validate};
use spanbridge_config::Toggle;

use super::{BatchSizer, QueueBatchConfig};

/// A queue between the pipeline and the destination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueueConfig {
    /// Requests that are on their way at the same time. Default 10, at most 10000. A request that waits for its next
    /// attempt occupies one, as in the Go collector.
    pub num_consumers: i64,
    /// How much the queue holds, what is on its way included, counted as `sizer` says. Default 1000.
    pub queue_size: i64,
    /// What `queue_size` counts: `requests`, `items` (spans, data points, log records) or `bytes` (of serialized OTLP).
    /// Default `requests`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sizer: Option<Sizer>,
    /// What happens when the queue is full: `true` lets the caller wait for room, `false` refuses with a retryable
    /// error. Default `false`.
    pub block_on_overflow: bool,
    /// `true`: the caller waits until its request is delivered or given up, and gets that answer. Default `false`: the
    /// caller is answered when the request is in the queue. Not for a queue with `storage`.
    pub wait_for_result: bool,
    /// The storage extension that keeps the queue on disk. Default none: it is kept in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<ComponentId>,
    /// Whether requests from the queue are put together, or cut, before they are sent. Off unless written.
    #[serde(deserialize_with = "batch")]
    pub batch: Toggle<QueueBatchConfig>,
}

/// What the size of a queue counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sizer {
    /// Requests, whatever they hold.
    Requests,
    /// Spans, data points, log records.
    Items,
    /// Bytes of serialized OTLP.
    Bytes,
}

/// The largest `num_consumers`: each takes a task.
pub(crate) const CONSUMERS_MAX: i64 = 10_000;

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            num_consumers: 10,
            queue_size: 1000,
            sizer: None,
            block_on_overflow: false,
            wait_for_result: false,
            storage: None,
            batch: Toggle::off(QueueBatchConfig::default()),
        }
    }
}

impl QueueConfig {
    /// What `queue_size` counts.
    pub fn sizer(&self) -> Sizer {
        self.sizer.unwrap_or(Sizer::Requests)
    }

    /// What the batch sizes count: the batch's own sizer, else the queue's if it was written, else items. `None` if
    /// that is `requests`, which batches cannot count.
    pub fn batch_sizer(&self) -> Option<BatchSizer> {
        match (self.batch.contents().sizer, self.sizer) {
            (Some(sizer), _) | (None, Some(sizer)) => sizer.for_batches(),
            (None, None) => Some(BatchSizer::Items),
        }
    }
}

impl Sizer {
    /// How much `payload` counts.
    pub(crate) fn size(self, payload: &Payload) -> u64 {
        match self {
            Self::Requests => 1,
            Self::Items => payload.items() as u64,
            Self::Bytes => payload.len() as u64,
        }
    }

    fn for_batches(self) -> Option<BatchSizer> {
        match self {
            Self::Requests => None,
            Self::Items => Some(BatchSizer::Items),
            Self::Bytes => Some(BatchSizer::Bytes),
        }
    }
}

/// A `batch` block; one that is null does not inherit the queue's sizer.
fn batch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Toggle<QueueBatchConfig>, D::Error> {
    let (mut batch, is_null) = Toggle::<QueueBatchConfig>::deserialize_with_null(deserializer)?;
    if let Some(batch) = batch.as_mut().filter(|_| is_null) {
        batch.sizer.get_or_insert(Sizer::Items);
    }
    Ok(batch)
}

impl Validate for QueueConfig {
    fn validate(&self, problems: &mut Problems) {
        if self.num_consumers <= 0 {
            problems.error_at("num_consumers", "`num_consumers` must be positive");
        } else if self.num_consumers > CONSUMERS_MAX {
            problems
                .error_at("num_consumers", format!("`num_consumers` must not be more than {CONSUMERS_MAX}"));
        }
        if self.queue_size <= 0 {
            problems.error_at("queue_size", "`queue_size` must be positive");
        }
        if let Some(storage) = &self.storage {
            problems.refer_at("storage", storage);
            if self.wait_for_result {
                problems.error_at(
                    "wait_for_result",
                    "`wait_for_result` is not supported with a persistent queue configured with `storage`",
                );
            }
        }
        let Some(batch) = self.batch.as_ref() else { return };
        problems.at("batch", |problems| self.validate_batch(batch, problems));
    }
}

impl QueueConfig {
    fn validate_batch(&self, batch: &QueueBatchConfig, problems: &mut Problems) {
        batch.validate(problems);
        let Some(sizer) = self.batch_sizer() else {
            problems
                .error_at("sizer", "`batch` supports only `items` or `bytes` sizer, found \"requests\"")
                .help("without a sizer of its own a batch takes the one of sending_queue, which is written here");
            return;
        };
        if self.sizer().for_batches() == Some(sizer) && batch.min_size > self.queue_size {
            problems.error_at("min_size", "`min_size` must be less than or equal to `queue_size`");
        }
    }
}
