//! Reading the answer to a unary call.

use std::fmt::Write as _;
use std::time::Duration;

use h2::RecvStream;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use spanbridge_component::Code;
use tokio::time::timeout;

use super::UnaryResponse;
use crate::grpc::Status;
use crate::grpc::compression::Encoding;
use crate::grpc::frame::{Assembler, FrameError};

/// Largest message accepted from a server, before and after decompression: gRPC's default.
pub(crate) const RESPONSE_MAX_BYTES: usize = 4 * 1024 * 1024;

/// How much of an answer that is not gRPC goes into the error.
const SNIPPET_MAX_BYTES: usize = 512;

/// How long the error waits for that.
const SNIPPET_TIMEOUT: Duration = Duration::from_secs(1);

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The stream or the connection broke.
    Broken(h2::Error),
    /// The server, or what it sent, says so.
    Status(Status),
}

impl From<h2::Error> for Failure {
    fn from(error: h2::Error) -> Self {
        Failure::Broken(error)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Failure::Status(status)
    }
}

fn internal(message: &'static str) -> Failure {
    Status::new(Code::Internal, message).into()
}

/// The message and metadata of a call that succeeded, otherwise its status.
pub(crate) async fn read(response: Response<RecvStream>) -> Result<UnaryResponse, Failure> {
    let (head, mut body) = response.into_parts();
    if head.status != StatusCode::OK || !is_grpc(&head.headers) {
        return Err(not_grpc(head.status, &head.headers, body).await.into());
    }
    let message = read_message(&mut body).await;
    // An answer without message ("trailers-only") has its status among the headers. A status of the server explains
    // more than a message that is broken.
    let trailers = if message.is_ok() { body.trailers().await? } else { None };
    let status = trailers.as_ref().and_then(Status::read_from).or_else(|| Status::read_from(&head.headers));
    match status {
        Some(status) if status.code() != Code::Ok => return Err(status.into()),
        Some(_) => {}
        None => {
            drop(message?);
            // "If the status is missing, the client must synthesize one" with code UNKNOWN when there are trailers.
            return Err(match trailers {
                Some(_) => Status::new(Code::Unknown, "the trailers have no grpc-status").into(),
                None => internal("server closed the stream without sending trailers"),
            });
        }
    }
    let message = message?.finish().map_err(|e| unreadable(&e))?;
    let message = message.into_decompressed(encoding(&head.headers)?, RESPONSE_MAX_BYTES);
    let message = message.map_err(|status| own(status.message()))?;
    Ok(UnaryResponse { message, metadata: head.headers })
}

/// Whether this is `application/grpc`, with or without a subtype such as `+proto`.
fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE) else { return false };
    let Some(rest) = kind.as_bytes().strip_prefix(b"application/grpc") else { return false };
    matches!(rest.first(), None | Some(b'+' | b';'))
}

/// Reads the body, which is one message when the call succeeded.
async fn read_message(body: &mut RecvStream) -> Result<Assembler, Failure> {
    let mut assembler = Assembler::new(RESPONSE_MAX_BYTES);
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        let _ = body.flow_control().release_capacity(chunk.len());
        assembler.push(chunk).map_err(|e| unreadable(&e))?;
    }
    Ok(assembler)
}

/// The status of an answer that is not one message: towards the caller it is no fault of the method's.
fn unreadable(error: &FrameError) -> Failure {
    own(&error.to_string()).into()
}

/// What this side thinks of an answer. It must not read like a server's opinion of the request: an answer that is too
/// large is no reason to send a smaller request, which may have been carried out.
fn own(opinion: &str) -> Status {
    Status::new(Code::Internal, format!("cannot read the answer: {opinion}"))
}

/// What the compressed flag refers to; `None` for no encoding.
fn encoding(headers: &HeaderMap) -> Result<Option<Encoding>, Status> {
    match headers.get("grpc-encoding").map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Ok(None),
        Some(name) => {
            std::str::from_utf8(name).ok().and_then(Encoding::from_name).map(Some).ok_or_else(|| {
                let name = String::from_utf8_lossy(name);
                let text = format!("grpc: Decompressor is not installed for grpc-encoding \"{name}\"");
                Status::new(Code::Internal, text)
            })
        }
    }
}

/// The status of an answer that no gRPC server gave: a proxy's error page, or the wrong port.
async fn not_grpc(http: StatusCode, headers: &HeaderMap, mut body: RecvStream) -> Status {
    // "Servers that use gRPC always send grpc-status"; then it is gRPC all the same.
    if let Some(status) = Status::read_from(headers)
        && status.code() != Code::Ok
    {
        return status;
    }
    let mut text = String::new();
    if http != StatusCode::OK {
        let reason = http.canonical_reason().unwrap_or_default();
        text = format!("unexpected HTTP status code received from server: {} ({reason})", http.as_u16());
    }
    if !is_grpc(headers) {
        if !text.is_empty() {
            text.push_str("; ");
        }
        match headers.get(CONTENT_TYPE) {
            Some(kind) => {
                let _ = write!(text, "transport: received unexpected content-type {kind:?}");
            }
            None => text.push_str("malformed header: missing HTTP content-type"),
        }
    }
    let snippet = timeout(SNIPPET_TIMEOUT, snippet(&mut body)).await.unwrap_or_default();
    if !snippet.is_empty() {
        let _ = write!(text, "\ndata: {snippet:?}");
    }
    Status::new(code_of_http(http), text)
}

/// "HTTP to gRPC Status Code Mapping" of the gRPC project.
fn code_of_http(http: StatusCode) -> Code {
    match http.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

async fn snippet(body: &mut RecvStream) -> String {
    let mut data = Vec::new();
    while data.len() < SNIPPET_MAX_BYTES
        && let Some(Ok(chunk)) = body.data().await
    {
        let _ = body.flow_control().release_capacity(chunk.len());
        data.extend_from_slice(&chunk[..chunk.len().min(SNIPPET_MAX_BYTES - data.len())]);
    }
    String::from_utf8_lossy(&data).into_owned()
}
