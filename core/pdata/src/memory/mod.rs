//! The bytes of live telemetry in this process, and how many there may be.
//!
//! An [`Account`] counts bytes. Whoever brings telemetry in from outside *asks* ([`Account::reserve`]) before it
//! takes the bytes, and waits or refuses when there is no room. Whoever makes telemetry out of telemetry (an edit, a split)
//! *charges* ([`Account::charge`]) without asking: it must not block, and what it makes replaces what it read.
//!
//! A [`Charge`] lives as long as the memory it stands for. [`Charge::hold`] ties it to a buffer: the charge ends when the last
//! slice of the buffer does, wherever that is, in a queue, a batch or on a socket.
//!
//! [`Account::process`] is the account of this process; every segment that this crate makes is charged there. Tests use
//! accounts of their own.

mod waiting;

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use waiting::Queue;
pub use waiting::{Reserving, WAITERS_MAX};

/// What a segment costs beside its bytes: the owner and its counters, and the handle in the payload.
pub const SEGMENT_BYTES: usize = 128;

/// An account of bytes in memory. Cheap to clone; clones share the account.
#[derive(Clone)]
pub struct Account(Arc<Books>);

struct Books {
    used: AtomicUsize,
    /// The part of `used` that stands for what may come, not for what is there.
    standing: AtomicUsize,
    /// What `used` may reach by asking; `usize::MAX` without a limit.
    limit: AtomicUsize,
    /// How many wait in `queue`; lets releases see at a glance that nobody does.
    waiting: AtomicUsize,
    queue: Mutex<Queue>,
    limits: Mutex<Limits>,
    waits: AtomicU64,
    refusals: AtomicU64,
}

#[derive(Default)]
struct Limits {
    next_id: u64,
    all: Vec<LimitState>,
}

struct LimitState {
    id: u64,
    bytes: usize,
    largest: usize,
}

/// Bytes that are counted until it is dropped.
#[derive(Debug)]
#[must_use = "a charge that is dropped counts nothing"]
pub struct Charge {
    account: Account,
    bytes: usize,
}

/// A charge for what may come at any time, such as what the client of an idle connection may send.
#[derive(Debug)]
#[must_use = "a charge that is dropped counts nothing"]
pub struct Standing(Charge);

/// A limit of an account, in force until it is dropped. The strictest of all applies.
#[derive(Debug)]
#[must_use = "a limit that is dropped is none"]
pub struct Limit {
    account: Account,
    id: u64,
}

/// An account at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes that are charged now.
    pub used: usize,
    /// The part of them that stands for what may come ([`Standing`]).
    pub standing: usize,
    /// Bytes that may be reached by asking; `None` without a limit.
    pub limit: Option<usize>,
    /// Requests for bytes that wait now.
    pub waiting: usize,
    /// Requests that have had to wait, since the start.
    pub waits: u64,
    /// Requests that were refused, since the start.
    pub refusals: u64,
}

// === impl Account ===

impl Account {
    /// An account of its own, without a limit.
    pub fn new() -> Self {
        Self(Arc::new(Books {
            used: AtomicUsize::new(0),
            standing: AtomicUsize::new(0),
            limit: AtomicUsize::new(usize::MAX),
            waiting: AtomicUsize::new(0),
            queue: Mutex::default(),
            limits: Mutex::default(),
            waits: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
        }))
    }

    /// The account of this process.
    pub fn process() -> &'static Account {
        static PROCESS: LazyLock<Account> = LazyLock::new(Account::new);
        &PROCESS
    }

    /// Counts `bytes` whether there is room or not.
    pub fn charge(&self, bytes: usize) -> Charge {
        self.0.used.fetch_add(bytes, Ordering::Relaxed);
        Charge { account: self.clone(), bytes }
    }

    /// Counts `bytes` if there is room for them and nobody waits for some.
    pub fn try_reserve(&self, bytes: usize) -> Option<Charge> {
        if self.0.waiting.load(Ordering::SeqCst) > 0 {
            return None;
        }
        self.try_charge(bytes, self.limit())
    }

    /// Counts `bytes` if no more than `ceiling` bytes are charged then, whoever waits.
    pub fn try_charge(&self, bytes: usize, ceiling: usize) -> Option<Charge> {
        self.take(bytes, ceiling).then(|| Charge { account: self.clone(), bytes })
    }

    /// Counts `bytes` as soon as there is room for them, in order of asking. How long is up to the caller: drop it to give up.
    pub fn reserve(&self, bytes: usize) -> Reserving {
        Reserving::new(self.clone(), bytes)
    }

    /// Notes that someone who asked was sent away.
    pub fn note_refusal(&self) {
        self.0.refusals.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets a limit on what can be had by asking. What is charged already stays.
    pub fn limit_to(&self, bytes: usize) -> Limit {
        let id = {
            let mut limits = self.limits();
            limits.next_id += 1;
            let id = limits.next_id;
            limits.all.push(LimitState { id, bytes, largest: bytes });
            id
        };
        self.apply_limits();
        Limit { account: self.clone(), id }
    }

    /// What can be had by asking; `usize::MAX` without a limit.
    pub fn limit(&self) -> usize {
        self.0.limit.load(Ordering::SeqCst)
    }

    /// The most that can ever be had by asking: the limit, without what is held back for a while.
    pub fn capacity(&self) -> usize {
        self.limits().all.iter().map(|limit| limit.largest).min().unwrap_or(usize::MAX)
    }

    /// Bytes that are charged now.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Whether someone waits for room.
    pub fn is_contended(&self) -> bool {
        self.0.waiting.load(Ordering::Relaxed) > 0
    }

    /// The account now.
    pub fn usage(&self) -> Usage {
        Usage {
            used: self.used(),
            standing: self.0.standing.load(Ordering::Relaxed),
            limit: Some(self.limit()).filter(|limit| *limit != usize::MAX),
            waiting: self.0.waiting.load(Ordering::Relaxed),
            waits: self.0.waits.load(Ordering::Relaxed),
            refusals: self.0.refusals.load(Ordering::Relaxed),
        }
    }

    /// Makes `buffer` a segment that is charged, without asking, for as long as any slice of it lives.
    pub fn segment(&self, buffer: Vec<u8>) -> Bytes {
        if buffer.is_empty() {
            return Bytes::new();
        }
        self.charge(0).hold(buffer)
    }

    fn take(&self, bytes: usize, ceiling: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= ceiling);
        self.0.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits).is_ok()
    }

    fn release(&self, bytes: usize) {
        // This and the look at `waiting` must not change places: whoever begins to wait announces it before it looks at
        // `used` for the last time.
        self.0.used.fetch_sub(bytes, Ordering::SeqCst);
        if self.0.waiting.load(Ordering::SeqCst) > 0 {
            self.wake_first();
        }
    }

    fn apply_limits(&self) {
        {
            let limits = self.limits();
            let strictest = limits.all.iter().map(|limit| limit.bytes).min().unwrap_or(usize::MAX);
            self.0.limit.store(strictest, Ordering::SeqCst);
        }
        self.wake_first();
    }

    fn limits(&self) -> MutexGuard<'_, Limits> {
        self.0.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Account {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.usage().fmt(f)
    }
}

