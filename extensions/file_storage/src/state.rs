//! What is known of a log in memory: counters for each segment, what was taken, and the newest records.
//!
//! It does not grow with the log but for a few numbers a segment. Nothing here touches the disk.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use spanbridge_component::{LogUsage, Note, Position, Record, StorageError, StorageErrorKind, Taken};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::disk::Files;
use crate::format::SEGMENT_HEADER_BYTES;

/// Bytes of the newest records that a log keeps in memory, so that a queue that keeps up never reads the disk.
const RECENT_BYTES_MAX: u64 = 16 << 20;
/// What a record in memory costs beside its bytes, about.
const RECENT_OVERHEAD_BYTES: u64 = 256;
/// Appends that may wait for the writer; further callers wait before that.
const APPENDS_WAITING_MAX: usize = 1024;
/// Bytes that the writer takes on at a time, or one larger record.
const GROUP_BYTES_MAX: u64 = 8 << 20;
/// Removals and notes that may wait for the writer before those who make them wait, too.
const CHANGES_WAITING_MAX: usize = 1024;

/// What a segment holds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Segment {
    /// Records that were not removed, their items, and the bytes of their bodies.
    pub(crate) records: u64,
    pub(crate) items: u64,
    pub(crate) bytes: u64,
    /// The end of what was promised to be kept. Bytes behind it do not count.
    pub(crate) end: u64,
    /// Nothing more is appended.
    pub(crate) sealed: bool,
    /// `None` if the file's header is damaged.
    pub(crate) salt: Option<u64>,
}

/// What the log's owner, the writer and the reader share.
pub(crate) struct Shared {
    pub(crate) files: Files,
    /// How messages call the log.
    pub(crate) name: String,
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

struct State {
    segments: BTreeMap<u64, Segment>,
    /// Sealed segments without a record, to be deleted.
    dead: Vec<u64>,
    /// Where the next record to take lies, behind those in `ready`.
    cursor: Position,
    /// Read from disk ahead of being asked for.
    ready: VecDeque<(Taken, InFlight)>,
    /// The newest records without a gap, as they were appended.
    recent: VecDeque<Recent>,
    recent_bytes: u64,
    /// Taken and not removed.
    in_flight: HashMap<Position, InFlight>,
    usage: LogUsage,
    waiting: VecDeque<Append>,
    changes: Vec<Change>,
    closed: bool,
}

/// An append on its way to the writer.
pub(crate) struct Append {
    pub(crate) record: Record,
    pub(crate) body_bytes: u64,
    pub(crate) checksum: u32,
    pub(crate) answer: oneshot::Sender<Result<(), StorageError>>,
    pub(crate) permit: OwnedSemaphorePermit,
}

/// What is known of a record that was taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InFlight {
    pub(crate) index: u32,
    pub(crate) items: u64,
    /// Of the body.
    pub(crate) bytes: u64,
}

/// A change in place.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    /// Of the record `index` of a segment.
    Remove {
        segment: u64,
        index: u32,
    },
    Note(Position, Note),
}

/// What the writer is to do.
pub(crate) struct Work {
    pub(crate) changes: Vec<Change>,
    pub(crate) appends: VecDeque<Append>,
    pub(crate) dead: Vec<u64>,
    /// No more will come.
    pub(crate) closed: bool,
}

/// A record that the writer has appended.
pub(crate) struct Recent {
    pub(crate) position: Position,
    pub(crate) index: u32,
    pub(crate) end: u64,
    pub(crate) record: Record,
    pub(crate) body_bytes: u64,
}

/// What is to be taken next.
pub(crate) enum Next {
    Taken(Taken),
    /// It has to be read first.
    OnDisk(Stretch),
    Nothing,
    Closed,
}

/// A part of a segment with records that were not taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stretch {
    pub(crate) segment: u64,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) salt: Option<u64>,
}

