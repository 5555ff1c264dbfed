//! One request and its answer on an open connection.

use std::error::Error as _;
use std::io;
use std::pin::pin;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONNECTION, HOST, HeaderValue, USER_AGENT};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::{Kind, Request, Response};
use crate::grpc::client::dial::{Socket, cause};
use crate::tls::explained;

/// Headers of an answer.
const HEADERS_MAX: usize = 100;
/// Bytes of the head of an answer.
const HEAD_BYTES_MAX: usize = 64 * 1024;
const CUT_SHORT: &str = "the server closed the connection before its answer was complete";
const AGENT: &str = concat!("spanbridge/", env!("CARGO_PKG_VERSION"));

type Failure = (Kind, String);

/// Sends `request` over `socket` and reads the whole answer.
pub(super) async fn exchange(
    socket: Box<dyn Socket>,
    request: &Request,
    body_bytes_max: usize,
) -> Result<Response, Failure> {
    let handshake = http1::Builder::new()
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake::<_, Full<Bytes>>(TokioIo::new(socket))
        .await;
    let (mut sender, connection) = handshake.map_err(|error| broken(&error))?;
    let prepared = prepare(request)?;
    let mut answer = pin!(async {
        let response = sender.send_request(prepared).await.map_err(|error| broken(&error))?;
        let (head, body) = response.into_parts();
        let body = read(body, body_bytes_max).await?;
        Ok(Response { status: head.status, headers: head.headers, body })
    });
    // The connection moves the bytes, and has to be polled for that; it belongs to this call and ends with it.
    tokio::select! {
        answer = &mut answer => return answer,
        ended = connection => drop(ended),
    }
    // A server that closes early has sent everything it will; what is left is in memory.
    answer.await
}

fn prepare(request: &Request) -> Result<http::Request<Full<Bytes>>, Failure> {
    let unusable = |cause: String| (Kind::Request, cause);
    let url = &request.url;
    let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let mut prepared = http::Request::builder()
        .method(request.method.clone())
        .uri(path)
        .body(Full::new(request.body.clone()))
        .map_err(|error| unusable(error.to_string()))?;
    let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let host = HeaderValue::try_from(host).map_err(|error| unusable(error.to_string()))?;
    let headers = prepared.headers_mut();
    headers.insert(HOST, host);
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    for (name, value) in &request.headers {
        let mut value = value.clone();
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(prepared)
}

async fn read(mut body: Incoming, body_bytes_max: usize) -> Result<Bytes, Failure> {
    let too_large =
        || (Kind::TooLarge, format!("the answer is larger than the limit of {body_bytes_max} bytes"));
    if body.size_hint().lower() > body_bytes_max as u64 {
        return Err(too_large());
    }
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > body_bytes_max {
            return Err(too_large());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

/// What hyper says, with what lies behind it.
fn broken(error: &hyper::Error) -> Failure {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(inner) = inner.downcast_ref::<io::Error>() {
            if inner.kind() == io::ErrorKind::UnexpectedEof {
                return (Kind::Broken, CUT_SHORT.to_owned());
            }
            return match explained(inner) {
                Some(text) => (Kind::Tls, text),
                None => (Kind::Broken, format!("the connection broke: {}", cause(inner))),
            };
        }
        source = inner.source();
    }
    if error.is_incomplete_message() {
        return (Kind::Broken, CUT_SHORT.to_owned());
    }
    if error.is_parse_too_large() {
        return (Kind::TooLarge, "the head of the answer is too large".to_owned());
    }
    let text = if error.is_parse() { "the answer is not HTTP/1" } else { "the request failed" };
    (Kind::Broken, format!("{text}: {error}"))
}
