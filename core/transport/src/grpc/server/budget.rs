//! Bytes that the messages of one connection may take, from the declared length on until the call is answered.
//!
//! It keeps one client from taking everything. The memory of the process is asked as well; see `admission.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A number of bytes that messages share.
#[derive(Debug)]
pub(super) struct ByteBudget {
    free: AtomicUsize,
}

/// A part of a budget, given back on drop.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Arc<ByteBudget>,
    bytes: usize,
}

impl ByteBudget {
    pub(super) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { free: AtomicUsize::new(bytes) })
    }

    /// `bytes` of it, or nothing.
    pub(super) fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Reservation> {
        self.take(bytes).then(|| Reservation { budget: self.clone(), bytes })
    }

    fn take(&self, bytes: usize) -> bool {
        // Only a count: nothing else is ordered by it.
        self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(bytes)).is_ok()
    }
}

impl Reservation {
    /// Changes it to `bytes`; false, and nothing changed, if the budget does not have them.
    pub(super) fn resize(&mut self, bytes: usize) -> bool {
        if bytes > self.bytes {
            if !self.budget.take(bytes - self.bytes) {
                return false;
            }
        } else {
            self.budget.free.fetch_add(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
        true
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.free.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_gives_what_it_has_and_gets_it_back() {
        let budget = ByteBudget::new(10);
        let mut first = budget.reserve(6).unwrap();
        assert!(budget.reserve(5).is_none());
        let second = budget.reserve(4).unwrap();
        assert!(!first.resize(7));
        drop(second);
        assert!(first.resize(10));
        assert!(first.resize(1));
        assert!(budget.reserve(9).is_some());
        drop(first);
        assert!(budget.reserve(10).is_some());
    }
}
