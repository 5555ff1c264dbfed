//! Sampling of records by message text, as the Go collector's logger does it.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// Message texts are told apart by their hash modulo this: that bounds the memory. Texts that share a place share its
/// count, so that too little may be printed of a rare one, as in the original.
const PLACES: usize = 1024;
/// The counts begin anew after this time.
const TICK: Duration = Duration::from_secs(1);

/// What is printed of records with the same message text within a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sampling {
    /// The first this many.
    pub(crate) initial: u64,
    /// Then every this-many-th; 0 is none.
    pub(crate) thereafter: u64,
}

/// Decides which records are printed.
#[derive(Debug)]
pub(crate) struct Sampler {
    sampling: Sampling,
    hasher: RandomState,
    /// Empty when everything passes.
    places: Box<[Place]>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    begun: Option<Instant>,
    seen: u64,
}

impl Sampler {
    pub(crate) fn new(sampling: Sampling) -> Self {
        let places = if sampling.thereafter == 1 { 0 } else { PLACES };
        Self {
            sampling,
            hasher: RandomState::new(),
            places: vec![Place::default(); places].into_boxed_slice(),
        }
    }

    /// Whether the record with this message, which comes at `now`, is printed.
    pub(crate) fn passes(&mut self, message: &str, now: Instant) -> bool {
        if self.places.is_empty() {
            return true;
        }
        #[expect(clippy::cast_possible_truncation, reason = "the remainder is below the number of places")]
        let index = (self.hasher.hash_one(message) % self.places.len() as u64) as usize;
        let place = &mut self.places[index];
        if place.begun.is_none_or(|begun| now.saturating_duration_since(begun) >= TICK) {
            *place = Place { begun: Some(now), seen: 0 };
        }
        place.seen += 1;
        let past_initial = place.seen.saturating_sub(self.sampling.initial);
        past_initial == 0
            || (self.sampling.thereafter > 0 && past_initial.is_multiple_of(self.sampling.thereafter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(sampler: &mut Sampler, message: &str, now: Instant, records: usize) -> Vec<bool> {
        (0..records).map(|_| sampler.passes(message, now)).collect()
    }

    #[test]
    fn first_records_pass_and_then_every_mth() {
        let now = Instant::now();
        let mut sampler = Sampler::new(Sampling { initial: 2, thereafter: 3 });
        assert_eq!(
            passed(&mut sampler, "a", now, 9),
            [true, true, false, false, true, false, false, true, false]
        );
    }

    #[test]
    fn counts_begin_anew_each_second() {
        let now = Instant::now();
        let mut sampler = Sampler::new(Sampling { initial: 1, thereafter: 0 });
        assert_eq!(passed(&mut sampler, "a", now, 3), [true, false, false]);
        assert_eq!(passed(&mut sampler, "a", now + Duration::from_millis(999), 1), [false]);
        assert_eq!(passed(&mut sampler, "a", now + TICK, 2), [true, false]);
    }

    #[test]
    fn every_record_passes_when_every_first_is_asked_for() {
        let mut sampler = Sampler::new(Sampling { initial: 0, thereafter: 1 });
        assert!(passed(&mut sampler, "a", Instant::now(), 100).into_iter().all(|passes| passes));
    }
}
