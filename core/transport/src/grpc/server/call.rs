//! One call: from the headers of the request to the trailers of the answer.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use h2::RecvStream;
use h2::server::SendResponse;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, request};
use spanbridge_component::{AuthData, AuthRequest};
use spanbridge_pdata::memory::Charge;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use super::Shared;
use super::admission::{Admitted, Gate, out_of_budget};
use super::handler::{Peer, Reply, Route, UnaryRequest, split_path};
use super::limits::{
    ADMISSION_TIME_MAX, BODY_TIME_MAX, COPY_BYTES_MAX, DISCARD_BYTES_MAX, DISCARD_TIME_MAX, OWN_TASK_BYTES,
    SLOW_BODY_BYTES_PER_SECOND, SLOW_BODY_CHECK, SLOW_INTERVAL_BYTES,
};
use crate::auth::ServerAuth;
use crate::grpc::compression::Encoding;
use crate::grpc::compression::decode::{DecodeError, decompress_charged, expected_bytes};
use crate::grpc::frame::{self, Assembler, Message};
use crate::grpc::status::code_value;
use crate::grpc::timeout::{GRPC_TIMEOUT, parse_timeout};
use crate::grpc::{Code, Status, status};
use crate::tls::Session;

const GRPC_ENCODING: &str = "grpc-encoding";
const GRPC_ACCEPT_ENCODING: &str = "grpc-accept-encoding";
const APPLICATION_GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// What the calls of one connection have in common.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) shared: Arc<Shared>,
    pub(super) peer: Peer,
    /// What the TLS handshake established; `None` for plaintext.
    pub(super) security: Option<Arc<Session>>,
    pub(super) gate: Gate,
}

/// Why a call has no reply.
pub(super) enum Refusal {
    /// The client gets this status.
    Status(Status),
    /// The client gets this status, and is told which encodings there are.
    Encoding(Status),
    /// It is no gRPC request; the client gets this HTTP status.
    Http(StatusCode, Status),
    /// The client is not interested any more.
    Gone,
}

impl<S: Into<Status>> From<S> for Refusal {
    fn from(status: S) -> Self {
        Refusal::Status(status.into())
    }
}