// === impl Limit ===

impl Limit {
    /// Changes it to `bytes`. A smaller limit holds back what the larger one allowed; it is no reason to refuse for good what
    /// fits into that ([`Account::capacity`]).
    pub fn set(&self, bytes: usize) {
        for limit in &mut self.account.limits().all {
            if limit.id == self.id {
                limit.bytes = bytes;
                limit.largest = limit.largest.max(bytes);
            }
        }
        self.account.apply_limits();
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        self.account.limits().all.retain(|limit| limit.id != self.id);
        self.account.apply_limits();
    }
}

// === impl Charge ===

impl Charge {
    /// Bytes that it stands for.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Changes it to `bytes` whether there is room or not.
    pub fn set(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.account.0.used.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else if bytes < self.bytes {
            self.account.release(self.bytes - bytes);
        }
        self.bytes = bytes;
    }

    /// Raises it to `bytes` if there is room, whoever waits: what has begun goes first. False, and nothing changed, if not.
    pub fn try_raise(&mut self, bytes: usize) -> bool {
        if bytes > self.bytes {
            if !self.account.take(bytes - self.bytes, self.account.limit()) {
                return false;
            }
            self.bytes = bytes;
        }
        true
    }

    /// Adds `other`, which is of the same account, to it.
    pub fn absorb(&mut self, mut other: Charge) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// All of it; what is left stands for nothing.
    pub fn take(&mut self) -> Charge {
        Charge { account: self.account.clone(), bytes: std::mem::take(&mut self.bytes) }
    }

    /// Makes it a charge for what may come.
    pub fn into_standing(self) -> Standing {
        self.account.0.standing.fetch_add(self.bytes, Ordering::Relaxed);
        Standing(self)
    }

    /// Ties the charge to `buffer`: it becomes what the buffer takes, and ends with the last slice of it.
    #[must_use]
    pub fn hold(mut self, buffer: impl Into<Buffer>) -> Bytes {
        let buffer = buffer.into();
        self.set(buffer.capacity() + SEGMENT_BYTES);
        Bytes::from_owner(Held { buffer, _charge: self })
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.0.account.0.standing.fetch_sub(self.0.bytes, Ordering::Relaxed);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.account.release(self.bytes);
        }
    }
}

/// Memory that a charge can stand for.
#[derive(Debug)]
pub struct Buffer(Kind);

#[derive(Debug)]
enum Kind {
    Own(Vec<u8>),
    /// A slice of something larger, of which it is counted as its own length.
    Shared(Bytes),
}

impl From<Vec<u8>> for Buffer {
    fn from(buffer: Vec<u8>) -> Self {
        Self(Kind::Own(buffer))
    }
}

impl From<Bytes> for Buffer {
    fn from(buffer: Bytes) -> Self {
        Self(Kind::Shared(buffer))
    }
}

impl Buffer {
    fn capacity(&self) -> usize {
        match &self.0 {
            Kind::Own(buffer) => buffer.capacity(),
            Kind::Shared(buffer) => buffer.len(),
        }
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        match &self.buffer.0 {
            Kind::Own(buffer) => buffer,
            Kind::Shared(buffer) => buffer,
        }
    }
}

/// The owner behind the handles of a segment. Its buffer is freed before its charge ends.
struct Held {
    buffer: Buffer,
    _charge: Charge,
}

#[cfg(test)]
mod tests;
