//! The server side: listening, connections, unary requests.
//!
//! ```text
//! accept loop ─▶ connection (one task) ─▶ call ─▶ call ...   polled by the connection's task; large and compressed
//!                    │                      └▶ own task       messages are worked on in a task of their own
//!                    └ h2 over gathering IO, one write a poll; clock for keepalive, age, drain
//! ```
//!
//! A call: check head, put the message together, decompress, [`UnaryHandler::call`], answer. Bounds that no key sets
//! are in `limits.rs`.

mod admission;
mod budget;
mod call;
mod config;
mod connection;
mod endpoint;
mod handler;
mod keepalive;
mod limits;
mod socket;
mod watch;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use spanbridge_pdata::memory::Account;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

pub use config::{Keepalive, KeepaliveEnforcement, KeepaliveParameters, ServerConfig, Transport};
pub use handler::{Peer, Reply, Route, UnaryHandler, UnaryRequest};

use self::admission::Window;
pub(crate) use self::endpoint::{Endpoint, Listener};
use self::keepalive::Rules;
pub(crate) use self::socket::Socket;
use crate::auth::ServerAuth;
use crate::log_gate::LogGate;
use crate::tls::Acceptor;

/// After connections were cut, their tasks get this long to end.
const CUT_TIME_MAX: Duration = Duration::from_secs(1);

/// What clients have to ask for in a TLS handshake (ALPN).
const ALPN: &[u8] = b"h2";

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {endpoint}: {reason}")]
pub struct ListenError {
    endpoint: String,
    reason: String,
}

impl ListenError {
    /// Why nobody listens at `endpoint`.
    pub(crate) fn new(endpoint: &str, reason: String) -> Self {
        Self { endpoint: endpoint.to_owned(), reason }
    }
}

/// A running gRPC server. Dropping it closes the listener and cuts every connection.
#[derive(Debug)]
pub struct Server {
    endpoint: String,
    stop_accepting: CancellationToken,
    shared: Arc<Shared>,
}

/// What happened to the calls of a server that was shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Calls that were still in flight at the deadline and were cut.
    pub aborted_calls: usize,
}

/// How far the shutdown of a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    Serving = 0,
    Draining = 1,
    Cut = 2,
}

/// What all connections of a server share.
struct Shared {
    handler: Arc<dyn UnaryHandler>,
    h2: h2::server::Builder,
    concurrent_streams: u32,
    frame_bytes: u32,
    memory: Account,
    auth: Option<ServerAuth>,
    tls: Option<Acceptor>,
    rules: Rules,
    message_bytes_max: usize,
    write_buffer_bytes: usize,
    connections: Arc<Semaphore>,
    tasks: TaskTracker,
    aborted: AtomicUsize,
    phase: AtomicU8,
    phase_changed: Arc<Notify>,
    foreign_gate: LogGate,
    pings_gate: LogGate,
    accept_gate: LogGate,
    memory_gate: LogGate,
}

// === impl Server ===

impl Server {
    /// Listens as `config` says and hands calls to `handler`, in tasks that run in the current tracing span. What is
    /// received is charged to `memory`, and asks there first. `auth` decides who may come in, before the body of a
    /// request is read.
    /// `on_death` is called if accepting connections ends by itself; the server is of no more use then.
    ///
    /// # Errors
    /// If the endpoint cannot be resolved or bound, if the files of TLS cannot be used, or if the configuration names an
    /// authenticator and `auth` is `None`.
    pub async fn start(
        config: &ServerConfig,
        handler: Arc<dyn UnaryHandler>,
        memory: Account,
        auth: Option<ServerAuth>,
        on_death: impl FnOnce(String) + Send + 'static,
    ) -> Result<Self, ListenError> {
        let failed = |reason: String| ListenError::new(&config.endpoint, reason);
        if config.auth.is_on() && auth.is_none() {
            return Err(failed("no authenticator was given, and without one nobody may come in".to_owned()));
        }
        let endpoint = Endpoint::parse(&config.endpoint, config.transport).map_err(failed)?;
        let tls = config.tls.as_ref().map(|tls| Acceptor::new(tls, ALPN)).transpose();
        let tls = tls.map_err(|error| failed(format!("tls: {error}")))?;
        let listener = endpoint.listen(config.transport).await.map_err(|error| failed(error.to_string()))?;
        let shared = Shared { tls, ..Shared::new(config, handler, memory, auth) };
        let server = Self {
            endpoint: listener.endpoint(),
            stop_accepting: CancellationToken::new(),
            shared: Arc::new(shared),
        };
        let accepting = accept_until(listener, server.shared.clone(), server.stop_accepting.clone());
        let supervised = async move {
            match AssertUnwindSafe(accepting).catch_unwind().await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => on_death(format!("cannot accept connections any more: {error}")),
                Err(_) => on_death("accepting connections panicked".to_owned()),
            }
        };
        server.shared.tasks.spawn(supervised.in_current_span());
        Ok(server)
    }

    /// Where it really listens: the address and port, or the path of the socket.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Stops accepting, tells clients to go, lets calls in flight finish until `deadline`, then cuts them. When it
    /// returns the listener is closed and every task has ended.
    pub async fn shutdown(&self, deadline: Instant) -> Drained {
        self.stop_accepting.cancel();
        self.shared.tasks.close();
        self.shared.enter(Phase::Draining);
        if timeout_at(deadline, self.shared.tasks.wait()).await.is_err() {
            self.shared.enter(Phase::Cut);
            // Tasks end at their next await, unless a handler computes without end; that one is left behind.
            let _ = timeout(CUT_TIME_MAX, self.shared.tasks.wait()).await;
        }
        Drained { aborted_calls: self.shared.aborted.load(Ordering::Relaxed) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop_accepting.cancel();
        self.shared.enter(Phase::Cut);
    }
}

