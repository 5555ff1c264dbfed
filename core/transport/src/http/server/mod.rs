//! A small HTTP/1.1 server for what people and probes ask of the process: bounded, with TLS and authentication, and without
//! ever reading a body.

mod config;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use spanbridge_component::{AuthError, AuthRequest, Code};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

pub use config::{SERVER_UNSUPPORTED, ServerConfig};

use crate::auth::ServerAuth;
use crate::grpc::ListenError;
use crate::grpc::server::{Endpoint, Listener, Peer, Socket};
use crate::log_gate::LogGate;
use crate::tls::{Acceptor, Session};

/// Connections at a time; further ones wait in the socket's backlog.
pub const CONNECTIONS_MAX: usize = 256;
/// Time for a client to send its first byte, the head of a request, and that a connection may idle before the next.
pub const HEAD_TIME_MAX: Duration = Duration::from_secs(20);
/// Time for a connection as a whole: one that never reads its answer ends too.
pub const CONNECTION_TIME_MAX: Duration = Duration::from_secs(300);
/// Time for an answer that is on its way when the server stops.
const LAST_ANSWER_MAX: Duration = Duration::from_secs(1);
/// Longest request head in bytes, and most that is buffered for a connection.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Pause after a failed `accept`, which mostly means that the process is out of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// How a TLS handshake begins, and no request of HTTP.
const TLS_HANDSHAKE: u8 = 0x16;
const TLS_CLIENT: &str =
    "A TLS client connected to this plaintext HTTP endpoint; let it use http, or give the endpoint tls";
/// What clients may ask for in a TLS handshake (ALPN).
const ALPN: &[u8] = b"http/1.1";

/// Answers requests from their heads.
pub trait Handler: Send + Sync + 'static {
    /// The answer to a request that may come in. Must not block. HEAD gets it without its body.
    fn answer(&self, head: &http::request::Parts) -> Response<Bytes>;
}

/// A running server. Dropping it closes the listener and cuts every connection.
#[derive(Debug)]
pub struct Server {
    endpoint: String,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What all connections of a server share.
struct Shared {
    handler: Arc<dyn Handler>,
    auth: Option<ServerAuth>,
    tls: Option<Acceptor>,
    headers: HeaderMap,
    keep_alive: bool,
    stop: CancellationToken,
    tasks: TaskTracker,
    foreign_gate: LogGate,
}

/// What is known of a connection.
struct Client {
    peer: Peer,
    session: Option<Session>,
}

// === impl Server ===

impl Server {
    /// Listens as `config` says and hands requests to `handler`, in tasks that run in the current tracing span. `auth`
    /// decides who may come in.
    ///
    /// # Errors
    /// If the endpoint cannot be resolved or bound, if the files of TLS cannot be used, or if the configuration names an
    /// authenticator and `auth` is `None`.
    pub async fn start(
        config: &ServerConfig,
        handler: Arc<dyn Handler>,
        auth: Option<ServerAuth>,
    ) -> Result<Self, ListenError> {
        let failed = |reason: String| ListenError::new(&config.endpoint, reason);
        if config.auth.is_on() && auth.is_none() {
            return Err(failed("no authenticator was given, and without one nobody may come in".to_owned()));
        }
        let endpoint = Endpoint::parse(&config.endpoint, config.transport).map_err(failed)?;
        let tls = config.tls.as_ref().map(|tls| Acceptor::new(tls, ALPN)).transpose();
        let tls = tls.map_err(|error| failed(format!("tls: {error}")))?;
        let headers = config.response_headers().map_err(failed)?;
        let listener = endpoint.listen(config.transport).await.map_err(|error| failed(error.to_string()))?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let server = Self { endpoint: listener.endpoint(), stop: stop.clone(), tasks: tasks.clone() };
        let keep_alive = config.keep_alives_enabled;
        let foreign_gate = LogGate::new();
        let shared = Shared { handler, auth, tls, headers, keep_alive, stop, tasks, foreign_gate };
        server.tasks.spawn(accept(listener, Arc::new(shared)).in_current_span());
        Ok(server)
    }

