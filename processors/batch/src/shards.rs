//! What is pending: one open batch a shard, all under one lock.
//!
//! Everything here is synchronous and short. A batch goes
//!
//! - `nothing => open` when a request finds no open batch in its shard; a task for it is started then, which waits,
//! - `open => closed` when it has enough items, has to make room
//!   ([`Shards::close_if_none_flies`]), or the processor stops ([`Shard::close`]), or when its
//!   task's timer fires first ([`Shards::close_expired`]). Whoever closes it takes it out, under the lock, so it is
//!   closed exactly once.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use smallvec::SmallVec;
use spanbridge_component::{ConsumeError, Context, Metadata, Payload};
use spanbridge_pdata::SplitItems;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

use crate::Config;
use crate::flight::EXPORTS_MAX;
use crate::outcome::{Outcome, Resolver};
use crate::room::{Room, Taken};
use crate::telemetry::Trigger;

/// The numbers of the configuration, in the form in which they are used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Items at which a batch is closed. One where nothing waits.
    pub(crate) enough: NonZeroUsize,
    /// Items that no batch exceeds.
    pub(crate) max: NonZeroUsize,
    /// How long an open batch waits.
    pub(crate) timeout: std::time::Duration,
    /// Shards at the same time.
    shards_max: usize,
}

/// The values of the listed metadata, in one text of bytes.
pub(crate) type Key = Arc<[u8]>;

/// All shards of a processor.
pub(crate) struct Shards {
    limits: Limits,
    by_key: HashMap<Key, Shard>,
    stopping: bool,
}

struct Shard {
    key: Key,
    open: Option<Open>,
    /// Batches that are not resolved, and callers in the middle of a long request. The shard lives while there are any.
    leases: usize,
    slots: Arc<Semaphore>,
    context: Context,
    /// What it may hold of the room of the processor.
    quota: Room,
}

struct Open {
    payload: Payload,
    taken: Taken,
    outcome: Arc<Outcome>,
    close: oneshot::Sender<Closed>,
}

/// A batch that is complete.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) payload: Payload,
    pub(crate) taken: Taken,
    pub(crate) trigger: Trigger,
}

/// What a task needs to carry the batches of a shard. Holds one lease of it.
pub(crate) struct Charter {
    pub(crate) key: Key,
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) context: Context,
}

/// A batch that has just been opened and needs its task.
pub(crate) struct Opened {
    pub(crate) charter: Charter,
    pub(crate) closed: oneshot::Receiver<Closed>,
    pub(crate) resolver: Resolver,
    pub(crate) expires: Instant,
}

/// What did not fit into the batch that was open.
pub(crate) struct Overflow {
    pub(crate) charter: Charter,
    pub(crate) rest: SplitItems,
    pub(crate) taken: Taken,
}

/// A request that has its room.
pub(crate) struct Request {
    pub(crate) payload: Payload,
    pub(crate) taken: Taken,
    /// Where its room comes from, for a shard that is new.
    pub(crate) quota: Option<Room>,
}

/// What became of a request.
pub(crate) struct Pushed {
    pub(crate) outcome: Arc<Outcome>,
    pub(crate) opened: Option<Opened>,
    pub(crate) overflow: Option<Overflow>,
}

// === impl Limits ===

impl Limits {
    pub(crate) fn new(config: &Config) -> Self {
        let count = |n: u32| NonZeroUsize::new(usize::try_from(n).unwrap_or(usize::MAX));
        let max = count(config.send_batch_max_size).unwrap_or(NonZeroUsize::MAX);
        let waits = !config.timeout.is_zero();
        let enough = count(config.send_batch_size).filter(|_| waits).unwrap_or(NonZeroUsize::MIN);
        Self {
            enough: enough.min(max),
            max,
            timeout: config.timeout.get(),
            shards_max: count(config.metadata_cardinality_limit).map_or(usize::MAX, NonZeroUsize::get),
        }
    }
}

/// The key of a request: for each of `names` how many values it has, and each value with its length. No two
/// combinations have the same key; an absent name differs from an empty value.
pub(crate) fn key_of(names: &[String], metadata: &Metadata) -> SmallVec<[u8; 128]> {
    let mut key = SmallVec::new();
    let number = |key: &mut SmallVec<[u8; 128]>, n: usize| key.extend_from_slice(&n.to_le_bytes());
    for name in names {
        let values = metadata.values(name);
        number(&mut key, values.len());
        for value in values {
            number(&mut key, value.len());
            key.extend_from_slice(value.as_bytes());
        }
    }
    key
}

