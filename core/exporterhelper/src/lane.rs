//! The way of one signal through an exporter: into its queue, and out of it to the destination.

use std::sync::Arc;

use prometheus::IntGauge;
use spanbridge_component::{Batch, ConsumeError, Ledger, Signal};
use tokio::select;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::sleep_until;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::batcher::{Batcher, Ready};
use crate::delivery::{Delivery, interrupted, reason};
use crate::memory::MemoryQueue;
use crate::stored::StoredQueue;
use crate::telemetry::LaneMetrics;
use crate::ticket::{Keeper, Parcel, Part, Ticket, Unsettled};
use crate::{BatchSizer, QueueBatchConfig, QueueConfig, Sizer};

/// The way of one signal.
pub(crate) struct Lane {
    pub(crate) signal: Signal,
    pub(crate) queue: Queue,
    pub(crate) delivery: Arc<Delivery>,
    pub(crate) metrics: LaneMetrics,
    pub(crate) ledger: Ledger,
    /// The tasks behind the queue.
    pub(crate) tasks: TaskTracker,
    /// Callers who are their own tasks.
    pub(crate) callers: TaskTracker,
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Somebody who can be told that the queue is full.
    Caller,
    /// The exporter in whose place this one came. It has been acknowledged, so it waits in line for room.
    Predecessor,
}

/// Where requests wait.
pub(crate) enum Queue {
    /// Nowhere: the caller sends.
    None,
    Memory(Behind, MemoryQueue),
    Stored(Behind, Arc<StoredQueue>),
}

/// What a queue's configuration says about both of its ends.
#[derive(Debug, Clone)]
pub(crate) struct Behind {
    capacity: i64,
    capacity_gauge: IntGauge,
    sizer: Sizer,
    blocks: bool,
    waits: bool,
    consumers: usize,
    batch: Option<(QueueBatchConfig, BatchSizer)>,
}

impl Behind {
    pub(crate) fn new(config: &QueueConfig, capacity_gauge: IntGauge) -> Self {
        Self {
            capacity: config.queue_size,
            capacity_gauge,
            sizer: config.sizer(),
            blocks: config.block_on_overflow,
            waits: config.wait_for_result,
            consumers: usize::try_from(config.num_consumers).unwrap_or(1).max(1),
            batch: config.batch.as_ref().cloned().zip(config.batch_sizer()),
        }
    }
}

// === impl Lane: into the queue ===

impl Lane {
    /// Takes a request; resolves when the caller is to be answered.
    pub(crate) async fn consume(&self, batch: Batch, origin: Origin) -> Result<(), ConsumeError> {
        let (behind, stored) = match &self.queue {
            // Boxed, so that callers of a queue do not pay for its size.
            Queue::None => return Box::pin(self.send(batch)).await,
            Queue::Memory(behind, _) => (behind, None),
            Queue::Stored(behind, stored) => (behind, Some(stored)),
        };
        if behind.sizer.size(&batch.payload) == 0 {
            return Ok(()); // nothing is lost with it
        }
        self.metrics.enqueued(&batch.payload);
        let items = batch.items();
        let entry = Unsettled::of_caller(self.ledger.take(self.signal, items));
        let queued = match (&self.queue, stored) {
            (Queue::Memory(behind, queue), _) => self.push(behind, queue, batch, entry, origin).await,
            (_, Some(stored)) => {
                let blocks = behind.blocks || origin == Origin::Predecessor;
                stored.append(&batch, entry, blocks).await.map(|()| None)
            }
            _ => Ok(None),
        };
        match queued {
            Ok(Some(answer)) => answer.await.unwrap_or_else(|_| Err(interrupted())),
            Ok(None) => Ok(()),
            Err(error) => {
                self.metrics.enqueue_failed(items);
                self.delivery.reporter.refused(items, &error);
                Err(error)
            }
        }
    }

    /// Sends a request in its caller's own call.
    async fn send(&self, batch: Batch) -> Result<(), ConsumeError> {
        let _token = self.callers.token();
        let entry = self.ledger.take(self.signal, batch.items());
        let ticket = Ticket::new(entry, Keeper::Caller, None);
        let parcel = Parcel::single(Part::new(batch, ticket.clone()));
        self.delivery.deliver(self.signal, &self.metrics, parcel).await;
        ticket.outcome()
    }

    /// Puts a request into the queue in memory. Returns where its outcome will come, if the caller waits for it.
    async fn push(
        &self,
        behind: &Behind,
        queue: &MemoryQueue,
        mut batch: Batch,
        mut entry: Unsettled,
        origin: Origin,
    ) -> Result<Option<oneshot::Receiver<Result<(), ConsumeError>>>, ConsumeError> {
        let size = behind.sizer.size(&batch.payload);
        let room = match origin {
            Origin::Caller => queue.room.take(size, behind.blocks).await?,
            Origin::Predecessor => queue.room.inherit(size).await?,
        };
        let (keeper, answer) = if behind.waits {
            let (answer, outcome) = oneshot::channel();
            (Keeper::Waiting(answer), Some(outcome))
        } else {
            // Its caller goes away in peace: the time it had does not bind us.
            batch.context.deadline = None;
            (Keeper::Memory, None)
        };
        let ticket = Ticket::new(entry.take(), keeper, Some(room));
        match queue.push(Part::new(batch, ticket)) {
            Ok(()) => Ok(answer),
            Err(part) => {
                part.give_back();
                Err(crate::memory::stopped())
            }
        }
    }
}

