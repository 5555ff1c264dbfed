//! The client side: connections, balancing and unary calls.
//!
//! A [`Channel`] resolves its endpoint, keeps connections to what it finds and sends unary calls over them. Its parts,
//! from the outside in: `balancer` (names to subchannels), `subchannel` (one address, connected again and again),
//! `connection` (HTTP/2, keepalive), `roster` and `load` (which connection a call takes), `call` and `response` (one attempt).

mod backoff;
mod balancer;
mod call;
mod connection;
pub(crate) mod dial;
mod load;
mod outgoing;
mod resolve;
mod response;
mod roster;
mod settings;
mod subchannel;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::HeaderMap;
use http::uri::PathAndQuery;
use spanbridge_component::Code;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

pub use backoff::Backoff;
pub use balancer::ReResolution;
pub use resolve::{Resolve, SystemResolver};
pub use settings::{ChannelError, ChannelSettings, IN_FLIGHT_MAX_DEFAULT};

use self::balancer::BalancerTask;
use self::call::{Outcome, Template, attempt};
use self::connection::Handle;
use self::outgoing::OutgoingMessage;
use self::roster::{Picker, Roster};
use self::settings::{connection_options, template};
use super::Status;
use super::client_config::{CONNECTIONS_PER_ADDRESS_MAX, ClientConfig};
use super::compression::encode::Compressor;

/// Attempts at one call when servers refuse it unseen: the first, and one more as gRPC's transparent retry has it
/// (gRFC A6).
const SEEN_ATTEMPTS_MAX: usize = 2;

/// Connections that one call may find gone before it could be sent at all.
const STALE_CONNECTIONS_MAX: usize = 8;

/// The answer to a call that succeeded.
#[derive(Debug, Clone)]
pub struct UnaryResponse {
    /// The serialized response message, decompressed.
    pub message: Bytes,
    /// The initial metadata.
    pub metadata: HeaderMap,
}

/// A client of one endpoint: unary calls over connections that are made, spread and remade behind the scenes.
///
/// Cheap to clone; clones share the connections. When the last one is dropped, everything stops at once;
/// [`Channel::close`] lets calls finish.
#[derive(Clone)]
pub struct Channel(Arc<Inner>);

struct Inner {
    template: Template,
    wait_for_ready: bool,
    compressor: Option<Arc<Compressor>>,
    roster: Arc<Roster>,
    in_flight: Semaphore,
    in_flight_max: u32,
    closing: AtomicBool,
    stop: CancellationToken,
    balancer: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl Channel {
    /// A channel for this configuration, which connects right away in the background.
    ///
    /// Must be called within a tokio runtime. Its tasks run in the current tracing span.
    ///
    /// # Errors
    /// If the configuration is one that validation refuses.
    pub fn new(config: &ClientConfig, settings: ChannelSettings) -> Result<Self, ChannelError> {
        let endpoint = config.target()?;
        let encoding = config.compression.encoding();
        let template = template(config, &settings, &endpoint)?;
        let roster = Roster::new(config.balancer_name);
        let shared = Arc::new(subchannel::Shared {
            roster: Arc::clone(&roster),
            options: connection_options(config, &endpoint)?,
            backoff: settings.backoff,
            resolve_now: tokio::sync::Notify::new(),
            keepalive_stretch: std::sync::atomic::AtomicU32::new(1),
        });
        let stop = CancellationToken::new();
        let balancer = BalancerTask {
            endpoint,
            policy: config.balancer_name,
            connections_per_address: config
                .connections_per_address
                .max(settings.connections_per_address)
                .clamp(1, CONNECTIONS_PER_ADDRESS_MAX),
            resolver: settings.resolver,
            re_resolution: settings.re_resolution,
            shared,
            stop: stop.clone(),
        };
        let balancer = AbortOnDropHandle::new(tokio::spawn(balancer.run().in_current_span()));
        let in_flight_max =
            u32::try_from(settings.in_flight_max).unwrap_or(u32::MAX).clamp(1, IN_FLIGHT_CEILING);
        Ok(Self(Arc::new(Inner {
            template,
            wait_for_ready: config.wait_for_ready,
            compressor: encoding.map(Compressor::new),
            roster,
            in_flight: Semaphore::new(in_flight_max as usize),
            in_flight_max,
            closing: AtomicBool::new(false),
            stop,
            balancer: Mutex::new(Some(balancer)),
        })))
    }

    /// Calls the method at `path` with the message that `segments` make together, and waits for its answer.
    ///
    /// Waits for a connection while the first one is being made, or any one with `wait_for_ready`. A call that a server
    /// certainly did not look at is sent once more. Dropping the future cancels the call.
    ///
    /// `metadata` is added to the configured headers and wins over them; names that belong to gRPC are left out.
    ///
    /// # Errors
    /// The server's status, or what stands for it: `UNAVAILABLE` if it cannot be reached, `DEADLINE_EXCEEDED` after
    /// `deadline`, and what the gRPC specification maps HTTP errors to.
    pub async fn unary(
        &self,
        path: &PathAndQuery,
        segments: &[Bytes],
        metadata: &HeaderMap,
        deadline: Option<Instant>,
    ) -> Result<UnaryResponse, Status> {
        // Boxed: h2's futures are large, and callers nest this deep in their own.
        let phase = AtomicU8::new(Phase::QUEUED);
        let call = Box::pin(self.call(path, segments, metadata, deadline, &phase));
        let Some(deadline) = deadline else { return call.await };
        // What is late already need not be sent.
        if deadline <= Instant::now() {
            return Err(self.late(Phase::SENT));
        }
        timeout_at(deadline, call).await.unwrap_or_else(|_| Err(self.late(phase.load(Ordering::Relaxed))))
    }

    /// The status of a call whose deadline has passed in this phase.
    fn late(&self, phase: u8) -> Status {
        let mut text = "context deadline exceeded".to_owned();
        if phase == Phase::QUEUED {
            text.push_str(" while waiting for other requests to end");
        } else if phase == Phase::CONNECTING {
            text.push_str(" while waiting for a connection");
            if let Some(failure) = self.0.roster.last_failure() {
                text.push_str(": ");
                text.push_str(&failure);
            }
        }
        Status::new(Code::DeadlineExceeded, text)
    }

    /// Takes no more calls, waits for those in flight until `deadline`, and closes every connection.
    ///
    /// Returns how many calls were cut off.
    pub async fn close(&self, deadline: Instant) -> usize {
        let inner = &self.0;
        inner.closing.store(true, Ordering::Release);
        // Every permit together means that nobody has one.
        let _ = timeout_at(deadline, inner.in_flight.acquire_many(inner.in_flight_max)).await;
        let cut_off = inner.in_flight_max as usize - inner.in_flight.available_permits();
        inner.in_flight.close();
        inner.roster.close();
        inner.stop.cancel();
        let balancer = inner.balancer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut balancer) = balancer
            && timeout_at(deadline, &mut balancer).await.is_err()
        {
            balancer.abort();
            // Ends at the next await point of a task that does nothing but await.
            let _ = balancer.await;
        }
        cut_off
    }

