//! The bound on what the processor holds.

use std::sync::Arc;

use smallvec::SmallVec;
use spanbridge_component::ledger::Entry;
use tokio::sync::Semaphore;

/// Telemetry that one processor holds at most, over all shards: pending, waiting for an export, or on its way.
///
/// Enough for a dozen batches of 8192 well-furnished spans. A single larger request is admitted when nothing else is
/// held, so the bound is this or the largest request.
pub const ROOM_BYTES: usize = PERMITS as usize * PERMIT_BYTES;

/// What one combination of metadata values may hold of it: the destination of one tenant that hangs leaves the others
/// three quarters.
const QUOTA_PERMITS: u32 = PERMITS / 4;

/// What one permit stands for. Every request takes at least one, so small requests cannot slip under the bound.
const PERMIT_BYTES: usize = 1024;

/// All permits there are: 64 MiB.
const PERMITS: u32 = 64 * 1024;

/// Room that can be taken: all of a processor's, or the part of it that one combination of metadata values may hold.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    free: Arc<Semaphore>,
    permits: u32,
}

/// A part of a room; given back on drop.
#[derive(Debug)]
struct Part {
    room: Arc<Semaphore>,
    permits: u32,
}

/// What is taken for some telemetry: room, and the books of the items in it that this processor is responsible for
/// because their callers were answered.
#[derive(Debug)]
pub(crate) struct Taken {
    room: Part,
    quota: Option<Part>,
    entries: SmallVec<[Entry; 1]>,
}

/// What is taken of a request whose caller is not answered yet: what is left in here when the caller goes away is the
/// caller's again.
#[derive(Debug)]
pub(crate) struct OfCaller(pub(crate) Taken);

/// The processor stops and gives no more room.
#[derive(Debug)]
pub(crate) struct NoMore;

// === impl Room ===

impl Room {
    /// The room of a processor.
    pub(crate) fn new() -> Self {
        Self::of(PERMITS)
    }

    /// What one combination of metadata values may hold.
    pub(crate) fn quota() -> Self {
        Self::of(QUOTA_PERMITS)
    }

    fn of(permits: u32) -> Self {
        Self { free: Arc::new(Semaphore::new(permits as usize)), permits }
    }

    /// Room for `bytes` of this and of `quota`, if it can be had without waiting. `None` also when one of them is closed.
    pub(crate) fn try_take(&self, bytes: usize, quota: Option<&Room>) -> Option<Taken> {
        let quota = match quota {
            Some(quota) => Some(quota.try_part(bytes)?),
            None => None,
        };
        Some(Taken { room: self.try_part(bytes)?, quota, entries: SmallVec::new() })
    }

    /// Room for `bytes`, in order of asking: first of `quota`, so that who waits for that holds none of this.
    pub(crate) async fn take(&self, bytes: usize, quota: Option<&Room>) -> Result<Taken, NoMore> {
        let quota = match quota {
            Some(quota) => Some(quota.part(bytes).await?),
            None => None,
        };
        Ok(Taken { room: self.part(bytes).await?, quota, entries: SmallVec::new() })
    }

    /// Sends everyone away who waits, and who comes.
    pub(crate) fn close(&self) {
        self.free.close();
    }

    fn try_part(&self, bytes: usize) -> Option<Part> {
        let permits = self.permits_for(bytes);
        self.free.try_acquire_many(permits).ok()?.forget();
        Some(Part { room: self.free.clone(), permits })
    }

    async fn part(&self, bytes: usize) -> Result<Part, NoMore> {
        let permits = self.permits_for(bytes);
        self.free.acquire_many(permits).await.map_err(|_| NoMore)?.forget();
        Ok(Part { room: self.free.clone(), permits })
    }

    fn permits_for(&self, bytes: usize) -> u32 {
        permits(bytes).min(self.permits)
    }
}

fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(PERMITS).clamp(1, PERMITS)
}

// === impl Part ===

impl Part {
    /// Joins `other`, if it is of the same room.
    fn merge(&mut self, mut other: Part) {
        if Arc::ptr_eq(&self.room, &other.room) {
            self.permits += std::mem::take(&mut other.permits);
        }
    }

    fn split(&mut self, bytes: usize) -> Part {
        let permits = permits(bytes).min(self.permits);
        self.permits -= permits;
        Part { room: self.room.clone(), permits }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.room.add_permits(self.permits as usize);
    }
}

// === impl Taken ===