// === impl Lane: out of the queue ===

impl Lane {
    /// Starts the tasks behind the queue.
    pub(crate) fn start(self: &Arc<Self>) {
        let behind = match &self.queue {
            Queue::None => return,
            Queue::Memory(behind, _) | Queue::Stored(behind, _) => behind,
        };
        behind.capacity_gauge.set(behind.capacity);
        if let Some((config, sizer)) = &behind.batch {
            let batcher = Batcher::new(config, *sizer);
            let workers = Arc::new(Semaphore::new(behind.consumers));
            self.spawn(self.clone().batch(batcher, workers));
        } else {
            for _ in 0..behind.consumers {
                self.spawn(self.clone().deliver_all());
            }
        }
    }

    /// How many requests are on their way at the same time.
    pub(crate) fn consumers(&self) -> usize {
        match &self.queue {
            Queue::None => 1,
            Queue::Memory(behind, _) | Queue::Stored(behind, _) => behind.consumers,
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // Not detached: whoever stops the exporter waits for the tracker.
        drop(self.tasks.spawn(task.in_current_span()));
    }

    /// A consumer: sends one request after the other.
    async fn deliver_all(self: Arc<Self>) {
        while let Some(part) = self.take().await {
            self.delivery.deliver(self.signal, &self.metrics, Parcel::single(part)).await;
        }
    }

    /// The next request. `None` when there is none any more, or when what is there shall stay.
    async fn take(&self) -> Option<Part> {
        match &self.queue {
            Queue::None => None,
            Queue::Memory(_, queue) => queue.take().await,
            Queue::Stored(_, queue) => {
                select! {
                    biased; // what is on disk stays there
                    () = self.delivery.stop.stopping() => None,
                    part = queue.take() => part,
                }
            }
        }
    }

    /// The reader of a queue with batching.
    async fn batch(self: Arc<Self>, mut batcher: Batcher, workers: Arc<Semaphore>) {
        loop {
            let expires = batcher.expires();
            let time_is_over = async {
                match expires {
                    Some(expires) => sleep_until(expires).await,
                    None => std::future::pending().await,
                }
            };
            // Once the exporter stops, what waits comes at once, and then nothing.
            let taken = select! {
                biased; // a batch that is late goes before it grows
                () = time_is_over => {
                    batcher.expire(tokio::time::Instant::now());
                    true
                }
                part = self.take() => match part {
                    Some(part) => {
                        batcher.push(part);
                        true
                    }
                    None => false,
                },
            };
            if !taken {
                batcher.flush();
            }
            while let Some(ready) = batcher.pop() {
                self.launch(ready, &workers).await;
            }
            if !taken {
                return;
            }
        }
    }

    /// Sends a batch on its way when a worker is free.
    async fn launch(self: &Arc<Self>, ready: Ready, workers: &Arc<Semaphore>) {
        let parcel = match ready {
            Ready::Send(parcel) => parcel,
            Ready::TooLarge(parcel) => return self.give_up(parcel).await,
        };
        let worker = select! {
            biased; // who must not send does not wait for a worker
            () = self.delivery.stop.halted() => None,
            worker = workers.clone().acquire_owned() => worker.ok(),
        };
        match worker {
            Some(worker) => self.spawn(self.clone().deliver_batch(parcel, worker)),
            None => self.delivery.interrupt(self.signal, parcel, interrupted()).await,
        }
    }

    async fn deliver_batch(self: Arc<Self>, parcel: Parcel, worker: OwnedSemaphorePermit) {
        if let Some(payload) = parcel.payload() {
            self.metrics.batch(&payload);
        }
        self.delivery.deliver(self.signal, &self.metrics, parcel).await;
        drop(worker);
    }

    /// A single item is larger than a batch may be.
    async fn give_up(&self, parcel: Parcel) {
        self.delivery.reporter.not_split(self.signal, parcel.items());
        let error = ConsumeError::permanent("one item is larger than sending_queue::batch::max_size");
        self.delivery.fail(self.signal, parcel, &error, reason::TOO_LARGE).await;
    }
}

/// How large the futures are that are allocated for every request: of a queue, and without one.
#[cfg(test)]
pub(crate) fn future_sizes() -> [usize; 2] {
    fn size_of_result<F: Future>(_: impl FnOnce(&'static Lane, Batch) -> F) -> usize {
        size_of::<F>()
    }
    [size_of_result(|lane, batch| lane.consume(batch, Origin::Caller)), size_of_result(Lane::send)]
}
