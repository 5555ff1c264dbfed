//! How each component is doing: one state machine an instance, and the one status that ends the process.

use std::sync::{Arc, Mutex, PoisonError};

use spanbridge_component::{ComponentId, Kind, Readiness, ReadySince, Status, StatusSink};
use tokio::sync::watch;

/// The first fatal error that a running component reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fatal {
    /// Kind of the component.
    pub kind: Kind,
    /// Its id.
    pub id: ComponentId,
    /// What it said.
    pub message: String,
}

/// Where all instances report to; wakes the service when one of them reports a fatal error. Tells them whether the
/// pipelines work.
#[derive(Debug, Clone)]
pub(crate) struct StatusBoard {
    fatal: watch::Sender<Option<Fatal>>,
    ready: watch::Sender<Option<ReadySince>>,
}

/// The state machine of one instance (reference: collector-core, 4.6).
///
/// It is the [`StatusSink`] of that instance alone, since one processor id has an instance in each of its pipelines.
#[derive(Debug)]
pub(crate) struct StatusCell {
    status: Mutex<Option<Status>>,
    board: StatusBoard,
}

impl StatusBoard {
    /// Nothing has been reported.
    pub(crate) fn new() -> Self {
        Self { fatal: watch::Sender::new(None), ready: watch::Sender::new(None) }
    }

    /// Every pipeline has started.
    pub(crate) fn ready(&self) {
        self.ready.send_replace(Some(ReadySince::now()));
    }

    /// The process is about to stop.
    pub(crate) fn not_ready(&self) {
        self.ready.send_replace(None);
    }

    /// The state machine of a new instance.
    pub(crate) fn cell(&self) -> Arc<StatusCell> {
        Arc::new(StatusCell { status: Mutex::new(None), board: self.clone() })
    }

    /// Waits for the first fatal error; one that was reported before the call counts too.
    pub(crate) async fn fatal(&self) -> Fatal {
        let mut fatal = self.fatal.subscribe();
        match fatal.wait_for(Option::is_some).await.map(|fatal| fatal.clone()) {
            Ok(Some(fatal)) => fatal,
            // The sender lives in `self`, so this is only for the type checker.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}

impl StatusCell {
    /// The status now; `None` before the first report.
    #[cfg(test)]
    pub(crate) fn status(&self) -> Option<Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the pipelines work.
    pub(crate) fn readiness(&self) -> Readiness {
        self.board.ready.subscribe()
    }

    /// Goes from `Starting` to `Ok`, unless the component has said something else about itself meanwhile.
    pub(crate) fn started(&self, kind: Kind, id: &ComponentId) {
        let starting =
            matches!(*self.status.lock().unwrap_or_else(PoisonError::into_inner), Some(Status::Starting));
        if starting {
            self.report(kind, id, Status::Ok);
        }
    }
}

impl StatusSink for StatusCell {
    fn report(&self, kind: Kind, component: &ComponentId, status: Status) {
        {
            let mut current = self.status.lock().unwrap_or_else(PoisonError::into_inner);
            if !is_allowed(current.as_ref(), &status) {
                return;
            }
            *current = Some(status.clone());
        }
        if let Status::FatalError(message) = status {
            self.board.fatal.send_if_modified(|fatal| {
                let is_first = fatal.is_none();
                fatal.get_or_insert_with(|| Fatal { kind, id: component.clone(), message });
                is_first
            });
        }
    }
}

/// Whether an instance may go from one status to another.
fn is_allowed(from: Option<&Status>, to: &Status) -> bool {
    use Status::{FatalError, Ok, PermanentError, RecoverableError, Starting, Stopped, Stopping};
    match from {
        None => matches!(to, Starting),
        Some(Starting | Ok | RecoverableError(_)) => {
            matches!(to, Ok | RecoverableError(_) | PermanentError(_) | FatalError(_) | Stopping)
        }
        Some(PermanentError(_)) => matches!(to, Stopping),
        Some(FatalError(_) | Stopped) => false,
        Some(Stopping) => matches!(to, RecoverableError(_) | PermanentError(_) | FatalError(_) | Stopped),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_status() -> Vec<Status> {
        vec![
            Status::Starting,
            Status::Ok,
            Status::RecoverableError("r".into()),
            Status::PermanentError("p".into()),
            Status::FatalError("f".into()),
            Status::Stopping,
            Status::Stopped,
        ]
    }

    #[test]
    fn moves_follow_the_table_of_the_reference() {
        // One row a starting state, in the order of `every_status`; the first row is "nothing reported yet".
        let table = ["1000000", "0111110", "0111110", "0111110", "0000010", "0000000", "0011101", "0000000"];
        let froms = std::iter::once(None).chain(every_status().into_iter().map(Some));
        for (from, row) in froms.zip(table) {
            let moves: String = every_status()
                .iter()
                .map(|to| if is_allowed(from.as_ref(), to) { '1' } else { '0' })
                .collect();
            assert_eq!(moves, row, "from {from:?}");
        }
    }

    #[tokio::test]
    async fn the_first_fatal_error_wakes_the_waiter_even_if_it_came_earlier() {
        let board = StatusBoard::new();
        let id: ComponentId = "otlp".parse().unwrap();
        for message in ["first", "second"] {
            let cell = board.cell();
            cell.report(Kind::Receiver, &id, Status::Starting);
            cell.report(Kind::Receiver, &id, Status::FatalError(message.into()));
        }
        let fatal = board.fatal().await;
        assert_eq!(fatal, Fatal { kind: Kind::Receiver, id, message: "first".into() });
    }

    #[test]
    fn ok_after_start_does_not_hide_what_the_component_reported() {
        let cell = StatusBoard::new().cell();
        let id: ComponentId = "otlp".parse().unwrap();
        cell.report(Kind::Receiver, &id, Status::Starting);
        cell.report(Kind::Receiver, &id, Status::RecoverableError("later".into()));
        cell.started(Kind::Receiver, &id);
        assert_eq!(cell.status(), Some(Status::RecoverableError("later".into())));
    }
}