    async fn call(
        &self,
        path: &PathAndQuery,
        segments: &[Bytes],
        metadata: &HeaderMap,
        deadline: Option<Instant>,
        phase: &AtomicU8,
    ) -> Result<UnaryResponse, Status> {
        let inner = &self.0;
        // Behind the one who closes there is no use in queueing.
        if inner.closing.load(Ordering::Acquire) {
            return Err(closing());
        }
        let _permit = inner.in_flight.acquire().await.map_err(|_| closing())?;
        let mut avoid: Option<Handle> = None;
        let mut encoded: Option<(OutgoingMessage, bool)> = None;
        let (mut seen, mut stale) = (0, 0);
        loop {
            if inner.closing.load(Ordering::Acquire) {
                return Err(closing());
            }
            phase.store(Phase::CONNECTING, Ordering::Relaxed);
            let handle = inner.pick(avoid.as_ref()).await?;
            phase.store(Phase::SENT, Ordering::Relaxed);
            let (message, compressed) = match &encoded {
                Some(encoded) => encoded.clone(),
                None => encoded.insert(inner.encode(segments).await?).clone(),
            };
            let request = inner.template.request(path, metadata, compressed, deadline)?;
            let status = match attempt(&handle, request, message, deadline).await {
                Outcome::Decided(result) => return result,
                Outcome::Unprocessed(status) => status,
            };
            // A connection that is gone before anything could be sent is not an attempt.
            let count = if handle.is_usable() { &mut seen } else { &mut stale };
            *count += 1;
            if seen >= SEEN_ATTEMPTS_MAX || stale >= STALE_CONNECTIONS_MAX {
                return Err(status);
            }
            avoid = Some(handle);
        }
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("roster", &self.0.roster).finish_non_exhaustive()
    }
}

impl Inner {
    /// A connection that takes requests, now or when there is one.
    async fn pick(&self, avoid: Option<&Handle>) -> Result<Handle, Status> {
        if let Picker::Ready(set) = &*self.roster.picker().borrow()
            && let Some(handle) = set.pick(avoid)
        {
            return Ok(handle);
        }
        let mut picker = self.roster.picker().subscribe();
        loop {
            match &*picker.borrow_and_update() {
                Picker::Ready(set) => {
                    if let Some(handle) = set.pick(avoid) {
                        return Ok(handle);
                    }
                }
                Picker::Failing(error) if !self.wait_for_ready => {
                    return Err(Status::new(Code::Unavailable, error.to_string()));
                }
                Picker::Closed => return Err(closing()),
                Picker::Connecting | Picker::Failing(_) => {}
            }
            picker.changed().await.map_err(|_| closing())?;
        }
    }

    /// The message as it is sent, and whether it is compressed. An empty one never is.
    async fn encode(&self, segments: &[Bytes]) -> Result<(OutgoingMessage, bool), Status> {
        let len = segments.iter().map(Bytes::len).sum();
        match &self.compressor {
            Some(compressor) if len > 0 => {
                let packed = compressor.compress(segments, len).await?;
                Ok((OutgoingMessage::new(&[packed], true)?, true))
            }
            _ => Ok((OutgoingMessage::new(segments, false)?, false)),
        }
    }
}

/// How far a call has come, for the text of its timeout.
struct Phase;

impl Phase {
    const QUEUED: u8 = 0;
    const CONNECTING: u8 = 1;
    const SENT: u8 = 2;
}

/// A semaphore has no more permits than this.
const IN_FLIGHT_CEILING: u32 = 1 << 20;

fn closing() -> Status {
    Status::new(Code::Unavailable, "grpc: the client connection is closing")
}

#[cfg(test)]
mod tests;
