//! How often the API is asked.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

/// What `kube_api_qps: 0` and `kube_api_burst: 0` mean.
const DEFAULT_QPS: f64 = 5.0;
const DEFAULT_BURST: u32 = 10;

/// Lets requests pass: some at once, and then so many a second.
#[derive(Debug)]
pub struct Throttle {
    interval: Option<Duration>,
    burst: u32,
    /// When the request is due that would come next if there were no bursts.
    next: Mutex<Option<Instant>>,
}

impl Throttle {
    /// So many requests a second after a burst. 0 means the usual: 5, and 10 at once; a negative number means no limit.
    pub fn new(qps: f64, burst: u32) -> Self {
        let qps = if qps == 0.0 { DEFAULT_QPS } else { qps };
        let burst = if burst == 0 { DEFAULT_BURST } else { burst };
        let interval = (qps > 0.0).then(|| Duration::try_from_secs_f64(1.0 / qps).unwrap_or(Duration::MAX));
        Self { interval, burst, next: Mutex::new(None) }
    }

    /// Waits until the next request may go.
    pub async fn pass(&self) {
        let Some(interval) = self.interval else { return };
        let now = Instant::now();
        let wait = {
            let mut next = self.next.lock().await;
            let due = next.map_or(now, |next| next.max(now));
            *next = due.checked_add(interval);
            let ahead = interval.saturating_mul(self.burst.saturating_sub(1));
            due.saturating_duration_since(now).saturating_sub(ahead)
        };
        sleep(wait).await;
    }
}

/// The first pause after a failure, ...
const FIRST: Duration = Duration::from_millis(800);
/// ... and the longest.
const LONGEST: Duration = Duration::from_secs(30);

/// Pauses between attempts: twice as long each time, with a spread so that a fleet does not come back at one moment.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Something worked.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Waits after a failure; at least as long as the server asks for.
    pub(crate) async fn wait(&mut self, asked: Option<Duration>) {
        let pause = FIRST.saturating_mul(1 << self.failures.min(6)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let pause = pause.mul_f64(0.5 + 0.5 * fastrand::f64());
        sleep(pause.max(asked.unwrap_or_default())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn passes(throttle: &Throttle, within: Duration) -> usize {
        let end = Instant::now() + within;
        let mut passed = 0;
        while tokio::time::timeout_at(end, throttle.pass()).await.is_ok() && passed < 1000 {
            passed += 1;
        }
        passed
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_so_many_a_second() {
        assert_eq!(passes(&Throttle::new(5.0, 10), Duration::from_millis(2100)).await, 10 + 10);
        assert_eq!(passes(&Throttle::new(0.0, 0), Duration::from_millis(100)).await, 10);
        assert_eq!(passes(&Throttle::new(-1.0, 1), Duration::from_millis(100)).await, 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_their_limit_and_respect_the_server() {
        let mut backoff = Backoff::default();
        for _ in 0..20 {
            let before = Instant::now();
            backoff.wait(None).await;
            assert!(before.elapsed() <= LONGEST + Duration::from_millis(1));
        }
        let before = Instant::now();
        backoff.wait(Some(Duration::from_secs(100))).await;
        assert!(before.elapsed() >= Duration::from_secs(100));
        backoff.reset();
        let before = Instant::now();
        backoff.wait(None).await;
        assert!(before.elapsed() <= FIRST + Duration::from_millis(1));
    }
}
