//! The Prometheus endpoint: HTTP/1.1, one path, everything bounded.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{IntCounter, IntCounterVec, Opts, Registry, TEXT_FORMAT, TextEncoder};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Where the metrics are.
const PATH: &str = "/metrics";
/// Time for a client to send its request head (reference: collector-core, 14.1).
const HEADER_READ_MAX: Duration = Duration::from_secs(5);
/// Time for a connection as a whole: one that never reads its answer ends too.
const CONNECTION_MAX: Duration = Duration::from_secs(120);
/// Longest request head in bytes, and most that is buffered for a connection.
const HEAD_MAX_BYTES: usize = 16 * 1024;
/// Connections at a time; more wait in the socket's backlog. A handful of scrapers need a handful.
const CONNECTIONS_MAX: usize = 64;
/// Pause after a failed `accept`, which mostly means that the process is out of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A bound endpoint.
pub(super) struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

/// What a request needs.
struct Endpoint {
    registry: Registry,
    encoding_errors: IntCounter,
}

impl Server {
    /// Binds `host:port`.
    pub(super) async fn bind(host: &str, port: u16) -> Result<Self, String> {
        let listener = bind_one(host, port).await.map_err(|error| {
            format!(
                "cannot listen on {host}:{port} for internal metrics: {error}; set another port in \
                 service::telemetry::metrics::readers, or level: none"
            )
        })?;
        let address = listener
            .local_addr()
            .map_err(|error| format!("no local address for internal metrics: {error}"))?;
        Ok(Self { listener, address })
    }

    /// The bound address.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves `registry` until `stop`; then open connections are dropped, which a scraper takes as a missed scrape.
    pub(super) async fn serve(self, registry: Registry, errors: HandlerErrors, stop: CancellationToken) {
        let endpoint = Arc::new(Endpoint { registry, encoding_errors: errors.encoding });
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        let accept_all = async {
            loop {
                // Never closed, so it always yields a permit.
                let Ok(slot) = slots.clone().acquire_owned().await else { return };
                while connections.try_join_next().is_some() {}
                match self.listener.accept().await {
                    Ok((stream, _)) => {
                        let endpoint = endpoint.clone();
                        connections.spawn(async move {
                            let _ = timeout(CONNECTION_MAX, connection(stream, endpoint)).await;
                            drop(slot);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "Cannot accept a connection for internal metrics");
                        sleep(ACCEPT_RETRY).await;
                    }
                }
            }
        };
        stop.run_until_cancelled(accept_all).await;
    }
}

/// The counters of failed answers, by their name in Go's `promhttp`.
#[derive(Clone)]
pub(super) struct HandlerErrors {
    encoding: IntCounter,
}

impl HandlerErrors {
    /// Registers the family with both of its causes; gathering cannot fail here.
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let options = Opts::new(
            "promhttp_metric_handler_errors_total",
            "Total number of internal errors encountered by the promhttp metric handler.",
        );
        let family = IntCounterVec::new(options, &["cause"])?;
        registry.register(Box::new(family.clone()))?;
        family.with_label_values(&["gathering"]);
        Ok(Self { encoding: family.with_label_values(&["encoding"]) })
    }
}

/// Binds exactly one address, IPv4 before IPv6 as Go does. (Trying one after the other would hide that a port is in
/// use, when `localhost` stands for two addresses.)
async fn bind_one(host: &str, port: u16) -> io::Result<TcpListener> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
    let address = addresses
        .iter()
        .find(|a| a.is_ipv4())
        .or(addresses.first())
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the host name has no address"))?;
    TcpListener::bind(address).await
}

async fn connection(stream: TcpStream, endpoint: Arc<Endpoint>) {
    let service = service_fn(|request| {
        let answer = endpoint.answer(&request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_MAX)
        .max_buf_size(HEAD_MAX_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "A connection to the internal metrics ended early");
    }
}

impl Endpoint {
    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if request.uri().path() != PATH {
            return plain(StatusCode::NOT_FOUND, "404 page not found\n");
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match TextEncoder::new().encode_to_string(&self.registry.gather()) {
            Ok(text) => {
                let mut answer = Response::new(Full::new(Bytes::from(text)));
                answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(TEXT_FORMAT));
                answer
            }
            Err(error) => {
                self.encoding_errors.inc();
                tracing::error!(%error, "Cannot encode the internal metrics");
                plain(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be encoded\n")
            }
        }
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}
