//! The extension's life: finding the authenticators that it asks.

use std::sync::{Arc, OnceLock};

use prometheus::IntCounterVec;
use spanbridge_component::{
    AuthData, AuthError, AuthRequest, BuildError, Component, Extension, Host, ServerAuthenticator, Settings,
    StartError, async_trait,
};

use crate::Config;
use crate::authenticator::{AnyAuth, CLIENT_CERTIFICATE, Door};

/// Asks others, which it finds when it starts.
pub(crate) struct AnyAuthExtension {
    id: String,
    config: Config,
    accepted: IntCounterVec,
    found: Arc<Found>,
}

/// The authenticators, once they were found; until then nobody comes in.
#[derive(Default)]
struct Found(OnceLock<AnyAuth>);

impl AnyAuthExtension {
    pub(crate) fn new(settings: &Settings, config: Config) -> Result<Self, BuildError> {
        let accepted = settings.telemetry.counter(
            "otelcol_any_auth_accepted_requests",
            "Number of requests that were let in, by who let them in. [Alpha]",
            &["extension", "authenticator"],
        )?;
        Ok(Self { id: settings.id.to_string(), config, accepted, found: Arc::default() })
    }

    fn door(&self, name: String, authenticator: Option<Arc<dyn ServerAuthenticator>>) -> Door {
        let accepted = self.accepted.with_label_values(&[self.id.as_str(), name.as_str()]);
        Door { name, authenticator, accepted }
    }
}

#[async_trait]
impl Component for AnyAuthExtension {
    async fn start(&self, host: Host) -> Result<(), StartError> {
        let mut doors = Vec::new();
        if self.config.client_certificate {
            doors.push(self.door(CLIENT_CERTIFICATE.to_owned(), None));
        }
        for id in &self.config.authenticators {
            doors.push(self.door(id.to_string(), Some(host.server_authenticator(id)?)));
        }
        // A second start is the service's mistake; what was found first stays.
        let _ = self.found.0.set(AnyAuth { doors });
        Ok(())
    }
}

impl Extension for AnyAuthExtension {
    fn as_server_authenticator(&self) -> Option<Arc<dyn ServerAuthenticator>> {
        Some(self.found.clone())
    }
}

#[async_trait]
impl ServerAuthenticator for Found {
    async fn authenticate(&self, request: &AuthRequest<'_>) -> Result<Arc<dyn AuthData>, AuthError> {
        match self.0.get() {
            Some(any) => any.authenticate(request).await,
            None => Err(AuthError::undecided("authentication is not ready", "any_auth has not started")),
        }
    }
}
