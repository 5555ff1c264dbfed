//! The life of one batch: a task that waits until it is closed, exports it, and tells its callers.

use std::sync::Arc;
use std::time::Duration;

use spanbridge_component::{Batch, ConsumeError, Context, Payload};
use tokio::select;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use crate::batcher::{Batcher, Lease};
use crate::outcome::Resolver;
use crate::room::Taken;
use crate::shards::Closed;

/// Batches of one shard that may be on their way at the same time.
///
/// The Go collector has one; then the round trip to the destination bounds the throughput. Eight batches of 8192 spans
/// keep a link with 100 ms of delay at some 600,000 spans a second.
pub const EXPORTS_MAX: usize = 8;

/// Pause before a batch that was accepted, and then refused for now, is tried again; it doubles up to [`RETRY_MAX`], and
/// ends when another batch is taken.
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// Longest pause, unless whoever comes next asks for more.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Longest pause that whoever comes next may ask for.
const RETRY_ASKED_MAX: Duration = Duration::from_secs(60);
/// Why accepted items were dropped, in the books: refused for good.
const REFUSED: &str = "refused";
/// Why accepted items were dropped, in the books: the time to drain was over.
const STOPPED: &str = "shutdown";

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
            None => self.give_up(batch.payload, batch.taken),
        }
    }

    /// Hands the batch on, unless the time to drain ends first.
    pub(crate) async fn export(self, batch: Closed, slot: OwnedSemaphorePermit) {
        let Closed { payload, taken, trigger } = batch;
        let (items, bytes) = (payload.items(), payload.len());
        let Some(answer) = self.hand_on(&payload, taken.accepted_items() > 0).await else {
            return self.give_up(payload, taken);
        };
        drop(payload);
        // What others wait for, the slot and the room, comes before the news.
        drop(slot);
        match &answer {
            Ok(()) => {
                self.batcher().note_try(&answer);
                taken.delivered();
                self.batcher().metrics.sent(trigger, items, bytes);
            }
            Err(error) => self.note_failure(taken, error),
        }
        self.end(answer);
    }

    /// The answer of whoever comes next; `None` if the time to drain ends before it is there, or a successor is to try
    /// again.
    ///
    /// Callers who wait get every answer. For those who went on this processor is all that is left: as long as the answer
    /// is that another try may help, it tries again, and holds the room meanwhile, so that who comes now waits.
    async fn hand_on(&self, payload: &Payload, accepted: bool) -> Option<Result<(), ConsumeError>> {
        let batcher = self.batcher();
        let mut pause = RETRY_FIRST;
        loop {
            let batch = Batch { payload: payload.clone(), context: self.context.clone() };
            let answer = select! {
                answer = batcher.next.consume(batch) => answer,
                () = batcher.cut_off.cancelled() => return None,
            };
            let again = match &answer {
                Err(error) if accepted && !error.is_permanent() => {
                    error.retry_after().unwrap_or_default().min(RETRY_ASKED_MAX)
                }
                _ => return Some(answer),
            };
            batcher.note_try(&answer);
            select! {
                () = sleep(pause.max(again)) => pause = (pause * 2).min(RETRY_MAX),
                // Where a pause was asked for, it is kept.
                () = batcher.taken_again.notified(), if again.is_zero() => pause = RETRY_FIRST,
                () = batcher.retiring.cancelled() => return None,
                () = batcher.cut_off.cancelled() => return None,
            }
        }
    }

    fn batcher(&self) -> &Arc<Batcher> {
        &self.lease.batcher
    }

    /// What was accepted and is refused for good is lost. Callers who wait are told, and the telemetry is still theirs.
    fn note_failure(&self, taken: Taken, error: &ConsumeError) {
        let dropped_items = taken.accepted_items();
        taken.dropped(REFUSED);
        if dropped_items > 0 {
            tracing::error!(error = %error, dropped_items, "Sender failed");
            if self.batcher().is_stopping() {
                self.batcher().not_delivered(dropped_items);
            }
        }
    }

    /// What was accepted goes to the successor, if there is to be one. With it go the items of callers who wait, if the
    /// batch has such: they try again, and have them twice.
    fn give_up(self, payload: Payload, taken: Taken) {
        if taken.accepted_items() > 0 && self.batcher().retiring.is_cancelled() {
            taken.returned();
            self.batcher().leave(Batch { payload, context: self.context.clone() });
        } else {
            taken.dropped(STOPPED);
            self.batcher().not_delivered(payload.items());
        }
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
