//! An h2 server that does what a test tells it to.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use spanbridge_component::Code;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::grpc::Status;
use crate::grpc::frame::prefix;

type Handler = Arc<dyn Fn(Exchange) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A server; it dies with this handle.
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) connections: Arc<AtomicUsize>,
    shutdown: watch::Sender<u32>,
    _task: AbortOnDropHandle<()>,
}

/// One request, and the means to answer it.
pub(super) struct Exchange {
    pub(super) request: Request<()>,
    /// The body, prefix included.
    pub(super) body: Bytes,
    /// The DATA frames it came in, by size.
    pub(super) frames: Vec<usize>,
    /// Which connection of the peer it is, from 0.
    pub(super) connection: usize,
    pub(super) respond: SendResponse<Bytes>,
}

impl Peer {
    pub(super) async fn start<F: Future<Output = ()> + Send + 'static>(
        handler: impl Fn(Exchange) -> F + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(h2::server::Builder::new(), "127.0.0.1:0", handler).await
    }

    pub(super) async fn start_with<F: Future<Output = ()> + Send + 'static>(
        builder: h2::server::Builder,
        address: impl tokio::net::ToSocketAddrs,
        handler: impl Fn(Exchange) -> F + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let handler: Handler = Arc::new(move |exchange| Box::pin(handler(exchange)));
        let connections = Arc::new(AtomicUsize::new(0));
        let (shutdown, shut) = watch::channel(0);
        let counter = connections.clone();
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            let mut tasks = JoinSet::new();
            loop {
                let Ok((socket, _)) = listener.accept().await else { return };
                let index = counter.fetch_add(1, Ordering::SeqCst);
                tasks.spawn(serve(socket, builder.clone(), index, handler.clone(), shut.clone()));
            }
        }));
        Self { address, connections, shutdown, _task: task }
    }

    /// Says GOAWAY on every connection and finishes what has begun.
    pub(super) fn go_away(&self) {
        self.shutdown.send_modify(|n| *n += 1);
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve(
    socket: TcpStream,
    builder: h2::server::Builder,
    index: usize,
    handler: Handler,
    mut shut: watch::Receiver<u32>,
) {
    shut.mark_unchanged();
    let Ok(mut connection) = builder.handshake::<_, Bytes>(socket).await else { return };
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    tasks.spawn(exchange(request, respond, index, handler.clone()));
                }
                _ => break,
            },
            Ok(()) = shut.changed() => connection.graceful_shutdown(),
        }
    }
}

async fn exchange(
    request: Request<h2::RecvStream>,
    respond: SendResponse<Bytes>,
    connection: usize,
    handler: Handler,
) {
    let (head, mut stream) = request.into_parts();
    let (mut body, mut frames) = (BytesMut::new(), Vec::new());
    while let Some(Ok(chunk)) = stream.data().await {
        stream.flow_control().release_capacity(chunk.len()).unwrap();
        frames.push(chunk.len());
        body.extend_from_slice(&chunk);
    }
    let request = Request::from_parts(head, ());
    handler(Exchange { request, body: body.freeze(), frames, connection, respond }).await;
}

pub(super) fn framed(compressed: bool, message: &[u8]) -> Bytes {
    [&prefix(compressed, message.len()).unwrap(), message].concat().into()
}

impl Exchange {
    pub(super) fn header(&self, name: &str) -> &str {
        self.request.headers().get(name).map_or("", |v| v.to_str().unwrap())
    }

    pub(super) fn message(&self) -> Bytes {
        self.body.slice(5..)
    }

    pub(super) fn echo(self) {
        let message = self.message();
        self.answer(&message);
    }

    pub(super) fn answer(self, message: &[u8]) {
        self.answer_with(grpc_head(), framed(false, message), Some(&Status::new(Code::Ok, "")));
    }

    /// Headers, a body, and trailers if there is a status.
    pub(super) fn answer_with(mut self, head: Response<()>, body: Bytes, status: Option<&Status>) {
        let Ok(mut stream) = self.respond.send_response(head, false) else { return };
        let _ = stream.send_data(body, status.is_none());
        if let Some(status) = status {
            let mut trailers = HeaderMap::new();
            status.write_to(&mut trailers);
            let _ = stream.send_trailers(trailers);
        }
    }

    /// An answer that is only headers.
    pub(super) fn answer_trailers_only(mut self, status: &Status) {
        let mut head = grpc_head();
        status.write_to(head.headers_mut());
        let _ = self.respond.send_response(head, true);
    }

    pub(super) fn reset(mut self, reason: h2::Reason) {
        self.respond.send_reset(reason);
    }
}

pub(super) fn grpc_head() -> Response<()> {
    Response::builder().header("content-type", "application/grpc").body(()).unwrap()
}
