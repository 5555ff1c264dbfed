//! The exporter that the helper makes of a sender.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use spanbridge_component::telemetry::ExporterMetrics;
use spanbridge_component::{
    Acknowledges, Batch, BuildError, Capabilities, Component, ComponentId, ConsumeError, Consumer, Exporter,
    Host, Settings, ShutdownError, Signal, StartError, StorageOwner,
};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

use crate::backoff::Backoff;
use crate::dead_letter::DeadLetters;
use crate::delivery::{Delivery, interrupted};
use crate::ending;
use crate::lane::{Behind, Lane, Origin, Queue};
use crate::limit::LearntLimit;
use crate::memory::{MemoryQueue, Room, stopped};
use crate::report::Reporter;
use crate::stop::Stop;
use crate::stored::StoredQueue;
use crate::telemetry::{LaneMetrics, QueueGauges};
use crate::ticket::{Parcel, Part};
use crate::{HelperConfig, QueueConfig, Sender};

/// The part of the time to shut down that is kept for ending what did not end by itself.
const CUT_OFF_SHARE: u32 = 10;
/// The most of it.
const CUT_OFF_MAX: Duration = Duration::from_millis(500);

/// An exporter made of a [`Sender`]: it queues, batches, retries, and keeps the books.
pub struct ExporterHelper {
    settings: Settings,
    storage: Option<ComponentId>,
    acknowledges: Acknowledges,
    delivery: Arc<Delivery>,
    lanes: [Option<Arc<Lane>>; 3],
    /// The tasks behind the queues.
    tasks: TaskTracker,
    /// Callers who are their own tasks.
    callers: TaskTracker,
    is_open: AtomicBool,
}

impl ExporterHelper {
    /// Puts everything that `config` asks for around `sender`. Does no I/O. The configuration must have been validated.
    ///
    /// # Errors
    /// If the metrics cannot be registered.
    #[expect(clippy::new_ret_no_self, reason = "an exporter is only ever used as one")]
    #[expect(clippy::needless_pass_by_value, reason = "as in every factory: the exporter's own part of it")]
    pub fn new(
        settings: Settings,
        config: HelperConfig,
        sender: impl Sender,
    ) -> Result<Arc<dyn Exporter>, BuildError> {
        let queue = config.sending_queue.as_ref();
        let storage = queue.and_then(|queue| queue.storage.clone());
        let backoff = Backoff::new(&config.retry_on_failure, storage.is_some());
        let metrics =
            ExporterMetrics::to(&settings.telemetry, &settings.id, |signal| sender.destination(signal))?;
        let sender: Arc<dyn Sender> = Arc::new(sender);
        let dead_letters = match config.dead_letter.as_ref() {
            Some(config) => Some(DeadLetters::new(&settings, config.clone())?),
            None => None,
        };
        let delivery = Arc::new(Delivery {
            sender: sender.clone(),
            timeout: Some(config.timeout.get()).filter(|timeout| !timeout.is_zero()),
            reporter: Reporter::new(metrics, backoff.is_some(), queue.is_some()),
            backoff,
            limit: LearntLimit::none(),
            stop: Stop::default(),
            dead_letters,
            undelivered: AtomicUsize::new(0),
            left_over: Mutex::default(),
            again: Mutex::default(),
        });
        let mut helper = Self {
            storage,
            acknowledges: acknowledges(queue),
            delivery,
            lanes: [const { None }; 3],
            tasks: TaskTracker::new(),
            callers: TaskTracker::new(),
            is_open: AtomicBool::new(false),
            settings,
        };
        for signal in helper.settings.signals.clone() {
            helper.lanes[signal.index()] = Some(Arc::new(helper.lane(signal, queue)?));
        }
        Ok(Arc::new(helper))
    }

    fn lane(&self, signal: Signal, config: Option<&QueueConfig>) -> Result<Lane, BuildError> {
        let batches = config.is_some_and(|config| config.batch.is_on());
        let destination = self.delivery.sender.destination(signal);
        Ok(Lane {
            signal,
            queue: self.queue(signal, config)?,
            delivery: self.delivery.clone(),
            metrics: LaneMetrics::new(&self.settings, signal, &destination, batches)?,
            ledger: self.settings.ledger.clone(),
            tasks: self.tasks.clone(),
            callers: self.callers.clone(),
        })
    }

    fn queue(&self, signal: Signal, config: Option<&QueueConfig>) -> Result<Queue, BuildError> {
        let Some(config) = config else { return Ok(Queue::None) };
        let QueueGauges { size, capacity: gauge } = LaneMetrics::queue_size(&self.settings, signal)?;
        let behind = Behind::new(config, gauge);
        let capacity = u64::try_from(config.queue_size).unwrap_or(0);
        Ok(if self.storage.is_some() {
            let ledger = self.settings.ledger.clone();
            Queue::Stored(behind, StoredQueue::new(signal, config.sizer(), capacity, ledger, size))
        } else {
            Queue::Memory(behind, MemoryQueue::new(Room::new(capacity, size)))
        })
    }

    /// The lane that takes a request now.
    fn lane_for(&self, batch: &Batch) -> Result<&Lane, ConsumeError> {
        if !self.is_open.load(Ordering::Relaxed) {
            return Err(stopped());
        }
        let lane = self.lanes[batch.signal().index()].as_deref();
        lane.ok_or_else(|| {
            ConsumeError::permanent(format!("the exporter is not used for {}", batch.signal()))
        })
    }

    fn lanes(&self) -> impl Iterator<Item = &Arc<Lane>> {
        self.lanes.iter().flatten()
    }

