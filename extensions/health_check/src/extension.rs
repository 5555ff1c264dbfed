//! The extension's life: listening, and saying in the log when the answer changes.

use std::sync::{Arc, Mutex, PoisonError};

use spanbridge_component::{
    Component, Extension, Host, Readiness, Settings, ShutdownError, StartError, async_trait,
};
use spanbridge_transport::auth::ServerAuth;
use spanbridge_transport::http::server::Server;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument as _, Span};

use crate::Config;
use crate::answer::Prober;

/// Listens to probes.
pub(crate) struct HealthCheck {
    span: Span,
    config: Config,
    running: Mutex<Option<Running>>,
}

struct Running {
    server: Server,
    changes: AbortOnDropHandle<()>,
}

impl HealthCheck {
    pub(crate) fn new(settings: &Settings, config: Config) -> Self {
        Self { span: settings.span(), config, running: Mutex::new(None) }
    }

    async fn begin(&self, host: Host) -> Result<Running, StartError> {
        let auth = ServerAuth::resolve(&self.config.server.auth, &host)?;
        let prober = Arc::new(Prober::new(self.config.clone(), host.readiness()));
        let server = Server::start(&self.config.server, prober, auth)
            .await
            .map_err(|error| StartError(error.to_string()))?;
        tracing::info!(
            endpoint = server.endpoint(),
            path = self.config.path,
            "Starting health_check extension"
        );
        let changes = tokio::spawn(log_changes(host.readiness()).in_current_span());
        Ok(Running { server, changes: AbortOnDropHandle::new(changes) })
    }
}

#[async_trait]
impl Component for HealthCheck {
    async fn start(&self, host: Host) -> Result<(), StartError> {
        let running = self.begin(host).instrument(self.span.clone()).await?;
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
        Ok(())
    }

    async fn shutdown(&self, deadline: Instant) -> Result<(), ShutdownError> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Running { server, changes }) = running {
            server.shutdown(deadline).await;
            changes.abort();
            // Ends at its next await; it does nothing but await.
            let _ = changes.await;
        }
        Ok(())
    }
}

impl Extension for HealthCheck {}

/// Says in the log what probes are told from now on.
async fn log_changes(mut readiness: Readiness) {
    loop {
        let status = if readiness.borrow_and_update().is_some() { "ready" } else { "unavailable" };
        tracing::info!(status, "Health Check state change");
        if readiness.changed().await.is_err() {
            return;
        }
    }
}
