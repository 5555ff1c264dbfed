//! The receiver's life: listening, and draining.

use std::sync::{Arc, Mutex, PoisonError};

use spanbridge_component::{
    Component, Host, Receiver, Settings, ShutdownError, StartError, Status, async_trait,
};
use spanbridge_pdata::memory::Account;
use spanbridge_transport::auth::ServerAuth;
use spanbridge_transport::grpc::Server;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::Config;
use crate::service::ExportService;

/// Listens for all signals on one socket.
pub(crate) struct OtlpReceiver {
    config: Config,
    span: tracing::Span,
    service: Arc<ExportService>,
    grpc: Mutex<Option<Server>>,
}

impl OtlpReceiver {
    pub(crate) fn new(settings: &Settings, config: Config, service: Arc<ExportService>) -> Self {
        Self { config, span: settings.span(), service, grpc: Mutex::new(None) }
    }

    async fn start_grpc(&self, host: Host) -> Result<(), StartError> {
        let Some(config) = self.config.protocols.grpc.as_ref() else { return Ok(()) };
        let auth = ServerAuth::resolve(&config.auth, &host)?;
        let on_death = move |reason: String| host.report(Status::FatalError(reason));
        let server = Server::start(config, self.service.clone(), Account::process().clone(), auth, on_death)
            .await
            .map_err(|error| StartError(error.to_string()))?;
        tracing::info!(endpoint = server.endpoint(), "Starting GRPC server");
        *self.grpc.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
        Ok(())
    }
}

#[async_trait]
impl Component for OtlpReceiver {
    async fn start(&self, host: Host) -> Result<(), StartError> {
        self.start_grpc(host).instrument(self.span.clone()).await
    }

    async fn shutdown(&self, deadline: Instant) -> Result<(), ShutdownError> {
        let server = self.grpc.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(server) = server else { return Ok(()) };
        let drained = server.shutdown(deadline).instrument(self.span.clone()).await;
        if drained.aborted_calls == 0 {
            return Ok(());
        }
        // Nothing acknowledged is lost: the clients of these calls got no answer and still have their telemetry.
        Err(ShutdownError {
            message: format!("{} calls were cut off unanswered at the deadline", drained.aborted_calls),
            undelivered_items: 0,
        })
    }
}

impl Receiver for OtlpReceiver {}
