//! What the log's owner, the writer and the reader share, and how they wait for one another.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use spanbridge_component::{LogUsage, Note, Position, Record, StorageError, StorageErrorKind};
use tokio::sync::{Notify, Semaphore, oneshot, watch};

use crate::disk::Files;
use crate::memory::Memory;
use crate::state::{Append, Change, Filled, Next, Recent, Segment, State, Work};

/// Appends that may wait for the writer; further callers wait before that.
const APPENDS_WAITING_MAX: usize = 1024;
/// Removals and notes that may wait for the writer before those who make them wait, too.
const CHANGES_WAITING_MAX: usize = 1024;
/// How soon the newest records leave memory that somebody needs. A queue that keeps up has taken them before.
const RELIEVE_EVERY: Duration = Duration::from_millis(100);

/// A log between those who use it.
pub(crate) struct Shared {
    pub(crate) files: Files,
    /// How messages call the log.
    pub(crate) name: String,
    pub(crate) memory: Memory,
    state: Mutex<State>,
    /// There is work for the writer.
    work: Condvar,
    /// There may be something to take.
    pub(crate) arrived: Notify,
    /// The writer has caught up with removals.
    eased: Notify,
    appends: Arc<Semaphore>,
    ended: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn new(
        files: Files,
        name: String,
        memory: Memory,
        segments: BTreeMap<u64, Segment>,
        damaged: u64,
    ) -> Arc<Self> {
        let state = State::new(segments, damaged);
        Arc::new(Self {
            files,
            name,
            memory,
            state: Mutex::new(state),
            work: Condvar::new(),
            arrived: Notify::new(),
            eased: Notify::new(),
            appends: Arc::new(Semaphore::new(APPENDS_WAITING_MAX)),
            ended: watch::Sender::new(false),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // --- for the owner ---

    pub(crate) fn usage(&self) -> LogUsage {
        self.state().usage
    }

    /// Hands a record to the writer and waits for its answer.
    pub(crate) async fn append(&self, record: Record) -> Result<(), StorageError> {
        let permit = self.appends.clone().acquire_owned().await.map_err(|_| self.closed_error())?;
        let (answer, answered) = oneshot::channel();
        let (body_bytes, checksum) = measure(&record);
        {
            let mut state = self.state();
            if state.closed {
                return Err(self.closed_error());
            }
            state.waiting.push_back(Append { record, body_bytes, checksum, answer, permit });
        }
        self.work.notify_one();
        answered.await.map_err(|_| self.closed_error())?
    }

    /// What to take next. A record that is returned is taken.
    pub(crate) fn next(&self) -> Next {
        let mut state = self.state();
        let next = state.next();
        if !state.dead.is_empty() {
            self.work.notify_one();
        }
        next
    }

    /// Forgets a taken record, and waits if too many wait for the writer.
    pub(crate) async fn remove(&self, position: Position) {
        let removed = self.state().remove(position);
        if let Some(index) = removed {
            self.change(Change::Remove { segment: position.segment, index }).await;
        }
    }

    /// Writes a note beside a taken record, and waits if too many wait for the writer.
    pub(crate) async fn annotate(&self, position: Position, note: Note) {
        let is_taken = self.state().in_flight.contains_key(&position);
        if is_taken {
            self.change(Change::Note(position, note)).await;
        }
    }

    /// The change is made even if the future is dropped while it waits.
    fn change(&self, change: Change) -> impl Future<Output = ()> + Send + '_ {
        self.state().changes.push(change);
        self.work.notify_one();
        async {
            loop {
                let eased = self.eased.notified();
                if self.is_eased() {
                    return;
                }
                eased.await;
            }
        }
    }

    fn is_eased(&self) -> bool {
        let state = self.state();
        state.closed || state.changes.len() < CHANGES_WAITING_MAX
    }

    /// No more appends; the writer finishes what it has.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.appends.close();
        self.work.notify_one();
        self.arrived.notify_one();
        self.eased.notify_waiters();
    }

    /// Waits until the writer has released everything.
    pub(crate) async fn ended(&self) {
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    pub(crate) fn closed_error(&self) -> StorageError {
        StorageError::new(StorageErrorKind::Closed, format!("the log {} is closed", self.name))
    }

    // --- for the writer ---

    /// Waits for something to do, until `deadline`.
    pub(crate) fn work(&self, deadline: Option<Instant>) -> Work {
        let mut state = self.state();
        while !state.has_work() {
            let Some(deadline) = deadline else {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let work = state.hand_out();
        drop(state);
        if !work.changes.is_empty() {
            self.eased.notify_waiters();
        }
        work
    }

    /// The records are kept: they may be taken. The segment now ends at `end`.
    pub(crate) fn publish(&self, number: u64, salt: u64, end: u64, records: Vec<Recent>) {
        let recent_max = self.memory.recent_max();
        self.state().publish(number, salt, end, records, recent_max);
        self.arrived.notify_one();
    }

    /// Nothing more is appended to segment `number`.
    pub(crate) fn seal(&self, number: u64) {
        let mut state = self.state();
        if let Some(segment) = state.segments.get_mut(&number) {
            segment.sealed = true;
            if segment.records == 0 {
                state.dead.push(number);
            }
        }
    }

    /// Whether nothing is left in segment `number`.
    pub(crate) fn is_empty(&self, number: u64) -> bool {
        self.state().segments.get(&number).is_some_and(|segment| segment.records == 0)
    }

    /// The segments to delete. They are forgotten.
    pub(crate) fn dead(&self) -> Vec<u64> {
        self.state().bury()
    }

    /// The writer has ended, in whatever way.
    pub(crate) fn end(&self) {
        self.close();
        {
            let mut state = self.state();
            // Who waits for an answer learns that none will come.
            state.waiting.clear();
            state.recent.clear();
            state.ready.clear();
        }
        self.ended.send_replace(true);
    }

    // --- for the reader ---

    /// Takes over what was read.
    pub(crate) fn filled(&self, filled: Filled) {
        self.state().filled(filled);
        self.work.notify_one();
    }
}

/// When the writer looks whether the newest records are to leave memory: who waits for memory does not call for it.
#[derive(Default)]
pub(crate) struct Relief(Option<Instant>);

impl Relief {
    /// `None` while no record is in memory.
    pub(crate) fn at(&self) -> Option<Instant> {
        self.0
    }

    /// Looks, if it is time.
    pub(crate) fn look(&mut self, shared: &Shared) {
        let now = Instant::now();
        if self.0.is_some_and(|at| at > now) {
            return;
        }
        if self.0.is_some() && shared.memory.is_needed() {
            shared.state().keep_recent(0);
        }
        let has_recent = !shared.state().recent.is_empty();
        self.0 = has_recent.then(|| now + RELIEVE_EVERY);
    }
}

/// The length of the body, and the checksum over header and body.
fn measure(record: &Record) -> (u64, u32) {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&record.header);
    let mut bytes = 0;
    for piece in &record.body {
        hasher.update(piece);
        bytes += piece.len() as u64;
    }
    (bytes, hasher.finalize())
}
