//! Unary gRPC over HTTP/2: framing, status, compression, the server and the client.
//!
//! Sources: "gRPC over HTTP2" and "Compression" of the gRPC project; RFC 9113.

pub mod client;
mod client_config;
pub mod compression;
mod endpoint;
pub mod frame;
pub mod server;
pub mod status;
pub mod timeout;

pub(crate) use client_config::header as credential_header;

pub use client::{Channel, ChannelError, ChannelSettings, UnaryResponse};
pub use client_config::{Balancer, CLIENT_UNSUPPORTED, ClientConfig, ClientKeepalive, Compression};
pub use compression::Encoding;
pub use endpoint::{Endpoint, EndpointError, HostPort};
pub use server::{
    Drained, ListenError, Peer, Reply, Route, Server, ServerConfig, UnaryHandler, UnaryRequest,
};
pub use spanbridge_component::Code;
pub use status::Status;

pub use crate::tls::{ClientTls, ServerTls};
