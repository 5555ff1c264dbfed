//! The bound on what the processor holds.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Telemetry that one processor holds at most, over all shards: pending, waiting for an export, or on its way.
///
/// Enough for a dozen batches of 8192 well-furnished spans. A single larger request is admitted when nothing else is
/// held, so the bound is this or the largest request.
pub const ROOM_BYTES: usize = PERMITS as usize * PERMIT_BYTES;

/// What one permit stands for. Every request takes at least one, so small requests cannot slip under the bound.
const PERMIT_BYTES: usize = 1024;

/// All permits there are: 64 MiB.
const PERMITS: u32 = 64 * 1024;

/// The room of one processor.
#[derive(Debug)]
pub(crate) struct Room(Arc<Semaphore>);

/// Room that is taken; given back on drop.
#[derive(Debug)]
pub(crate) struct Taken {
    room: Arc<Semaphore>,
    permits: u32,
}

/// The processor stops and gives no more room.
#[derive(Debug)]
pub(crate) struct NoMore;

// === impl Room ===

impl Room {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(PERMITS as usize)))
    }

    /// Room for `bytes`, if it can be had without waiting. `None` also when the room is closed.
    pub(crate) fn try_take(&self, bytes: usize) -> Option<Taken> {
        let permits = permits(bytes);
        self.0.try_acquire_many(permits).ok()?.forget();
        Some(Taken { room: self.0.clone(), permits })
    }

    /// Room for `bytes`, in order of asking.
    pub(crate) async fn take(&self, bytes: usize) -> Result<Taken, NoMore> {
        let permits = permits(bytes);
        self.0.acquire_many(permits).await.map_err(|_| NoMore)?.forget();
        Ok(Taken { room: self.0.clone(), permits })
    }

    /// Sends everyone away who waits, and who comes.
    pub(crate) fn close(&self) {
        self.0.close();
    }
}

fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(PERMITS).clamp(1, PERMITS)
}

// === impl Taken ===

impl Taken {
    /// Joins `other`, which is of the same room.
    pub(crate) fn merge(&mut self, mut other: Taken) {
        self.permits += std::mem::take(&mut other.permits);
    }

    /// The share of a part of `bytes`, as far as there is something left to share.
    pub(crate) fn split(&mut self, bytes: usize) -> Taken {
        let permits = permits(bytes).min(self.permits);
        self.permits -= permits;
        Taken { room: self.room.clone(), permits }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.add_permits(self.permits as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(room: &Room) -> usize {
        room.0.available_permits()
    }

    #[test]
    fn what_was_taken_comes_back_whole_however_it_was_split_and_merged() {
        let room = Room::new();
        let mut whole = room.try_take(10 * PERMIT_BYTES).unwrap();
        let mut part = whole.split(3 * PERMIT_BYTES);
        let greedy = whole.split(ROOM_BYTES);
        part.merge(room.try_take(1).unwrap());
        assert_eq!(free(&room), PERMITS as usize - 11);
        drop((whole, part, greedy));
        assert_eq!(free(&room), PERMITS as usize);
    }

    #[test]
    fn a_request_larger_than_the_room_takes_all_of_it() {
        let room = Room::new();
        let all = room.try_take(usize::MAX).unwrap();
        assert!(room.try_take(1).is_none());
        drop(all);
        assert!(room.try_take(1).is_some());
    }

    #[tokio::test]
    async fn a_closed_room_sends_away_those_who_wait() {
        let room = Room::new();
        let _all = room.try_take(ROOM_BYTES).unwrap();
        let (waiting, ()) = tokio::join!(room.take(1), async { room.close() });
        assert!(waiting.is_err());
    }
}
