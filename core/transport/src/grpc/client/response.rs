//! Reading the answer to a unary call.

use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use h2::RecvStream;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response, StatusCode};
use spanbridge_component::Code;
use tokio::time::timeout;

use super::UnaryResponse;
use crate::grpc::Status;
use crate::grpc::compression::Encoding;
use crate::grpc::frame::PREFIX_BYTES;

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
            message?;
            // "If the status is missing, the client must synthesize one" with code UNKNOWN when there are trailers.
            return Err(match trailers {
                Some(_) => Status::new(Code::Unknown, "the trailers have no grpc-status").into(),
                None => internal("server closed the stream without sending trailers"),
            });
        }
    }
    let (compressed, message) =
        message?.ok_or_else(|| internal("the server answered OK without a message"))?;
    let message = if compressed { decompressed(&head.headers, message)? } else { message };
    Ok(UnaryResponse { message, metadata: head.headers })
}

/// Whether this is `application/grpc`, with or without a subtype such as `+proto`.
fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE) else { return false };
    let Some(rest) = kind.as_bytes().strip_prefix(b"application/grpc") else { return false };
    matches!(rest.first(), None | Some(b'+' | b';'))
}

/// Reads all there is: no message or one, and whether it is compressed.
async fn read_message(body: &mut RecvStream) -> Result<Option<(bool, Bytes)>, Failure> {
    let mut buffer = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        let _ = body.flow_control().release_capacity(chunk.len());
        buffer.extend_from_slice(&chunk);
        let end = message_end(&buffer)?;
        if end.is_some_and(|end| buffer.len() > end) {
            return Err(internal(
                "cardinality violation: more than one message in the answer to a unary call",
            ));
        }
    }
    if buffer.is_empty() {
        return Ok(None);
    }
    if message_end(&buffer)? != Some(buffer.len()) {
        return Err(internal("unexpected EOF"));
    }
    let compressed = buffer[0] == 1;
    buffer.advance(PREFIX_BYTES);
    Ok(Some((compressed, buffer.freeze())))
}

/// Where the first message in `buffer` ends, once its prefix is there.
fn message_end(buffer: &[u8]) -> Result<Option<usize>, Failure> {
    let Some(&[flag, a, b, c, d]) = buffer.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
    if flag > 1 {
        return Err(internal("grpc: received unexpected payload format"));
    }
    let len = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if len > RESPONSE_MAX_BYTES {
        return Err(Status::new(
            Code::ResourceExhausted,
            format!("grpc: received message larger than max ({len} vs. {RESPONSE_MAX_BYTES})"),
        )
        .into());
    }
    Ok(Some(PREFIX_BYTES + len))
}

fn decompressed(headers: &HeaderMap, message: Bytes) -> Result<Bytes, Failure> {
    let name = headers.get("grpc-encoding").and_then(|v| v.to_str().ok()).unwrap_or("identity");
    if name == "identity" {
        return Err(internal("grpc: compressed flag set with identity or empty encoding"));
    }
    let encoding = Encoding::from_name(name).ok_or_else(|| {
        Status::new(
            Code::Internal,
            format!("grpc: Decompressor is not installed for grpc-encoding \"{name}\""),
        )
    })?;
    let _ = (encoding, message);
    Err(internal("compressed answers are not read yet"))
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
                text.push_str(&format!("transport: received unexpected content-type {kind:?}"));
            }
            None => text.push_str("malformed header: missing HTTP content-type"),
        }
    }
    let snippet = timeout(SNIPPET_TIMEOUT, snippet(&mut body)).await.unwrap_or_default();
    if !snippet.is_empty() {
        text.push_str(&format!("\ndata: {snippet:?}"));
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
