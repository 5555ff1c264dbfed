//! From a request to the batches that carry it.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use spanbridge_component::{
    Acknowledges, Batch, BuildError, ConsumeError, Consumer, Ledger, Metadata, Payload, Settings,
};
use tokio::select;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::Instrument;

use crate::flight::Flight;
use crate::outcome::{Outcome, Outcomes, Resolver};
use crate::room::{OfCaller, Room, Taken};
use crate::shards::{Charter, Closed, Key, Limits, Opened, Overflow, Pushed, Request, Shards, key_of};
use crate::telemetry::{Metrics, Trigger};
use crate::{Acknowledge, Config};

/// How often a caller that waits for room looks whether the exports that would give some have all ended, and what is
/// pending holds the room.
const ROOM_CHECK: Duration = Duration::from_millis(10);

/// What the callers of `consume` and the tasks of the batches share.
pub(crate) struct Batcher {
    pub(crate) next: Arc<dyn Consumer>,
    acknowledge: Acknowledge,
    pub(crate) metrics: Metrics,
    ledger: Ledger,
    /// Cancelled when the time to drain is over.
    pub(crate) cut_off: CancellationToken,
    /// Cancelled when nothing more is taken.
    stopped: CancellationToken,
    /// Cancelled when what is accepted and cannot be handed on at once goes to a successor.
    pub(crate) retiring: CancellationToken,
    /// What goes to the successor.
    left_over: Mutex<Vec<Batch>>,
    /// Batches of a predecessor that wait for room.
    inheriting: AtomicUsize,
    /// Wakes those who wait behind them.
    inherited: Notify,
    limits: Limits,
    metadata_keys: Vec<String>,
    shards: Mutex<Shards>,
    room: Room,
    tasks: TaskTracker,
    span: tracing::Span,
    undelivered: AtomicUsize,
    /// Whether batches are being refused, and kept to be tried again.
    refused: AtomicBool,
    /// Wakes those that wait to be tried again, when one was taken.
    pub(crate) taken_again: Notify,
}

/// Keeps a shard alive; see [`Shards::release`].
pub(crate) struct Lease {
    pub(crate) batcher: Arc<Batcher>,
    pub(crate) key: Key,
}

/// Keeps who comes new from getting ahead of a batch of the predecessor.
pub(crate) struct Inheriting<'a>(&'a Batcher);

/// The answer to requests that come while the processor stops.
pub(crate) fn stopping() -> ConsumeError {
    ConsumeError::retryable("the batch processor is shutting down")
}

// === impl Batcher ===

impl Batcher {
    pub(crate) fn new(
        settings: &Settings,
        config: &Config,
        next: Arc<dyn Consumer>,
    ) -> Result<Self, BuildError> {
        let limits = Limits::new(config);
        let metrics = Metrics::new(&settings.telemetry, &settings.id)?;
        metrics.cardinality(usize::from(config.metadata_keys.is_empty()));
        Ok(Self {
            next,
            acknowledge: config.acknowledge,
            metrics,
            ledger: settings.ledger.clone(),
            refused: AtomicBool::new(false),
            taken_again: Notify::new(),
            cut_off: CancellationToken::new(),
            stopped: CancellationToken::new(),
            retiring: CancellationToken::new(),
            left_over: Mutex::default(),
            inheriting: AtomicUsize::new(0),
            inherited: Notify::new(),
            limits,
            metadata_keys: config.metadata_keys.iter().map(|key| key.to_lowercase()).collect(),
            shards: Mutex::new(Shards::new(limits)),
            room: Room::new(),
            tasks: TaskTracker::new(),
            span: settings.span(),
            undelivered: AtomicUsize::new(0),
        })
    }

    /// What success means now: a reload may change what lies behind this processor.
    pub(crate) fn acknowledges(&self) -> Acknowledges {
        match self.acknowledge {
            Acknowledge::Auto => self.next.capabilities().acknowledges,
            Acknowledge::Accepted => Acknowledges::Accepted,
            Acknowledge::Delivered => Acknowledges::Delivered,
        }
    }

    /// Notes what became of the last try; the log says when batches begin to be refused, and when that is over.
    pub(crate) fn note_try(&self, answer: &Result<(), ConsumeError>) {
        let refused = answer.is_err();
        // The common case is a load; a swap would be a write that all exports share.
        if self.refused.load(Ordering::Relaxed) == refused
            || self.refused.swap(refused, Ordering::Relaxed) == refused
        {
            return;
        }
        if let Err(error) = answer {
            tracing::warn!(error = %error, "Batches are refused; keeping them and trying again");
        } else {
            tracing::info!("Batches are taken again");
            self.taken_again.notify_waiters();
        }
    }

