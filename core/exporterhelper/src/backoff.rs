//! When a request is tried again, and when it is given up (reference: collector-core, 8.3).

use std::time::Duration;

use tokio::time::Instant;

use crate::RetryConfig;

/// The shortest pause between two attempts, whatever the configuration says: a destination that refuses at once must not
/// keep a processor busy.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// The largest pause that is reckoned with.
const PAUSE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// The longest pause that a destination can ask for. It holds a consumer of the queue, and where retries never end nothing
/// else bounds it: one wrong answer must not stop a queue on disk for longer.
const ASKED_MAX: Duration = Duration::from_secs(3600);

/// `retry_on_failure`, ready to be used.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    initial: Duration,
    max: Duration,
    multiplier: f64,
    randomization: f64,
    /// `None` is never.
    time_max: Option<Duration>,
}

/// The attempts at one request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trials {
    /// When this process first tried it, on the monotonic clock: steps of the wall clock do nothing.
    started: Instant,
    /// How long earlier processes had tried.
    before: Duration,
    /// Attempts that failed, earlier processes' included.
    failures: u32,
}

/// What earlier processes tried. Of requests that were put together, the youngest counts: no request is given up before its
/// time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct History {
    /// First, since the order goes by it.
    pub(crate) elapsed: Duration,
    pub(crate) failures: u32,
}

/// Why there is no further attempt; the text is the reference's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GivenUp {
    NoTimeLeft,
    DeadlineTooSoon,
}

impl GivenUp {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::NoTimeLeft => "no more retries left",
            Self::DeadlineTooSoon => "request will be cancelled before next retry",
        }
    }
}

impl Backoff {
    /// `None` if failures are final.
    pub(crate) fn new(config: &RetryConfig, queue_is_stored: bool) -> Option<Self> {
        config.enabled.then(|| Self {
            initial: config.initial_interval.get(),
            max: config.max_interval.get(),
            multiplier: config.multiplier,
            randomization: config.randomization_factor,
            time_max: config.time_max(queue_is_stored),
        })
    }

    /// The pause after this many failures, before randomization.
    fn interval(&self, failures: u32) -> Duration {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.initial.as_secs_f64() * self.multiplier.powi(exponent);
        let longest = self.max.min(PAUSE_MAX).as_secs_f64();
        // `min` takes the number where the other is not one.
        Duration::from_secs_f64(seconds.min(longest).max(0.0))
    }

    /// The pause after this many failures. It may be longer than `max_interval` by the randomization.
    fn pause(&self, failures: u32) -> Duration {
        let spread = 1.0 + self.randomization * (2.0 * fastrand::f64() - 1.0);
        self.interval(failures).mul_f64(spread.max(0.0))
    }
}

impl Trials {
    /// Begins, or goes on where earlier processes ended.
    pub(crate) fn resume(history: History) -> Self {
        Self { started: Instant::now(), before: history.elapsed, failures: history.failures }
    }

    /// For the next process.
    pub(crate) fn history(&self) -> History {
        History { failures: self.failures, elapsed: self.elapsed() }
    }

    /// Time since the first attempt, in whichever process.
    fn elapsed(&self) -> Duration {
        self.before.saturating_add(self.started.elapsed())
    }