/// What came of reading a stretch.
pub(crate) struct Filled {
    pub(crate) segment: u64,
    /// Up to where it was read.
    pub(crate) to: u64,
    /// Records that are intact.
    pub(crate) taken: Vec<(Taken, InFlight)>,
    /// Records whose contents are damaged.
    pub(crate) bad: Vec<InFlight>,
    /// Records of which nothing is left.
    pub(crate) missing: u64,
}

// === impl Recent ===

impl Recent {
    fn cost(&self) -> u64 {
        self.body_bytes + self.record.header.len() as u64 + RECENT_OVERHEAD_BYTES
    }
}

// === impl Shared ===

impl Shared {
    pub(crate) fn new(
        files: Files,
        name: String,
        segments: BTreeMap<u64, Segment>,
        damaged: u64,
    ) -> Arc<Self> {
        let sum = |of: fn(&Segment) -> u64| segments.values().map(of).fold(0, u64::saturating_add);
        let usage = LogUsage {
            records: sum(|s| s.records),
            items: sum(|s| s.items),
            bytes: sum(|s| s.bytes),
            disk_bytes: sum(|s| s.end),
            damaged,
        };
        let first = segments.keys().next().copied().unwrap_or_default();
        let cursor = Position { segment: first, offset: SEGMENT_HEADER_BYTES };
        let state = State {
            segments,
            dead: Vec::new(),
            cursor,
            ready: VecDeque::new(),
            recent: VecDeque::new(),
            recent_bytes: 0,
            in_flight: HashMap::new(),
            usage,
            waiting: VecDeque::new(),
            changes: Vec::new(),
            closed: false,
        };
        Arc::new(Self {
            files,
            name,
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
        self.state().publish(number, salt, end, records);
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

// === impl State ===

impl State {
    fn next(&mut self) -> Next {
        if self.closed {
            return Next::Closed;
        }
        if let Some((taken, known)) = self.ready.pop_front() {
            self.in_flight.insert(taken.position, known);
            return Next::Taken(taken);
        }
        self.advance();
        if self.recent.front().is_some_and(|recent| recent.position == self.cursor)
            && let Some(recent) = self.pop_recent()
        {
            self.cursor.offset = recent.end;
            let known =
                InFlight { index: recent.index, items: recent.record.items, bytes: recent.body_bytes };
            self.in_flight.insert(recent.position, known);
            let Record { items, header, body } = recent.record;
            return Next::Taken(Taken {
                position: recent.position,
                items,
                header,
                body,
                note: Note::default(),
            });
        }
        let Some(segment) = self.segments.get(&self.cursor.segment) else { return Next::Nothing };
        let in_memory_from = self.recent.front().map(|recent| recent.position);
        let to =
            in_memory_from.filter(|p| p.segment == self.cursor.segment).map_or(segment.end, |p| p.offset);
        if self.cursor.offset >= to {
            return Next::Nothing;
        }
        let Position { segment: number, offset: from } = self.cursor;
        Next::OnDisk(Stretch { segment: number, from, to, salt: segment.salt })
    }

    /// Moves the cursor from the end of a segment to the next one that there is.
    fn advance(&mut self) {
        loop {
            let number = self.cursor.segment;
            match self.segments.get(&number) {
                Some(segment) if self.cursor.offset < segment.end || !segment.sealed => return,
                Some(_) => self.reconcile(number),
                None => {}
            }
            let Some((&next, _)) = self.segments.range(number.saturating_add(1)..).next() else { return };
            self.cursor = Position { segment: next, offset: SEGMENT_HEADER_BYTES };
        }
    }

    /// All of sealed segment `number` was taken, so what is left of it is what is in flight. Records that were counted
    /// when the log was opened and could not be read since then would keep it for ever.
    fn reconcile(&mut self, number: u64) {
        let mut left = Segment::default();
        for (_, known) in self.in_flight.iter().filter(|(position, _)| position.segment == number) {
            left.records += 1;
            left.items = left.items.saturating_add(known.items);
            left.bytes += known.bytes;
        }
        let Some(segment) = self.segments.get_mut(&number) else { return };
        let lost = segment.records.saturating_sub(left.records);
        if lost == 0 {
            return;
        }
        let (items, bytes) =
            (segment.items.saturating_sub(left.items), segment.bytes.saturating_sub(left.bytes));
        (segment.records, segment.items, segment.bytes) = (left.records, left.items, left.bytes);
        forget(&mut self.usage, lost, items, bytes);
        if left.records == 0 {
            self.dead.push(number);
        }
    }

    fn pop_recent(&mut self) -> Option<Recent> {
        let recent = self.recent.pop_front()?;
        self.recent_bytes -= recent.cost();
        Some(recent)
    }

    /// The record's index, if it was taken.
    fn remove(&mut self, position: Position) -> Option<u32> {
        let known = self.in_flight.remove(&position)?;
        self.uncount(position.segment, known);
        Some(known.index)
    }

    fn uncount(&mut self, number: u64, InFlight { items, bytes, .. }: InFlight) {
        forget(&mut self.usage, 1, items, bytes);
        let Some(segment) = self.segments.get_mut(&number) else { return };
        segment.records = segment.records.saturating_sub(1);
        segment.items = segment.items.saturating_sub(items);
        segment.bytes = segment.bytes.saturating_sub(bytes);
        if segment.records == 0 && segment.sealed {
            self.dead.push(number);
        }
    }

    fn has_work(&self) -> bool {
        self.closed || !(self.waiting.is_empty() && self.changes.is_empty() && self.dead.is_empty())
    }

    fn hand_out(&mut self) -> Work {
        let mut appends = VecDeque::new();
        let mut bytes = 0;
        while let Some(append) = self.waiting.front() {
            bytes += append.body_bytes;
            if bytes > GROUP_BYTES_MAX && !appends.is_empty() {
                break;
            }
            appends.extend(self.waiting.pop_front());
        }
        Work { changes: std::mem::take(&mut self.changes), appends, dead: self.bury(), closed: self.closed }
    }

    fn bury(&mut self) -> Vec<u64> {
        let dead = std::mem::take(&mut self.dead);
        for number in &dead {
            if let Some(segment) = self.segments.remove(number) {
                self.usage.disk_bytes -= segment.end;
            }
        }
        dead
    }

    fn publish(&mut self, number: u64, salt: u64, end: u64, records: Vec<Recent>) {
        if self.segments.is_empty() {
            self.cursor = Position { segment: number, offset: SEGMENT_HEADER_BYTES };
        }
        let segment = self.segments.entry(number).or_default();
        segment.salt = Some(salt);
        self.usage.disk_bytes += end - segment.end;
        segment.end = end;
        for recent in records {
            segment.records += 1;
            segment.items = segment.items.saturating_add(recent.record.items);
            segment.bytes += recent.body_bytes;
            self.usage.records += 1;
            self.usage.items = self.usage.items.saturating_add(recent.record.items);
            self.usage.bytes += recent.body_bytes;
            self.recent_bytes += recent.cost();
            self.recent.push_back(recent);
        }
        while self.recent_bytes > RECENT_BYTES_MAX {
            self.pop_recent();
        }
    }

    fn filled(&mut self, filled: Filled) {
        self.cursor = Position { segment: filled.segment, offset: filled.to };
        self.ready.extend(filled.taken);
        self.usage.damaged += filled.missing + filled.bad.len() as u64;
        for bad in filled.bad {
            self.uncount(filled.segment, bad);
            self.changes.push(Change::Remove { segment: filled.segment, index: bad.index });
        }
    }
}

/// Numbers of a file that somebody wrote to are not to be trusted to add up.
fn forget(usage: &mut LogUsage, records: u64, items: u64, bytes: u64) {
    usage.records = usage.records.saturating_sub(records);
    usage.items = usage.items.saturating_sub(items);
    usage.bytes = usage.bytes.saturating_sub(bytes);
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