    /// Puts the items of `batch` into batches; returns their outcomes. For what is `accepted`, which the caller is told at
    /// once, it takes responsibility in the books.
    ///
    /// Dropped while it waits, it has handed on all of what it took or none, except for a request that is larger than
    /// `send_batch_max_size`: of that some parts may go.
    pub(crate) async fn take(
        self: &Arc<Self>,
        batch: Batch,
        accepted: bool,
    ) -> Result<Outcomes, ConsumeError> {
        let Batch { payload, context } = batch;
        let key = key_of(&self.metadata_keys, &context.metadata);
        let mut outcomes = Outcomes::default();
        // Without metadata there is one combination, which may have everything.
        let quota = (!self.metadata_keys.is_empty()).then(|| self.shards().quota(&key));
        let mut taken = self.make_room(&key, payload.len(), quota.as_ref()).await?;
        if accepted {
            taken.book(self.ledger.take(payload.signal(), payload.items()));
        }
        let mut left = Some((taken, payload));
        while let Some((taken, payload)) = left.take() {
            let (pushed, token) = self.push(&key, &context.metadata, payload, taken, quota.clone())?;
            outcomes.push(pushed.outcome);
            if let (Some(opened), Some(token)) = (pushed.opened, token) {
                self.fly_open(opened, token);
            }
            if let Some(overflow) = pushed.overflow {
                left = self.fly_full(overflow, &mut outcomes).await?;
            }
        }
        Ok(outcomes)
    }

