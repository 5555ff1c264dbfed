//! Where a server listens: parsing, and binding as Go's `net.Listen` does.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket as RawSocket, TcpKeepalive, Type};
use spanbridge_component::{Family, Listen};
use tokio::net::{TcpListener, UnixListener, UnixStream};

use super::config::Transport;
use super::handler::Peer;
use super::limits::{BACKLOG, TCP_KEEPALIVE};
use super::socket::Socket;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// A host, empty for every address, and a port.
    Tcp { host: String, port: u16 },
    /// Path of a unix socket.
    Unix(PathBuf),
}

/// A listening socket.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix { listener: UnixListener, path: PathBuf },
}

// === impl Endpoint ===

impl Endpoint {
    pub(crate) fn parse(text: &str, transport: Transport) -> Result<Self, String> {
        if text.is_empty() {
            return Err("endpoint must not be empty".to_owned());
        }
        if transport == Transport::Unix {
            return if text.starts_with('@') {
                Err(format!("abstract unix socket \"{text}\" is not supported, use the path of a file"))
            } else {
                Ok(Endpoint::Unix(text.into()))
            };
        }
        if text.contains("://") {
            return Err(format!("endpoint \"{text}\": a server listens on host:port, without a scheme"));
        }
        let (host, port) = text
            .rsplit_once(':')
            .ok_or_else(|| format!("endpoint \"{text}\": missing port in address, expected host:port"))?;
        let port = port.parse().map_err(|_| {
            format!("endpoint \"{text}\": invalid port \"{port}\", expected a number from 0 to 65535")
        })?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if bare.is_none() && host.contains(':') {
            return Err(format!("endpoint \"{text}\": too many colons in address, write [IPv6]:port"));
        }
        Ok(Endpoint::Tcp { host: bare.unwrap_or(host).to_owned(), port })
    }

    /// What it takes for itself.
    pub(crate) fn address(self, transport: Transport) -> Listen {
        let family = match transport {
            Transport::Tcp4 => Family::V4,
            Transport::Tcp6 => Family::V6,
            Transport::Tcp | Transport::Unix => Family::Both,
        };
        match self {
            Endpoint::Tcp { host, port } => Listen::Tcp { host, port, family },
            Endpoint::Unix(path) => Listen::Unix(path),
        }
    }

    /// Listens.
    pub(crate) async fn listen(&self, transport: Transport) -> io::Result<Listener> {
        match self {
            Endpoint::Tcp { host, port } => {
                let addresses = addresses(host, *port, transport).await?;
                bind_first(&addresses, transport).map(Listener::Tcp)
            }
            Endpoint::Unix(path) => {
                remove_stale(path).await?;
                Ok(Listener::Unix { listener: UnixListener::bind(path)?, path: path.clone() })
            }
        }
    }
}

/// The addresses to try, the first that works wins.
///
/// Go listens on one address: for a name the first IPv4 one, if there is any. No host, `0.0.0.0` and `[::]` mean every
/// address of both families (for `tcp`), which one IPv6 socket serves; without IPv6 it is an IPv4 one.
async fn addresses(host: &str, port: u16, transport: Transport) -> io::Result<Vec<SocketAddr>> {
    let v4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
    let v6 = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
    let wildcard = host.is_empty() || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
    let mut found: Vec<SocketAddr> = match transport {
        Transport::Tcp4 if wildcard => vec![v4],
        Transport::Tcp6 if wildcard => vec![v6],
        _ if wildcard => return Ok(vec![v6, v4]),
        _ => tokio::net::lookup_host((host, port)).await?.collect(),
    };
    found.retain(|address| match transport {
        Transport::Tcp4 => address.is_ipv4(),
        Transport::Tcp6 => address.is_ipv6(),
        Transport::Tcp | Transport::Unix => true,
    });
    found.sort_by_key(SocketAddr::is_ipv6);
    found.truncate(1);
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, "no suitable address found"));
    }
    Ok(found)
}

