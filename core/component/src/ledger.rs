//! What became of every item that a component took responsibility for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use spanbridge_pdata::Signal;

/// The books of one component. Cheap to clone; clones share the books.
///
/// Whoever takes responsibility for items opens an [`Entry`] for them and settles it. At any time, for each signal,
/// `taken + restored = delivered + returned + dropped + kept + lost + held`, where `held` is counted by the entries that
/// are open. An entry that is dropped with items unsettled counts them as `lost`: a mistake of ours, which every fault
/// test looks for.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<[Book; 3]>);

#[derive(Debug, Default)]
struct Book {
    taken: AtomicU64,
    restored: AtomicU64,
    delivered: AtomicU64,
    returned: AtomicU64,
    kept: AtomicU64,
    lost: AtomicU64,
    held: AtomicU64,
    dropped: Mutex<BTreeMap<&'static str, u64>>,
}

/// The books of one signal at one moment, in items.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Balance {
    /// Taken from upstream.
    pub taken: u64,
    /// Found on disk, left by an earlier process.
    pub restored: u64,
    /// Handed on, and the next one took responsibility.
    pub delivered: u64,
    /// Given back to the caller with an error.
    pub returned: u64,
    /// Dropped for good, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Left on disk for the next process.
    pub kept: u64,
    /// Unaccounted for: a mistake of ours.
    pub lost: u64,
    /// Held now: waiting or on the way.
    pub held: u64,
}

impl Balance {
    /// The sum of what was dropped.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// Whether nothing was lost and both sides are equal. Exact when the component is at rest; while entries are being
    /// settled, the sides may differ by what is just being settled.
    pub fn is_balanced(&self) -> bool {
        let gone = self.delivered + self.returned + self.dropped_total() + self.kept + self.lost + self.held;
        self.lost == 0 && self.taken + self.restored == gone
    }

    /// Whether anything was ever booked.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Ledger {
    /// Empty books.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes responsibility for `items` that a caller handed over.
    pub fn take(&self, signal: Signal, items: usize) -> Entry {
        let book = self.book(signal);
        book.taken.fetch_add(items as u64, Ordering::Relaxed);
        self.entry(signal, items)
    }

    /// Takes responsibility for `items` that an earlier process left on disk.
    pub fn restore(&self, signal: Signal, items: usize) -> Entry {
        let book = self.book(signal);
        book.restored.fetch_add(items as u64, Ordering::Relaxed);
        self.entry(signal, items)
    }

    /// The books of `signal` now.
    pub fn balance(&self, signal: Signal) -> Balance {
        let book = self.book(signal);
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Balance {
            taken: get(&book.taken),
            restored: get(&book.restored),
            delivered: get(&book.delivered),
            returned: get(&book.returned),
            dropped: book.dropped.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            kept: get(&book.kept),
            lost: get(&book.lost),
            held: get(&book.held),
        }
    }

    fn entry(&self, signal: Signal, items: usize) -> Entry {
        self.book(signal).held.fetch_add(items as u64, Ordering::Relaxed);
        Entry { ledger: self.clone(), signal, items: items as u64 }
    }

    fn book(&self, signal: Signal) -> &Book {
        &self.0[signal.index()]
    }
}

/// Items that somebody is responsible for until they are settled.
#[derive(Debug)]
#[must_use = "items that are not settled count as lost"]
pub struct Entry {
    ledger: Ledger,
    signal: Signal,
    items: u64,
}

impl Entry {
    /// Items that are not settled yet.
    pub fn items(&self) -> usize {
        usize::try_from(self.items).unwrap_or(usize::MAX)
    }

    /// The signal they are of.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// The next one took responsibility for `items` of them (all that are left, if more).
    pub fn delivered(&mut self, items: usize) {
        self.settle(items, |book| &book.delivered);
    }

    /// `items` of them go back to the caller with an error.
    pub fn returned(&mut self, items: usize) {
        self.settle(items, |book| &book.returned);
    }

    /// `items` of them stay on disk for the next process.
    pub fn kept(&mut self, items: usize) {
        self.settle(items, |book| &book.kept);
    }

    /// `items` of them are given up for good. `reason` is a label: `refused`, `too_large`, `retries_exhausted`.
    pub fn dropped(&mut self, items: usize, reason: &'static str) {
        let items = self.close(items);
        if items > 0 {
            let mut dropped = self.book().dropped.lock().unwrap_or_else(PoisonError::into_inner);
            *dropped.entry(reason).or_default() += items;
        }
    }

    /// Takes in the items of another entry of the same books and signal.
    pub fn join(&mut self, mut other: Entry) {
        debug_assert!(Arc::ptr_eq(&self.ledger.0, &other.ledger.0) && self.signal == other.signal);
        self.items += std::mem::take(&mut other.items);
    }

    /// Moves `items` of them into an entry of their own.
    pub fn split_off(&mut self, items: usize) -> Entry {
        let items = self.items.min(items as u64);
        self.items -= items;
        Entry { ledger: self.ledger.clone(), signal: self.signal, items }
    }

    fn settle(&mut self, items: usize, side: impl FnOnce(&Book) -> &AtomicU64) {
        let items = self.close(items);
        side(self.book()).fetch_add(items, Ordering::Relaxed);
    }

    fn close(&mut self, items: usize) -> u64 {
        let items = self.items.min(items as u64);
        self.items -= items;
        self.book().held.fetch_sub(items, Ordering::Relaxed);
        items
    }

    fn book(&self) -> &Book {
        self.ledger.book(self.signal)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.items > 0 {
            self.settle(self.items(), |book| &book.lost);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settled_items_balance() {
        let ledger = Ledger::new();
        let mut entry = ledger.take(Signal::Traces, 10);
        let mut part = entry.split_off(4);
        part.delivered(3);
        part.dropped(9, "refused");
        entry.returned(2);
        assert_eq!(ledger.balance(Signal::Traces).held, 4);
        entry.kept(4);
        drop((entry, part));

        let balance = ledger.balance(Signal::Traces);

        assert!(balance.is_balanced(), "{balance:?}");
        assert_eq!((balance.delivered, balance.returned, balance.kept), (3, 2, 4));
        assert_eq!(balance.dropped, BTreeMap::from([("refused", 1)]));
        assert!(ledger.balance(Signal::Logs).is_empty());
    }

    #[test]
    fn entries_can_be_joined() {
        let ledger = Ledger::new();
        let mut pool = ledger.take(Signal::Logs, 0);
        pool.join(ledger.take(Signal::Logs, 3));
        pool.join(ledger.restore(Signal::Logs, 4));
        assert_eq!((pool.items(), ledger.balance(Signal::Logs).held), (7, 7));
        pool.delivered(7);
        assert!(ledger.balance(Signal::Logs).is_balanced());
    }

    #[test]
    fn an_entry_that_nobody_settles_is_lost_and_unbalanced() {
        let ledger = Ledger::new();
        drop(ledger.restore(Signal::Logs, 7));
        let balance = ledger.balance(Signal::Logs);
        assert_eq!((balance.restored, balance.lost, balance.held), (7, 7, 0));
        assert!(!balance.is_balanced());
    }
}
