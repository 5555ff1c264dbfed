//! How an exporter ends.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

/// What the tasks of an exporter are told when it ends. The steps come in this order, if they come:
///
/// 1. *stopping*: no new requests come in; nothing waits for its next attempt in a consumer any more.
/// 2. *halted*: no attempt begins. For a queue on disk and for a reload this is at once, for a queue in memory when the
///    time to drain is over.
/// 3. *cut off*: attempts that are under way end without an answer.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    stopping: CancellationToken,
    halted: CancellationToken,
    cut_off: CancellationToken,
    hands_over: AtomicBool,
}

impl Stop {
    /// Begins the end. With `hands_over`, a successor gets what is left in memory; with `halts`, no attempt begins any
    /// more.
    pub(crate) fn begin(&self, hands_over: bool, halts: bool) {
        // First, since it says what the others mean.
        self.hands_over.store(hands_over, Ordering::Relaxed);
        if halts {
            self.halted.cancel();
        }
        self.stopping.cancel();
    }

    pub(crate) fn cut_off(&self) {
        self.halted.cancel();
        self.cut_off.cancel();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    pub(crate) fn is_halted(&self) -> bool {
        self.halted.is_cancelled()
    }

    /// Whether what is left in memory goes to a successor. Decided when the end begins.
    pub(crate) fn hands_over(&self) -> bool {
        self.hands_over.load(Ordering::Relaxed)
    }

    pub(crate) async fn stopping(&self) {
        self.stopping.cancelled().await;
    }

    pub(crate) async fn halted(&self) {
        self.halted.cancelled().await;
    }

    pub(crate) async fn is_cut_off(&self) {
        self.cut_off.cancelled().await;
    }
}
