//! The channel against scripted peers.

mod answers;
mod calls;
mod connections;
mod keepalive;
mod peer;
mod raw;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue};
use spanbridge_component::BuildInfo;
use tokio::time::Instant;

use super::connection::{ConnectionOptions, Keepalive};
use super::*;
use crate::grpc::{ClientConfig, ClientTls, HostPort};

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(20);

static PATH: std::sync::LazyLock<PathAndQuery> =
    std::sync::LazyLock::new(|| PathAndQuery::from_static("/test.Service/Method"));

async fn patiently<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("the test has waited too long")
}

fn config(endpoint: impl std::fmt::Display) -> ClientConfig {
    ClientConfig { endpoint: endpoint.to_string(), tls: ClientTls::plaintext(), ..ClientConfig::default() }
}

fn settings() -> ChannelSettings {
    let build = BuildInfo { command: "test", description: "Test Program", version: "1.2.3" };
    ChannelSettings {
        backoff: Backoff {
            initial: Duration::from_millis(20),
            multiplier: 1.0,
            jitter: 0.0,
            max: Duration::from_millis(20),
        },
        re_resolution: ReResolution {
            interval: Duration::from_secs(600),
            interval_min: Duration::from_millis(20),
        },
        ..ChannelSettings::new(&build)
    }
}

fn channel(endpoint: impl std::fmt::Display) -> Channel {
    Channel::new(&config(endpoint), settings()).unwrap()
}

/// Calls with a message of one segment and a deadline far away.
async fn call(channel: &Channel, message: &'static str) -> Result<UnaryResponse, Status> {
    call_with(channel, &[Bytes::from_static(message.as_bytes())]).await
}

async fn call_with(channel: &Channel, segments: &[Bytes]) -> Result<UnaryResponse, Status> {
    let deadline = Instant::now() + PATIENCE;
    patiently(channel.unary(&PATH, segments, &HeaderMap::new(), Some(deadline))).await
}

/// Repeats `probe` until it gives something.
async fn eventually<T, F: Future<Output = Option<T>>>(mut probe: impl FnMut() -> F) -> T {
    patiently(async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

/// A resolver whose answer the test changes.
#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<Vec<SocketAddr>>>);

impl Scripted {
    fn set(&self, addresses: &[SocketAddr]) {
        *self.0.lock().unwrap() = addresses.to_vec();
    }

    fn of(addresses: &[SocketAddr]) -> Self {
        let this = Self::default();
        this.set(addresses);
        this
    }

    fn settings(&self) -> ChannelSettings {
        ChannelSettings { resolver: Arc::new(self.clone()), ..settings() }
    }
}

#[async_trait]
impl Resolve for Scripted {
    async fn resolve(&self, target: &HostPort) -> io::Result<Vec<SocketAddr>> {
        assert_eq!(target.to_string(), "backend:4317");
        let addresses = self.0.lock().unwrap().clone();
        if addresses.is_empty() { Err(io::Error::other("no such host")) } else { Ok(addresses) }
    }
}
