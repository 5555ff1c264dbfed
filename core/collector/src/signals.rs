//! Signals of the operating system.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The signals that this program listens to.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// Begins to listen; from here on none of them ends the process by itself.
    ///
    /// # Errors
    /// If the operating system does not allow it.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Fires `shutdown` at the first SIGINT or SIGTERM; returns at the second, which asks to end at once.
    ///
    /// The Go collector swallows further signals during shutdown. Here the second one gets people out of a shutdown
    /// that waits for a destination that hangs.
    pub async fn until_forced(mut self, shutdown: CancellationToken) {
        let name = self.next_stop().await;
        tracing::info!(signal = name, "Received signal from OS");
        shutdown.cancel();
        let name = self.next_stop().await;
        tracing::warn!(signal = name, "Received a second signal from OS, ending at once");
    }

    async fn next_stop(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return "interrupt",
                _ = self.terminate.recv() => return "terminated",
                _ = self.hangup.recv() => {
                    tracing::warn!(
                        signal = "hangup",
                        "Reloading the configuration is not supported by this version; restart the process instead"
                    );
                }
            }
        }
    }
}
