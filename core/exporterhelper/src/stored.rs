//! The queue on disk: the front of a storage extension's log (reference: collector-core, 9).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use prometheus::IntGauge;
use spanbridge_component::ledger::Entry;
use spanbridge_component::{
    Batch, ConsumeError, Ledger, Log, LogUsage, Payload, Position, Record, Signal, StorageError,
    StorageErrorKind, Taken,
};
use spanbridge_pdata::InvalidUtf8;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

use crate::backoff::History;
use crate::memory::{full, larger_than_the_queue, stopped};
use crate::record;
use crate::ticket::{Keeper, Part, Ticket, Unsettled};
use crate::{RateLimit, Sizer};

/// How long consumers wait before they read a disk again that failed.
const READ_AGAIN: Duration = Duration::from_secs(5);
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// A queue on disk.
pub(crate) struct StoredQueue {
    signal: Signal,
    sizer: Sizer,
    capacity: u64,
    ledger: Ledger,
    /// Opened at start.
    log: OnceLock<Arc<dyn Log>>,
    /// Everything that lies on disk and is not with a consumer.
    pool: Mutex<Entry>,
    admission: Mutex<Admission>,
    /// Room was made, or the queue was closed.
    freed: Notify,
    /// Held by the caller who waits for room first; the others wait behind, in order.
    first_in_line: tokio::sync::Mutex<()>,
    /// Items that stay on disk although consumers had them.
    kept: AtomicU64,
    /// `queue_size`.
    size: IntGauge,
    failures_logged: RateLimit,
}

#[derive(Debug, Default)]
struct Admission {
    /// Size of the requests whose append is under way.
    reserved: u64,
    is_closed: bool,
}

/// A place for an append that is under way.
struct Reserved<'a> {
    queue: &'a StoredQueue,
    size: u64,
}

/// Items that are in the pool for an append that is under way; if it fails, or its caller goes away, they go back.
struct Appending<'a> {
    queue: &'a StoredQueue,
    items: usize,
}

// === impl StoredQueue ===

impl StoredQueue {
    pub(crate) fn new(
        signal: Signal,
        sizer: Sizer,
        capacity: u64,
        ledger: Ledger,
        size: IntGauge,
    ) -> Arc<Self> {
        Arc::new(Self {
            signal,
            sizer,
            capacity,
            pool: Mutex::new(ledger.take(signal, 0)),
            ledger,
            log: OnceLock::new(),
            admission: Mutex::default(),
            freed: Notify::new(),
            first_in_line: tokio::sync::Mutex::new(()),
            kept: AtomicU64::new(0),
            size,
            failures_logged: RateLimit::new(LOG_INTERVAL),
        })
    }

    pub(crate) fn signal(&self) -> Signal {
        self.signal
    }

    /// Begins with what the log holds, however much that is: a queue that is larger than its limit drains.
    pub(crate) fn open(&self, log: Arc<dyn Log>) {
        let usage = log.usage();
        let left = usize::try_from(usage.items).unwrap_or(usize::MAX);
        self.pool().join(self.ledger.restore(self.signal, left));
        // A second start is the service's mistake; the first log stays.
        let _ = self.log.set(log);
        self.show_size();
        if usage.records > 0 {
            let (records, items, signal) = (usage.records, usage.items, self.signal.name());
            tracing::info!(
                records,
                items,
                otelcol.signal = signal,
                "Fetching items left for dispatch by consumers"
            );
        }
    }

    /// Appends a request and resolves when it is kept.
    ///
    /// A caller who goes away meanwhile counts as sent away, although the record may have been written.
    pub(crate) async fn append(
        &self,
        batch: &Batch,
        mut entry: Unsettled,
        blocks: bool,
    ) -> Result<(), ConsumeError> {
        let header =
            record::header(&batch.context).map_err(|error| ConsumeError::permanent(error.to_string()))?;
        let log = self.log.get().ok_or_else(stopped)?;
        let _reserved = self.reserve(self.sizer.size(&batch.payload), blocks).await?;
        let body = batch.payload.segments().to_vec();
        let record = Record { items: batch.items() as u64, header, body };
        // In the pool beforehand: a consumer may take the record before we hear that it is kept.
        self.pool().join(entry.take());
        let appending = Appending { queue: self, items: batch.items() };
        log.append(record).await.map_err(|error| refusal(&error))?;
        appending.succeeded();
        self.show_size();
        Ok(())
    }

    /// Takes the oldest record; waits for one. `None` when the log is closed. Dropping the future takes nothing.
    pub(crate) async fn take(self: &Arc<Self>) -> Option<Part> {
        loop {
            match self.log.get()?.take().await {
                Ok(taken) => {
                    if let Some(part) = self.part_of(taken).await {
                        return Some(part);
                    }
                }
                Err(error) if error.kind == StorageErrorKind::Closed => return None,
                Err(error) => {
                    if self.failures_logged.admit().is_some() {
                        tracing::error!(%error, "The queue on disk cannot be read.");
                    }
                    sleep(READ_AGAIN).await;
                }
            }
        }
    }

    /// The request of a record; `None` if it is none.
    async fn part_of(self: &Arc<Self>, taken: Taken) -> Option<Part> {
        let items = usize::try_from(taken.items).unwrap_or(usize::MAX);
        let mut entry = self.claim(items);
        let position = taken.position;
        let context = match record::context(&taken.header) {
            Ok(context) => context,
            Err(error) => {
                // Whoever wrote it can read it: it stays where it is.
                tracing::error!(%error, items, "A record of the queue on disk cannot be read by this version and stays.");
                self.stays(items);
                entry.kept(items);
                return None;
            }
        };
        match Payload::from_wire(self.signal, in_one_piece(taken.body), InvalidUtf8::Repair) {
            Ok(received) => {
                let ticket = Ticket::new(entry, Keeper::Stored(self.clone(), position), None);
                let mut part = Part::new(Batch { payload: received.payload, context }, ticket);
                part.history = record::history(taken.note);
                Some(part)
            }
            Err(error) => {
                tracing::error!(%error, dropped_items = items, "Failed unmarshalling item");
                entry.dropped(items, "undecodable");
                self.remove(position).await;
                None
            }
        }
    }

