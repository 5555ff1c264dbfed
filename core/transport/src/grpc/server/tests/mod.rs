//! The server against hand-written clients, over memory and with a paused clock.

#![expect(clippy::large_stack_arrays, reason = "bodies of tests, written where they are used")]

mod admission;
mod auth;
mod calls;
mod connections;
mod hostile;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use spanbridge_component::AuthValue;
use spanbridge_pdata::memory::Account;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::socket::Socket;
use super::{Peer, Reply, Route, ServerConfig, Shared, UnaryHandler, UnaryRequest, connection};
use crate::auth::ServerAuth;
use crate::grpc::{Code, Status, frame};

const BOUND: Duration = Duration::from_secs(3600);
const ECHO: &str = "/test.Service/Echo";

/// Counts what happens to its calls.
#[derive(Default)]
struct Service {
    started: AtomicUsize,
    dropped: AtomicUsize,
    /// Lets a call of `Wait` finish.
    release: Notify,
    /// What calls of `Keep` have brought.
    kept: Mutex<Vec<Bytes>>,
}

struct CountDrop<'a>(&'a AtomicUsize);

impl Drop for CountDrop<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl UnaryHandler for Service {
    fn route(&self, service: &str, method: &str) -> Route {
        match (service, method) {
            ("test.Service", "Echo" | "Who" | "Wait" | "Keep" | "Panic" | "Fail") => Route::Found,
            ("test.Service", _) => Route::UnknownMethod,
            _ => Route::UnknownService,
        }
    }

    async fn call(&self, request: UnaryRequest) -> Result<Reply, Status> {
        self.started.fetch_add(1, Ordering::SeqCst);
        let _count = CountDrop(&self.dropped);
        match request.service_and_method() {
            Some((_, "Wait")) => self.release.notified().await,
            Some((_, "Keep")) => {
                self.kept.lock().unwrap().push(request.message);
                return Ok(Reply::new(b"").unwrap());
            }
            Some((_, "Who")) => {
                let Some(AuthValue::Text(name)) = request.auth.and_then(|auth| auth.attribute("username"))
                else {
                    return Err(Status::new(Code::Internal, "nobody"));
                };
                return Ok(Reply::new(name.as_bytes()).unwrap());
            }
            Some((_, "Panic")) => panic!("as the test wants"),
            Some((_, "Fail")) => {
                let status = Status::new(Code::ResourceExhausted, "queue is füll");
                return Err(status.with_retry_delay(Duration::from_secs(2)));
            }
            _ => {}
        }
        Ok(Reply::new(&request.message).unwrap())
    }
}

/// A server without sockets.
struct Rig {
    service: Arc<Service>,
    shared: Arc<Shared>,
}

/// A client on one connection.
struct Client {
    send: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

/// What a client gets.
#[derive(Debug)]
struct Answer {
    http: u16,
    message: Bytes,
    status: Option<Status>,
    headers: HeaderMap,
}

impl Rig {
    fn new(config: &ServerConfig) -> Self {
        Self::within(config, Account::new())
    }

    /// One whose memory the test owns.
    fn within(config: &ServerConfig, memory: Account) -> Self {
        Self::guarded(config, memory, None)
    }

    /// One that asks for credentials.
    fn guarded(config: &ServerConfig, memory: Account, auth: Option<ServerAuth>) -> Self {
        let service = Arc::new(Service::default());
        Self { shared: Arc::new(Shared::new(config, service.clone(), memory, auth)), service }
    }

    /// A connection of which the client side is bare bytes.
    fn raw(&self) -> DuplexStream {
        let (near, far) = duplex(1 << 20);
        self.shared.tasks.spawn(self.serve(far));
        near
    }

    fn serve(&self, far: DuplexStream) -> impl Future<Output = ()> + Send + 'static {
        let (slot, window) = self.shared.admit(Peer::Unix).unwrap();
        let connection = connection::serve(self.shared.clone(), Socket::Memory(far), Peer::Unix, window);
        async move {
            connection.await;
            drop(slot);
        }
    }

    async fn client(&self) -> Client {
        let (send, connection) = h2::client::handshake(self.raw()).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut client = Client { send, connection };
        // The server's limits are known when its first settings are.
        client.unary(ECHO, b"").await;
        client
    }

    fn counts(&self) -> (usize, usize) {
        (self.service.started.load(Ordering::SeqCst), self.service.dropped.load(Ordering::SeqCst))
    }
}

fn post(path: &str) -> Request<()> {
    Request::post(format!("http://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap()
}

fn framed(compressed: bool, message: &[u8]) -> Bytes {
    [frame::prefix(compressed, message.len()).unwrap().as_slice(), message].concat().into()
}

impl Client {
    /// Sends a request head; the body is up to the test.
    async fn open(&mut self, request: Request<()>) -> (h2::client::ResponseFuture, SendStream<Bytes>) {
        let mut ready = timeout(BOUND, self.send.clone().ready()).await.unwrap().unwrap();
        ready.send_request(request, false).unwrap()
    }

    async fn send(&mut self, request: Request<()>, body: Bytes) -> Answer {
        let (response, mut stream) = self.open(request).await;
        let sent = send_all(&mut stream, body);
        let (answer, ()) = tokio::join!(answer(response), sent);
        answer
    }

    async fn unary(&mut self, path: &str, message: &[u8]) -> Answer {
        self.send(post(path), framed(false, message)).await
    }

    /// Waits for the end of the connection.
    async fn closed(self) -> Result<(), h2::Error> {
        drop(self.send);
        timeout(BOUND, self.connection).await.unwrap().unwrap()
    }
}

/// Sends `body` as flow control allows; ends quietly when the server has heard enough.
async fn send_all(stream: &mut SendStream<Bytes>, mut body: Bytes) {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let Some(Ok(capacity)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
        if stream.send_data(body.split_to(capacity.min(body.len())), false).is_err() {
            return;
        }
    }
    let _ = stream.send_data(Bytes::new(), true);
}

async fn answer(response: h2::client::ResponseFuture) -> Answer {
    let response: Response<RecvStream> = timeout(BOUND, response).await.unwrap().unwrap();
    let (head, mut body) = response.into_parts();
    let mut message = Vec::new();
    while let Some(chunk) = timeout(BOUND, body.data()).await.unwrap() {
        let chunk = chunk.unwrap();
        body.flow_control().release_capacity(chunk.len()).unwrap();
        message.extend_from_slice(&chunk);
    }
    let trailers = timeout(BOUND, body.trailers()).await.unwrap().unwrap();
    let status = Status::read_from(trailers.as_ref().unwrap_or(&head.headers));
    let message =
        if message.is_empty() { Bytes::new() } else { Bytes::from(message).slice(frame::PREFIX_BYTES..) };
    Answer { http: head.status.as_u16(), message, status, headers: head.headers }
}

impl Answer {
    fn code(&self) -> Option<Code> {
        self.status.as_ref().map(Status::code)
    }

    fn text(&self) -> &str {
        self.status.as_ref().map_or("", Status::message)
    }
}
