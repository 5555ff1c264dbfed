//! Shared network plumbing of receivers and exporters, and its configuration blocks.
//!
//! OTLP/gRPC, the hot path, sits on the `h2` crate directly: [`grpc`] has unary framing, status, compression, the
//! server and the client. [`mod@http`] is a small client for what components ask of the world (tokens, keys, metadata). [`io`] gathers what HTTP/2 writes into few system calls; both sides use it.

pub mod auth;
pub mod file_watch;
pub mod grpc;
pub mod http;
pub mod io;
pub mod log_gate;
pub mod tls;
