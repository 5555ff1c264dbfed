//! HTTP of the stand-in.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Sleep, sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::query::Query;
use super::store::{line, type_of};
use super::{Asked, Shared};
use crate::tls::pki::Pki;

/// A body: all at once, or the events of a watch until it times out.
pub(super) enum Answer {
    Whole(Option<Bytes>),
    Events {
        events: UnboundedReceiver<Bytes>,
        end: Pin<Box<Sleep>>,
        /// Who gets a bookmark at the end.
        last: Option<(Arc<Shared>, Query)>,
    },
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match &mut *self {
            Self::Whole(bytes) => bytes.take(),
            Self::Events { events, end, last } => {
                if let Poll::Ready(event) = events.poll_recv(context) {
                    event
                } else {
                    ready!(end.as_mut().poll(context));
                    last.take().map(|(shared, query)| shared.store().bookmark_for(&query))
                }
            }
        };
        Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Accepts connections until it is aborted.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        connections.spawn(connection(stream, shared.clone()));
    }
}

/// The same with TLS.
pub(super) async fn serve_tls(listener: TcpListener, tls: TlsAcceptor, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (tls, shared) = (tls.clone(), shared.clone());
        connections.spawn(async move {
            if let Ok(stream) = tls.accept(stream).await {
                connection(stream, shared).await;
            }
        });
    }
}

/// TLS with the certificate `server` of an authority.
pub(super) fn tls(pki: &Pki) -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(pki.path("server.pem")).expect("a certificate");
    let chain = chain.collect::<Result<_, _>>().expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(pki.path("server.key")).expect("a key");
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
    TlsAcceptor::from(Arc::new(config.expect("a certificate with its key")))
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin, shared: Arc<Shared>) {
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(answer(&shared, &request)) }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn answer(shared: &Arc<Shared>, request: &Request<Incoming>) -> Response<Answer> {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let token = header(AUTHORIZATION).trim_start_matches("Bearer ").to_owned();
    let parameters = parameters(request.uri().query().unwrap_or_default());
    let Some((group, namespace, plural)) = resource(request.uri().path()) else {
        return refusal(&status(404, "NotFound", "the server could not find the requested resource"));
    };
    let is_watch = parameters.get("watch").is_some_and(|value| value == "true" || value == "1");
    let verb = if is_watch { "watch" } else { "list" };
    let metadata_only = header(ACCEPT).contains("as=PartialObjectMetadata");
    shared.asked(Asked {
        verb: verb.to_owned(),
        plural: plural.clone(),
        namespace: namespace.clone(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        metadata_only: Some(metadata_only),
    });
    if let Some(seconds) = shared.throttled() {
        let mut answer =
            refusal(&status(429, "TooManyRequests", "too many requests, please try again later"));
        answer.headers_mut().insert(RETRY_AFTER, seconds.into());
        return answer;
    }
    if !shared.knows(&token) {
        return refusal(&status(401, "Unauthorized", "Unauthorized"));
    }
    if let Some(status) = shared.forbids(verb, &group, &plural, namespace.as_deref()) {
        return refusal(&status);
    }
    match Query::parse(plural, namespace, metadata_only, &parameters) {
        Ok(query) if is_watch => watch(shared, query),
        Ok(query) => list(shared, &query),
        Err(status) => refusal(&status),
    }
}

fn list(shared: &Shared, query: &Query) -> Response<Answer> {
    match shared.store().list(query) {
        Ok(list) => json_answer(200, list.to_string().into()),
        Err(status) => refusal(&status),
    }
}

fn watch(shared: &Arc<Shared>, query: Query) -> Response<Answer> {
    let end = Box::pin(sleep(query.timeout));
    let last = query.bookmarks.then(|| (shared.clone(), query.clone()));
    let watched = shared.store().watch(query);
    match watched {
        Ok(events) => {
            let mut answer = Response::new(Answer::Events { events, end, last });
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            answer
        }
        // As the server does: a success, and then the error as an event.
        Err(status) => json_answer(200, line("ERROR", &status)),
    }
}

/// Group, namespace and resource of a path.
fn resource(path: &str) -> Option<(String, Option<String>, String)> {
    let steps: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, rest) = match steps.as_slice() {
        ["api", "v1", rest @ ..] => ("", rest),
        ["apis", group, "v1", rest @ ..] => (*group, rest),
        _ => return None,
    };
    match rest {
        [plural] if type_of(plural).is_some() => Some((group.to_owned(), None, (*plural).to_owned())),
        ["namespaces", namespace, plural] if type_of(plural).is_some() => {
            Some((group.to_owned(), Some((*namespace).to_owned()), (*plural).to_owned()))
        }
        _ => None,
    }
}

fn parameters(query: &str) -> HashMap<String, String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (decoded(key), decoded(value))).collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let hex: Vec<u8> = rest.by_ref().take(2).collect();
                let hex = String::from_utf8(hex).expect("two digits");
                bytes.push(u8::from_str_radix(&hex, 16).expect("two digits"));
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).expect("a text")
}

/// The object that says why something is refused.
pub(super) fn status(code: u16, reason: &str, message: &str) -> Json {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "code": code})
}

fn refusal(status: &Json) -> Response<Answer> {
    let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok()).expect("a code");
    json_answer(code, status.to_string().into())
}

fn json_answer(code: u16, body: Bytes) -> Response<Answer> {
    let answer = Response::builder().status(code).header(CONTENT_TYPE, "application/json");
    answer.body(Answer::Whole(Some(body))).expect("an answer")
}