/// Serves one call; whether it was answered.
pub(super) async fn serve(
    caller: Arc<Caller>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> bool {
    let (head, mut body) = request.into_parts();
    let outcome = {
        let mut outcome = pin!(outcome(caller, head, &mut body));
        poll_fn(|cx| {
            if let Poll::Ready(outcome) = outcome.as_mut().poll(cx) {
                return Poll::Ready(outcome);
            }
            // A reset, or the end of the connection, cancels the call by dropping it.
            respond.poll_reset(cx).map(|_| Err(Refusal::Gone))
        })
        .await
    };
    // An error means that the client has gone in the meantime.
    match outcome {
        Ok(reply) => send_reply(&mut respond, reply).is_ok(),
        Err(Refusal::Gone) => true,
        Err(refusal) => {
            let was_sent = send_refusal(&mut respond, refusal).is_ok();
            // The usual body is over, and needs no allocation.
            if !body.is_end_stream() {
                Box::pin(discard(&mut body)).await;
            }
            was_sent
        }
    }
}

/// Reads on after a refusal, until the client has heard of it. Resetting the stream at once would make what is on its way
/// arrive at a stream that HTTP/2 forgets after a while, and enough of that counts as an attack and costs the client its
/// connection.
async fn discard(body: &mut RecvStream) {
    let all = async {
        // What was read and not given back.
        let held = body.flow_control().used_capacity();
        let _ = body.flow_control().release_capacity(held);
        let mut left = DISCARD_BYTES_MAX;
        while let Some(Ok(chunk)) = body.data().await {
            let _ = body.flow_control().release_capacity(chunk.len());
            match left.checked_sub(chunk.len()) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    let _ = timeout(DISCARD_TIME_MAX, all).await;
}

async fn outcome(caller: Arc<Caller>, head: request::Parts, body: &mut RecvStream) -> Result<Reply, Refusal> {
    check_protocol(&head)?;
    check_route(&caller, head.uri.path())?;
    let start = Instant::now();
    let _charge = caller.gate.begin_call();
    let deadline = request_timeout(&head.headers)?.and_then(|timeout| start.checked_add(timeout));
    let auth = match &caller.shared.auth {
        Some(auth) => Some(authenticate(auth, &caller, &head.headers, start, deadline).await?),
        None => None,
    };
    let encoding = request_encoding(&head.headers)?;
    let (message, admitted) = receive_in_time(&caller, body, start, deadline).await?;
    let own_task = message.compressed || message.bytes.len() >= OWN_TASK_BYTES;
    let peer = caller.peer;
    let security = caller.security.clone();
    let request = UnaryRequest {
        uri: head.uri,
        metadata: head.headers,
        peer,
        security,
        auth,
        message: Bytes::new(),
        deadline,
    };
    if own_task {
        let tracker = caller.shared.tasks.clone();
        let work = run_handler(caller, request, message, encoding, admitted).in_current_span();
        let task = AbortOnDropHandle::new(tracker.spawn(work));
        before(deadline, async { task.await.unwrap_or_else(|_| Err(internal_error())) }).await
    } else {
        before(deadline, run_handler(caller, request, message, encoding, admitted)).await
    }
}

/// Decompresses and calls the handler. A panic stays in here.
async fn run_handler(
    caller: Arc<Caller>,
    mut request: UnaryRequest,
    message: Message,
    encoding: Option<Encoding>,
    admitted: Admitted,
) -> Result<Reply, Status> {
    let Admitted { mut connection, memory } = admitted;
    let handled = async {
        request.message = if message.compressed {
            decompressed(&caller, message, encoding, memory).await?
        } else {
            held(message.bytes, memory)
        };
        if !connection.resize(request.message.len()) {
            return Err(out_of_budget());
        }
        caller.shared.handler.call(request).await
    };
    AssertUnwindSafe(handled).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!(peer = %caller.peer, "A request made its handler panic; it was answered INTERNAL");
        Err(internal_error())
    })
}

/// What a compressed message was. Where there is no memory for all of it, it gives back what it has but the message itself,
/// waits for more, and begins again: nobody holds much while waiting for more, so those that have enough get on.
async fn decompressed(
    caller: &Caller,
    message: Message,
    encoding: Option<Encoding>,
    mut memory: Charge,
) -> Result<Bytes, Status> {
    let encoding = frame::named(encoding)?;
    let (input, max_bytes) = (message.bytes, caller.shared.message_bytes_max);
    let mut wanted = expected_bytes(encoding, &input, max_bytes);
    if encoding != Encoding::Gzip {
        // A guess, for which nobody shall wait; only gzip tells.
        wanted = wanted.min(memory.bytes().saturating_sub(input.len()).max(1));
    }
    let (mut had, end) = (0, Instant::now() + ADMISSION_TIME_MAX);
    loop {
        had = caller.gate.expand(&mut memory, input.len(), wanted, had, end).await?;
        match decompress_charged(encoding, &input, had, max_bytes, &mut memory) {
            Err(DecodeError::OutOfMemory { output_bytes }) => wanted = output_bytes,
            done => return Ok(done?),
        }
    }
}

/// The message, charged for as long as any slice of it lives.
fn held(message: Bytes, memory: Charge) -> Bytes {
    if message.len() < COPY_BYTES_MAX { memory.hold(message.to_vec()) } else { memory.hold(message) }
}

async fn before(
    deadline: Option<Instant>,
    work: impl Future<Output = Result<Reply, Status>>,
) -> Result<Reply, Refusal> {
    let result = match deadline {
        Some(deadline) => timeout_at(deadline, work).await.unwrap_or_else(|_| Err(deadline_exceeded())),
        None => work.await,
    };
    Ok(result?)
}

fn internal_error() -> Status {
    Status::new(Code::Internal, "internal error")
}

fn deadline_exceeded() -> Status {
    Status::new(Code::DeadlineExceeded, "context deadline exceeded")
}

// === the request's head ===

fn check_protocol(head: &request::Parts) -> Result<(), Refusal> {
    if head.method != Method::POST {
        let status = Status::new(Code::Internal, format!("gRPC needs the method POST, not {}", head.method));
        return Err(Refusal::Http(StatusCode::METHOD_NOT_ALLOWED, status));
    }
    let content_type = head.headers.get(CONTENT_TYPE).map_or(b"".as_slice(), HeaderValue::as_bytes);
    let subtype = content_type.strip_prefix(b"application/grpc");
    if !subtype.is_some_and(|rest| matches!(rest.strip_prefix(b"+proto").unwrap_or(rest), [] | [b';', ..])) {
        let text = String::from_utf8_lossy(content_type).into_owned();
        let status =
            Status::new(Code::InvalidArgument, format!("invalid gRPC request content-type {text:?}"));
        return Err(Refusal::Http(StatusCode::UNSUPPORTED_MEDIA_TYPE, status));
    }
    // `te: trailers` is not asked for, as grpc-go does not either; any other `te` is refused by HTTP/2 itself.
    Ok(())
}

/// Texts as grpc-go's.
fn check_route(caller: &Caller, path: &str) -> Result<(), Status> {
    let Some((service, method)) = split_path(path) else {
        return Err(Status::new(Code::Unimplemented, format!("malformed method name: {path:?}")));
    };
    match caller.shared.handler.route(service, method) {
        Route::Found => Ok(()),
        Route::UnknownMethod => {
            Err(Status::new(Code::Unimplemented, format!("unknown method {method} for service {service}")))
        }
        Route::UnknownService => Err(Status::new(Code::Unimplemented, format!("unknown service {service}"))),
    }
}

/// Asks the server's authenticator, with nothing but the head: an unauthenticated body is not read.
async fn authenticate(
    auth: &ServerAuth,
    caller: &Caller,
    headers: &HeaderMap,
    start: Instant,
    deadline: Option<Instant>,
) -> Result<Arc<dyn AuthData>, Status> {
    let request = AuthRequest {
        headers,
        peer: caller.peer.address(),
        certificates: caller.security.as_ref().map(|tls| &*tls.peer_certificates).unwrap_or_default(),
        is_secured: caller.security.is_some(),
    };
    let bound = start + BODY_TIME_MAX;
    match timeout_at(deadline.map_or(bound, |deadline| deadline.min(bound)), auth.check(&request)).await {
        Ok(decided) => decided.map_err(|error| Status::new(error.code(), error.to_string())),
        Err(_) => Err(deadline_exceeded()),
    }
}

fn request_encoding(headers: &HeaderMap) -> Result<Option<Encoding>, Refusal> {
    let Some(value) = headers.get(GRPC_ENCODING) else { return Ok(None) };
    let name = value.to_str().unwrap_or_default();
    match Encoding::from_name(name) {
        None if name != "identity" => Err(Refusal::Encoding(Status::new(
            Code::Unimplemented,
            format!("grpc: Decompressor is not installed for grpc-encoding {name:?}"),
        ))),
        encoding => Ok(encoding),
    }
}

fn request_timeout(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    headers
        .get(GRPC_TIMEOUT)
        .map(|value| parse_timeout(value.as_bytes()))
        .transpose()
        .map_err(|error| Status::new(Code::Internal, error.to_string()))
}

// === the request's body ===

async fn receive_in_time(
    caller: &Caller,
    body: &mut RecvStream,
    start: Instant,
    deadline: Option<Instant>,
) -> Result<(Message, Admitted), Refusal> {
    let bound = start + BODY_TIME_MAX;
    let end = deadline.map_or(bound, |deadline| deadline.min(bound));
    let received = AtomicUsize::new(0);
    let mut receive = pin!(receive(body, caller.shared.message_bytes_max, &caller.gate, &received));
    let mut check = start;
    loop {
        check += SLOW_BODY_CHECK;
        let connection_before = caller.gate.received();
        if let Ok(result) = timeout_at(check.min(end), &mut receive).await {
            return result;
        }
        if check < end {
            let seconds = usize::try_from((check - start).as_secs()).unwrap_or(usize::MAX);
            let enough = SLOW_BODY_BYTES_PER_SECOND.saturating_mul(seconds);
            // The window is the connection's, so it is the connection that is slow, not each of the calls that share it:
            // one that uses its window is working on them.
            let is_idle = caller.gate.received().wrapping_sub(connection_before) < SLOW_INTERVAL_BYTES;
            // A client that trickles may, but not while others wait for the memory that it holds.
            if is_idle && caller.gate.memory().is_contended() && received.load(Ordering::Relaxed) < enough {
                return Err(caller.gate.refused(Status::out_of_memory()));
            }
        } else if deadline.is_some_and(|deadline| deadline <= bound) {
            return Err(deadline_exceeded().into());
        } else {
            let text = format!("the request was not complete after {} s", BODY_TIME_MAX.as_secs());
            return Err(Status::new(Code::DeadlineExceeded, text).into());
        }
    }
}

async fn receive(
    body: &mut RecvStream,
    message_bytes_max: usize,
    gate: &Gate,
    received: &AtomicUsize,
) -> Result<(Message, Admitted), Refusal> {
    let mut assembler = Assembler::new(message_bytes_max);
    let mut admitted = None;
    let mut counted = None;
    while let Some(chunk) = body.data().await {
        let chunk = chunk.map_err(|_| Refusal::Gone)?;
        let mut len = chunk.len();
        assembler.push(chunk)?;
        if admitted.is_none()
            && let Some(declared) = assembler.declared()
        {
            let compressed = assembler.is_compressed();
            admitted = gate.try_admit(declared, compressed)?;
            if admitted.is_none() {
                let (room, came) = gate.wait(body, (declared, compressed), len).await?;
                admitted = Some(room);
                len += came.len();
                assembler.push(came.into())?;
            }
            counted = Some(gate.begin_body());
        }
        received.fetch_add(len, Ordering::Relaxed);
        gate.note_received(len);
        // Only now: what came is covered by what the message was given, and the window by the connection's own charge.
        let _ = body.flow_control().release_capacity(len);
    }
    drop(counted);
    let message = assembler.finish()?;
    Ok((message, admitted.ok_or_else(out_of_budget)?))
}

// === the answer ===

fn send_reply(respond: &mut SendResponse<Bytes>, reply: Reply) -> Result<(), h2::Error> {
    let mut response = Response::new(());
    response.headers_mut().insert(CONTENT_TYPE, APPLICATION_GRPC);
    let mut stream = respond.send_response(response, false)?;
    stream.send_data(reply.0, false)?;
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(status::GRPC_STATUS, code_value(Code::Ok));
    stream.send_trailers(trailers)
}

/// "Trailers-Only → HTTP-Status Content-Type Trailers": the status is in the headers, and they are all there is.
fn send_refusal(respond: &mut SendResponse<Bytes>, refusal: Refusal) -> Result<(), h2::Error> {
    let mut response = Response::new(());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, APPLICATION_GRPC);
    let status = match refusal {
        Refusal::Gone => return Ok(()),
        Refusal::Status(status) => status,
        Refusal::Encoding(status) => {
            headers.insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static(Encoding::ACCEPT));
            status
        }
        Refusal::Http(code, status) => {
            if code == StatusCode::METHOD_NOT_ALLOWED {
                headers.insert(ALLOW, HeaderValue::from_static("POST"));
            }
            *response.status_mut() = code;
            status
        }
    };
    status.write_to(response.headers_mut());
    respond.send_response(response, true).map(drop)
}