    /// The books' entry for a record that was taken. A record whose caller had gone away is not in the pool any more.
    fn claim(&self, items: usize) -> Entry {
        let mut entry = self.pool().split_off(items);
        let missing = items - entry.items();
        if missing > 0 {
            entry.join(self.ledger.restore(self.signal, missing));
        }
        entry
    }

    /// Forgets a record that is done with.
    pub(crate) async fn remove(&self, position: Position) {
        if let Some(log) = self.log.get() {
            log.remove(position).await;
            self.show_size();
            self.freed.notify_waiters();
        }
    }

    /// Keeps the state of a record's retries for the next process.
    pub(crate) async fn note(&self, position: Position, history: History) {
        if let Some(log) = self.log.get() {
            log.annotate(position, record::note(history)).await;
        }
    }

    /// `items` that a consumer had stay on disk.
    pub(crate) fn stays(&self, items: usize) {
        self.kept.fetch_add(items as u64, Ordering::Relaxed);
    }

    /// Takes no new requests; appends that are under way finish.
    pub(crate) fn refuse(&self) {
        self.admission().is_closed = true;
        self.freed.notify_waiters();
    }

    /// Ends it, after the last consumer: files and locks are released by `deadline`, and what lies on disk stays.
    pub(crate) async fn close(&self, deadline: Instant) -> Result<(), &'static str> {
        let Some(log) = self.log.get() else { return Ok(()) };
        let closed = timeout_at(deadline, log.close()).await;
        let on_disk = log.usage().items.saturating_sub(self.kept.load(Ordering::Relaxed));
        let mut pool = self.pool();
        pool.kept(usize::try_from(on_disk).unwrap_or(usize::MAX));
        // What the log could not read back is not there any more.
        let rest = pool.items();
        pool.dropped(rest, "damaged");
        closed.map_err(|_| "the storage did not close its files in time")
    }

    async fn reserve(&self, size: u64, blocks: bool) -> Result<Reserved<'_>, ConsumeError> {
        if size > self.capacity {
            return Err(larger_than_the_queue(size, self.capacity));
        }
        if !blocks {
            return self.try_reserve(size)?.ok_or_else(full);
        }
        let _first = self.first_in_line.lock().await;
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            if let Some(reserved) = self.try_reserve(size)? {
                return Ok(reserved);
            }
            freed.await;
        }
    }

    fn try_reserve(&self, size: u64) -> Result<Option<Reserved<'_>>, ConsumeError> {
        let mut admission = self.admission();
        if admission.is_closed {
            return Err(stopped());
        }
        let taken = self.taken().saturating_add(admission.reserved);
        if taken.saturating_add(size) > self.capacity {
            return Ok(None);
        }
        admission.reserved += size;
        Ok(Some(Reserved { queue: self, size }))
    }

    /// What lies on disk, as the sizer counts.
    fn taken(&self) -> u64 {
        let LogUsage { records, items, bytes, .. } =
            self.log.get().map(|log| log.usage()).unwrap_or_default();
        match self.sizer {
            Sizer::Requests => records,
            Sizer::Items => items,
            Sizer::Bytes => bytes,
        }
    }

    fn show_size(&self) {
        self.size.set(i64::try_from(self.taken()).unwrap_or(i64::MAX));
    }

    fn pool(&self) -> MutexGuard<'_, Entry> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admission(&self) -> MutexGuard<'_, Admission> {
        self.admission.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the caller hears when the storage does not keep a request.
fn refusal(error: &StorageError) -> ConsumeError {
    match error.kind {
        StorageErrorKind::Closed => stopped(),
        // As what is larger than the queue: a client that tried again would do so for ever.
        StorageErrorKind::TooLarge => {
            ConsumeError::permanent(format!("element size too large for the storage: {error}"))
        }
        // All of these may pass: a disk gets room again, or a sound one is put in its place.
        StorageErrorKind::Full | StorageErrorKind::Busy | StorageErrorKind::Io => {
            ConsumeError::retryable(format!("the storage cannot keep the request: {error}"))
        }
    }
}

/// The body of a record. A log that gives it in one piece spares the copy.
fn in_one_piece(mut body: Vec<Bytes>) -> Bytes {
    match body.as_mut_slice() {
        [] => Bytes::new(),
        [only] => std::mem::take(only),
        pieces => {
            let mut whole = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
            for piece in pieces {
                whole.extend_from_slice(piece);
            }
            whole.freeze()
        }
    }
}

// === impl Reserved, Appending ===

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.queue.admission().reserved -= self.size;
        self.queue.freed.notify_waiters();
    }
}

impl Appending<'_> {
    fn succeeded(mut self) {
        self.items = 0;
    }
}

impl Drop for Appending<'_> {
    fn drop(&mut self) {
        if self.items > 0 {
            self.queue.pool().split_off(self.items).returned(self.items);
        }
    }
}

impl Drop for StoredQueue {
    fn drop(&mut self) {
        // Closed in order, this holds nothing any more. Otherwise it is still on disk.
        let pool = self.pool.get_mut().unwrap_or_else(PoisonError::into_inner);
        let items = pool.items();
        pool.kept(items);
    }
}
