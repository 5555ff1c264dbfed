//! The data path's only interface.

use async_trait::async_trait;
use spanbridge_pdata::{Payload, Signal};

use crate::{Capabilities, ConsumeError, Context};

/// Telemetry on its way, with what is known about the request that brought it.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The telemetry: immutable serialized OTLP.
    pub payload: Payload,
    /// Where it came from.
    pub context: Context,
}

impl Batch {
    /// A batch with an empty context.
    pub fn new(payload: Payload) -> Self {
        Self { payload, context: Context::default() }
    }

    /// Which signal it carries.
    pub fn signal(&self) -> Signal {
        self.payload.signal()
    }

    /// Spans, log records or metric data points in here.
    pub fn items(&self) -> usize {
        self.payload.items()
    }
}

/// Anything that can be handed telemetry: a processor, an exporter, a connector, a fan-out.
///
/// # Contract
///
/// - `consume` resolves **when the consumer has taken responsibility**: it handed the batch on and got that answer, or
///   stored it where its configuration says that is enough ([`Capabilities::acknowledges`]). Until then the caller
///   still owns the telemetry and its own client is not acknowledged.
/// - Slowness is back-pressure: a consumer that cannot keep up lets callers wait, or answers with a retryable error. It
///   never drops and says `Ok`; what it drops on purpose (a sampler) it counts.
/// - The caller may drop the future (its client went away or its deadline passed). The batch may then have been
///   delivered or not; at-least-once delivery allows both. A consumer must stay sound and leak nothing.
/// - `consume` is called concurrently from many tasks, between `start` and the end of `shutdown` of the component.
/// - The error says whether trying the same batch again can help; see [`ConsumeError`].
#[async_trait]
pub trait Consumer: Send + Sync {
    /// Takes responsibility for `batch`, or says why not.
    ///
    /// # Errors
    /// See [`ConsumeError`]. After an error the caller is still responsible for the batch.
    async fn consume(&self, batch: Batch) -> Result<(), ConsumeError>;

    /// As [`Consumer::consume`], of what a former component of the same name held, for which nobody waits any more. Who
    /// bounds what it holds lets this wait in line for room instead of refusing it, so that new telemetry does not get
    /// ahead of it.
    ///
    /// # Errors
    /// See [`ConsumeError`]. After an error the caller is still responsible for the batch.
    async fn inherit(&self, batch: Batch) -> Result<(), ConsumeError> {
        self.consume(batch).await
    }

    /// What this consumer declares, everything behind it included. A reload may change it: whoever decides by it asks for
    /// each call.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }
}