/// What a batch carries on of the requests in it: the listed metadata and nothing else.
fn context_of(names: &[String], metadata: &Metadata) -> Context {
    let pairs =
        names.iter().flat_map(|name| metadata.values(name).iter().map(move |value| (name, value.as_str())));
    Context { metadata: Metadata::from_pairs(pairs), ..Context::default() }
}

// === impl Shards ===

impl Shards {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, by_key: HashMap::new(), stopping: false }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether nothing more is taken.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Appends `payload` to the open batch of the shard `key`, and closes that when it has enough.
    ///
    /// `names` and `metadata` are what the key was made of.
    pub(crate) fn push(
        &mut self,
        key: &[u8],
        names: &[String],
        metadata: &Metadata,
        request: Request,
    ) -> Result<Pushed, ConsumeError> {
        let Request { payload, taken, quota } = request;
        let limits = self.limits;
        let shard = match self.shard(key, || context_of(names, metadata), quota) {
            Ok(shard) => shard,
            Err(error) => {
                taken.returned();
                return Err(error);
            }
        };
        if shard.open.as_ref().is_some_and(|open| open.payload.signal() != payload.signal()) {
            // A pipeline has one signal, so this does not happen; but bytes of two signals must never be joined.
            shard.close(Trigger::Size);
        }
        // The open batch has less than `enough` items, and `enough` is at most `max`.
        let capacity = NonZeroUsize::new(limits.max.get() - shard.pending()).unwrap_or(NonZeroUsize::MIN);
        if payload.items() <= capacity.get() {
            let (outcome, opened) = shard.append(payload, taken, limits);
            return Ok(Pushed { outcome, opened, overflow: None });
        }
        shard.append_part(payload, taken, capacity, limits)
    }

    /// Takes one more lease of a shard that is leased already.
    pub(crate) fn lease(&mut self, key: &[u8]) {
        if let Some(shard) = self.by_key.get_mut(key) {
            shard.leases += 1;
        }
    }

    /// Gives a lease back. A shard without leases has nothing pending and goes.
    pub(crate) fn release(&mut self, key: &[u8]) {
        if let Some(shard) = self.by_key.get_mut(key) {
            shard.leases -= 1;
            if shard.leases == 0 {
                self.by_key.remove(key);
            }
        }
    }

    /// Closes everything that is pending, if that is all there is: callers wait for room, and no export will give any.
    ///
    /// While a batch is on its way, pending ones stay as they are. Overload would else cut them small, just when large
    /// ones are needed.
    pub(crate) fn close_if_none_flies(&mut self) {
        if !self.by_key.values().any(Shard::flies) {
            self.by_key.values_mut().for_each(|shard| shard.close(Trigger::Size));
        }
    }

    /// As [`Shards::close_if_none_flies`], for a caller who waits for the quota of one shard.
    pub(crate) fn close_if_not_flying(&mut self, key: &[u8]) {
        if let Some(shard) = self.by_key.get_mut(key).filter(|shard| !shard.flies()) {
            shard.close(Trigger::Size);
        }
    }

    /// What the shard `key` may hold. A new one, if there is no such shard yet: hand it to [`Shards::push`].
    pub(crate) fn quota(&self, key: &[u8]) -> Room {
        self.by_key.get(key).map_or_else(Room::quota, |shard| shard.quota.clone())
    }

    /// Takes out the batch of `outcome`, whose time has passed; `None` when it has been closed already.
    pub(crate) fn close_expired(&mut self, key: &[u8], outcome: &Arc<Outcome>) -> Option<Closed> {
        let shard = self.by_key.get_mut(key)?;
        let open = shard.open.take_if(|open| Arc::ptr_eq(&open.outcome, outcome))?;
        Some(Closed { payload: open.payload, taken: open.taken, trigger: Trigger::Timeout })
    }

    /// Lets nothing wait any more: what is pending is closed, and so is what comes.
    pub(crate) fn hurry(&mut self) {
        self.limits.enough = NonZeroUsize::MIN;
        for shard in self.by_key.values_mut() {
            shard.close(Trigger::Timeout);
        }
    }

    /// Takes nothing more, and closes everything that is pending.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
        for shard in self.by_key.values_mut() {
            shard.close(Trigger::Timeout);
            shard.quota.close();
        }
    }

    fn shard(
        &mut self,
        key: &[u8],
        context: impl FnOnce() -> Context,
        quota: Option<Room>,
    ) -> Result<&mut Shard, ConsumeError> {
        if self.stopping {
            return Err(crate::batcher::stopping());
        }
        if !self.by_key.contains_key(key) {
            if self.by_key.len() >= self.limits.shards_max {
                return Err(ConsumeError::permanent("too many batcher metadata-value combinations"));
            }
            let shard = Shard::new(key.into(), context(), quota.unwrap_or_else(Room::quota));
            self.by_key.insert(shard.key.clone(), shard);
        }
        // It is there now; the error keeps a mistake from becoming a panic.
        self.by_key.get_mut(key).ok_or_else(crate::batcher::stopping)
    }
}