    fn stored(&self) -> impl Iterator<Item = &Arc<StoredQueue>> {
        self.lanes().filter_map(|lane| match &lane.queue {
            Queue::Stored(_, queue) => Some(queue),
            Queue::None | Queue::Memory(..) => None,
        })
    }

    /// Opens the logs of queues on disk.
    async fn open_logs(&self, host: &Host) -> Result<(), StartError> {
        let Some(id) = &self.storage else { return Ok(()) };
        let extension = host.extension(id).ok_or_else(|| {
            StartError(format!("no storage client extension found: {id} is not a running extension"))
        })?;
        let storage = extension.as_storage().ok_or_else(|| {
            StartError(format!("requested extension is not a storage extension: {id} keeps nothing"))
        })?;
        for queue in self.stored() {
            let owner = StorageOwner {
                kind: self.settings.kind,
                id: self.settings.id.clone(),
                name: queue.signal().name().to_owned(),
            };
            let log = storage.open_log(&owner).await;
            queue.open(
                log.map_err(|error| {
                    StartError(format!("cannot open the queue of {owner} in {id}: {error}"))
                })?,
            );
        }
        Ok(())
    }

    /// Takes nothing more and brings to an end what is there, by `deadline`.
    async fn stop(&self, deadline: Instant, hands_over: bool) -> Result<(), ShutdownError> {
        let stop = &self.delivery.stop;
        self.is_open.store(false, Ordering::Relaxed);
        stop.begin(hands_over, hands_over || self.storage.is_some());
        let waiting = self.close_queues(hands_over);
        self.tasks.close();
        self.callers.close();
        let left = deadline.saturating_duration_since(Instant::now());
        let cut_off = deadline - (left / CUT_OFF_SHARE).min(CUT_OFF_MAX);
        let mut ended = pin!(self.end());
        if timeout_at(cut_off, &mut ended).await.is_err() {
            stop.cut_off();
            // Callers that were cut off are about to know, unless nobody looks after them.
            let _ = timeout_at(deadline, ended).await;
        }
        for (signal, part) in waiting {
            self.delivery.interrupt(signal, Parcel::single(part), interrupted()).await;
        }
        let mut problems = Vec::new();
        if !self.tasks.is_empty() {
            problems.push("requests could not be ended in time".to_owned());
        }
        for queue in self.stored() {
            problems.extend(queue.close(deadline).await.err().map(ToOwned::to_owned));
        }
        self.report(self.delivery.sender.shutdown(deadline).await, problems)
    }

    /// Completes when nothing is waiting or on its way any more.
    async fn end(&self) {
        tokio::join!(self.tasks.wait(), self.callers.wait());
        ending::try_again(&self.delivery, &self.lanes).await;
    }

    /// Closes every queue. With `hands_over`, gives out what waits, in its order, before the consumers see it.
    fn close_queues(&self, hands_over: bool) -> Vec<(Signal, Part)> {
        let mut waiting = Vec::new();
        for lane in self.lanes() {
            match &lane.queue {
                Queue::None => {}
                Queue::Memory(_, queue) if hands_over => {
                    waiting.extend(queue.close_and_drain().into_iter().map(|part| (lane.signal, part)));
                }
                Queue::Memory(_, queue) => queue.close(),
                Queue::Stored(_, queue) => queue.refuse(),
            }
        }
        waiting
    }

    fn report(
        &self,
        sender: Result<(), ShutdownError>,
        mut problems: Vec<String>,
    ) -> Result<(), ShutdownError> {
        let mut undelivered_items = self.delivery.undelivered.load(Ordering::Relaxed);
        if undelivered_items > 0 {
            problems.insert(0, "the destination did not take everything in time".to_owned());
        }
        if let Err(error) = sender {
            // What the sender was cut off from is what its callers, and so we, did not deliver.
            undelivered_items = undelivered_items.max(error.undelivered_items);
            problems.push(error.message);
        }
        if problems.is_empty() {
            return Ok(());
        }
        Err(ShutdownError { message: problems.join("; "), undelivered_items })
    }
}

/// What an answer means with this queue.
fn acknowledges(queue: Option<&QueueConfig>) -> Acknowledges {
    match queue {
        Some(queue) if queue.storage.is_none() && !queue.wait_for_result => Acknowledges::Accepted,
        _ => Acknowledges::Delivered,
    }
}

#[async_trait]
impl Component for ExporterHelper {
    async fn start(&self, host: Host) -> Result<(), StartError> {
        if let Some(letters) = &self.delivery.dead_letters {
            letters.start().await?;
        }
        self.open_logs(&host).await?;
        self.delivery.sender.start(&host).await?;
        self.delivery.reporter.started(host);
        // The tasks live in the component's span.
        let _span = self.settings.span().entered();
        self.is_open.store(true, Ordering::Relaxed);
        self.lanes().for_each(Lane::start);
        Ok(())
    }

    async fn shutdown(&self, deadline: Instant) -> Result<(), ShutdownError> {
        self.stop(deadline, false).await
    }

    async fn retire(&self, deadline: Instant) -> Result<Vec<Batch>, ShutdownError> {
        if let Err(error) = self.stop(deadline, true).await {
            // What is handed over must not be lost for it.
            tracing::warn!(%error, "The exporter did not end cleanly for its successor.");
        }
        Ok(std::mem::take(&mut *self.delivery.left_over.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

#[async_trait]
impl Consumer for ExporterHelper {
    async fn consume(&self, batch: Batch) -> Result<(), ConsumeError> {
        self.lane_for(&batch)?.consume(batch, Origin::Caller).await
    }

    async fn inherit(&self, batch: Batch) -> Result<(), ConsumeError> {
        self.lane_for(&batch)?.consume(batch, Origin::Predecessor).await
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { acknowledges: self.acknowledges }
    }
}

impl Exporter for ExporterHelper {}
