//! What every exporter has around its send function: timeout, retry, sending queue, batching.
//!
//! An exporter implements [`Sender`], one attempt to send one request, takes [`HelperConfig`] into its configuration, and
//! gives both to [`ExporterHelper::new`].

mod config;
mod helper;
mod rate_limit;
mod sender;

pub use config::{
    BatchSizer, DeadLetterConfig, HelperConfig, PartitionConfig, QueueBatchConfig, QueueConfig, RetryConfig,
    Sizer,
};
pub use helper::ExporterHelper;
pub use rate_limit::RateLimit;
pub use sender::{Refusal, SendError, Sender};
pub use spanbridge_component::telemetry::Destination;