// === impl Shard ===

impl Shard {
    fn new(key: Key, context: Context, quota: Room) -> Self {
        Self { key, open: None, leases: 0, slots: Arc::new(Semaphore::new(EXPORTS_MAX)), context, quota }
    }

    /// Whether a batch of it is on its way.
    fn flies(&self) -> bool {
        self.leases > usize::from(self.open.is_some())
    }

    fn pending(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.payload.items())
    }

    /// Adds a payload that fits.
    fn append(&mut self, payload: Payload, taken: Taken, limits: Limits) -> (Arc<Outcome>, Option<Opened>) {
        let (outcome, opened) = self.join(payload, taken, limits.timeout);
        if self.pending() >= limits.enough.get() {
            self.close(Trigger::Size);
        }
        (outcome, opened)
    }

    /// Adds a payload to the open batch, or opens one with it.
    fn join(
        &mut self,
        mut payload: Payload,
        taken: Taken,
        timeout: std::time::Duration,
    ) -> (Arc<Outcome>, Option<Opened>) {
        if let Some(open) = &mut self.open {
            match open.payload.append(payload) {
                Ok(()) => {
                    open.taken.merge(taken);
                    return (open.outcome.clone(), None);
                }
                // It is of the same signal, see `Shards::push`; and if it were not, it would not be lost.
                Err(other) => payload = other,
            }
            self.close(Trigger::Size);
        }
        self.open(payload, taken, timeout)
    }

    /// Adds the first `capacity` items of a payload that has more; the batch is full with them.
    fn append_part(
        &mut self,
        payload: Payload,
        mut taken: Taken,
        capacity: NonZeroUsize,
        limits: Limits,
    ) -> Result<Pushed, ConsumeError> {
        let mut rest = payload.split_items(capacity, limits.max);
        let first =
            rest.next().ok_or_else(|| ConsumeError::permanent("batch: a request has no first part"))?;
        let (outcome, opened) = {
            let share = taken.split(first.len(), first.items());
            self.append(first, share, limits)
        };
        Ok(Pushed { outcome, opened, overflow: Some(Overflow { charter: self.charter(), rest, taken }) })
    }

    fn open(
        &mut self,
        payload: Payload,
        taken: Taken,
        timeout: std::time::Duration,
    ) -> (Arc<Outcome>, Option<Opened>) {
        let outcome = Arc::<Outcome>::default();
        let (close, closed) = oneshot::channel();
        self.open = Some(Open { payload, taken, outcome: outcome.clone(), close });
        let resolver = Resolver::new(outcome.clone());
        let expires = Instant::now() + timeout;
        (outcome, Some(Opened { charter: self.charter(), closed, resolver, expires }))
    }

    fn close(&mut self, trigger: Trigger) {
        if let Some(Open { payload, taken, close, .. }) = self.open.take() {
            // Nobody takes it only if the task is gone with its runtime; its resolver has told the callers.
            let _ = close.send(Closed { payload, taken, trigger });
        }
    }

    fn charter(&mut self) -> Charter {
        self.leases += 1;
        Charter { key: self.key.clone(), slots: self.slots.clone(), context: self.context.clone() }
    }
}
