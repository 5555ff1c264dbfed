//! Thins out equal records, as zap's sampler does.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::config::{LogLevel, Sampling};

/// Counters a level. Messages share one when their hashes collide, as in zap: memory stays bounded whatever is logged.
const COUNTERS_PER_LEVEL: usize = 4096;
/// Levels that records can have: debug to error.
const LEVELS: usize = 4;

/// Decides which records are written.
pub(super) struct Sampler {
    config: Sampling,
    hasher: RandomState,
    windows: Mutex<Windows>,
}

/// The current window of every counter. Plain zeros, which the allocator hands out without touching the memory.
struct Windows {
    /// When it ends, in nanoseconds since 1970; 0 before the first record.
    ends: Vec<u64>,
    /// Records in it so far.
    seen: Vec<u64>,
}

impl Sampler {
    /// A sampler that has seen nothing.
    pub(super) fn new(config: Sampling) -> Self {
        let zeros = || vec![0; COUNTERS_PER_LEVEL * LEVELS];
        let windows = Mutex::new(Windows { ends: zeros(), seen: zeros() });
        Self { config, hasher: RandomState::new(), windows }
    }

    /// Counts a record and says whether to write it.
    pub(super) fn admits(&self, level: LogLevel, message: &str, now: SystemTime) -> bool {
        let slot = usize::try_from(self.hasher.hash_one(message) % COUNTERS_PER_LEVEL as u64).unwrap_or(0);
        let index = (level as usize).min(LEVELS - 1) * COUNTERS_PER_LEVEL + slot;
        let now = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, nanos);
        let new_end = now.saturating_add(nanos(self.config.tick.get()));
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let Windows { ends, seen } = &mut *windows;
        // An end beyond a new window's: the clock was set back, and the window would last until it has caught up.
        if ends[index] <= now || ends[index] > new_end {
            (ends[index], seen[index]) = (new_end, 0);
        }
        seen[index] += 1;
        let (seen, Sampling { initial, thereafter, .. }) = (seen[index], &self.config);
        seen <= *initial || (*thereafter > 0 && (seen - initial).is_multiple_of(*thereafter))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(initial: u64, thereafter: u64) -> Sampler {
        Sampler::new(Sampling { initial, thereafter, ..Sampling::default() })
    }

    #[test]
    fn writes_the_first_few_and_then_every_so_manieth_of_a_window() {
        let sampler = sampler(2, 3);
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let admitted: Vec<usize> = (1..=11).filter(|_| sampler.admits(LogLevel::Info, "m", start)).collect();
        assert_eq!(admitted, [1, 2, 5, 8, 11]);
        assert!(sampler.admits(LogLevel::Info, "m", start + Duration::from_secs(10)), "a new window");
    }

    #[test]
    fn levels_and_messages_are_counted_apart() {
        let sampler = sampler(1, 0);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        assert!(sampler.admits(LogLevel::Info, "m", now));
        assert!(!sampler.admits(LogLevel::Info, "m", now), "thereafter 0 drops the rest");
        assert!(sampler.admits(LogLevel::Warn, "m", now));
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_silence_a_message() {
        let sampler = sampler(1, 0);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100_000);
        assert!(sampler.admits(LogLevel::Info, "m", now));
        assert!(sampler.admits(LogLevel::Info, "m", now - Duration::from_secs(3_600)));
    }
}
