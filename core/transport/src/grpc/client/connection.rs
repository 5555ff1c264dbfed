//! One HTTP/2 connection: established, driven to its end, and kept alive.

use std::fmt;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use h2::client::SendRequest;
use h2::{Ping, PingPong};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::dial::{Activity, Address, Socket, Watched, cause};
use super::load::Load;
use super::outgoing::OutgoingMessage;
use crate::io::{Flusher, Gathering, gather};
use crate::tls::{self, Connector};

/// Response bytes of one request that may be on their way unread. Responses are tiny; this is for large error texts.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;

/// The same for all requests of a connection together.
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// Largest header list accepted from a server: status message and details travel there.
const HEADER_LIST_MAX_BYTES: u32 = 64 * 1024;

/// How connections are made and kept.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionOptions {
    pub(crate) keepalive: Option<Keepalive>,
    /// Puts TLS on connections; `None` means plaintext.
    pub(crate) tls: Option<Arc<Connector>>,
    pub(crate) read_buffer_bytes: usize,
    pub(crate) write_buffer_bytes: usize,
}

/// When to ping and when to give up (gRFC A8).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keepalive {
    pub(crate) time: Duration,
    pub(crate) timeout: Duration,
    pub(crate) permit_without_stream: bool,
}

/// A connection that somebody has to run.
pub(crate) struct Connection {
    http2: Http2,
    ping: PingPong,
    activity: Activity,
    keepalive: Option<Keepalive>,
    requests: SendRequest<OutgoingMessage>,
    shared: Arc<Shared>,
}

/// What requests need of a connection. The connection closes in order once the last handle and the last request are
/// gone. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Handle {
    requests: SendRequest<OutgoingMessage>,
    shared: Arc<Shared>,
}

struct Shared {
    address: Address,
    /// No more requests: the peer is going away, or we are.
    retired: AtomicBool,
    retire: Notify,
    in_flight: AtomicUsize,
    /// Of the subchannel: it outlives the connection.
    load: Arc<Load>,
    /// Why the connection ended, for the requests that it took along.
    end: OnceLock<String>,
    /// The server found that it was pinged too often.
    pinged_too_often: AtomicBool,
}

type Io = Gathering<Watched<Box<dyn Socket>>>;

/// The protocol and its writer, which must be polled together.
struct Http2 {
    protocol: h2::client::Connection<Io, OutgoingMessage>,
    flusher: Flusher<Watched<Box<dyn Socket>>>,
}

impl Connection {
    /// Speaks HTTP/2 over `socket` and waits until the peer has shown that it does too.
    ///
    /// A pong proves it: the peer's SETTINGS come before it. A load balancer without backends, which accepts and
    /// closes, thus counts as a failed attempt and is met with growing delays.
    ///
    /// # Errors
    /// What went wrong, in the words of grpc-go.
    pub(crate) async fn establish(
        socket: Box<dyn Socket>,
        address: Address,
        options: &ConnectionOptions,
        load: Arc<Load>,
    ) -> Result<(Self, Handle), String> {
        let preface =
            |error: &str| format!("connection error: desc = \"error reading server preface: {error}\"");
        let (socket, activity) = Watched::new(socket);
        let (io, flusher) = gather(socket, options.read_buffer_bytes, options.write_buffer_bytes);
        let (requests, mut protocol) = h2::client::Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_header_list_size(HEADER_LIST_MAX_BYTES)
            .handshake(io)
            .await
            .map_err(|e| preface(&end_text(Some(&e))))?;
        let mut ping =
            protocol.ping_pong().ok_or_else(|| preface("the HTTP/2 library gives no ping handle"))?;
        let mut http2 = Http2 { protocol, flusher };
        let proof = tokio::select! {
            biased;
            end = poll_fn(|cx| http2.poll(cx)) => Err(end),
            pong = ping.ping(Ping::opaque()) => pong.map(drop).map_err(Some),
        };
        proof.map_err(|e| preface(&end_text(e.as_ref())))?;
        let shared = Arc::new(Shared {
            address,
            retired: AtomicBool::new(false),
            retire: Notify::new(),
            in_flight: AtomicUsize::new(0),
            load,
            end: OnceLock::new(),
            pinged_too_often: AtomicBool::new(false),
        });
        let handle = Handle { requests: requests.clone(), shared: Arc::clone(&shared) };
        Ok((Self { http2, ping, activity, keepalive: options.keepalive, requests, shared }, handle))
    }

