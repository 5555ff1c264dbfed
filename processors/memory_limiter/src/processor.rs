//! The processor as the pipeline sees it.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use spanbridge_component::{
    Batch, BuildError, Capabilities, Component, ConsumeError, Consumer, Host, Processor, Settings,
    ShutdownError, StartError,
};
use tokio::time::Instant;

use crate::limiter::{Attachment, Limiter, REFUSED};
use crate::telemetry::Metrics;

/// Lets telemetry pass while there is memory. It holds nothing.
pub(crate) struct MemoryLimiter {
    limiter: Arc<Limiter>,
    attachment: Mutex<Option<Attachment>>,
    metrics: Metrics,
    next: Arc<dyn Consumer>,
}

impl MemoryLimiter {
    pub(crate) fn new(
        settings: &Settings,
        limiter: Arc<Limiter>,
        next: Arc<dyn Consumer>,
    ) -> Result<Self, BuildError> {
        let metrics = Metrics::new(&settings.telemetry, &settings.id)?;
        Ok(Self { limiter, attachment: Mutex::new(None), metrics, next })
    }
}

#[async_trait]
impl Component for MemoryLimiter {
    async fn start(&self, host: Host) -> Result<(), StartError> {
        let attachment = self.limiter.attach(host)?;
        *self.attachment.lock().unwrap_or_else(PoisonError::into_inner) = Some(attachment);
        Ok(())
    }

    async fn shutdown(&self, _: Instant) -> Result<(), ShutdownError> {
        let attachment = self.attachment.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(attachment) = attachment {
            self.limiter.detach(attachment).await;
        }
        Ok(())
    }
}

impl Processor for MemoryLimiter {}

#[async_trait]
impl Consumer for MemoryLimiter {
    async fn consume(&self, batch: Batch) -> Result<(), ConsumeError> {
        let (signal, items) = (batch.signal(), batch.items());
        self.metrics.items.incoming(signal, items);
        if self.limiter.is_refusing() {
            self.metrics.refused(signal, items);
            return Err(ConsumeError::retryable(REFUSED));
        }
        self.metrics.accepted(signal, items);
        self.metrics.items.outgoing(signal, items);
        self.next.consume(batch).await
    }

    fn capabilities(&self) -> Capabilities {
        self.next.capabilities()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use spanbridge_component::{Payload, Signal, Status};
    use spanbridge_pdata::memory::Account;
    use spanbridge_testkit::{Payloads, Sink, host, settings};
    use tempfile::TempDir;
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::Config;
    use crate::limiter::Base;

    /// A machine whose process has this much resident memory.
    fn set_resident(root: &TempDir, mib: u64) {
        let proc = root.path().join("proc/self");
        fs::create_dir_all(&proc).unwrap();
        fs::write(proc.join("status"), format!("VmRSS:\t{} kB\n", mib * 1024)).unwrap();
    }

    fn spans(items: usize) -> Payload {
        Payloads::small().request(Signal::Traces, items)
    }

    fn config() -> Config {
        let second = spanbridge_config::Duration::from_secs(1);
        Config { check_interval: second, limit_mib: 100, ..Config::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn telemetry_is_refused_above_the_soft_limit_and_taken_again_below() {
        let (root, account) = (TempDir::new().unwrap(), Account::new());
        set_resident(&root, 10);
        let limiter = Arc::new(Limiter::new(config(), account.clone(), root.path().into(), Base::unknown()));
        let settings = settings("memory_limiter");
        let sink = Sink::new();
        let processor = MemoryLimiter::new(&settings, limiter, sink.clone()).unwrap();
        let (host, log) = host(&settings);
        processor.start(host).await.unwrap();
        assert!(account.limit() < 80 << 20);

        let _telemetry = account.charge(60 << 20);
        set_resident(&root, 80);
        sleep(Duration::from_millis(1500)).await;
        let error = processor.consume(Batch::new(spans(3))).await.unwrap_err();
        assert_eq!((error.message(), error.is_permanent()), (REFUSED, false));
        assert_eq!(log.reports(), [Status::RecoverableError(REFUSED.to_owned())]);

        set_resident(&root, 79);
        sleep(Duration::from_secs(1)).await;
        processor.consume(Batch::new(spans(4))).await.unwrap();
        assert_eq!(log.reports().last(), Some(&Status::Ok));
        assert_eq!(sink.items(), 4);
        let count = |name: &str| {
            spanbridge_testkit::metric(&settings.telemetry, name, &[("processor", "memory_limiter")])
        };
        assert_eq!(count("otelcol_processor_memory_limiter_refused_spans"), Some(3.0));
        assert_eq!(count("otelcol_processor_memory_limiter_accepted_spans"), Some(4.0));

        processor.shutdown(Instant::now()).await.unwrap();
        assert_eq!(account.limit(), usize::MAX, "the limit goes with the limiter");
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_stays_until_the_last_processor_of_an_id_has_stopped() {
        let (root, account) = (TempDir::new().unwrap(), Account::new());
        set_resident(&root, 10);
        let limiter = Arc::new(Limiter::new(config(), account.clone(), root.path().into(), Base::unknown()));
        let settings = settings("memory_limiter");
        let processors =
            [(); 3].map(|()| MemoryLimiter::new(&settings, limiter.clone(), Sink::new()).unwrap());
        for processor in &processors {
            processor.start(host(&settings).0).await.unwrap();
        }
        for processor in &processors {
            assert!(account.limit() < usize::MAX);
            processor.shutdown(Instant::now()).await.unwrap();
        }
        assert_eq!(account.limit(), usize::MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_allocator_keeps_is_no_base_when_the_configuration_changes_under_load() {
        let (root, account, base) = (TempDir::new().unwrap(), Account::new(), Base::unknown());
        let settings = settings("memory_limiter");
        let mut limits = Vec::new();
        for (resident, limit_mib) in [(10, 100), (70, 101), (5, 100)] {
            set_resident(&root, resident);
            let config = Config { limit_mib, ..config() };
            let limiter = Limiter::new(config, account.clone(), root.path().into(), base.clone());
            let processor = MemoryLimiter::new(&settings, Arc::new(limiter), Sink::new()).unwrap();
            processor.start(host(&settings).0).await.unwrap();
            limits.push((account.limit() >> 20, account.capacity() >> 20));
            processor.shutdown(Instant::now()).await.unwrap();
        }
        assert_eq!(limits, [(52, 52), (53, 53), (56, 56)], "the least base counts");
    }

    #[tokio::test]
    async fn without_figures_it_does_not_start() {
        let root = TempDir::new().unwrap();
        let limiter = Arc::new(Limiter::new(config(), Account::new(), root.path().into(), Base::unknown()));
        let settings = settings("memory_limiter");
        let processor = MemoryLimiter::new(&settings, limiter, Sink::new()).unwrap();
        let error = processor.start(host(&settings).0).await.unwrap_err();
        assert!(error.to_string().contains("/proc/self/status"), "{error}");
        processor.shutdown(Instant::now()).await.unwrap();
    }
}
