//! The part of an exporter that is its own: one attempt to send one request.

use async_trait::async_trait;
use spanbridge_component::telemetry::Destination;
use spanbridge_component::{Batch, ConsumeError, Host, Payload, ShutdownError, Signal, StartError};
use tokio::time::Instant;

/// One attempt to send one request; everything around it is the helper's.
///
/// # Contract
///
/// - `send` makes one attempt and is called from many tasks at once. It ends by `batch.context.deadline`, which the
///   helper sets from `timeout` and the caller's own. Dropping its future cancels the attempt.
/// - It does not retry, queue, count sent or failed items, or log failures: the helper does.
/// - `Ok` means that the destination took responsibility for every item (one that reports a partial success has taken
///   it; the sender logs what it says).
#[async_trait]
pub trait Sender: Send + Sync + 'static {
    /// Begins the work; as [`spanbridge_component::Component::start`].
    ///
    /// # Errors
    /// As [`spanbridge_component::Component::start`].
    async fn start(&self, host: &Host) -> Result<(), StartError> {
        let _ = host;
        Ok(())
    }

    /// Makes one attempt to send `batch`.
    ///
    /// # Errors
    /// What the destination, or the way to it, answered.
    async fn send(&self, batch: &Batch) -> Result<(), SendError>;

    /// Where requests of `signal` go, for the labels of the metrics. Asked once, when the exporter is made.
    fn destination(&self, signal: Signal) -> Destination {
        let _ = signal;
        Destination::default()
    }

    /// Ends the work, after the last `send`; as [`spanbridge_component::Component::shutdown`].
    ///
    /// # Errors
    /// As [`spanbridge_component::Component::shutdown`].
    async fn shutdown(&self, deadline: Instant) -> Result<(), ShutdownError> {
        let _ = deadline;
        Ok(())
    }
}

/// Why an attempt failed.
#[derive(Debug, Clone)]
pub struct SendError {
    /// The answer for whoever waits for the outcome; its class says whether the same request may be sent again.
    pub error: ConsumeError,
    /// Whether a part of the request might be taken where the whole was not.
    pub refusal: Refusal,
    /// The part that failed, if the sender knows that the rest was delivered; only that is sent again. `None` is all.
    pub failed: Option<Vec<Payload>>,
}

/// Whether a part of a request might be taken where the whole was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Refusal {
    /// It has nothing to do with the size or the contents.
    #[default]
    Whole,
    /// The message is too large for the destination (gRPC `RESOURCE_EXHAUSTED` about a size, HTTP 413): a smaller part may
    /// be taken.
    TooLarge {
        /// The largest message it takes, in bytes, if it said so.
        limit: Option<usize>,
    },
    /// Something in it is malformed or refused for what it is (gRPC `INVALID_ARGUMENT`, HTTP 400): other parts may be
    /// taken.
    Contents,
    /// The destination does not let this process in (gRPC `UNAUTHENTICATED`, HTTP 401), whatever it sends.
    ///
    /// The error is permanent to a caller who waits. What has been acknowledged, that is what lies in a queue, is tried
    /// again like after a retryable error: credentials get mended.
    Credentials,
}

impl From<ConsumeError> for SendError {
    fn from(error: ConsumeError) -> Self {
        Self { error, refusal: Refusal::Whole, failed: None }
    }
}