    /// Runs the connection until it is closed and every request on it has ended.
    ///
    /// `unusable` is told why as soon as the connection takes no more requests, which may be long before: a peer that
    /// says GOAWAY still answers what it has begun.
    pub(crate) async fn run(self, unusable: oneshot::Sender<String>) {
        let Self { mut http2, mut ping, activity, keepalive, mut requests, shared } = self;
        let mut lost = pin!(watch(keepalive, &mut ping, &activity, &shared));
        let serving = poll_fn(|cx| {
            if let Poll::Ready(end) = http2.poll(cx) {
                shared.note(end.as_ref());
                return Poll::Ready(Phase::Over(end_text(end.as_ref())));
            }
            // Fails once a GOAWAY was read, or when the stream ids are used up.
            match requests.poll_ready(cx) {
                Poll::Ready(Err(error)) => {
                    shared.note(Some(&error));
                    Poll::Ready(Phase::Draining(end_text(Some(&error))))
                }
                _ => Poll::Pending,
            }
        });
        let phase = tokio::select! {
            biased;
            phase = serving => phase,
            reason = &mut lost => Phase::Over(reason),
            () = shared.retire.notified() => Phase::Draining("the client retired it".to_owned()),
        };
        drop(requests);
        shared.retired.store(true, Ordering::Release);
        let reason = match phase {
            Phase::Over(reason) => {
                let _ = shared.end.set(reason.clone());
                let _ = unusable.send(reason);
                return;
            }
            Phase::Draining(reason) => reason,
        };
        let _ = unusable.send(reason);
        let end = tokio::select! {
            biased;
            end = poll_fn(|cx| http2.poll(cx)) => end_text(end.as_ref()),
            reason = &mut lost => reason,
        };
        // Before the protocol is dropped, which fails the requests that are left.
        let _ = shared.end.set(end);
    }
}

impl Shared {
    /// Notes what an error says beyond its text. gRFC A8: a server that is pinged too often says GOAWAY with the code
    /// `ENHANCE_YOUR_CALM` and these words.
    fn note(&self, error: Option<&h2::Error>) {
        const WORDS: &str = "too_many_pings";
        let calm = |error: &&h2::Error| {
            error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM)
        };
        if error.filter(calm).is_some_and(|error| error.to_string().contains(WORDS)) {
            self.pinged_too_often.store(true, Ordering::Relaxed);
        }
    }
}

enum Phase {
    /// Begun requests go on, no new ones.
    Draining(String),
    /// Closed.
    Over(String),
}

impl Http2 {
    /// Ready at the end of the connection, with its error if it did not end in order.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<h2::Error>> {
        let end = Pin::new(&mut self.protocol).poll(cx);
        // The socket keeps a write error for the protocol, which meets it with its next read or write.
        if let Poll::Ready(Err(_)) = self.flusher.poll_flush(cx)
            && end.is_pending()
        {
            cx.waker().wake_by_ref();
        }
        end.map(Result::err)
    }
}

