//! What extensions that authenticate offer: to servers, who a client is; to clients, how to say who they are.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use crate::{AuthData, AuthValue, Code, ComponentId, Context, Host, StartError};

/// Decides whether a request may come in.
///
/// # Contract
///
/// - It fails closed: whoever cannot decide (no keys yet, too much to do) refuses with [`AuthError::undecided`].
/// - It is called for every request, with nothing but the head of it: the body is read afterwards. So it remembers what
///   is expensive to find out, and keeps work that computes for long off the async threads.
/// - Its future is dropped when the client goes away or its deadline passes.
/// - The server logs refusals with their [`AuthError::reason`]; the authenticator need not.
#[async_trait]
pub trait ServerAuthenticator: Send + Sync {
    /// What is known of the client, if it may come in.
    ///
    /// # Errors
    /// Why it may not.
    async fn authenticate(&self, request: &AuthRequest<'_>) -> Result<Arc<dyn AuthData>, AuthError>;
}

/// The head of a request, as far as authenticators look at it.
#[derive(Clone, Copy)]
pub struct AuthRequest<'a> {
    /// Headers or gRPC metadata as they came. Values are bytes, and may be anything.
    pub headers: &'a HeaderMap,
    /// The client's address; `None` on a unix socket.
    pub peer: Option<SocketAddr>,
    /// The client's TLS certificate and those that lead to its authority, in DER, its own first. Only what was
    /// verified is here; empty without TLS and for a client that gave none.
    pub certificates: &'a [Bytes],
    /// Whether the transport is encrypted (TLS up to this process).
    pub is_secured: bool,
}

impl<'a> AuthRequest<'a> {
    /// The first value of a header, whatever the case of its name; `None` if it is missing.
    pub fn header(&self, name: &str) -> Option<&'a HeaderValue> {
        self.headers.get(name)
    }

    /// Every value of a header in order of arrival, whatever the case of its name.
    pub fn header_values(&self, name: &str) -> impl Iterator<Item = &'a HeaderValue> {
        self.headers.get_all(name).into_iter()
    }
}

/// Header values are credentials, so only their names are printed.
impl fmt::Debug for AuthRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthRequest")
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("peer", &self.peer)
            .field("certificates", &self.certificates.len())
            .field("is_secured", &self.is_secured)
            .finish()
    }
}

/// Says who we are, to a server.
///
/// # Contract
///
/// - `authorize` is called for every request, before it is sent, and again for each further attempt. Fetching
///   credentials is done at most once at a time, and what was fetched is kept until it is about to expire.
/// - Its future is dropped when the request's deadline passes.
#[async_trait]
pub trait ClientAuthenticator: Send + Sync {
    /// Puts credentials into `headers`, over what is there. `context` belongs to the telemetry that is sent, if the
    /// request carries any; it is empty otherwise.
    ///
    /// # Errors
    /// Why there are none. [`AuthError::undecided`] if trying again may help.
    async fn authorize(&self, context: &Context, headers: &mut HeaderMap) -> Result<(), AuthError>;

    /// Whether the credentials may only go over an encrypted transport.
    fn requires_transport_security(&self) -> bool;

    /// Whether what it gives depends on the context of the request: then a server that does not let a request in has
    /// judged that one, and says nothing about others.
    fn depends_on_request(&self) -> bool;

    /// A server has not let in (`UNAUTHENTICATED`) a request with the headers that `authorize` left in `sent`. Who can
    /// have other credentials before they expire gets them for the next attempt; who reads them from elsewhere need not do
    /// anything.
    fn refused(&self, sent: &HeaderMap) {
        let _ = sent;
    }
}

/// Why a request was not let in, or why there are no credentials for one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct AuthError {
    code: Code,
    message: Cow<'static, str>,
    reason: &'static str,
    is_missing: bool,
    challenges: Vec<&'static str>,
}

