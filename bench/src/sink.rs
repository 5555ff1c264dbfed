//! The far end: takes requests over HTTP/2, answers success, and enters every span in the ledger.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, spawn_local};

use crate::Outcome;
use crate::grpc::{self, CONNECTION_WINDOW_BYTES, PREFIX_BYTES, STREAM_WINDOW_BYTES};
use crate::ledger::{Account, Ledger};

const MOST_STREAMS: u32 = 1024;
const POLL: Duration = Duration::from_millis(1);

/// A running sink; it stops when it is dropped.
pub(crate) struct Sink {
    address: SocketAddr,
    ledger: Rc<RefCell<Ledger>>,
    accepting: AbortHandle,
}

impl Sink {
    /// Listens on `address` and takes frames of up to `frame_bytes`.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub(crate) async fn start(address: SocketAddr, frame_bytes: u32, ledger: Ledger) -> Outcome<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let ledger = Rc::new(RefCell::new(ledger));
        let accepting = spawn_local(accept(listener, frame_bytes, ledger.clone())).abort_handle();
        Ok(Self { address, ledger, accepting })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How things stand.
    pub(crate) fn account(&self) -> Account {
        self.ledger.borrow().account()
    }

    /// Waits until nothing is missing; without a limit, or until `within` has passed.
    ///
    /// # Errors
    /// When the time is over.
    pub(crate) async fn wait_for_all(&self, within: Option<Duration>) -> Outcome<()> {
        let started = Instant::now();
        while self.account().missing > 0 {
            if within.is_some_and(|within| started.elapsed() > within) {
                return Err(format!("still incomplete: {}", self.account()).into());
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, frame_bytes: u32, ledger: Rc<RefCell<Ledger>>) {
    while let Ok((socket, _)) = listener.accept().await {
        spawn_local(serve(socket, frame_bytes, ledger.clone()));
    }
}

async fn serve(socket: TcpStream, frame_bytes: u32, ledger: Rc<RefCell<Ledger>>) {
    let _ = socket.set_nodelay(true);
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(MOST_STREAMS)
        .max_frame_size(frame_bytes);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(socket).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        spawn_local(take(request.into_body(), respond, ledger.clone()));
    }
}

/// One request. It is entered before it is answered, so what the load sees acknowledged is in the ledger.
async fn take(mut body: RecvStream, respond: SendResponse<Bytes>, ledger: Rc<RefCell<Ledger>>) {
    let Ok(mut message) = grpc::read(&mut body).await else { return };
    if message.len() < PREFIX_BYTES {
        return;
    }
    let _ = message.split_to(PREFIX_BYTES);
    ledger.borrow_mut().enter(message);
    let _ = answer(respond);
}

fn answer(mut respond: SendResponse<Bytes>) -> Outcome<()> {
    let headers = Response::builder().header("content-type", "application/grpc").body(())?;
    let mut stream = respond.send_response(headers, false)?;
    stream.send_data(Bytes::from_static(&[0; PREFIX_BYTES]), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers)?;
    Ok(())
}