/// Resolves, with the reason, when the peer does not answer; never without keepalive.
async fn watch(
    keepalive: Option<Keepalive>,
    ping: &mut PingPong,
    activity: &Activity,
    shared: &Shared,
) -> String {
    let Some(keepalive) = keepalive else { return pending().await };
    loop {
        sleep(keepalive.time).await;
        let in_use = keepalive.permit_without_stream || shared.in_flight.load(Ordering::Relaxed) > 0;
        if activity.take() || !in_use {
            continue;
        }
        let mut pong = pin!(ping.ping(Ping::opaque()));
        loop {
            match timeout(keepalive.timeout, &mut pong).await {
                Ok(Ok(_)) => break,
                // The connection has ended, and whoever polls it knows why.
                Ok(Err(_)) => return pending().await,
                // Any sign of life counts, as in grpc-go.
                Err(_) if activity.take() => {}
                Err(_) => return "keepalive ping failed to receive ACK within timeout".to_owned(),
            }
        }
    }
}

impl Handle {
    /// Whether the connection takes requests, as far as is known.
    pub(crate) fn is_usable(&self) -> bool {
        !self.shared.retired.load(Ordering::Acquire)
    }

    /// Lets no more requests onto the connection.
    pub(crate) fn retire(&self) {
        self.shared.retired.store(true, Ordering::Release);
        self.shared.retire.notify_one();
    }

    /// Whether both are the same connection.
    pub(crate) fn is(&self, other: &Handle) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// What the connection goes to.
    pub(crate) fn address(&self) -> &Address {
        &self.shared.address
    }

    /// Whether the server ended the connection because it was pinged too often.
    pub(crate) fn was_pinged_too_often(&self) -> bool {
        self.shared.pinged_too_often.load(Ordering::Relaxed)
    }

    /// Why the connection ended, if it has.
    pub(crate) fn end(&self) -> Option<&str> {
        self.shared.end.get().map(String::as_str)
    }

    /// For sending one request.
    pub(crate) fn requests(&self) -> SendRequest<OutgoingMessage> {
        self.requests.clone()
    }

    /// What one more request would cost, for `peak_ewma`.
    pub(crate) fn cost(&self, now: Instant) -> f64 {
        self.shared.load.cost(now)
    }

    /// Whether requests have failed lately, for `peak_ewma`.
    pub(crate) fn rests(&self, now: Instant) -> bool {
        self.shared.load.rests(now)
    }

    /// Counts a request as in flight until the guard is dropped. One that is dropped after its deadline has failed.
    pub(crate) fn in_flight(&self, deadline: Option<Instant>) -> InFlight {
        self.shared.in_flight.fetch_add(1, Ordering::Relaxed);
        self.shared.load.begin();
        InFlight { shared: Arc::clone(&self.shared), start: Instant::now(), deadline, failed: None }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("address", &self.shared.address).finish_non_exhaustive()
    }
}

/// A request on its way. When it is dropped, the time since its beginning is what is known of the destination's latency:
/// also of a request that was given up, which was slow by at least as much.
pub(crate) struct InFlight {
    shared: Arc<Shared>,
    start: Instant,
    deadline: Option<Instant>,
    failed: Option<bool>,
}

impl InFlight {
    /// The request was answered; `failed` if the destination is to blame for the answer.
    pub(crate) fn ended(&mut self, failed: bool) {
        self.failed = Some(failed);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.shared.in_flight.fetch_sub(1, Ordering::Relaxed);
        let now = Instant::now();
        let failed = self.failed.unwrap_or_else(|| self.deadline.is_some_and(|deadline| deadline <= now));
        self.shared.load.end(now.saturating_duration_since(self.start), failed, now);
    }
}

/// Why a connection ended, in few words.
pub(crate) fn end_text(error: Option<&h2::Error>) -> String {
    let Some(error) = error else { return "EOF".to_owned() };
    if let Some(io) = error.get_io() {
        // h2 says "broken pipe" when the peer has simply closed.
        if let Some(text) = tls::explained(io) {
            return text;
        }
        return if matches!(io.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof) {
            "EOF".to_owned()
        } else {
            cause(io)
        };
    }
    match error.reason() {
        Some(reason) if error.is_go_away() && error.is_remote() => {
            format!("the server said GOAWAY with error code {reason:?}")
        }
        _ => error.to_string(),
    }
}