fn bind_first(addresses: &[SocketAddr], transport: Transport) -> io::Result<TcpListener> {
    let mut last = None;
    for address in addresses {
        match bind(*address, transport) {
            Ok(listener) => return Ok(listener),
            // An address in use is an answer; only a machine without this family goes on to the next.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
}

fn bind(address: SocketAddr, transport: Transport) -> io::Result<TcpListener> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        let both_families = transport == Transport::Tcp && address.ip().is_unspecified();
        socket.set_only_v6(!both_families)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(i32::try_from(BACKLOG).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

/// Removes a socket file that nobody listens on: a leftover of a process that was killed.
///
/// The Go collector fails to start instead, which takes a human after each crash. A file that is not a socket is left
/// alone, and so is one that somebody answers on; binding then fails with "address in use".
async fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    if !is_socket {
        return Ok(());
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::warn!(path = %path.display(), "Replacing the socket file of a process that is gone");
            std::fs::remove_file(path)
        }
        _ => Ok(()),
    }
}

// === impl Listener ===

impl Listener {
    /// Where it really listens: `127.0.0.1:4317`, `[::]:4317`, `/run/otlp.sock`.
    pub(crate) fn endpoint(&self) -> String {
        match self {
            Listener::Tcp(listener) => {
                listener.local_addr().map_or_else(|error| error.to_string(), |address| address.to_string())
            }
            Listener::Unix { path, .. } => path.display().to_string(),
        }
    }

    pub(crate) async fn accept(&self) -> io::Result<(Socket, Peer)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Both are best effort: a connection without them works.
                let _ = stream.set_nodelay(true);
                let keepalive = TcpKeepalive::new().with_time(TCP_KEEPALIVE).with_interval(TCP_KEEPALIVE);
                let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
                Ok((Socket::Tcp(stream), Peer::Tcp(canonical(address))))
            }
            Listener::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                Ok((Socket::Unix(stream), Peer::Unix))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Unix { path, .. } = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// An IPv4 client of a socket for both families is shown as what it is.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(text: &str) -> Result<(String, u16), String> {
        match Endpoint::parse(text, Transport::Tcp)? {
            Endpoint::Tcp { host, port } => Ok((host, port)),
            Endpoint::Unix(_) => Err("unix".into()),
        }
    }

    async fn listening(text: &str, transport: Transport) -> io::Result<Listener> {
        Endpoint::parse(text, transport).unwrap().listen(transport).await
    }

    #[test]
    fn every_form_of_a_tcp_endpoint_is_read() {
        assert_eq!(tcp("localhost:4317"), Ok(("localhost".into(), 4317)));
        assert_eq!(tcp(":0"), Ok((String::new(), 0)));
        assert_eq!(tcp("[::1]:4317"), Ok(("::1".into(), 4317)));
        for text in [
            "",
            "localhost",
            "::1:4317",
            "localhost:grpc",
            "localhost:65536",
            "[::1]",
            "http://localhost:4317",
        ] {
            assert!(tcp(text).is_err(), "{text:?}");
        }
    }

    #[tokio::test]
    async fn localhost_is_ipv4_and_port_zero_is_any_port() {
        let listener = listening("localhost:0", Transport::Tcp).await.unwrap();
        let endpoint = listener.endpoint();
        assert!(endpoint.starts_with("127.0.0.1:") && !endpoint.ends_with(":0"), "{endpoint}");
        let refused = listening(&endpoint, Transport::Tcp).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn no_host_means_every_address_of_both_families() {
        let listener = listening(":0", Transport::Tcp).await.unwrap();
        let port = listener.endpoint().rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
        let (_client, accepted) =
            tokio::join!(tokio::net::TcpStream::connect(("127.0.0.1", port)), listener.accept());
        let (_, peer) = accepted.unwrap();
        assert!(peer.address().unwrap().is_ipv4());
        let listener = listening("0.0.0.0:0", Transport::Tcp4).await.unwrap();
        assert!(listener.endpoint().starts_with("0.0.0.0:"));
    }

    #[tokio::test]
    async fn a_stale_unix_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("otlp.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "the standard library leaves the file behind");
        let listener = listening(path.to_str().unwrap(), Transport::Unix).await.unwrap();
        let refused = listening(path.to_str().unwrap(), Transport::Unix).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(!path.exists(), "ours does not");
        std::fs::write(&path, "a file of the user").unwrap();
        assert!(listening(path.to_str().unwrap(), Transport::Unix).await.is_err());
        assert!(path.exists());
    }
}
