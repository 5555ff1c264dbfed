//! The queue in memory (reference: collector-core, 8.4).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::IntGauge;
use spanbridge_component::ConsumeError;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::ticket::Part;

/// How much may wait and be on its way together.
#[derive(Debug)]
pub(crate) struct Room {
    capacity: u64,
    /// One permit is one unit of size.
    left: Arc<Semaphore>,
    /// `queue_size`.
    taken: IntGauge,
}

/// A place in the room, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    _permit: OwnedSemaphorePermit,
    size: i64,
    taken: IntGauge,
}

/// Requests in the order in which they came in.
pub(crate) struct MemoryQueue {
    pub(crate) room: Room,
    state: Mutex<State>,
    /// Wakes a consumer. Whoever takes one request while others wait wakes the next.
    changed: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Part>,
    is_closed: bool,
}

/// The queue is full.
pub(crate) fn full() -> ConsumeError {
    ConsumeError::retryable("sending queue is full")
}

/// The request is larger than the whole queue. That is permanent: the same request will never fit, and a client that tried
/// again would do so for ever.
pub(crate) fn larger_than_the_queue(size: u64, capacity: u64) -> ConsumeError {
    ConsumeError::permanent(format!(
        "element size too large: {size}, and sending_queue::queue_size is {capacity}"
    ))
}

/// The queue takes nothing any more, in this process.
pub(crate) fn stopped() -> ConsumeError {
    ConsumeError::retryable("sending queue is stopped")
}

// === impl Room ===

impl Room {
    pub(crate) fn new(capacity: u64, taken: IntGauge) -> Self {
        let permits = usize::try_from(capacity).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { capacity, left: Arc::new(Semaphore::new(permits)), taken }
    }

    /// Takes a place of `size`, now or, if it `blocks`, when there is one, in the order of the calls.
    pub(crate) async fn take(&self, size: u64, blocks: bool) -> Result<Held, ConsumeError> {
        let too_large = || larger_than_the_queue(size, self.capacity);
        if size > self.capacity {
            return Err(too_large());
        }
        // A request of more than 4 GiB does not come over any wire.
        let permits = u32::try_from(size).map_err(|_| too_large())?;
        let permit = match self.left.clone().try_acquire_many_owned(permits) {
            Ok(permit) => permit,
            Err(TryAcquireError::Closed) => return Err(stopped()),
            Err(TryAcquireError::NoPermits) if !blocks => return Err(full()),
            Err(TryAcquireError::NoPermits) => {
                self.left.clone().acquire_many_owned(permits).await.map_err(|_| stopped())?
            }
        };
        let size = i64::from(permits);
        self.taken.add(size);
        Ok(Held { _permit: permit, size, taken: self.taken.clone() })
    }

    /// Takes a place for what a predecessor held, when there is one: who waits here is served before those who do not
    /// wait. What fitted there fits here, too: if it is larger than this room, it takes all of it.
    pub(crate) async fn inherit(&self, size: u64) -> Result<Held, ConsumeError> {
        self.take(size.min(self.capacity), true).await
    }

    /// Refuses from now on, also those who wait.
    fn close(&self) {
        self.left.close();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.taken.sub(self.size);
    }
}

// === impl MemoryQueue ===

impl MemoryQueue {
    pub(crate) fn new(room: Room) -> Self {
        Self { room, state: Mutex::default(), changed: Notify::new() }
    }

    /// Puts a request at the end. If the queue was closed meanwhile, the request comes back.
    pub(crate) fn push(&self, part: Part) -> Result<(), Box<Part>> {
        let mut state = self.state();
        if state.is_closed {
            return Err(Box::new(part));
        }
        state.waiting.push_back(part);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Takes the oldest request; waits for one. `None` when the queue is closed and empty. Dropping the future takes
    /// nothing.
    pub(crate) async fn take(&self) -> Option<Part> {
        loop {
            // Made before the look, so that what happens in between is not missed.
            let changed = self.changed.notified();
            {
                let mut state = self.state();
                if let Some(part) = state.waiting.pop_front() {
                    if !state.waiting.is_empty() {
                        self.changed.notify_one();
                    }
                    return Some(part);
                }
                if state.is_closed {
                    return None;
                }
            }
            changed.await;
        }
    }

    /// Takes no new requests.
    pub(crate) fn close(&self) {
        self.room.close();
        self.state().is_closed = true;
        self.changed.notify_waiters();
    }

    /// Takes no new requests and gives out everything that waits, in order.
    pub(crate) fn close_and_drain(&self) -> VecDeque<Part> {
        self.close();
        std::mem::take(&mut self.state().waiting)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
