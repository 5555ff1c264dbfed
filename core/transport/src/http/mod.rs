//! A small HTTP/1.1 client on `hyper`, for what components ask of the world beside telemetry: tokens, keys, metadata. And,
//! in [`server`], its counterpart for what the world asks of the process.
//!
//! ```text
//! Request ─▶ Client: resolve ─▶ connect (TCP or unix socket) ─▶ TLS if https ─▶ hyper ─▶ Response, read to its end
//!                    └──────────── connect_timeout ────────┘
//!            └───────────────────────── timeout, redirects included ───────────────────────────┘
//! ```
//!
//! Every request has a connection of its own: these requests are rare, and no idle connection is left to go stale.
//! Everything is bounded ([`Limits`]). Redirects are errors unless asked for. The environment's proxies (`HTTP_PROXY` and
//! the like) are not heeded. Errors name the URL without what may be secret in it.

mod client;
mod error;
mod exchange;
mod request;
pub mod server;

#[cfg(test)]
mod tests;

pub use client::{Client, Limits};
pub use error::{Error, Kind};
pub use request::{Request, shown};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

/// What a server answered, whatever its status.
#[derive(Clone)]
pub struct Response {
    /// The status; anything but 2xx is the caller's to judge.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body, at most [`Limits::body_bytes_max`].
    pub body: Bytes,
}

/// Bodies may be tokens, so only their size is printed.
impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}
