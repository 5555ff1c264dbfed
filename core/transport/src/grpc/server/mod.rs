//! The server side: listening, connections, unary requests.

mod config;
mod handler;

pub use config::{Keepalive, KeepaliveEnforcement, KeepaliveParameters, ServerConfig, Transport};
pub use handler::{Peer, Reply, UnaryHandler, UnaryRequest};

/// A running gRPC server.
#[derive(Debug)]
pub struct Server {}