    /// From now on who comes new waits, until the guard is dropped: else what a full processor hands over would wait beside
    /// its successor, and grow with every reload.
    pub(crate) fn inheriting(&self) -> Inheriting<'_> {
        self.inheriting.fetch_add(1, Ordering::AcqRel);
        Inheriting(self)
    }

    /// Waits until nothing of a predecessor waits for room.
    pub(crate) async fn after_heritage(&self) {
        while self.inheriting.load(Ordering::Acquire) > 0 {
            // Made before the second look: `notify_waiters` reaches every future that exists, polled or not.
            let inherited = self.inherited.notified();
            if self.inheriting.load(Ordering::Acquire) > 0 {
                inherited.await;
            }
        }
    }

    /// Watches for the process to drain: from then on nothing waits for more to come, so that the receivers, which stop
    /// first, get their answers.
    pub(crate) fn watch(self: &Arc<Self>, draining: CancellationToken) {
        let batcher = self.clone();
        let task = async move {
            select! {
                () = draining.cancelled() => batcher.shards().hurry(),
                () = batcher.stopped.cancelled() => {}
            }
        };
        self.spawn(task, self.tasks.token());
    }

    /// Takes nothing more, sends what is pending on its way, and waits for everything that is.
    pub(crate) async fn drain(&self) {
        self.stopped.cancel();
        self.shards().stop();
        self.room.close();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Keeps a batch for the successor.
    pub(crate) fn leave(&self, batch: Batch) {
        self.left_over.lock().unwrap_or_else(PoisonError::into_inner).push(batch);
    }

    /// Takes out what was left for the successor.
    pub(crate) fn left_over(&self) -> Vec<Batch> {
        std::mem::take(&mut *self.left_over.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends the exports that are still on their way.
    pub(crate) async fn cut_off(&self) {
        self.cut_off.cancel();
        self.tasks.wait().await;
    }

    /// How many items were not delivered while draining.
    pub(crate) fn undelivered(&self) -> usize {
        self.undelivered.load(Ordering::Relaxed)
    }

    /// Notes items that are lost if the processor stops now.
    pub(crate) fn not_delivered(&self, items: usize) {
        self.undelivered.fetch_add(items, Ordering::Relaxed);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.shards().is_stopping()
    }

    /// The batch of `outcome`, if it is still open although its time has passed.
    pub(crate) fn close_expired(&self, key: &Key, outcome: &Arc<Outcome>) -> Option<Closed> {
        self.shards().close_expired(key, outcome)
    }

    async fn make_room(&self, key: &[u8], bytes: usize, quota: Option<&Room>) -> Result<Taken, ConsumeError> {
        if let Some(taken) = self.room.try_take(bytes, quota) {
            return Ok(taken);
        }
        let mut taking = pin!(self.room.take(bytes, quota));
        loop {
            // Room comes back when a batch is resolved. If none is on its way, what is pending must go.
            self.shards().close_if_none_flies();
            if quota.is_some() {
                self.shards().close_if_not_flying(key);
            }
            if let Ok(taken) = timeout(ROOM_CHECK, &mut taking).await {
                return taken.map_err(|_| stopping());
            }
        }
    }

    fn push(
        &self,
        key: &[u8],
        metadata: &Metadata,
        payload: Payload,
        taken: Taken,
        quota: Option<Room>,
    ) -> Result<(Pushed, Option<TaskTrackerToken>), ConsumeError> {
        let mut shards = self.shards();
        let before = shards.len();
        let pushed = shards.push(key, &self.metadata_keys, metadata, Request { payload, taken, quota })?;
        self.note_cardinality(before, &shards);
        // Taken under the lock: whoever stops us afterwards waits for the task, though it does not run yet.
        let token = pushed.opened.is_some().then(|| self.tasks.token());
        Ok((pushed, token))
    }

    /// Sends the full batches on their way that one long request makes by itself, at most [`crate::EXPORTS_MAX`] at a
    /// time, so that a cut into very many parts takes no memory for them; what is left for a batch to come is returned.
    async fn fly_full(
        self: &Arc<Self>,
        overflow: Overflow,
        outcomes: &mut Outcomes,
    ) -> Result<Option<(Taken, Payload)>, ConsumeError> {
        let Overflow { charter, rest, taken } = overflow;
        let mut left = OfCaller(taken);
        let _lease = self.leased(charter.key.clone());
        for part in rest {
            if part.items() < self.limits.enough.get() {
                return Ok(Some((left.take(), part)));
            }
            let slot = charter.slots.clone().acquire_owned().await.map_err(|_| stopping());
            let slot = slot.and_then(|slot| outcomes.settle().map(|()| slot))?;
            let taken = left.0.split(part.len(), part.items());
            let closed = Closed { payload: part, taken, trigger: Trigger::Size };
            outcomes.push(self.fly_closed(&charter, slot, closed)?);
        }
        Ok(None)
    }

    fn fly_open(self: &Arc<Self>, opened: Opened, token: TaskTrackerToken) {
        let Opened { charter, closed, resolver, expires } = opened;
        let lease = self.leased(charter.key);
        let flight = Flight { lease, context: charter.context, resolver };
        self.spawn(flight.collect(closed, expires, charter.slots), token);
    }

    fn fly_closed(
        self: &Arc<Self>,
        charter: &Charter,
        slot: OwnedSemaphorePermit,
        closed: Closed,
    ) -> Result<Arc<Outcome>, ConsumeError> {
        let (lease, token) = match self.lease_again(&charter.key) {
            Ok(leased) => leased,
            Err(error) => {
                closed.taken.returned();
                return Err(error);
            }
        };
        let outcome = Arc::<Outcome>::default();
        let resolver = Resolver::new(outcome.clone());
        let flight = Flight { lease, context: charter.context.clone(), resolver };
        self.spawn(flight.export(closed, slot), token);
        Ok(outcome)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static, token: TaskTrackerToken) {
        // Not detached: the token makes `drain` wait for it, and `cut_off` ends it.
        let task = async move {
            task.await;
            drop(token);
        };
        drop(tokio::spawn(task.instrument(self.span.clone())));
    }

    fn lease_again(self: &Arc<Self>, key: &Key) -> Result<(Lease, TaskTrackerToken), ConsumeError> {
        let mut shards = self.shards();
        if shards.is_stopping() {
            return Err(stopping());
        }
        shards.lease(key);
        Ok((self.leased(key.clone()), self.tasks.token()))
    }

    /// The guard of a lease that was taken under the lock.
    fn leased(self: &Arc<Self>, key: Key) -> Lease {
        Lease { batcher: self.clone(), key }
    }

    fn note_cardinality(&self, before: usize, shards: &Shards) {
        if before != shards.len() && !self.metadata_keys.is_empty() {
            self.metrics.cardinality(shards.len());
        }
    }

    fn shards(&self) -> MutexGuard<'_, Shards> {
        // No step here can panic half-way and leave a shard in two minds.
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Inheriting ===

impl Drop for Inheriting<'_> {
    fn drop(&mut self) {
        if self.0.inheriting.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.inherited.notify_waiters();
        }
    }
}

// === impl Lease ===

impl Drop for Lease {
    fn drop(&mut self) {
        let mut shards = self.batcher.shards();
        let before = shards.len();
        shards.release(&self.key);
        self.batcher.note_cardinality(before, &shards);
    }
}
