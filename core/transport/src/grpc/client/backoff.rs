//! How long to wait between attempts to connect.

use std::time::Duration;

/// Growing delays between attempts, as the gRPC "Connection Backoff Protocol" lays down.
#[derive(Debug, Clone, PartialEq)]
pub struct Backoff {
    /// Delay after the first failure.
    pub initial: Duration,
    /// Factor from one delay to the next; at least 1.
    pub multiplier: f64,
    /// Each delay is changed at random by up to this part of it, either way, so that clients do not come back in
    /// step. Zero in tests.
    pub jitter: f64,
    /// No delay is longer, jitter aside.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        // "INITIAL_BACKOFF = 1 second, MULTIPLIER = 1.6, MAX_BACKOFF = 120 seconds, JITTER = 0.2"
        Self { initial: Duration::from_secs(1), multiplier: 1.6, jitter: 0.2, max: Duration::from_secs(120) }
    }
}

impl Backoff {
    /// The delays, from the first.
    pub(crate) fn start(&self) -> Delays {
        Delays { backoff: self.clone(), current: self.initial }
    }
}

/// The delays of one run of failures.
#[derive(Debug)]
pub(crate) struct Delays {
    backoff: Backoff,
    current: Duration,
}

impl Delays {
    /// The next delay.
    pub(crate) fn next(&mut self) -> Duration {
        let Backoff { multiplier, jitter, max, .. } = self.backoff;
        let delay = self.current.min(max);
        self.current = scaled(delay, multiplier).min(max);
        scaled(delay, 1.0 + jitter * (fastrand::f64() * 2.0 - 1.0))
    }

    /// The run of failures is over.
    pub(crate) fn reset(&mut self) {
        self.current = self.backoff.initial;
    }
}

/// `delay` times `factor`, without a panic on a factor that makes no sense.
fn scaled(delay: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(delay.as_secs_f64() * factor).unwrap_or(delay)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_bound_and_start_over_after_a_reset() {
        let mut delays = Backoff { jitter: 0.0, ..Backoff::default() }.start();
        let seconds: Vec<_> = (0..13).map(|_| delays.next().as_secs_f64()).collect();
        assert!((seconds[1] - 1.6).abs() < 1e-6 && (seconds[2] - 2.56).abs() < 1e-6, "{seconds:?}");
        assert!(seconds[11..].iter().all(|s| (s - 120.0).abs() < 1e-6), "{seconds:?}");
        delays.reset();
        assert_eq!(delays.next(), Duration::from_secs(1));
    }

    #[test]
    fn jitter_stays_within_its_part() {
        for _ in 0..1000 {
            let delay = Backoff::default().start().next().as_secs_f64();
            assert!((0.8..=1.2).contains(&delay), "{delay}");
        }
    }
}
