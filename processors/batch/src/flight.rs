//! The life of one batch: a task that waits until it is closed, exports it, and tells its callers.

use std::sync::Arc;

use spanbridge_component::{Acknowledges, Batch, ConsumeError, Context};
use tokio::select;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::batcher::{Batcher, Lease};
use crate::outcome::Resolver;
use crate::shards::Closed;

/// Batches of one shard that may be on their way at the same time.
///
/// The Go collector has one; then the round trip to the destination bounds the throughput. Eight batches of 8192 spans
/// keep a link with 100 ms of delay at some 600,000 spans a second.
pub const EXPORTS_MAX: usize = 8;

/// A batch on its way.
pub(crate) struct Flight {
    pub(crate) lease: Lease,
    pub(crate) context: Context,
    pub(crate) resolver: Resolver,
}

impl Flight {
    /// Waits until the batch is closed, or closes it when its time has passed, and exports it.
    pub(crate) async fn collect(
        self,
        mut closed: oneshot::Receiver<Closed>,
        expires: Instant,
        slots: Arc<Semaphore>,
    ) {
        let batch = select! {
            biased; // a batch that is closed already needs no timer
            batch = &mut closed => batch.ok(),
            () = sleep_until(expires) => {
                match self.batcher().close_expired(&self.lease.key, self.resolver.outcome()) {
                    Some(batch) => Some(batch),
                    // Someone closed it at the same time; it is in the channel.
                    None => closed.await.ok(),
                }
            }
        };
        let Some(batch) = batch else { return };
        let slot = select! {
            slot = slots.acquire_owned() => slot.ok(),
            () = self.batcher().cut_off.cancelled() => None,
        };
        match slot {
            Some(slot) => self.export(batch, slot).await,
            None => self.give_up(batch.payload.items()),
        }
    }

    /// Hands the batch on, unless the time to drain ends first.
    pub(crate) async fn export(self, batch: Closed, slot: OwnedSemaphorePermit) {
        let Closed { payload, taken, trigger } = batch;
        let (items, bytes) = (payload.items(), payload.len());
        let answer = {
            let batcher = self.batcher();
            let batch = Batch { payload, context: self.context.clone() };
            select! {
                answer = batcher.next.consume(batch) => answer,
                () = batcher.cut_off.cancelled() => return self.give_up(items),
            }
        };
        // What others wait for comes before the news.
        drop((slot, taken));
        match &answer {
            Ok(()) => self.batcher().metrics.sent(trigger, items, bytes),
            Err(error) => self.note_failure(items, error),
        }
        self.end(answer);
    }

    fn batcher(&self) -> &Arc<Batcher> {
        &self.lease.batcher
    }

    fn note_failure(&self, items: usize, error: &ConsumeError) {
        // Callers who wait are told, and the telemetry is still theirs. Nobody else has it any more.
        if self.batcher().acknowledges() == Acknowledges::Accepted {
            tracing::error!(error = %error, dropped_items = items, "Sender failed");
            if self.batcher().is_stopping() {
                self.batcher().not_delivered(items);
            }
        }
    }

    fn give_up(self, items: usize) {
        self.batcher().not_delivered(items);
        let error = ConsumeError::retryable("the batch processor stopped before the batch was delivered");
        self.end(Err(error));
    }

    fn end(self, answer: Result<(), ConsumeError>) {
        let Self { lease, resolver, .. } = self;
        // First, so that a caller who comes back at once finds the place of its combination free.
        drop(lease);
        resolver.resolve(answer);
    }
}
