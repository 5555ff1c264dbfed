//! A TCP proxy before the backend, for what happens to connections: resets, and a port where nobody listens.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// A running proxy; it stops when it is dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    target: SocketAddr,
    cuts: watch::Sender<u64>,
    listening: Option<AbortHandle>,
}

impl Proxy {
    /// A proxy before `target`.
    pub(crate) fn start(target: SocketAddr) -> Self {
        let listener = listen(([127, 0, 0, 1], 0).into());
        let address = listener.local_addr().expect("address of the proxy");
        let mut proxy = Self { address, target, cuts: watch::channel(0).0, listening: None };
        proxy.serve(listener);
        proxy
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resets every connection.
    pub(crate) fn reset(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Resets every connection and refuses new ones.
    pub(crate) fn go_down(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.abort();
        }
        self.reset();
    }

    /// Listens again where it listened before.
    pub(crate) fn come_up(&mut self) {
        let listener = listen(self.address);
        self.serve(listener);
    }

    fn serve(&mut self, listener: TcpListener) {
        let (target, cuts) = (self.target, self.cuts.subscribe());
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(forward(client, target, cuts.clone()));
            }
        });
        self.listening = Some(task.abort_handle());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.go_down();
    }
}

fn listen(address: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("reuse the address");
    socket.bind(address).expect("bind the proxy");
    socket.listen(128).expect("listen")
}

/// Copies both ways until either side ends or the proxy cuts the connection.
async fn forward(mut client: TcpStream, target: SocketAddr, mut cuts: watch::Receiver<u64>) {
    cuts.mark_unchanged();
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        _ = cuts.changed() => {
            for stream in [&client, &server] {
                // Closing with unsent data and no lingering is what sends RST.
                let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
            }
        }
    }
}
