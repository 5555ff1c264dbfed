//! Authentication of requests: the `auth` blocks of servers and clients, and what stands behind them while they run
//! (reference: collector-core, 5.3).

mod proxies;

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanbridge_component::{
    AuthData, AuthError, AuthRequest, ClientAuthenticator, Code, ComponentId, Context, Host, Problems, Role,
    ServerAuthenticator, StartError,
};
use spanbridge_config::Optional;
use tokio::time::{Instant, timeout_at};

use crate::grpc::Status;
use crate::log_gate::LogGate;

pub use proxies::{FORWARDED_FOR, Network};

/// Who lets requests into a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerAuthConfig {
    /// The extension that decides: `basicauth/server`. It must run (`service::extensions`). Required.
    pub authenticator: Option<ComponentId>,
    /// Proxies whose word is taken for where a request came from (`X-Forwarded-For`): the networks of the ingress. It is
    /// the address that failed authentications are charged to and that the log names; without it that is the proxy's, which
    /// all its clients share. Not a key of the Go collector. Default: none.
    pub trusted_proxies: Vec<Network>,
}

/// Who gives credentials to a client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientAuthConfig {
    /// The extension that gives them: `basicauth/client`. It must run (`service::extensions`). Required.
    pub authenticator: Option<ComponentId>,
    /// Whether credentials may be sent over a connection that this process does not encrypt (`tls: {insecure: true}`).
    /// Only for a service mesh that encrypts it, or within one machine: whoever can read the connection has the
    /// credentials. Not a key of the Go collector, which cannot do it. Default `false`.
    pub allow_plaintext: bool,
}

const NO_AUTHENTICATOR: &str = "names no authenticator";
const NO_AUTHENTICATOR_HELP: &str = "write the id of an extension: auth: {authenticator: basicauth}";

impl ServerAuthConfig {
    /// Validates it for a server that asks its clients for certificates or does not.
    pub fn validate(&self, asks_for_certificates: bool, problems: &mut Problems) {
        let role = Role::ServerAuthenticator { asks_for_certificates };
        match &self.authenticator {
            Some(id) => problems.refer_as("authenticator", id, role),
            None => {
                problems.error(NO_AUTHENTICATOR).help(NO_AUTHENTICATOR_HELP);
            }
        }
        if self.trusted_proxies.iter().any(|network| network.is_everything()) {
            problems.warn_at(
                "trusted_proxies",
                "everybody is a trusted proxy, so clients can write any address; name the networks of the proxies",
            );
        }
    }
}

impl ClientAuthConfig {
    /// Validates it for a client whose transport is plaintext or is not.
    pub fn validate(&self, is_plaintext: bool, problems: &mut Problems) {
        let in_the_clear = is_plaintext && !self.allow_plaintext;
        match &self.authenticator {
            Some(id) => problems.refer_as("authenticator", id, Role::ClientAuthenticator { in_the_clear }),
            None => {
                problems.error(NO_AUTHENTICATOR).help(NO_AUTHENTICATOR_HELP);
            }
        }
    }
}

/// Checks a header that holds credentials and makes it what is sent: marked as sensitive, so that HTTP/2 does not put it
/// into its tables, and with binary values (names that end in `-bin`) in base64.
///
/// # Errors
/// A name that belongs to the protocol or is none, or a value that no header may hold; the value is not in the text.
pub fn credential_header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    crate::grpc::credential_header(name, value)
}

/// Lets requests into a server, and logs those that it does not let in.
pub struct ServerAuth {
    id: ComponentId,
    authenticator: Arc<dyn ServerAuthenticator>,
    proxies: Vec<Network>,
    /// One gate a reason, so that a flood of wrong passwords does not hide the first request of another kind. As many
    /// as there are reasons in the program.
    refusals: Mutex<Vec<(&'static str, Arc<LogGate>)>>,
}

impl ServerAuth {
    /// Finds the authenticator that a configuration names; `None` without one.
    ///
    /// # Errors
    /// If it does not run, or lets nobody into servers.
    pub fn resolve(config: &Optional<ServerAuthConfig>, host: &Host) -> Result<Option<Self>, StartError> {
        let Some(config) = config.as_ref() else { return Ok(None) };
        let id =
            config.authenticator.clone().ok_or_else(|| StartError(format!("auth {NO_AUTHENTICATOR}")))?;
        let authenticator = host.server_authenticator(&id)?;
        Ok(Some(Self::new(id, authenticator).behind(config.trusted_proxies.clone())))
    }

    /// Asks this authenticator, which is called `id` in logs.
    pub fn new(id: ComponentId, authenticator: Arc<dyn ServerAuthenticator>) -> Self {
        Self { id, authenticator, proxies: Vec::new(), refusals: Mutex::default() }
    }

