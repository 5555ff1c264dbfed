//! Who asks: connections, redirects and the time that all of it may take.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::LOCATION;
use http::{HeaderMap, Method};
use tokio::time::{Instant, timeout, timeout_at};

use super::{Error, Kind, Request, Response, exchange};
use crate::grpc::ClientTls;
use crate::grpc::client::dial::{Address, Socket, cause, dial};
use crate::tls::Connector;

/// Names that TLS is set up for at a time. A client speaks to one or two.
const NAMES_MAX: usize = 16;
/// Shortest time that one of several addresses of a name gets.
const ADDRESS_TIME_MIN: Duration = Duration::from_millis(250);

/// What a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the name to a connection, the TLS handshake included.
    pub connect_timeout: Duration,
    /// From the first look at the name to the last byte of the body, redirects included.
    pub timeout: Duration,
    /// Largest body of an answer.
    pub body_bytes_max: usize,
    /// Redirects that are followed, of `GET` and `HEAD` requests, never from `https` to `http`. 0: they are errors.
    pub redirects_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
            body_bytes_max: 1024 * 1024,
            redirects_max: 0,
        }
    }
}

/// Sends requests. Cheap to clone; make one for each purpose.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    limits: Limits,
    tls: ClientTls,
    socket: Option<PathBuf>,
    /// By name, since each follows its files with a task of its own.
    connectors: Mutex<HashMap<String, Arc<Connector>>>,
}

impl Client {
    /// A client over TCP. The URL's scheme says whether there is TLS; `tls` says how. As in the Go collector, a block that
    /// means plaintext leaves `https` with the defaults.
    pub fn new(limits: Limits, tls: ClientTls) -> Self {
        let tls = if tls.is_plaintext() { ClientTls::default() } else { tls };
        Self::of(limits, tls, None)
    }

    /// A client whose every request goes to the server behind a unix socket; a URL's host is only sent as `Host`.
    pub fn unix(limits: Limits, socket: impl Into<PathBuf>) -> Self {
        Self::of(limits, ClientTls::default(), Some(socket.into()))
    }

