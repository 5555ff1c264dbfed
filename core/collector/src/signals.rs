//! Signals of the operating system.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::Control;

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

    /// Asks `control` to stop at the first SIGINT or SIGTERM, and to reload at each SIGHUP before; returns at the second
    /// SIGINT or SIGTERM, which asks to end at once.
    ///
    /// The Go collector swallows further signals during shutdown. Here the second one gets people out of a shutdown
    /// that waits for a destination that hangs.
    pub async fn until_forced(mut self, control: Control) {
        let name = self.next_stop(&control).await;
        tracing::info!(signal = name, "Received signal from OS");
        control.shut_down();
        let name = self.next_stop(&control).await;
        tracing::warn!(signal = name, "Received a second signal from OS, ending at once");
    }

    async fn next_stop(&mut self, control: &Control) -> &'static str {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return "interrupt",
                _ = self.terminate.recv() => return "terminated",
                _ = self.hangup.recv() => {
                    tracing::info!(signal = "hangup", "Received signal from OS");
                    control.reload();
                }
            }
        }
    }
}
