//! The processor as the pipeline sees it.

use std::sync::Arc;

use async_trait::async_trait;
use spanbridge_component::{
    Acknowledges, Batch, BuildError, Capabilities, Code, Component, ConsumeError, Consumer, Host, Processor,
    Settings, ShutdownError, StartError,
};
use tokio::time::{Instant, timeout_at};

use crate::Config;
use crate::batcher::{Batcher, Inheriting};

/// Gathers requests into batches; see the crate's documentation.
pub(crate) struct BatchProcessor {
    batcher: Arc<Batcher>,
}

impl BatchProcessor {
    pub(crate) fn new(
        settings: &Settings,
        config: &Config,
        next: Arc<dyn Consumer>,
    ) -> Result<Self, BuildError> {
        Ok(Self { batcher: Arc::new(Batcher::new(settings, config, next)?) })
    }

    /// Takes a batch, and waits for its outcome if the caller has to. `first` is held until there is room for it.
    async fn carry(&self, batch: Batch, first: Option<Inheriting<'_>>) -> Result<(), ConsumeError> {
        if first.is_none() {
            self.batcher.after_heritage().await;
        }
        let accepted = self.batcher.acknowledges() == Acknowledges::Accepted;
        let outcomes = self.batcher.take(batch, accepted).await?;
        drop(first);
        if accepted { Ok(()) } else { outcomes.wait().await }
    }
}

#[async_trait]
impl Component for BatchProcessor {
    async fn start(&self, host: Host) -> Result<(), StartError> {
        self.batcher.watch(host.draining().clone());
        Ok(())
    }

    /// Exports what is pending, without waiting for timers, and waits for all exports until `deadline`.
    async fn shutdown(&self, deadline: Instant) -> Result<(), ShutdownError> {
        let drained = timeout_at(deadline, self.batcher.drain()).await;
        if drained.is_err() {
            self.batcher.cut_off().await;
        }
        match self.batcher.undelivered() {
            0 => Ok(()),
            undelivered_items => {
                let message = format!("batch processor: {undelivered_items} items could not be handed on");
                Err(ShutdownError { message, undelivered_items })
            }
        }
    }

    /// As [`Component::shutdown`], but what was accepted and is refused for now is handed over instead of tried again, and so
    /// is what has not been answered at the deadline.
    async fn retire(&self, deadline: Instant) -> Result<Vec<Batch>, ShutdownError> {
        self.batcher.retiring.cancel();
        if let Err(error) = self.shutdown(deadline).await {
            // What is handed over must not be lost for it.
            tracing::warn!(%error, "The processor did not end cleanly for its successor");
        }
        Ok(self.batcher.left_over())
    }
}

impl Processor for BatchProcessor {}

#[async_trait]
impl Consumer for BatchProcessor {
    async fn consume(&self, batch: Batch) -> Result<(), ConsumeError> {
        if batch.items() == 0 {
            return Ok(());
        }
        match batch.context.deadline {
            None => self.carry(batch, None).await,
            Some(deadline) => timeout_at(Instant::from_std(deadline), self.carry(batch, None))
                .await
                .unwrap_or_else(|_| Err(too_late())),
        }
    }

    async fn inherit(&self, batch: Batch) -> Result<(), ConsumeError> {
        self.carry(batch, Some(self.batcher.inheriting())).await
    }

    /// With callers that wait, success means what it means behind this processor.
    fn capabilities(&self) -> Capabilities {
        match self.batcher.acknowledges() {
            Acknowledges::Accepted => Capabilities { acknowledges: Acknowledges::Accepted },
            Acknowledges::Delivered => self.batcher.next.capabilities(),
        }
    }
}

fn too_late() -> ConsumeError {
    ConsumeError::retryable("the deadline of the request passed before its batch was delivered")
        .with_code(Code::DeadlineExceeded)
}
