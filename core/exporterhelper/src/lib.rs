//! What every exporter has around its send function: timeout, retry, sending queue, batching.
//!
//! An exporter implements [`Sender`], one attempt to send one request, takes [`HelperConfig`] into its configuration, and
//! gives both to [`ExporterHelper::new`].

mod apart;
mod backoff;
mod batcher;
mod config;
mod dead_letter;
mod delivery;
mod ending;
mod helper;
mod lane;
mod limit;
mod memory;
mod rate_limit;
mod record;
mod report;
mod sender;
mod stop;
mod stored;
mod telemetry;
mod ticket;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use config::{
    BatchSizer, DeadLetterConfig, HelperConfig, PartitionConfig, QueueBatchConfig, QueueConfig, RetryConfig,
    Sizer,
};
pub use helper::ExporterHelper;
pub use rate_limit::RateLimit;
pub use sender::{Refusal, SendError, Sender};
pub use spanbridge_component::telemetry::Destination;