    /// Where it really listens: the address and port, or the path of the socket.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Stops accepting, lets answers that are on their way go out until `deadline`, and cuts what is left. When it returns
    /// the listener is closed and every task has ended.
    pub async fn shutdown(&self, deadline: Instant) {
        self.stop.cancel();
        self.tasks.close();
        // Connections end at their next await: nothing here computes for long.
        let _ = timeout_at(deadline, self.tasks.wait()).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Accepts connections until the server stops. What `accept` fails with passes, or there is nothing to be done about it.
async fn accept(listener: Listener, shared: Arc<Shared>) {
    let stop = shared.stop.clone();
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let accept_all = async {
        // The semaphore is never closed, so it always yields a permit.
        while let Ok(slot) = slots.clone().acquire_owned().await {
            match listener.accept().await {
                Ok((socket, peer)) => shared.spawn(socket, peer, slot),
                Err(error) => {
                    tracing::warn!(%error, "Cannot accept a connection");
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
    };
    stop.run_until_cancelled(accept_all).await;
}

// === impl Shared ===

impl Shared {
    fn spawn(self: &Arc<Self>, socket: Socket, peer: Peer, slot: OwnedSemaphorePermit) {
        let shared = self.clone();
        let connection = async move {
            let _ = timeout(CONNECTION_TIME_MAX, shared.connection(socket, peer)).await;
            drop(slot);
        };
        self.tasks.spawn(connection.in_current_span());
    }

    async fn connection(&self, socket: Socket, peer: Peer) {
        let Some(shaken) = self.stop.run_until_cancelled(self.handshake(socket, peer)).await else { return };
        let Some((socket, client)) = shaken else { return };
        let service = service_fn(|request: Request<Incoming>| {
            let client = &client;
            async move { Ok::<_, Infallible>(self.respond(request, client).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .keep_alive(self.keep_alive)
            .serve_connection(TokioIo::new(socket), service);
        let mut connection = std::pin::pin!(connection);
        let served = tokio::select! {
            served = &mut connection => served,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                let Ok(served) = timeout(LAST_ANSWER_MAX, connection).await else { return };
                served
            }
        };
        if let Err(error) = served {
            tracing::debug!(%peer, %error, "A connection ended early");
        }
    }

    /// The connection, encrypted where it is to be.
    async fn handshake(&self, socket: Socket, peer: Peer) -> Option<(Socket, Client)> {
        let Some(tls) = &self.tls else {
            match timeout(HEAD_TIME_MAX, first_byte(&socket)).await {
                Ok(Some(TLS_HANDSHAKE)) => {
                    if let Some(held_back) = self.foreign_gate.open() {
                        tracing::warn!(%peer, held_back, "{TLS_CLIENT}");
                    }
                    return None;
                }
                Ok(_) => {}
                Err(_) => return None,
            }
            return Some((socket, Client { peer, session: None }));
        };
        match tls.accept(socket).await {
            Ok((stream, session)) => {
                Some((Socket::Tls(Box::new(stream)), Client { peer, session: Some(session) }))
            }
            Err(error) => {
                tls.report(&error, &peer);
                None
            }
        }
    }

    async fn respond(&self, request: Request<Incoming>, client: &Client) -> Response<Full<Bytes>> {
        let (head, _) = request.into_parts();
        let mut answer = match self.admit(&head.headers, client).await {
            Ok(()) => self.handler.answer(&head),
            Err(error) => refusal(&error),
        };
        for (name, value) in &self.headers {
            answer.headers_mut().insert(name, value.clone());
        }
        answer.map(Full::new)
    }

    async fn admit(&self, headers: &HeaderMap, client: &Client) -> Result<(), AuthError> {
        let Some(auth) = &self.auth else { return Ok(()) };
        let certificates = client.session.as_ref().map_or(&[][..], |session| &session.peer_certificates);
        let peer = client.peer.address();
        let request = AuthRequest { headers, peer, certificates, is_secured: client.session.is_some() };
        auth.check(&request).await.map(drop)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// The first byte that a client sends; it stays there to be read. `None` at the end, and where that cannot be told.
async fn first_byte(socket: &Socket) -> Option<u8> {
    let Socket::Tcp(stream) = socket else { return None };
    let mut first = [0];
    matches!(stream.peek(&mut first).await, Ok(1)).then_some(first[0])
}

/// What a client gets that is not let in.
fn refusal(error: &AuthError) -> Response<Bytes> {
    let status = match error.code() {
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut answer = text(status, format!("{error}\n"));
    if status == StatusCode::UNAUTHORIZED {
        for challenge in error.challenges() {
            answer.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
    }
    answer
}

/// An answer in plain text.
pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Bytes> {
    let mut answer = Response::new(text.into());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}
