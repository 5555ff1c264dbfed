//! One connection: accepts its calls, runs them, writes out, keeps time.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use h2::{Ping, PingPong, Reason, RecvStream, server};
use http::Request;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::admission::{Gate, Window};
use super::call::{self, Caller};
use super::handler::Peer;
use super::keepalive::{Action, Clock};
use super::limits::{HANDSHAKE_TIME_MAX, LINGER_MAX};
use super::socket::Socket;
use super::watch::{Foreign, Watched};
use super::{Phase, Shared};
use crate::io::{Flusher, Gathering, gather};
use crate::tls::Session;

type Io = Watched<Socket>;
type H2 = server::Connection<Gathering<Io>, Bytes>;

/// How a connection ends.
enum End {
    /// The client closed it, or it broke, or everything is said after a GOAWAY.
    Over(Result<(), h2::Error>),
    /// Writing failed.
    Broken(io::Error),
    /// We close it, whatever calls were in flight.
    Closed(&'static str),
    /// The same, and nobody seems to read at the other end.
    Cut(&'static str),
    /// The shutdown's grace period is over.
    ShutDown,
    /// The client pings too often.
    TooManyPings,
}

/// Serves `socket` until it closes.
pub(super) async fn serve(shared: Arc<Shared>, socket: Socket, peer: Peer, window: Window) {
    let Some((socket, security)) = secure(&shared, socket, peer).await else { return };
    let (io, flusher) = gather(Watched::new(socket), 0, shared.write_buffer_bytes);
    let handshake = timeout(HANDSHAKE_TIME_MAX, flusher.drive(shared.h2_for(&window).handshake(io)));
    let handshake = tokio::select! {
        biased; // a client that is there already gets its GOAWAY
        result = handshake => result,
        () = shared.left_phase(Phase::Serving) => return,
    };
    let Ok(Ok(h2)) = handshake else {
        report_no_http2(&shared, &flusher, peer);
        return;
    };
    let gate = Gate::new(shared.memory.clone(), &window, shared.message_bytes_max);
    let caller = Arc::new(Caller { shared: shared.clone(), peer, security, gate });
    let mut driver = Driver::new(shared.clone(), h2, &flusher, |request, respond| {
        call::serve(caller.clone(), request, respond)
    });
    let end = poll_fn(|cx| driver.poll(cx)).await;
    let aborted = driver.calls.len();
    drop(driver);
    if matches!(end, End::ShutDown) {
        shared.aborted.fetch_add(aborted, Ordering::Relaxed);
        return;
    }
    end.report(&shared, peer, aborted);
    if matches!(end, End::Broken(_) | End::Cut(_)) {
        return;
    }
    tokio::select! {
        () = linger(&flusher) => {}
        () = shared.entered_cut() => {}
    }
}

// === impl End ===

impl End {
    fn report(&self, shared: &Shared, peer: Peer, aborted: usize) {
        match self {
            End::Over(Ok(())) => tracing::debug!(%peer, "Connection closed"),
            End::Over(Err(error)) => tracing::debug!(%peer, %error, aborted, "Connection failed"),
            End::Broken(error) => tracing::debug!(%peer, %error, aborted, "Connection failed"),
            End::Closed(reason) | End::Cut(reason) => {
                tracing::debug!(%peer, reason, aborted, "Connection closed by the server");
            }
            End::ShutDown => {}
            End::TooManyPings => {
                if let Some(held_back) = shared.pings_gate.open() {
                    tracing::warn!(
                        %peer,
                        held_back,
                        "Closing a connection: the client pings too often (too_many_pings)"
                    );
                }
            }
        }
    }
}

/// Puts TLS on a connection, if the server is to; `None` if that fails, which is reported here.
async fn secure(shared: &Shared, socket: Socket, peer: Peer) -> Option<(Socket, Option<Arc<Session>>)> {
    let Some(tls) = &shared.tls else { return Some((socket, None)) };
    let handshake = tokio::select! {
        result = Box::pin(tls.accept(socket)) => result,
        () = shared.left_phase(Phase::Serving) => return None,
    };
    match handshake {
        Ok((stream, session)) => Some((Socket::Tls(Box::new(stream)), Some(Arc::new(session)))),
        Err(error) => {
            tls.report(&error, &peer);
            None
        }
    }
}

/// Says what a client speaks that got no further than its first bytes.
fn report_no_http2(shared: &Shared, flusher: &Flusher<Io>, peer: Peer) {
    let foreign = flusher.with_io(|io| io.seen().foreign());
    let hint = match foreign {
        Some(Foreign::Tls) => {
            "A TLS client connected to this plaintext gRPC endpoint; make the client insecure (plaintext)"
        }
        Some(Foreign::Http1) => {
            "An HTTP/1 client connected to this gRPC endpoint; OTLP/HTTP needs an endpoint of its own"
        }
        None => {
            tracing::debug!(%peer, "A connection was closed before its HTTP/2 handshake");
            return;
        }
    };
    if let Some(held_back) = shared.foreign_gate.open() {
        tracing::warn!(%peer, held_back, "{hint}");
    }
}

/// Writes what is left, and reads on until the client has closed, too, or [`LINGER_MAX`] is over: closing with unread
/// data, or being written to after closing, makes the kernel send a reset. A client that meets it while it writes gives
/// up the whole connection, with answers that it has received and not yet read.
async fn linger(flusher: &Flusher<Io>) {
    let last_words = poll_fn(|cx| {
        ready!(flusher.poll_flush(cx))?;
        flusher.with_io(|io| {
            ready!(Pin::new(&mut *io).poll_shutdown(cx))?;
            let mut scrap = [0; 4096];
            loop {
                let mut scrap = ReadBuf::new(&mut scrap);
                ready!(Pin::new(&mut *io).poll_read(cx, &mut scrap))?;
                if scrap.filled().is_empty() {
                    return Poll::Ready(Ok::<_, io::Error>(()));
                }
            }
        })
    });
    let _ = timeout(LINGER_MAX, last_words).await;
}

/// Polls everything that belongs to a connection, in one task.
struct Driver<'a, F, M> {
    shared: Arc<Shared>,
    h2: H2,
    flusher: &'a Flusher<Io>,
    make_call: M,
    calls: FuturesUnordered<F>,
    clock: Clock,
    bytes_seen: u64,
    /// The client has pinged too often, and is told so as soon as HTTP/2 is between two frames.
    too_many_pings: bool,
    pings: Option<PingPong>,
    pinging: bool,
    phase: Phase,
    /// Completes when the server's phase changes.
    phase_change: Pin<Box<dyn Future<Output = ()> + Send>>,
    phase_watched: bool,
    timer: Pin<Box<Sleep>>,
}

impl<'a, F, M> Driver<'a, F, M>
where
    F: Future<Output = bool>,
    M: Fn(Request<RecvStream>, server::SendResponse<Bytes>) -> F,
{
    fn new(shared: Arc<Shared>, mut h2: H2, flusher: &'a Flusher<Io>, make_call: M) -> Self {
        let now = Instant::now();
        Self {
            clock: Clock::new(shared.rules.clone(), now, fastrand::f64()),
            pings: h2.ping_pong(),
            pinging: false,
            phase: Phase::Serving,
            phase_change: shared.phase_change(),
            phase_watched: false,
            timer: Box::pin(sleep(HANDSHAKE_TIME_MAX)),
            bytes_seen: 0,
            too_many_pings: false,
            calls: FuturesUnordered::new(),
            shared,
            h2,
            flusher,
            make_call,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let now = Instant::now();
        if self.poll_phase(cx, now) == Phase::Cut {
            return Poll::Ready(End::ShutDown);
        }
        if let Poll::Ready(result) = self.poll_calls(cx, now) {
            return Poll::Ready(End::Over(result));
        }
        self.too_many_pings |= !self.client_pings_are_fair(now);
        if self.too_many_pings {
            let goaway = goaway_too_many_pings(self.flusher.with_io(|io| io.seen().last_stream()));
            // Within a frame of HTTP/2's it has to wait until the socket takes the rest of that.
            if self.flusher.push_frame(&goaway) {
                return Poll::Ready(End::TooManyPings);
            }
        }
        match self.flusher.poll_flush(cx) {
            Poll::Ready(Err(error)) => return Poll::Ready(End::Broken(error)),
            flushed => self.clock.on_write(now, flushed.is_pending()),
        }
        self.poll_clock(cx, now)
    }

    /// Accepts and runs calls, and lets HTTP/2 read and write, until none of them can go on.
    fn poll_calls(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Result<(), h2::Error>> {
        loop {
            while let Poll::Ready(accepted) = self.h2.poll_accept(cx) {
                match accepted {
                    Some(Ok((request, respond))) => self.calls.push((self.make_call)(request, respond)),
                    Some(Err(error)) => return Poll::Ready(Err(error)),
                    None => return Poll::Ready(Ok(())),
                }
            }
            let mut answered = false;
            while let Poll::Ready(Some(was_answered)) = self.calls.poll_next_unpin(cx) {
                answered |= was_answered;
            }
            if !answered {
                break;
            }
            // The answers are with HTTP/2 now, which writes them when it is polled.
            self.clock.on_answer();
        }
        self.clock.on_calls(now, self.calls.len());
        Poll::Pending
    }

    /// Notes what was read; whether the client keeps to the policy for pings.
    fn client_pings_are_fair(&mut self, now: Instant) -> bool {
        let (bytes, pings) = self.flusher.with_io(|io| (io.seen().bytes(), io.seen().take_pings()));
        if bytes != self.bytes_seen {
            self.bytes_seen = bytes;
            self.clock.on_read(now);
        }
        (0..pings).all(|_| self.clock.on_client_ping(now, self.calls.len()))
    }

    fn poll_clock(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<End> {
        if self.pinging
            && let Some(pings) = &mut self.pings
            && pings.poll_pong(cx).is_ready()
        {
            self.pinging = false;
        }
        loop {
            match self.clock.action(now) {
                Action::Close(reason) => return Poll::Ready(End::Closed(reason)),
                Action::Cut(reason) => return Poll::Ready(End::Cut(reason)),
                Action::Drain(reason) => {
                    tracing::debug!(reason, "Draining a connection");
                    self.h2.graceful_shutdown();
                    cx.waker().wake_by_ref();
                }
                Action::Ping => {
                    self.pinging =
                        self.pings.as_mut().is_some_and(|pings| pings.send_ping(Ping::opaque()).is_ok());
                    self.clock.on_ping_sent(now);
                    cx.waker().wake_by_ref();
                }
                Action::Wait(at) => {
                    // The timer is only moved to an earlier time, or once it has fired: times mostly move later, with
                    // every read.
                    if at < self.timer.deadline() || self.timer.is_elapsed() {
                        self.timer.as_mut().reset(at);
                    }
                    if self.timer.as_mut().poll(cx).is_ready() {
                        cx.waker().wake_by_ref();
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Follows the server into its shutdown.
    fn poll_phase(&mut self, cx: &mut Context<'_>, now: Instant) -> Phase {
        // One poll registers this task. Polling on every turn would take a lock that all connections share.
        while !self.phase_watched {
            if self.phase_change.as_mut().poll(cx).is_ready() {
                self.phase_change = self.shared.phase_change();
            } else {
                self.phase_watched = true;
            }
        }
        let phase = self.shared.phase();
        if phase != self.phase {
            self.phase = phase;
            self.phase_change = self.shared.phase_change();
            self.phase_watched = false;
            if phase == Phase::Draining {
                self.h2.graceful_shutdown();
                self.clock.drain(now, None);
            }
            return self.poll_phase(cx, now);
        }
        phase
    }
}

/// A GOAWAY frame as grpc-go sends it: its clients read the text and ping half as often from then on. `h2` cannot send
/// one with a text.
fn goaway_too_many_pings(last_stream: u32) -> Vec<u8> {
    const TEXT: &[u8] = b"too_many_pings";
    const GOAWAY: u8 = 7;
    let mut frame = vec![0, 0, 8 + 14, GOAWAY, 0, 0, 0, 0, 0];
    frame.extend_from_slice(&last_stream.to_be_bytes());
    frame.extend_from_slice(&u32::from(Reason::ENHANCE_YOUR_CALM).to_be_bytes());
    frame.extend_from_slice(TEXT);
    frame
}
