//! What the outside may ask of a run.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What the outside may ask of a run. Cheap to clone; clones ask the same run.
#[derive(Debug, Clone, Default)]
pub struct Control {
    shutdown: CancellationToken,
    reload: Arc<Notify>,
}

impl Control {
    /// Nothing was asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks to stop.
    pub fn shut_down(&self) {
        self.shutdown.cancel();
    }

    /// Asks to read the configuration again. What is asked while a reload goes on makes one more, however often.
    pub fn reload(&self) {
        self.reload.notify_one();
    }

    /// Cancelled when the run is to stop.
    pub fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Waits until a reload is asked for.
    pub(crate) async fn reload_asked(&self) {
        self.reload.notified().await;
    }
}
