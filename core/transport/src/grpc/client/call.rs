//! One attempt at a unary call: request out, answer in, and what its failure means.

use std::time::Duration;

use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use spanbridge_component::Code;
use tokio::time::Instant;

use super::UnaryResponse;
use super::connection::{Handle, end_text};
use super::outgoing::OutgoingMessage;
use super::response::{self, Failure};
use crate::grpc::Status;
use crate::grpc::client_config::is_reserved;
use crate::grpc::compression::Encoding;
use crate::grpc::timeout::GRPC_TIMEOUT;

/// What every request of a channel has in common.
#[derive(Debug)]
pub(crate) struct Template {
    scheme: Scheme,
    authority: Authority,
    headers: HeaderMap,
    encoding: Option<Encoding>,
}

impl Template {
    pub(crate) fn new(
        (scheme, authority): (Scheme, Authority),
        user_agent: HeaderValue,
        configured: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
        encoding: Option<Encoding>,
    ) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(USER_AGENT, user_agent);
        headers.insert("grpc-accept-encoding", HeaderValue::from_static(Encoding::ACCEPT));
        for (name, value) in configured {
            headers.append(name, value);
        }
        Self { scheme, authority, headers, encoding }
    }

    /// The head of a request. The call's metadata wins over configured headers of the same name.
    pub(crate) fn request(
        &self,
        path: &PathAndQuery,
        metadata: &HeaderMap,
        compressed: bool,
        deadline: Option<Instant>,
    ) -> Result<Request<()>, Status> {
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(self.scheme.clone());
        uri.authority = Some(self.authority.clone());
        uri.path_and_query = Some(path.clone());
        let uri = Uri::from_parts(uri)
            .map_err(|e| Status::new(Code::Internal, format!("invalid method \"{path}\": {e}")))?;
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = uri;
        let mut headers = self.headers.clone();
        for name in metadata.keys().filter(|name| !is_reserved(name.as_str())) {
            headers.remove(name);
            for value in metadata.get_all(name) {
                headers.append(name, value.clone());
            }
        }
        if let Some(encoding) = self.encoding.filter(|_| compressed) {
            headers.insert("grpc-encoding", HeaderValue::from_static(encoding.name()));
        }
        if let Some(deadline) = deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            headers.insert(GRPC_TIMEOUT, timeout_value(left)?);
        }
        *request.headers_mut() = headers;
        Ok(request)
    }
}

/// The value of `grpc-timeout`: at most eight digits and a unit, rounded up.
fn timeout_value(left: Duration) -> Result<HeaderValue, Status> {
    const VALUE_MAX: u128 = 99_999_999;
    const UNITS: [(u128, char); 6] = [
        (1, 'n'),
        (1_000, 'u'),
        (1_000_000, 'm'),
        (1_000_000_000, 'S'),
        (60_000_000_000, 'M'),
        (3_600_000_000_000, 'H'),
    ];
    let nanos = left.as_nanos();
    let (value, unit) = UNITS
        .into_iter()
        .map(|(scale, unit)| (nanos.div_ceil(scale), unit))
        .find(|(value, _)| *value <= VALUE_MAX)
        .unwrap_or((VALUE_MAX, 'H'));
    HeaderValue::try_from(format!("{value}{unit}"))
        .map_err(|e| Status::new(Code::Internal, format!("cannot express the timeout: {e}")))
}

/// What became of an attempt.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The server decided, or may have.
    Decided(Result<UnaryResponse, Status>),
    /// The server has certainly not looked at it: another attempt cannot do it twice.
    Unprocessed(Status),
}

/// Sends the request over this connection and waits for the answer. Dropping the future cancels the request.
pub(crate) async fn attempt(
    handle: &Handle,
    request: Request<()>,
    message: OutgoingMessage,
    deadline: Option<Instant>,
) -> Outcome {
    let mut in_flight = handle.in_flight(deadline);
    let outcome = exchange(handle, request, message).await;
    in_flight.ended(blames_destination(&outcome));
    outcome
}

async fn exchange(handle: &Handle, request: Request<()>, message: OutgoingMessage) -> Outcome {
    let (response, body) = match handle.requests().send_request(request, false) {
        Ok(sent) => sent,
        Err(error) => {
            // Nothing was sent. The connection is of no more use, and may not know it yet.
            handle.retire();
            return Outcome::Unprocessed(broken(&error, handle));
        }
    };
    let mut body = CancelOnDrop(body);
    // h2 keeps handles to the message and sends it as the peer's windows open. It refuses only on a stream that is
    // reset already, and then the answer says why.
    let _ = body.0.send_data(message, true);
    let outcome = match response.await {
        Ok(response) => response::read(response).await,
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(response) => Outcome::Decided(Ok(response)),
        Err(Failure::Status(status)) => Outcome::Decided(Err(status)),
        Err(Failure::Broken(error)) if is_unprocessed(&error) => {
            if error.is_go_away() {
                handle.retire();
            }
            Outcome::Unprocessed(broken(&error, handle))
        }
        Err(Failure::Broken(error)) => Outcome::Decided(Err(broken(&error, handle))),
    }
}

/// Whether the destination is to blame for this outcome, rather than the request: it should get fewer requests.
fn blames_destination(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Decided(Ok(_)) => false,
        Outcome::Decided(Err(status)) => !matches!(
            status.code(),
            Code::InvalidArgument
                | Code::NotFound
                | Code::AlreadyExists
                | Code::FailedPrecondition
                | Code::OutOfRange
        ),
        Outcome::Unprocessed(_) => true,
    }
}

/// Cancels the stream, if it is not over, when it is dropped.
///
/// h2 does so by itself only once everything that was handed to it is sent, which a peer with a closed window never
/// lets happen; the message would stay in memory. An explicit reset discards it.
struct CancelOnDrop(h2::SendStream<OutgoingMessage>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.send_reset(h2::Reason::CANCEL);
    }
}

/// RFC 9113, 6.8 and 8.7: a stream above the last one of a GOAWAY, and one that is refused, was not acted upon. h2
/// fails a stream with the peer's GOAWAY only in the first case.
fn is_unprocessed(error: &h2::Error) -> bool {
    error.is_remote()
        && (error.is_go_away() || (error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM)))
}

/// The status of a stream that broke ("gRPC over HTTP2", "Errors").
fn broken(error: &h2::Error, handle: &Handle) -> Status {
    match error.reason() {
        Some(reason) if error.is_reset() && error.is_remote() => Status::new(
            code_of_reset(reason),
            format!("stream terminated by RST_STREAM with error code: {reason:?}"),
        ),
        _ => {
            let cause = handle.end().map_or_else(|| end_text(Some(error)), str::to_owned);
            Status::new(
                Code::Unavailable,
                format!("error reading from server: {cause} ({})", handle.address()),
            )
        }
    }
}

fn code_of_reset(reason: h2::Reason) -> Code {
    match reason {
        h2::Reason::REFUSED_STREAM => Code::Unavailable,
        h2::Reason::CANCEL => Code::Canceled,
        h2::Reason::ENHANCE_YOUR_CALM => Code::ResourceExhausted,
        h2::Reason::INADEQUATE_SECURITY => Code::PermissionDenied,
        _ => Code::Internal,
    }
}