// === impl Shared ===

impl Shared {
    fn new(
        config: &ServerConfig,
        handler: Arc<dyn UnaryHandler>,
        memory: Account,
        auth: Option<ServerAuth>,
    ) -> Self {
        let mut h2 = h2::server::Builder::new();
        h2.max_concurrent_streams(config.concurrent_streams())
            .max_header_list_size(limits::HEADER_LIST_BYTES_MAX)
            .initial_window_size(limits::STREAM_WINDOW_BYTES)
            .max_pending_accept_reset_streams(limits::PENDING_RESETS_MAX)
            .max_concurrent_reset_streams(limits::REMEMBERED_RESETS_MAX)
            .max_local_error_reset_streams(Some(limits::ERROR_RESETS_MAX));
        Self {
            handler,
            h2,
            frame_bytes: config.frame_bytes(),
            concurrent_streams: config.concurrent_streams(),
            memory,
            auth,
            tls: None,
            rules: Rules::new(&config.keepalive),
            message_bytes_max: config.message_bytes_max(),
            write_buffer_bytes: config.write_buffer_bytes(),
            connections: Arc::new(Semaphore::new(limits::CONNECTIONS_MAX)),
            tasks: TaskTracker::new(),
            aborted: AtomicUsize::new(0),
            phase: AtomicU8::new(Phase::Serving as u8),
            phase_changed: Arc::new(Notify::new()),
            foreign_gate: LogGate::new(),
            pings_gate: LogGate::new(),
            accept_gate: LogGate::new(),
            memory_gate: LogGate::new(),
        }
    }

    /// The place of a new connection, or a log line that says why there is none.
    fn admit(&self, peer: Peer) -> Option<(OwnedSemaphorePermit, Window)> {
        let Ok(slot) = self.connections.clone().try_acquire_owned() else {
            if let Some(held_back) = self.accept_gate.open() {
                let limit = limits::CONNECTIONS_MAX;
                tracing::warn!(%peer, limit, held_back, "Closing a new connection: there are too many");
            }
            return None;
        };
        let Some(window) = Window::open(&self.memory, self.frame_bytes, self.tls.is_some()) else {
            self.memory.note_refusal();
            if let Some(held_back) = self.memory_gate.open() {
                let memory = self.memory.usage();
                tracing::warn!(%peer, ?memory, held_back, "Closing a new connection: there is no memory for it");
            }
            return None;
        };
        Some((slot, window))
    }

    /// HTTP/2 for a connection that may receive what `window` says.
    fn h2_for(&self, window: &Window) -> h2::server::Builder {
        let mut h2 = self.h2.clone();
        h2.max_frame_size(window.frame_bytes)
            .initial_connection_window_size(window.bytes)
            .data_frame_budget(limits::small_frames_budget_bytes(self.concurrent_streams, window.bytes));
        h2
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Serving,
            1 => Phase::Draining,
            _ => Phase::Cut,
        }
    }

    /// Goes on to `phase`, never back.
    fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        self.phase_changed.notify_waiters();
    }

    /// Completes when the server is in another phase than `phase`.
    async fn left_phase(&self, phase: Phase) {
        loop {
            let changed = self.phase_changed.notified();
            if self.phase() != phase {
                return;
            }
            changed.await;
        }
    }

    /// Completes when the shutdown's grace period is over.
    async fn entered_cut(&self) {
        self.left_phase(Phase::Serving).await;
        self.left_phase(Phase::Draining).await;
    }

    /// Completes at the next change of phase after its first poll.
    fn phase_change(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let changed = self.phase_changed.clone();
        Box::pin(async move { changed.notified().await })
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("phase", &self.phase()).finish_non_exhaustive()
    }
}

// === accepting ===

/// Accepts connections until `stop`; an error means that it cannot go on.
async fn accept_until(listener: Listener, shared: Arc<Shared>, stop: CancellationToken) -> io::Result<()> {
    loop {
        let accepted = tokio::select! {
            biased; // a stopped server accepts nothing more
            () = stop.cancelled() => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                let Some((slot, window)) = shared.admit(peer) else { continue };
                let connection = connection::serve(shared.clone(), socket, peer, window);
                let task = async move {
                    connection.await;
                    drop(slot);
                };
                shared.tasks.spawn(task.in_current_span());
            }
            Err(error) if is_fatal(&error) => return Err(error),
            Err(error) => {
                if let Some(held_back) = shared.accept_gate.open() {
                    tracing::warn!(%error, held_back, "Cannot accept a connection now");
                }
                tokio::time::sleep(limits::ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether the listening socket itself is broken. Everything else (a client that left, no file descriptors, no
/// memory) passes.
fn is_fatal(error: &io::Error) -> bool {
    const EBADF: i32 = 9;
    const EINVAL: i32 = 22;
    const ENOTSOCK: i32 = 88;
    matches!(error.raw_os_error(), Some(EBADF | EINVAL | ENOTSOCK))
}
