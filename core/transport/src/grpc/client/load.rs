//! `peak_ewma`: how loaded a connection looks from here, and which of two it is better to ask.
//!
//! The cost of a connection is its latency, as a moving average that jumps up at once and comes down slowly, times the
//! requests that are under way on it and the one to come ("peak EWMA", as Finagle introduced it). Failures count as slow
//! answers, so that a backend that fails fast attracts nothing, and for a while after each the connection is taken only if
//! all others fail too. Costs fade while nothing is asked, so whoever was slow is tried again. Of two connections drawn at
//! random the cheaper one is taken ("power of two choices"), which avoids both the crowd at the best one and the walk
//! over all.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// After this long without a new answer, or of answers that are all fast, a slow one counts for 37%.
const DECAY: Duration = Duration::from_secs(10);

/// What a failure counts as at least.
const FAILURE_COST: Duration = Duration::from_secs(1);

/// How long a connection is left alone after a failure; doubled with each further one up to [`REST_MAX`].
const REST: Duration = Duration::from_secs(1);

/// The longest rest: a backend that always fails is asked about once in this time.
const REST_MAX: Duration = Duration::from_secs(60);

/// What is assumed of a connection on which nothing was answered yet. Low, so that new ones are tried at once.
const LATENCY_UNKNOWN: Duration = Duration::from_millis(1);

/// How loaded one destination looks from here.
#[derive(Debug)]
pub(crate) struct Load {
    outstanding: AtomicUsize,
    latency: Mutex<Latency>,
}

#[derive(Debug)]
struct Latency {
    /// Seconds.
    estimate: f64,
    at: Instant,
    /// Failures since the last success, and until when they keep requests away.
    failures: u32,
    rests_until: Instant,
}

impl Load {
    pub(crate) fn new(now: Instant) -> Self {
        let latency =
            Latency { estimate: LATENCY_UNKNOWN.as_secs_f64(), at: now, failures: 0, rests_until: now };
        Self { outstanding: AtomicUsize::new(0), latency: Mutex::new(latency) }
    }

    /// A request goes out.
    pub(crate) fn begin(&self) {
        self.outstanding.fetch_add(1, Ordering::Relaxed);
    }

    /// A request is over after `elapsed`; `failed` if the destination is to blame.
    pub(crate) fn end(&self, elapsed: Duration, failed: bool, now: Instant) {
        self.outstanding.fetch_sub(1, Ordering::Relaxed);
        let mut latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        if failed {
            latency.fail(now);
            latency.observe(elapsed.max(FAILURE_COST).as_secs_f64(), now);
        } else {
            latency.failures = 0;
            latency.rests_until = now;
            latency.observe(elapsed.as_secs_f64(), now);
        }
    }

    /// Whether it has failed lately and is to be left alone while others do not.
    pub(crate) fn rests(&self, now: Instant) -> bool {
        self.latency.lock().unwrap_or_else(PoisonError::into_inner).rests_until > now
    }

    /// What one more request would cost, in seconds of latency.
    pub(crate) fn cost(&self, now: Instant) -> f64 {
        let latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        // One that hangs has nothing to observe, but its requests pile up.
        #[expect(clippy::cast_precision_loss, reason = "far fewer requests than 2^52")]
        let queue = (self.outstanding.load(Ordering::Relaxed) + 1) as f64;
        latency.faded(now) * queue
    }
}

impl Latency {
    /// How much of the past still counts.
    fn weight(&self, now: Instant) -> f64 {
        (-now.saturating_duration_since(self.at).as_secs_f64() / DECAY.as_secs_f64()).exp()
    }

    /// The estimate if nothing more is observed: it fades to what is assumed of the unknown.
    fn faded(&self, now: Instant) -> f64 {
        let floor = self.estimate.min(LATENCY_UNKNOWN.as_secs_f64());
        (self.estimate * self.weight(now)).max(floor)
    }

    fn fail(&mut self, now: Instant) {
        let rest = REST.saturating_mul(1 << self.failures.min(10)).min(REST_MAX);
        // Of many requests that were under way together each fails, which is one failure.
        if self.rests_until <= now {
            self.failures = self.failures.saturating_add(1);
            self.rests_until = now + rest;
        }
    }

    fn observe(&mut self, sample: f64, now: Instant) {
        let weight = self.weight(now);
        self.estimate =
            if sample > self.estimate { sample } else { self.estimate * weight + sample * (1.0 - weight) };
        self.at = now;
    }
}

