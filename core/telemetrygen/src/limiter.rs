//! The rate of one worker.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How much a worker that was held up may hurry to catch up: timers are no finer than a millisecond.
const CATCH_UP_MAX: Duration = Duration::from_millis(10);
/// Longest pause between two records, for rates next to zero.
const INTERVAL_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Lets records pass at a steady rate.
#[derive(Debug)]
pub(crate) struct Limiter {
    /// `None` is no limit.
    interval: Option<Duration>,
    next: Instant,
}

impl Limiter {
    /// Lets `rate` records pass a second, the first at once; zero is no limit.
    pub(crate) fn new(rate: f64) -> Self {
        let interval = (rate > 0.0)
            .then(|| Duration::try_from_secs_f64(rate.recip()).unwrap_or(INTERVAL_MAX).min(INTERVAL_MAX));
        Self { interval, next: Instant::now() }
    }

    /// Whether records never wait.
    pub(crate) fn is_unlimited(&self) -> bool {
        self.interval.is_none()
    }

    /// Waits for the next record's turn. When the future is dropped the turn is still to come.
    pub(crate) async fn wait(&mut self) {
        let Some(interval) = self.interval else { return };
        let now = Instant::now();
        let earliest = now.checked_sub(CATCH_UP_MAX).unwrap_or(now);
        self.next = self.next.max(earliest);
        if self.next > now {
            sleep_until(self.next).await;
        }
        self.next += interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn records_pass_at_the_rate_with_the_first_at_once() {
        let begun = Instant::now();
        let mut limiter = Limiter::new(4.0);
        for _ in 0..9 {
            limiter.wait().await;
        }
        assert_eq!(begun.elapsed(), Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_not_made_up_for() {
        let mut limiter = Limiter::new(100.0);
        limiter.wait().await;
        tokio::time::advance(Duration::from_secs(60)).await;
        let resumed = Instant::now();
        for _ in 0..101 {
            limiter.wait().await;
        }
        assert!(resumed.elapsed() >= Duration::from_millis(980), "{:?}", resumed.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_wait_keeps_its_turn() {
        let begun = Instant::now();
        let mut limiter = Limiter::new(1.0);
        limiter.wait().await;
        for _ in 0..5 {
            let _ = tokio::time::timeout(Duration::from_millis(100), limiter.wait()).await;
        }
        limiter.wait().await;
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn zero_is_no_limit_and_next_to_zero_is_no_panic() {
        let begun = Instant::now();
        let mut limiter = Limiter::new(0.0);
        for _ in 0..1000 {
            limiter.wait().await;
        }
        assert!(limiter.is_unlimited());
        assert_eq!(begun.elapsed(), Duration::ZERO);
        Limiter::new(f64::MIN_POSITIVE).wait().await;
    }
}