    fn of(limits: Limits, tls: ClientTls, socket: Option<PathBuf>) -> Self {
        let inner = Inner { limits, tls, socket, connectors: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    /// Sends a request and reads the answer to its end.
    ///
    /// # Errors
    /// If there is no whole answer. A status that is no success is an answer.
    pub async fn send(&self, request: Request) -> Result<Response, Error> {
        let limits = self.inner.limits;
        let asked = request.shown();
        // Boxed, since a TLS connection makes for a large future.
        let sent = Box::pin(self.follow(request));
        timeout(limits.timeout, sent).await.unwrap_or_else(|_| {
            Err(Error::new(Kind::Timeout, asked, format!("no whole answer within {:?}", limits.timeout)))
        })
    }

    /// Ends what follows the files of its TLS block. The next request begins anew.
    pub fn release(&self) {
        self.connectors().clear();
    }

    async fn follow(&self, mut request: Request) -> Result<Response, Error> {
        for left in (0..=self.inner.limits.redirects_max).rev() {
            let response = self.once(&request).await?;
            if !response.status.is_redirection() || !response.headers.contains_key(LOCATION) {
                return Ok(response);
            }
            if left == 0 {
                return Err(not_followed(&request, &response));
            }
            redirect(&mut request, &response)?;
        }
        // The last round returns.
        Err(Error::new(Kind::Redirect, request.shown(), "too many redirects"))
    }

    async fn once(&self, request: &Request) -> Result<Response, Error> {
        let limits = self.inner.limits;
        let connected = timeout(limits.connect_timeout, self.connect(request)).await;
        let socket = connected.map_err(|_| {
            let cause = format!("cannot connect within {:?}", limits.connect_timeout);
            Error::new(Kind::Timeout, request.shown(), cause)
        })??;
        exchange::exchange(socket, request, limits.body_bytes_max)
            .await
            .map_err(|(kind, cause)| Error::new(kind, request.shown(), cause))
    }

    async fn connect(&self, request: &Request) -> Result<Box<dyn Socket>, Error> {
        let failed = |kind, cause: String| Error::new(kind, request.shown(), cause);
        let socket = match &self.inner.socket {
            Some(path) => dial_unix(path).await,
            None => self.dial_tcp(request).await,
        };
        let socket = socket.map_err(|cause| failed(Kind::Unreachable, cause))?;
        if !request.is_secure() {
            return Ok(socket);
        }
        let connector = self.connector(request.target().host).await;
        let connector = connector.map_err(|cause| failed(Kind::Tls, cause))?;
        let stream = connector.connect(socket).await.map_err(|error| failed(Kind::Tls, error.to_string()))?;
        Ok(Box::new(stream))
    }

    /// Tries the addresses of the name in turn; none may take the time of those behind it.
    async fn dial_tcp(&self, request: &Request) -> Result<Box<dyn Socket>, String> {
        let deadline = Instant::now() + self.inner.limits.connect_timeout;
        let target = request.target();
        let resolved = tokio::net::lookup_host((target.host.as_str(), target.port)).await;
        let resolved =
            resolved.map_err(|error| format!("cannot resolve {}: {}", target.host, cause(&error)))?;
        let addresses: Vec<_> = resolved.collect();
        let mut failures = Vec::new();
        for (index, address) in addresses.iter().enumerate() {
            let shares = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
            let left = deadline.saturating_duration_since(Instant::now());
            let until = Instant::now() + (left / shares).max(ADDRESS_TIME_MIN);
            let address = Address::Tcp(*address);
            match timeout_at(until, dial(&address, None)).await {
                Ok(Ok(socket)) => return Ok(socket),
                Ok(Err(error)) => failures.push(format!("{address}: {}", cause(&error))),
                Err(_) => failures.push(format!("{address}: i/o timeout")),
            }
        }
        if failures.is_empty() {
            return Err(format!("{} has no address", target.host));
        }
        Err(format!("cannot connect to {}", failures.join("; ")))
    }

    /// TLS for servers of this name.
    async fn connector(&self, host: String) -> Result<Arc<Connector>, String> {
        if let Some(known) = self.connectors().get(&host) {
            return Ok(known.clone());
        }
        let (tls, name, span) = (self.inner.tls.clone(), host.clone(), tracing::Span::current());
        // Reads files.
        let made = tokio::task::spawn_blocking(move || span.in_scope(|| Connector::for_http(&tls, &name)));
        let made = made.await.map_err(|_| "setting up TLS panicked".to_owned())?;
        let made = Arc::new(made.map_err(|error| match &error.help {
            Some(help) => format!("{error}; {help}"),
            None => error.to_string(),
        })?);
        let mut connectors = self.connectors();
        if connectors.len() >= NAMES_MAX {
            connectors.clear();
        }
        Ok(connectors.entry(host).or_insert(made).clone())
    }

    fn connectors(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Connector>>> {
        self.inner.connectors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("limits", &self.inner.limits)
            .field("socket", &self.inner.socket)
            .finish_non_exhaustive()
    }
}

async fn dial_unix(path: &Path) -> Result<Box<dyn Socket>, String> {
    let address = Address::Unix(path.into());
    dial(&address, None).await.map_err(|error| format!("cannot connect to {address}: {}", cause(&error)))
}

fn location(response: &Response) -> &str {
    response.headers.get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn not_followed(request: &Request, response: &Response) -> Error {
    let to = super::shown(location(response));
    let cause = format!("the server redirects ({}) to {to}, which is not followed", response.status);
    Error::new(Kind::Redirect, request.shown(), cause)
}

/// Points the request at where the answer says.
fn redirect(request: &mut Request, response: &Response) -> Result<(), Error> {
    let is_safe = matches!(request.method, Method::GET | Method::HEAD);
    let Ok(to) = request.url.join(location(response)) else { return Err(not_followed(request, response)) };
    let to =
        Request::new(request.method.clone(), to.as_str()).map_err(|_| not_followed(request, response))?;
    if !is_safe || request.is_secure() && !to.is_secure() {
        return Err(not_followed(request, response));
    }
    if to.url.origin() != request.url.origin() {
        // Whatever the caller set may be meant for the first server only.
        request.headers = HeaderMap::new();
    }
    request.url = to.url;
    Ok(())
}
