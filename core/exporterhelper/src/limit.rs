//! The largest message that a destination is known to take.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long a learnt limit is kept: then a larger message is tried again, since the destination may have changed.
pub(crate) const LIMIT_LIFETIME: Duration = Duration::from_secs(600);

/// The largest message that the destination is known to take, learnt from its refusals.
#[derive(Debug)]
pub(crate) struct LearntLimit {
    /// [`usize::MAX`] is none; then nothing else is looked at, which is the usual case.
    bytes: AtomicUsize,
    expires: Mutex<Option<Instant>>,
}

impl LearntLimit {
    pub(crate) fn none() -> Self {
        Self { bytes: AtomicUsize::new(usize::MAX), expires: Mutex::new(None) }
    }

    /// The limit, if one is known.
    pub(crate) fn get(&self) -> Option<usize> {
        let bytes = self.bytes.load(Ordering::Relaxed);
        if bytes == usize::MAX {
            return None;
        }
        let mut expires = self.expires.lock().unwrap_or_else(PoisonError::into_inner);
        if expires.is_some_and(|expires| Instant::now() >= expires) {
            *expires = None;
            self.bytes.store(usize::MAX, Ordering::Relaxed);
            return None;
        }
        Some(bytes)
    }

    /// The destination takes no more than `bytes`. Only a smaller limit than the known one counts, and starts its
    /// lifetime again.
    pub(crate) fn learn(&self, bytes: usize) {
        let mut expires = self.expires.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes < self.bytes.load(Ordering::Relaxed) {
            self.bytes.store(bytes, Ordering::Relaxed);
            *expires = Some(Instant::now() + LIMIT_LIFETIME);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_smallest_limit_counts_until_it_expires() {
        let limit = LearntLimit::none();
        assert_eq!(limit.get(), None);
        limit.learn(4000);
        limit.learn(5000);
        assert_eq!(limit.get(), Some(4000));
        tokio::time::advance(LIMIT_LIFETIME / 2).await;
        limit.learn(3000);
        tokio::time::advance(LIMIT_LIFETIME / 2).await;
        assert_eq!(limit.get(), Some(3000));
        tokio::time::advance(LIMIT_LIFETIME / 2).await;
        assert_eq!(limit.get(), None);
        limit.learn(5000);
        assert_eq!(limit.get(), Some(5000));
    }
}
