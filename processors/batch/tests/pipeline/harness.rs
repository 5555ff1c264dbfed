//! What these tests share.

use std::sync::Arc;
use std::time::Duration;

use batch_processor::{Config, Factory};
use spanbridge_component::telemetry::Telemetry;
use spanbridge_component::{
    Batch, ConsumeError, Consumer, Context, Metadata, Payload, Processor, ProcessorFactory, Settings, Signal,
};
use spanbridge_testkit::Payloads;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A processor that batches ten items or 200 ms.
pub(crate) fn config() -> Config {
    Config { send_batch_size: 10, ..Config::default() }
}

/// A processor under test, with payloads to feed it.
pub(crate) struct Fixture {
    pub(crate) processor: Arc<dyn Processor>,
    pub(crate) telemetry: Telemetry,
    pub(crate) payloads: Payloads,
}

impl Fixture {
    pub(crate) fn new(config: Config, next: Arc<dyn Consumer>) -> Self {
        Self::with_settings(spanbridge_testkit::settings("batch"), config, next)
    }

    pub(crate) fn with_settings(settings: Settings, config: Config, next: Arc<dyn Consumer>) -> Self {
        let telemetry = settings.telemetry.clone();
        let processor = Factory.create(settings, config, next).unwrap();
        Self { processor, telemetry, payloads: Payloads::small() }
    }

    /// A request of spans.
    pub(crate) fn spans(&mut self, items: usize) -> Payload {
        self.payloads.request(Signal::Traces, items)
    }

    /// Hands over a request of spans from a task of its own, as a receiver does.
    pub(crate) fn send(&mut self, items: usize) -> JoinHandle<Result<(), ConsumeError>> {
        self.send_with(items, Context::default())
    }

    /// As `send`, with the metadata `tenant`.
    pub(crate) fn send_as(&mut self, tenant: &str, items: usize) -> JoinHandle<Result<(), ConsumeError>> {
        self.send_with(items, tenant_context(tenant))
    }

    pub(crate) fn send_with(
        &mut self,
        items: usize,
        context: Context,
    ) -> JoinHandle<Result<(), ConsumeError>> {
        let (processor, payload) = (self.processor.clone(), self.spans(items));
        tokio::spawn(async move { processor.consume(Batch { payload, context }).await })
    }

    /// Shuts down, whatever is lost.
    pub(crate) async fn shut_down_with_losses(&self) {
        let _ = self.processor.shutdown(Instant::now() + Duration::from_secs(10)).await;
    }

    pub(crate) async fn shut_down(&self) {
        self.processor.shutdown(Instant::now() + Duration::from_secs(10)).await.unwrap();
    }
}

pub(crate) fn tenant_context(tenant: &str) -> Context {
    Context { metadata: Metadata::from_pairs([("X-Tenant", tenant)]), ..Context::default() }
}

/// Lets every task that can run do so, without moving the clock.
pub(crate) async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

pub(crate) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