impl AuthError {
    /// The request has no credentials of the kind that is looked for: `UNAUTHENTICATED`.
    pub fn missing(message: impl Into<Cow<'static, str>>) -> Self {
        Self { is_missing: true, ..Self::refused(message, "the request has no credentials") }
    }

    /// The request has credentials, and they are wrong: `UNAUTHENTICATED`.
    ///
    /// The client gets `message`. The log gets `reason` as well, which may say more than a guesser should know, but
    /// never holds credentials.
    pub fn refused(message: impl Into<Cow<'static, str>>, reason: &'static str) -> Self {
        let challenges = Vec::new();
        Self { code: Code::Unauthenticated, message: message.into(), reason, is_missing: false, challenges }
    }

    /// It could not be decided now, and another attempt may succeed: `UNAVAILABLE`.
    pub fn undecided(message: impl Into<Cow<'static, str>>, reason: &'static str) -> Self {
        Self { code: Code::Unavailable, ..Self::refused(message, reason) }
    }

    /// With another reason for the log.
    #[must_use]
    pub fn with_reason(mut self, reason: &'static str) -> Self {
        self.reason = reason;
        self
    }

    /// With a way to authenticate that would do (RFC 9110, 11.6.1), after those there are.
    #[must_use]
    pub fn with_challenge(mut self, challenge: &'static str) -> Self {
        if !self.challenges.contains(&challenge) {
            self.challenges.push(challenge);
        }
        self
    }

    /// The gRPC code that the client gets.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The text that the client gets.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// For the log: what exactly was wrong.
    pub fn reason(&self) -> &'static str {
        self.reason
    }

    /// What an HTTP server names under `WWW-Authenticate` when it answers 401.
    pub fn challenges(&self) -> &[&'static str] {
        &self.challenges
    }

    /// Whether there were no credentials at all, as opposed to wrong ones.
    pub fn is_missing(&self) -> bool {
        self.is_missing
    }
}

/// Attributes of a client, by name. `Debug` prints the names only: values may be credentials (`raw`).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AuthAttributes(BTreeMap<Cow<'static, str>, AuthValue>);

impl AuthAttributes {
    /// No attributes.
    pub fn new() -> Self {
        Self::default()
    }

    /// With this text under `name`.
    #[must_use]
    pub fn with(self, name: impl Into<Cow<'static, str>>, text: impl Into<String>) -> Self {
        self.with_value(name, AuthValue::Text(text.into()))
    }

    /// With this value under `name`.
    #[must_use]
    pub fn with_value(mut self, name: impl Into<Cow<'static, str>>, value: AuthValue) -> Self {
        self.0.insert(name.into(), value);
        self
    }

    /// These and `raw`: what stands in the header of the request from the byte `begin` on.
    ///
    /// So an authenticator can remember what it knows of a client without the credentials; the header is not copied.
    pub fn with_raw(self: Arc<Self>, header: &HeaderValue, begin: usize) -> Arc<dyn AuthData> {
        Arc::new(WithRaw { known: self, header: header.clone(), begin })
    }
}

impl AuthData for AuthAttributes {
    fn attribute(&self, name: &str) -> Option<AuthValue> {
        self.0.get(name).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().map(|name| name.clone().into_owned()).collect()
    }
}

impl fmt::Debug for AuthAttributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

/// What is remembered of a client, and the credentials of one request.
struct WithRaw {
    known: Arc<AuthAttributes>,
    header: HeaderValue,
    begin: usize,
}

impl WithRaw {
    const NAME: &str = "raw";
}

impl AuthData for WithRaw {
    fn attribute(&self, name: &str) -> Option<AuthValue> {
        if name != Self::NAME {
            return self.known.attribute(name);
        }
        let raw = self.header.as_bytes().get(self.begin..).unwrap_or_default();
        Some(AuthValue::Text(String::from_utf8_lossy(raw).into_owned()))
    }

    fn names(&self) -> Vec<String> {
        let mut names = self.known.names();
        // In order, as without it.
        let place = names.partition_point(|name| name.as_str() < Self::NAME);
        names.insert(place, Self::NAME.to_owned());
        names
    }
}

