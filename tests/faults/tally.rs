//! What a row came to.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::backend::Backend;
use super::load::Record;

/// The counts of a row, in spans.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tally {
    /// In requests that clients sent.
    pub(crate) sent: u64,
    /// In requests that were answered with OK.
    pub(crate) acknowledged: u64,
    /// That arrived, each counted once.
    pub(crate) delivered: u64,
    /// Arrivals beyond the first of a span.
    pub(crate) duplicated: u64,
    /// Acknowledged and never arrived.
    pub(crate) lost: u64,
}

impl Tally {
    /// Waits until all that was acknowledged has arrived, at most `patience`, and counts.
    pub(crate) async fn take(record: &Record, backend: &Backend, patience: Duration) -> Self {
        let deadline = Instant::now() + patience;
        let mut arrivals = backend.arrivals();
        while backend.missing(record.acknowledged_spans()) > 0 {
            if !matches!(tokio::time::timeout_at(deadline, arrivals.changed()).await, Ok(Ok(()))) {
                break;
            }
        }
        Self::count(record, backend)
    }

    /// Counts now.
    pub(crate) fn count(record: &Record, backend: &Backend) -> Self {
        let counts = backend.counts();
        Self {
            sent: record.sent(),
            acknowledged: record.acknowledged_spans().count() as u64,
            delivered: counts.len() as u64,
            duplicated: counts.values().map(|count| u64::from(count - 1)).sum(),
            lost: record.acknowledged_spans().filter(|id| !counts.contains_key(id)).count() as u64,
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} sent, {} acknowledged, {} delivered, {} duplicated, {} lost",
            self.sent, self.acknowledged, self.delivered, self.duplicated, self.lost
        )
    }
}