/// The cheaper of two candidates among `count`, drawn with `random`, which gives a number below its argument. `None` if
/// there is no candidate.
pub(crate) fn choose(
    count: usize,
    is_candidate: impl Fn(usize) -> bool,
    cost: impl Fn(usize) -> f64,
    mut random: impl FnMut(usize) -> usize,
) -> Option<usize> {
    // From a random place on: those behind a gap are drawn a little more often, which does no harm.
    let mut draw = |other: Option<usize>| {
        let start = random(count);
        (0..count).map(|offset| (start + offset) % count).find(|i| Some(*i) != other && is_candidate(*i))
    };
    if count == 0 {
        return None;
    }
    let first = draw(None)?;
    let Some(second) = draw(Some(first)) else { return Some(first) };
    Some(if cost(second) < cost(first) { second } else { first })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Time as the test tells it.
    struct Script {
        start: Instant,
        loads: Vec<Load>,
        random: fastrand::Rng,
    }

    impl Script {
        fn new(count: usize) -> Self {
            let start = Instant::now();
            let loads = (0..count).map(|_| Load::new(start)).collect();
            Self { start, loads, random: fastrand::Rng::with_seed(7) }
        }

        fn at(&self, millis: u64) -> Instant {
            self.start + Duration::from_millis(millis)
        }

        fn choose(&mut self, now: Instant) -> usize {
            let (loads, random) = (&self.loads, &mut self.random);
            let mut choose = |rested: bool| {
                let is_candidate = |i: usize| !rested || !loads[i].rests(now);
                choose(loads.len(), is_candidate, |i| loads[i].cost(now), |n| random.usize(..n))
            };
            choose(true).or_else(|| choose(false)).unwrap()
        }

        /// One request a millisecond from `from` to `to`, of which each is answered before the next, with the latency that
        /// `answer` says: how many went to each.
        fn run(&mut self, from: u64, to: u64, answer: impl Fn(usize) -> (u64, bool)) -> Vec<usize> {
            let mut counts = vec![0; self.loads.len()];
            for millis in from..to {
                let now = self.at(millis);
                let chosen = self.choose(now);
                counts[chosen] += 1;
                let (latency, failed) = answer(chosen);
                let elapsed = Duration::from_millis(latency);
                self.loads[chosen].begin();
                self.loads[chosen].end(elapsed, failed, now);
            }
            counts
        }
    }

    #[test]
    fn a_slow_backend_gets_less() {
        let mut script = Script::new(3);
        let counts = script.run(0, 3000, |i| (if i == 2 { 100 } else { 5 }, false));
        assert!(counts[2] <= 30, "{counts:?}");
        assert!(counts[0] > 700 && counts[1] > 700, "{counts:?}");
    }

    #[test]
    fn a_backend_with_more_under_way_gets_less() {
        let mut script = Script::new(2);
        script.run(0, 100, |_| (5, false));
        (0..10).for_each(|_| script.loads[0].begin());
        let counts = script.run(100, 200, |_| (5, false));
        assert_eq!(counts[0], 0, "{counts:?}");
    }

    #[test]
    fn a_backend_that_fails_fast_is_avoided_and_asked_again_after_a_while() {
        let mut script = Script::new(2);
        let failing = |i: usize| if i == 0 { (0, true) } else { (10, false) };
        let counts = script.run(0, 20_000, failing);
        assert!((1..=5).contains(&counts[0]), "{counts:?}");
        let counts = script.run(20_000, 200_000, failing);
        assert!((1..=6).contains(&counts[0]), "{counts:?}");
        // It is well again, and gets its share.
        let counts = script.run(300_000, 330_000, |_| (10, false));
        assert!(counts[0] > 1000, "{counts:?}");
    }

    #[test]
    fn of_many_failing_backends_the_one_that_works_gets_all() {
        let mut script = Script::new(10);
        let counts = script.run(0, 1000, |i| if i == 3 { (10, false) } else { (0, true) });
        assert!(counts[3] > 980, "{counts:?}");
    }

    #[test]
    fn where_all_fail_requests_go_on() {
        let mut script = Script::new(3);
        let counts = script.run(0, 900, |_| (0, true));
        assert!(counts.iter().all(|count| *count > 200), "{counts:?}");
    }

    #[test]
    fn requests_that_fail_together_are_one_failure() {
        let start = Instant::now();
        let load = Load::new(start);
        for _ in 0..100 {
            load.begin();
        }
        for _ in 0..100 {
            load.end(Duration::ZERO, true, start);
        }
        assert!(load.rests(start + REST - Duration::from_millis(1)));
        assert!(!load.rests(start + REST));
    }

    #[test]
    fn one_slow_answer_counts_at_once_and_fades() {
        let start = Instant::now();
        let load = Load::new(start);
        let answer = |millis| {
            load.begin();
            load.end(Duration::from_millis(millis), false, start);
        };
        answer(10);
        answer(500);
        assert!((load.cost(start) - 0.5).abs() < 1e-9);
        assert!((load.cost(start + DECAY) - 0.5 / std::f64::consts::E).abs() < 1e-9);
        assert!(load.cost(start + DECAY * 100) <= LATENCY_UNKNOWN.as_secs_f64());
    }

    proptest! {
        #[test]
        fn only_candidates_are_chosen_and_one_whenever_there_is_one(
            candidates in prop::collection::vec(any::<bool>(), 0..12),
            costs in prop::collection::vec(0.0f64..10.0, 12),
            seed in any::<u64>(),
        ) {
            let mut random = fastrand::Rng::with_seed(seed);
            let chosen = choose(candidates.len(), |i| candidates[i], |i| costs[i], |n| random.usize(..n));
            prop_assert_eq!(chosen.is_some(), candidates.contains(&true));
            if let Some(chosen) = chosen {
                prop_assert!(candidates[chosen]);
                // Never the dearest of several, whatever the draw.
                let others = (0..candidates.len()).filter(|i| candidates[*i] && *i != chosen);
                let others: Vec<_> = others.map(|i| costs[i]).collect();
                prop_assert!(others.is_empty() || others.iter().any(|other| *other >= costs[chosen]));
            }
        }
    }
}
