//! From names to addresses.

use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;

use crate::grpc::HostPort;

/// Finds the addresses of a name. The channel asks again periodically and when a connection fails.
#[async_trait]
pub trait Resolve: Send + Sync + 'static {
    /// Every address of `target`, in order of preference.
    ///
    /// # Errors
    /// What the name service said. No addresses at all counts as an error too.
    async fn resolve(&self, target: &HostPort) -> io::Result<Vec<SocketAddr>>;
}

/// The operating system's resolver (`getaddrinfo`: hosts file, DNS, whatever the machine is set up for).
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, target: &HostPort) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((target.host.as_str(), target.port)).await?.collect())
    }
}
