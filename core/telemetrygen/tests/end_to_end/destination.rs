//! A gRPC server that takes unary calls, records them and answers as it is told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// How every call is answered.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// With the empty message.
    Accept,
    /// With this message.
    Reply(Vec<u8>),
    /// With `RESOURCE_EXHAUSTED` and this text.
    Refuse(&'static str),
    /// Not at all.
    Never,
    /// With the empty message, once [`Destination::release`] was called.
    Hold,
}

#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) message: Vec<u8>,
}

pub(crate) struct Destination {
    endpoint: String,
    shared: Arc<Shared>,
    accepting: Option<AbortHandle>,
}

struct Shared {
    answer: Answer,
    requests: Mutex<Vec<Request>>,
    arrived: Notify,
    released: Semaphore,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
}

impl Destination {
    pub(crate) async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        let shared = Shared::new(answer);
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Self { endpoint, shared, accepting: Some(accepting) }
    }

    /// An address at which nobody listens.
    pub(crate) async fn closed() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        Self { endpoint, shared: Shared::new(Answer::Never), accepting: None }
    }

    pub(crate) fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Waits until so many requests have arrived.
    pub(crate) async fn until_requests(&self, count: usize) {
        let arrived = async {
            while self.shared.requests.lock().unwrap().len() < count {
                self.shared.arrived.notified().await;
            }
        };
        timeout(Duration::from_secs(20), arrived).await.expect("the requests do not arrive");
    }

    /// Answers the calls that are held, and does not hold any more.
    pub(crate) fn release(&self) {
        self.shared.released.close();
    }

    pub(crate) fn most_in_flight(&self) -> usize {
        self.shared.most_in_flight.load(Ordering::SeqCst)
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        if let Some(accepting) = &self.accepting {
            accepting.abort();
        }
    }
}

impl Shared {
    fn new(answer: Answer) -> Arc<Self> {
        Arc::new(Self {
            answer,
            requests: Mutex::default(),
            arrived: Notify::new(),
            released: Semaphore::new(0),
            in_flight: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
        })
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(serve(socket, Arc::clone(&shared)));
    }
}

async fn serve(socket: TcpStream, shared: Arc<Shared>) {
    let mut connection = h2::server::handshake(socket).await.unwrap();
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(answer(request, respond, Arc::clone(&shared)));
    }
}

async fn answer(request: http::Request<RecvStream>, mut respond: SendResponse<Bytes>, shared: Arc<Shared>) {
    let in_flight = shared.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
    shared.most_in_flight.fetch_max(in_flight, Ordering::SeqCst);
    let (parts, mut body) = request.into_parts();
    let mut frame = Vec::new();
    while let Some(Ok(chunk)) = body.data().await {
        let _ = body.flow_control().release_capacity(chunk.len());
        frame.extend_from_slice(&chunk);
    }
    // The five bytes are the flag of compression and the length.
    let message = frame.split_off(5);
    let request = Request { path: parts.uri.path().to_owned(), headers: parts.headers, message };
    shared.requests.lock().unwrap().push(request);
    shared.arrived.notify_waiters();
    shared.arrived.notify_one();

    let message = match &shared.answer {
        Answer::Accept => Ok(Vec::new()),
        Answer::Reply(message) => Ok(message.clone()),
        Answer::Refuse(text) => Err(*text),
        Answer::Never => return std::future::pending().await,
        Answer::Hold => {
            // Fails when it is closed, which is the release.
            let _ = shared.released.acquire().await;
            Ok(Vec::new())
        }
    };
    shared.in_flight.fetch_sub(1, Ordering::SeqCst);
    let response = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let Ok(mut stream) = respond.send_response(response, false) else { return };
    let mut trailers = HeaderMap::new();
    match message {
        Ok(message) => {
            let mut frame = vec![0];
            frame.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
            frame.extend_from_slice(&message);
            let _ = stream.send_data(frame.into(), false);
            trailers.insert("grpc-status", "0".parse().unwrap());
        }
        Err(text) => {
            trailers.insert("grpc-status", "8".parse().unwrap());
            trailers.insert("grpc-message", text.parse().unwrap());
        }
    }
    let _ = stream.send_trailers(trailers);
}