    /// Notes a failure and says how long to wait for the next attempt: the longer of the backoff and what the destination
    /// asked for.
    ///
    /// # Errors
    /// If the next attempt would come too late for the configuration or for the caller.
    pub(crate) fn next(
        &mut self,
        backoff: &Backoff,
        asked: Option<Duration>,
        caller: Option<Instant>,
    ) -> Result<Duration, GivenUp> {
        self.failures = self.failures.saturating_add(1);
        let asked = asked.unwrap_or_default().min(ASKED_MAX);
        let pause = backoff.pause(self.failures).max(asked).clamp(PAUSE_MIN, PAUSE_MAX);
        if backoff.time_max.is_some_and(|max| self.elapsed().saturating_add(pause) > max) {
            return Err(GivenUp::NoTimeLeft);
        }
        if caller.is_some_and(|deadline| Instant::now() + pause > deadline) {
            return Err(GivenUp::DeadlineTooSoon);
        }
        Ok(pause)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use spanbridge_config::Duration as Written;

    use super::*;

    fn backoff(change: impl FnOnce(&mut RetryConfig)) -> Backoff {
        let mut config = RetryConfig { randomization_factor: 0.0, ..RetryConfig::default() };
        change(&mut config);
        Backoff::new(&config, false).unwrap()
    }

    fn fresh() -> Trials {
        Trials::resume(History::default())
    }

    fn resumed(elapsed: Duration, failures: u32) -> Trials {
        Trials::resume(History { elapsed, failures })
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_the_longest_and_end_when_the_time_is_over() {
        let backoff = backoff(|c| {
            c.multiplier = 2.0;
            c.max_elapsed_time = Some(Written::from_secs(70));
        });
        let mut trials = fresh();
        for expected in [5, 10, 20, 30] {
            let pause = trials.next(&backoff, None, None).unwrap();
            assert_eq!(pause, seconds(expected));
            tokio::time::advance(pause).await;
        }
        assert_eq!(trials.next(&backoff, None, None), Err(GivenUp::NoTimeLeft));
    }

    #[tokio::test(start_paused = true)]
    async fn the_destination_may_ask_for_more_and_the_caller_may_not_have_the_time() {
        let backoff = backoff(|_| {});
        let asked = Some(seconds(60));
        assert_eq!(fresh().next(&backoff, asked, None), Ok(seconds(60)));
        assert_eq!(fresh().next(&backoff, Some(seconds(1)), None), Ok(seconds(5)));
        let deadline = Some(Instant::now() + seconds(4));
        assert_eq!(fresh().next(&backoff, None, deadline), Err(GivenUp::DeadlineTooSoon));
    }

    #[tokio::test(start_paused = true)]
    async fn one_answer_of_the_destination_does_not_stop_a_queue_on_disk() {
        let config = RetryConfig { randomization_factor: 0.0, ..RetryConfig::default() };
        let backoff = Backoff::new(&config, true).unwrap();
        assert_eq!(fresh().next(&backoff, Some(Duration::MAX), None), Ok(ASKED_MAX));
        let slow = Written::from_secs(2 * 3600);
        let config = RetryConfig { initial_interval: slow, max_interval: slow, ..config };
        let backoff = Backoff::new(&config, true).unwrap();
        assert_eq!(fresh().next(&backoff, None, None), Ok(2 * ASKED_MAX), "the configuration is meant");
    }

    #[tokio::test(start_paused = true)]
    async fn trials_go_on_where_an_earlier_process_left_them() {
        let backoff = backoff(|_| {});
        let mut trials = resumed(seconds(200), 3);
        assert_eq!(trials.next(&backoff, None, None), Ok(Duration::from_millis(16_875)));
        assert_eq!(resumed(seconds(299), 0).next(&backoff, None, None), Err(GivenUp::NoTimeLeft));
    }

    #[tokio::test(start_paused = true)]
    async fn no_configuration_makes_a_busy_loop() {
        let backoff = backoff(|c| c.initial_interval = Written::ZERO);
        assert_eq!(fresh().next(&backoff, None, None), Ok(PAUSE_MIN));
    }

    proptest! {
        #[test]
        fn every_pause_is_within_the_spread(
            initial in 0_u64..100_000, max in 0_u64..100_000, multiplier in 0.0_f64..100.0,
            randomization in 0.0_f64..=1.0, failures in 0_u32..5000,
        ) {
            let backoff = backoff(|c| {
                c.initial_interval = Written::from_millis(initial);
                c.max_interval = Written::from_millis(max);
                c.multiplier = multiplier;
                c.randomization_factor = randomization;
            });
            let pause = backoff.pause(failures);
            prop_assert!(pause <= backoff.max.mul_f64(1.0 + randomization) + PAUSE_MIN);
            prop_assert!(pause + PAUSE_MIN >= backoff.interval(failures).mul_f64(1.0 - randomization));
        }
    }
}
