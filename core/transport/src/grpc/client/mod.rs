//! The client side: connections, balancing and unary calls.
//!
//! A [`Channel`] resolves its endpoint, keeps connections to what it finds and sends unary calls over them. Its parts,
//! from the outside in: `balancer` (names to subchannels), `subchannel` (one address, connected again and again),
//! `connection` (HTTP/2, keepalive), `roster` (which connection a call takes), `call` and `response` (one attempt).

mod backoff;
mod balancer;
mod call;
mod connection;
mod dial;
mod outgoing;
mod resolve;
mod response;
mod roster;
mod subchannel;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue};
use spanbridge_component::{BuildInfo, Code};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

pub use backoff::Backoff;
pub use balancer::ReResolution;
pub use resolve::{Resolve, SystemResolver};

use self::balancer::BalancerTask;
use self::call::{Outcome, Template, attempt};
use self::connection::{ConnectionOptions, Handle, Keepalive};
use self::outgoing::OutgoingMessage;
use self::roster::{Picker, Roster};
use super::client_config::{ClientConfig, header};
use super::compression::encode::Compressor;
use super::{EndpointError, Status};
use crate::io::{READ_BUFFER_BYTES_DEFAULT, WRITE_BUFFER_BYTES_DEFAULT};

/// Calls that a channel has in flight at a time, unless the settings say otherwise; further ones wait.
pub const IN_FLIGHT_MAX_DEFAULT: usize = 4096;

/// Attempts at one call when servers refuse it unseen: the first, and one more as gRPC's transparent retry has it
/// (gRFC A6).
const SEEN_ATTEMPTS_MAX: usize = 2;

/// Connections that one call may find gone before it could be sent at all.
const STALE_CONNECTIONS_MAX: usize = 8;

/// What a program decides about a channel, beside what its user configures.
#[derive(Clone)]
pub struct ChannelSettings {
    /// `user-agent`, unless the configuration has one.
    pub user_agent: String,
    /// Finds addresses.
    pub resolver: Arc<dyn Resolve>,
    /// When names are resolved again.
    pub re_resolution: ReResolution,
    /// Pauses between attempts to connect and to resolve.
    pub backoff: Backoff,
    /// Connections to each address under `round_robin`; at least 1. One connection is served by one processor at a
    /// time.
    pub connections_per_address: usize,
    /// Calls in flight at a time; at least 1.
    pub in_flight_max: usize,
}

impl ChannelSettings {
    /// The settings of a program: its name in `user-agent`, and defaults.
    pub fn new(build: &BuildInfo) -> Self {
        Self {
            user_agent: user_agent(build),
            resolver: Arc::new(SystemResolver),
            re_resolution: ReResolution::default(),
            backoff: Backoff::default(),
            connections_per_address: 1,
            in_flight_max: IN_FLIGHT_MAX_DEFAULT,
        }
    }
}

/// `<description>/<version> (<os>/<arch>)`, as the Go collector introduces itself (reference: collector-core, 8.1).
fn user_agent(build: &BuildInfo) -> String {
    // Go's names.
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{}/{} ({}/{arch})", build.description, build.version, std::env::consts::OS)
}

/// Why a configuration gives no channel. Validation finds all of these first.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The endpoint.
    #[error("endpoint: {0}")]
    Endpoint(#[from] EndpointError),
    /// A header, the authority or the user agent.
    #[error("{key}: {reason}")]
    Header {
        /// The key of the configuration.
        key: &'static str,
        /// What is wrong with its value.
        reason: String,
    },
}

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
        let template = template(config, &settings, &endpoint.authority())?;
        let roster = Roster::new();
        let shared = Arc::new(subchannel::Shared {
            roster: Arc::clone(&roster),
            options: connection_options(config),
            backoff: settings.backoff,
            resolve_now: tokio::sync::Notify::new(),
        });
        let stop = CancellationToken::new();
        let balancer = BalancerTask {
            endpoint,
            policy: config.balancer_name,
            connections_per_address: settings.connections_per_address.max(1),
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
        let connected = AtomicBool::new(false);
        let call = Box::pin(self.call(path, segments, metadata, deadline, &connected));
        let Some(deadline) = deadline else { return call.await };
        timeout_at(deadline, call).await.unwrap_or_else(|_| {
            let mut text = "context deadline exceeded".to_owned();
            if !connected.load(Ordering::Relaxed) {
                text.push_str(" while waiting for a connection");
                if let Some(failure) = self.0.roster.last_failure() {
                    text.push_str(": ");
                    text.push_str(&failure);
                }
            }
            Err(Status::new(Code::DeadlineExceeded, text))
        })
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
        connected: &AtomicBool,
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
            let handle = inner.pick(avoid.as_ref()).await?;
            connected.store(true, Ordering::Relaxed);
            let (message, compressed) = match &encoded {
                Some(encoded) => encoded.clone(),
                None => encoded.insert(inner.encode(segments).await?).clone(),
            };
            let request = inner.template.request(path, metadata, compressed, deadline)?;
            let status = match attempt(&handle, request, message).await {
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

/// A semaphore has no more permits than this.
const IN_FLIGHT_CEILING: u32 = 1 << 20;

fn closing() -> Status {
    Status::new(Code::Unavailable, "grpc: the client connection is closing")
}

fn template(
    config: &ClientConfig,
    settings: &ChannelSettings,
    target: &str,
) -> Result<Template, ChannelError> {
    let invalid = |key, reason: &dyn fmt::Display| ChannelError::Header { key, reason: reason.to_string() };
    let authority = if config.authority.is_empty() { target } else { &config.authority };
    let authority: Authority = authority.parse().map_err(|e| invalid("authority", &e))?;
    let user_agent = if config.user_agent.is_empty() { &settings.user_agent } else { &config.user_agent };
    let user_agent = HeaderValue::from_str(user_agent).map_err(|e| invalid("user_agent", &e))?;
    let headers = config.headers.iter().map(|(name, value)| header(name, value.expose()));
    let headers = headers.collect::<Result<Vec<_>, _>>().map_err(|e| invalid("headers", &e))?;
    Ok(Template::new(authority, user_agent, headers, config.compression.encoding()))
}

fn connection_options(config: &ClientConfig) -> ConnectionOptions {
    let or_default = |bytes: usize, default: usize| if bytes == 0 { default } else { bytes };
    ConnectionOptions {
        keepalive: config.keepalive.as_ref().map(|keepalive| Keepalive {
            time: keepalive.effective_time(),
            timeout: keepalive.effective_timeout(),
            permit_without_stream: keepalive.permit_without_stream,
        }),
        read_buffer_bytes: or_default(config.read_buffer_size, READ_BUFFER_BYTES_DEFAULT),
        write_buffer_bytes: or_default(config.write_buffer_size, WRITE_BUFFER_BYTES_DEFAULT),
    }
}

#[cfg(test)]
mod tests;
