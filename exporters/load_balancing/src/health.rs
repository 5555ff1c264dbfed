//! Whether a backend has failed for so long that its share goes elsewhere.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How often a backend that is out gets a request to try.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// What is known of a backend by the answers it gave.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The first failure since the last success.
    failing_since: Option<Instant>,
    /// When it was last given a request to try.
    probed: Option<Instant>,
    reported: bool,
}

/// A change that is worth a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Its share goes to others from now on.
    Out,
    /// It answers again.
    Back,
}

impl Health {
    /// It took a request.
    pub(crate) fn succeeded(&self) -> Option<Change> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let was_out = state.reported;
        *state = State::default();
        was_out.then_some(Change::Back)
    }

    /// It could not be reached, or did not take a request for no fault of the request.
    pub(crate) fn failed(&self, failover_after: Duration, now: Instant) -> Option<Change> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.failing_since.get_or_insert(now);
        let goes_out = !state.reported && state.is_out(failover_after, now);
        if goes_out {
            state.reported = true;
            state.probed = Some(now);
        }
        goes_out.then_some(Change::Out)
    }

    /// Whether requests should go elsewhere. Says no once in [`PROBE_INTERVAL`] all the same, for a request to try.
    pub(crate) fn is_out(&self, failover_after: Duration, now: Instant) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.is_out(failover_after, now) {
            return false;
        }
        if state.probed.is_none_or(|probed| now.duration_since(probed) >= PROBE_INTERVAL) {
            state.probed = Some(now);
            return false;
        }
        true
    }
}

impl State {
    fn is_out(&self, failover_after: Duration, now: Instant) -> bool {
        let failing = self.failing_since.map(|since| now.duration_since(since));
        !failover_after.is_zero() && failing.is_some_and(|failing| failing >= failover_after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(30);

    #[test]
    fn a_backend_is_out_after_a_while_without_success_and_tried_again_and_again() {
        let (health, start) = (Health::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(health.failed(AFTER, at(0)), None);
        assert!(!health.is_out(AFTER, at(29)));
        assert_eq!(health.failed(AFTER, at(30)), Some(Change::Out));
        assert_eq!(health.failed(AFTER, at(31)), None, "reported once");
        assert!(health.is_out(AFTER, at(34)));
        assert!(!health.is_out(AFTER, at(35)), "one to try");
        assert!(health.is_out(AFTER, at(35)));
        assert_eq!(health.succeeded(), Some(Change::Back));
        assert!(!health.is_out(AFTER, at(36)));
        assert_eq!(health.succeeded(), None);
    }

    #[test]
    fn a_success_in_between_keeps_it_in_and_zero_is_never() {
        let (health, start) = (Health::default(), Instant::now());
        assert_eq!(health.failed(AFTER, start), None);
        assert_eq!(health.succeeded(), None);
        assert_eq!(health.failed(AFTER, start + AFTER), None);
        assert_eq!(health.failed(Duration::ZERO, start + AFTER * 100), None);
        assert!(!health.is_out(Duration::ZERO, start + AFTER * 100));
    }
}