impl fmt::Debug for WithRaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl Host {
    /// The running extension `id` as what lets requests into a server.
    ///
    /// # Errors
    /// If it does not run, or is something else; the texts are the Go collector's (reference: collector-core, 5.3).
    pub fn server_authenticator(&self, id: &ComponentId) -> Result<Arc<dyn ServerAuthenticator>, StartError> {
        let extension = self.extension(id).ok_or_else(|| not_found(id))?;
        extension.as_server_authenticator().ok_or_else(|| {
            StartError(format!("\"{id}\": requested authenticator is not a server authenticator"))
        })
    }

    /// The running extension `id` as what gives credentials to a gRPC client.
    ///
    /// # Errors
    /// As [`Host::server_authenticator`].
    pub fn grpc_client_authenticator(
        &self,
        id: &ComponentId,
    ) -> Result<Arc<dyn ClientAuthenticator>, StartError> {
        let extension = self.extension(id).ok_or_else(|| not_found(id))?;
        extension.as_client_authenticator().ok_or_else(|| {
            StartError(format!("\"{id}\": requested authenticator is not a gRPC client authenticator"))
        })
    }
}

fn not_found(id: &ComponentId) -> StartError {
    StartError(format!("failed to resolve authenticator \"{id}\": authenticator not found"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_whatever_the_case_and_every_value_is_there() {
        let mut headers = HeaderMap::new();
        headers.append("authorization", HeaderValue::from_static("first"));
        headers.append("authorization", HeaderValue::from_static("second"));
        let request = AuthRequest { headers: &headers, peer: None, certificates: &[], is_secured: false };
        assert_eq!(request.header("aUthoRization").unwrap(), "first");
        assert_eq!(request.header_values("Authorization").count(), 2);
        assert!(request.header("not a header name").is_none());
    }

    #[test]
    fn debug_output_holds_no_credentials() {
        let mut headers = HeaderMap::new();
        headers.append("authorization", HeaderValue::from_static("hunter2"));
        let request = AuthRequest { headers: &headers, peer: None, certificates: &[], is_secured: false };
        let data = AuthAttributes::new().with("username", "me").with("raw", "hunter2");
        let printed = format!("{request:?} {data:?}");
        assert!(printed.contains("authorization") && printed.contains("username"), "{printed}");
        assert!(!printed.contains("hunter2"), "{printed}");
    }

    #[test]
    fn the_credentials_of_a_request_stand_beside_what_is_remembered() {
        let known = Arc::new(AuthAttributes::new().with("username", "me").with("membership", "us"));
        let header = HeaderValue::from_static("Basic hunter2");
        let data = known.clone().with_raw(&header, 6);
        assert_eq!(data.names(), ["membership", "raw", "username"]);
        assert!(data.attribute("raw") == Some(AuthValue::Text("hunter2".into())));
        assert!(data.attribute("username") == known.attribute("username"));
        assert!(data.attribute("absent").is_none() && known.attribute("raw").is_none());
        assert!(known.with_raw(&header, 100).attribute("raw") == Some(AuthValue::Text(String::new())));
        assert!(!format!("{data:?}").contains("hunter2"), "{data:?}");
    }

    #[test]
    fn errors_have_the_code_of_their_kind() {
        assert_eq!(AuthError::missing("none").code(), Code::Unauthenticated);
        assert!(AuthError::missing("none").is_missing());
        let refused = AuthError::refused("invalid credentials", "wrong password");
        assert_eq!((refused.code(), refused.is_missing()), (Code::Unauthenticated, false));
        assert_eq!(refused.to_string(), "invalid credentials");
        assert_eq!(AuthError::undecided("later", "busy").code(), Code::Unavailable);
        let refused = refused.with_challenge("Basic").with_challenge("Bearer").with_challenge("Basic");
        assert_eq!(refused.challenges(), ["Basic", "Bearer"]);
    }
}
