//! The extension's life: following the keys of every provider.

use std::sync::{Arc, Mutex, PoisonError};

use spanbridge_component::{
    BuildError, Component, Extension, Host, ServerAuthenticator, Settings, ShutdownError, StartError,
    async_trait,
};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::Span;

use crate::Config;
use crate::provider::Provider;
use crate::server::Server;

/// Providers, each with what follows its keys.
pub(crate) struct Oidc {
    span: Span,
    server: Arc<Server>,
    tasks: Mutex<Vec<AbortOnDropHandle<()>>>,
}

impl Oidc {
    pub(crate) fn new(settings: &Settings, config: &Config) -> Result<Self, BuildError> {
        let providers = config.all().into_iter().map(Provider::new).collect();
        let server = Server::new(config.header(), providers)
            .map_err(|error| BuildError(format!("no randomness: {error}")))?;
        Ok(Self { span: settings.span(), server: Arc::new(server), tasks: Mutex::default() })
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, Vec<AbortOnDropHandle<()>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Component for Oidc {
    /// Returns at once: an issuer that is away refuses its clients until it is back, and nobody has to restart anything.
    async fn start(&self, host: Host) -> Result<(), StartError> {
        let _entered = self.span.enter();
        let mut tasks = Vec::new();
        for provider in &*self.server.providers {
            tasks.extend(provider.start(&host, &self.server.providers).map_err(StartError)?);
        }
        *self.tasks() = tasks;
        Ok(())
    }

    async fn shutdown(&self, _: Instant) -> Result<(), ShutdownError> {
        let tasks = std::mem::take(&mut *self.tasks());
        for task in tasks {
            task.abort();
            // Ends at its next await; it does nothing but await.
            let _ = task.await;
        }
        for provider in &*self.server.providers {
            provider.release();
        }
        Ok(())
    }
}

impl Extension for Oidc {
    fn as_server_authenticator(&self) -> Option<Arc<dyn ServerAuthenticator>> {
        Some(self.server.clone())
    }
}
