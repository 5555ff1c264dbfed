//! Log lines that outsiders can cause, at a rate they cannot choose.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Shortest time between two lines of one gate.
const INTERVAL: Duration = Duration::from_secs(10);

/// Lets one log line pass every ten seconds and counts the rest.
#[derive(Debug, Default)]
pub struct LogGate(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    held_back: u64,
}

impl LogGate {
    /// A gate that lets the first line pass.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a line may be logged now; if so, how many were held back since the last one.
    pub fn open(&self) -> Option<u64> {
        self.open_at(Instant::now())
    }

    fn open_at(&self, now: Instant) -> Option<u64> {
        // Who comes second while a line is being decided about is held back uncounted; that is accurate enough.
        let mut state = self.0.try_lock().ok()?;
        if state.last.is_some_and(|last| now.saturating_duration_since(last) < INTERVAL) {
            state.held_back += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_passes_each_interval_and_knows_how_many_did_not() {
        let gate = LogGate::new();
        let start = Instant::now();
        assert_eq!(gate.open_at(start), Some(0));
        assert_eq!(gate.open_at(start + INTERVAL / 2), None);
        assert_eq!(gate.open_at(start + INTERVAL / 2), None);
        assert_eq!(gate.open_at(start + INTERVAL), Some(2));
    }
}
