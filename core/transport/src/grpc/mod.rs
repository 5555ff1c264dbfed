//! Unary gRPC over HTTP/2: framing, status, compression, the server and the client.
//!
//! Sources: "gRPC over HTTP2" and "Compression" of the gRPC project; RFC 9113.

pub mod client;
pub mod compression;
pub mod frame;
pub mod server;
pub mod status;
pub mod timeout;

pub use compression::Encoding;
pub use server::{Peer, Reply, Server, ServerConfig, UnaryHandler, UnaryRequest};
pub use spanbridge_component::Code;
pub use status::Status;