impl Taken {
    /// Takes responsibility for the items of `entry`.
    pub(crate) fn book(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// Items whose callers were answered.
    pub(crate) fn accepted_items(&self) -> usize {
        self.entries.iter().map(Entry::items).sum()
    }

    /// Joins `other`, which is of the same processor.
    pub(crate) fn merge(&mut self, other: Taken) {
        let Taken { room, quota, entries } = other;
        self.room.merge(room);
        match (&mut self.quota, quota) {
            (Some(own), Some(quota)) => own.merge(quota),
            (own @ None, quota) => *own = quota,
            (Some(_), None) => {}
        }
        self.entries.extend(entries);
    }

    /// The share of a part of `bytes` and `items`, as far as there is something left to share.
    pub(crate) fn split(&mut self, bytes: usize, items: usize) -> Taken {
        let mut entries = SmallVec::new();
        let mut left = items;
        for entry in &mut self.entries {
            let items = entry.items().min(left);
            if items > 0 {
                left -= items;
                entries.push(entry.split_off(items));
            }
        }
        let quota = self.quota.as_mut().map(|quota| quota.split(bytes));
        Taken { room: self.room.split(bytes), quota, entries }
    }

    /// Whoever comes next has taken responsibility; the room is free.
    pub(crate) fn delivered(mut self) {
        self.entries.iter_mut().for_each(|entry| entry.delivered(usize::MAX));
    }

    /// The callers get an error and keep their telemetry; the room is free.
    pub(crate) fn returned(self) {
        drop(OfCaller(self));
    }

    /// What was accepted is given up; the room is free.
    pub(crate) fn dropped(mut self, reason: &'static str) {
        self.entries.iter_mut().for_each(|entry| entry.dropped(usize::MAX, reason));
    }
}

// === impl OfCaller ===

impl OfCaller {
    /// Takes everything out.
    pub(crate) fn take(&mut self) -> Taken {
        self.0.split(usize::MAX, usize::MAX)
    }
}

impl Drop for OfCaller {
    fn drop(&mut self) {
        self.0.entries.iter_mut().for_each(|entry| entry.returned(usize::MAX));
    }
}

#[cfg(test)]
mod tests {
    use spanbridge_component::{Ledger, Signal};

    use super::*;

    fn free(room: &Room) -> usize {
        room.free.available_permits()
    }

    #[test]
    fn what_was_taken_comes_back_whole_however_it_was_split_and_merged() {
        let room = Room::new();
        let mut whole = room.try_take(10 * PERMIT_BYTES, None).unwrap();
        let mut part = whole.split(3 * PERMIT_BYTES, 0);
        let greedy = whole.split(ROOM_BYTES, 0);
        part.merge(room.try_take(1, None).unwrap());
        assert_eq!(free(&room), PERMITS as usize - 11);
        drop((whole, part, greedy));
        assert_eq!(free(&room), PERMITS as usize);
    }

    #[test]
    fn a_request_larger_than_the_room_takes_all_of_it() {
        let room = Room::new();
        let all = room.try_take(usize::MAX, None).unwrap();
        assert!(room.try_take(1, None).is_none());
        drop(all);
        assert!(room.try_take(1, None).is_some());
    }

    #[test]
    fn a_quota_leaves_room_to_others_and_comes_back_too() {
        let (room, quota) = (Room::new(), Room::quota());
        let mut all = room.try_take(ROOM_BYTES / 4, Some(&quota)).unwrap();
        assert!(room.try_take(1, Some(&quota)).is_none());
        assert_eq!(free(&room), PERMITS as usize * 3 / 4, "who does not get its quota takes no room");
        assert!(room.try_take(1, Some(&Room::quota())).is_some());
        drop(all.split(1, 0));
        let other = room.try_take(1, Some(&quota)).unwrap();
        all.merge(other);
        drop(all);
        assert_eq!((free(&room), free(&quota)), (PERMITS as usize, QUOTA_PERMITS as usize));
        assert!(room.try_take(usize::MAX, Some(&quota)).is_some(), "one large request is admitted");
    }

    #[test]
    fn the_books_go_with_the_items() {
        let (room, ledger) = (Room::new(), Ledger::new());
        let mut whole = room.try_take(10, None).unwrap();
        whole.book(ledger.take(Signal::Traces, 10));
        let mut part = whole.split(1, 4);
        let mut other = room.try_take(10, None).unwrap();
        other.book(ledger.take(Signal::Traces, 5));
        part.merge(other);
        assert_eq!((whole.accepted_items(), part.accepted_items()), (6, 9));
        part.split(1, 7).delivered();
        part.dropped("refused");
        whole.returned();
        let balance = ledger.balance(Signal::Traces);
        assert!(balance.is_balanced(), "{balance:?}");
        assert_eq!((balance.delivered, balance.dropped_total(), balance.returned), (7, 2, 6));
    }

    #[tokio::test]
    async fn a_closed_room_sends_away_those_who_wait() {
        let room = Room::new();
        let _all = room.try_take(ROOM_BYTES, None).unwrap();
        let (waiting, ()) = tokio::join!(room.take(1, None), async { room.close() });
        assert!(waiting.is_err());
    }
}