    /// With proxies that are believed in where a request came from.
    #[must_use]
    pub fn behind(mut self, proxies: Vec<Network>) -> Self {
        self.proxies = proxies;
        self
    }

    /// What is known of the client, if the request may come in. A panic of the authenticator is a refusal.
    ///
    /// # Errors
    /// Why it may not come in; it has been logged, at most once in ten seconds for each reason.
    pub async fn check(&self, request: &AuthRequest<'_>) -> Result<Arc<dyn AuthData>, AuthError> {
        let origin = request.peer.map(|peer| proxies::origin(&self.proxies, peer, request.headers));
        let judged = AuthRequest { peer: origin, ..*request };
        let decided = AssertUnwindSafe(self.authenticator.authenticate(&judged)).catch_unwind().await;
        let result = decided
            .unwrap_or_else(|_| Err(AuthError::undecided("internal error", "the authenticator panicked")));
        result.inspect_err(|error| self.log(error, request.peer, origin))
    }

    fn log(&self, error: &AuthError, peer: Option<SocketAddr>, origin: Option<SocketAddr>) {
        let Some(held_back) = self.gate(error.reason()).open() else { return };
        let text = |address: Option<SocketAddr>| match address {
            None => Cow::Borrowed("unix socket"),
            // A proxy does not tell the port.
            Some(address) if address.port() == 0 => Cow::Owned(address.ip().to_string()),
            Some(address) => Cow::Owned(address.to_string()),
        };
        let via = (origin != peer).then(|| text(peer));
        tracing::warn!(
            authenticator = %self.id,
            peer = %text(origin),
            via = via.as_deref(),
            %error,
            reason = error.reason(),
            held_back,
            "Refused a request at the door"
        );
    }

    fn gate(&self, reason: &'static str) -> Arc<LogGate> {
        let mut gates = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, gate)) = gates.iter().find(|(known, _)| *known == reason) {
            return gate.clone();
        }
        let gate = Arc::new(LogGate::new());
        gates.push((reason, gate.clone()));
        gate
    }
}

impl fmt::Debug for ServerAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerAuth").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Gives credentials to the requests of a client. Cheap to clone.
#[derive(Clone)]
pub struct ClientAuth {
    id: ComponentId,
    authenticator: Arc<dyn ClientAuthenticator>,
}

impl ClientAuth {
    /// Finds the authenticator that a gRPC client's configuration names; `None` without one.
    ///
    /// # Errors
    /// If it does not run, gives credentials to nobody, or gives some that must not go over a plaintext connection.
    pub fn resolve(
        config: &Optional<ClientAuthConfig>,
        is_plaintext: bool,
        host: &Host,
    ) -> Result<Option<Self>, StartError> {
        let Some(config) = config.as_ref() else { return Ok(None) };
        let id =
            config.authenticator.clone().ok_or_else(|| StartError(format!("auth {NO_AUTHENTICATOR}")))?;
        let authenticator = host.grpc_client_authenticator(&id)?;
        if is_plaintext && !config.allow_plaintext && authenticator.requires_transport_security() {
            // Validation refuses this first, with the ways out.
            return Err(StartError(format!("\"{id}\": the credentials require transport level security")));
        }
        Ok(Some(Self { id, authenticator }))
    }

    /// The metadata that one request gets, within its deadline.
    ///
    /// # Errors
    /// Why there are no credentials, as a status: `UNAVAILABLE` if another attempt may find some.
    pub async fn metadata(&self, context: &Context, deadline: Option<Instant>) -> Result<HeaderMap, Status> {
        let mut headers = HeaderMap::new();
        let authorized = self.authenticator.authorize(context, &mut headers);
        let authorized = match deadline {
            Some(deadline) => timeout_at(deadline, authorized).await.map_err(|_| {
                let id = &self.id;
                Status::new(
                    Code::DeadlineExceeded,
                    format!("context deadline exceeded while \"{id}\" was asked for credentials"),
                )
            })?,
            None => authorized.await,
        };
        authorized.map_err(|error| Status::new(error.code(), format!("\"{}\": {error}", self.id)))?;
        Ok(headers)
    }

    /// A server has not let in a request with this metadata. Says whether it refused this process, rather than the client
    /// of that one request.
    pub fn refused(&self, sent: &HeaderMap) -> bool {
        self.authenticator.refused(sent);
        !self.authenticator.depends_on_request()
    }
}

impl fmt::Debug for ClientAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAuth").field("id", &self.id).finish_non_exhaustive()
    }
}
