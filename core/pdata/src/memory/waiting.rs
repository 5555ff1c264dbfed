//! Who waits for room, in order.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::{Account, Charge};

/// Requests for bytes that wait at the same time; more are refused at once.
pub const WAITERS_MAX: usize = 1024;

/// Those who wait. Only the first may take what is free, so that nobody large waits for ever behind many small ones.
#[derive(Debug, Default)]
pub(super) struct Queue {
    next_id: u64,
    waiters: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    bytes: usize,
    waker: Waker,
}

/// Waits for room; the charge, or `None` when too many wait already. Dropped, it leaves the queue.
#[derive(Debug)]
#[must_use = "nothing is reserved before it is polled"]
pub struct Reserving {
    account: Account,
    bytes: usize,
    id: Option<u64>,
}

impl Reserving {
    pub(super) fn new(account: Account, bytes: usize) -> Self {
        Self { account, bytes, id: None }
    }

    /// Takes a place in the queue, unless there are too many.
    fn queue_up(&mut self, queue: &mut Queue, waker: &Waker) -> bool {
        if queue.waiters.len() >= WAITERS_MAX {
            return false;
        }
        queue.next_id += 1;
        let id = queue.next_id;
        queue.waiters.push_back(Waiter { id, bytes: self.bytes, waker: waker.clone() });
        self.id = Some(id);
        // Before the last look at what is free; see `Account::release`.
        self.account.0.waiting.store(queue.waiters.len(), Ordering::SeqCst);
        true
    }
}

impl Future for Reserving {
    type Output = Option<Charge>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.id.is_none()
            && let Some(charge) = this.account.try_reserve(this.bytes)
        {
            return Poll::Ready(Some(charge));
        }
        let account = this.account.clone();
        let mut queue = account.queue();
        match this.id {
            None => {
                if !this.queue_up(&mut queue, cx.waker()) {
                    return Poll::Ready(None);
                }
                account.0.waits.fetch_add(1, Ordering::Relaxed);
            }
            Some(id) => {
                if let Some(waiter) = queue.waiters.iter_mut().find(|waiter| waiter.id == id) {
                    waiter.waker.clone_from(cx.waker());
                }
            }
        }
        let is_first = queue.waiters.front().map(|waiter| waiter.id) == this.id;
        if !is_first || !account.take(this.bytes, account.limit()) {
            return Poll::Pending;
        }
        queue.waiters.pop_front();
        this.id = None;
        account.0.waiting.store(queue.waiters.len(), Ordering::SeqCst);
        account.wake_first_of(&queue);
        Poll::Ready(Some(Charge { account: account.clone(), bytes: this.bytes }))
    }
}

impl Drop for Reserving {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        let mut queue = self.account.queue();
        queue.waiters.retain(|waiter| waiter.id != id);
        self.account.0.waiting.store(queue.waiters.len(), Ordering::SeqCst);
        self.account.wake_first_of(&queue);
    }
}

impl Account {
    pub(super) fn wake_first(&self) {
        self.wake_first_of(&self.queue());
    }

    /// Wakes the first, if there is room for it now.
    fn wake_first_of(&self, queue: &Queue) {
        if let Some(first) = queue.waiters.front()
            && self
                .0
                .used
                .load(Ordering::SeqCst)
                .checked_add(first.bytes)
                .is_some_and(|sum| sum <= self.limit())
        {
            first.waker.wake_by_ref();
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
