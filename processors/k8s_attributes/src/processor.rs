//! The processor itself.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use spanbridge_component::{
    Batch, BuildError, Capabilities, Component, ConsumeError, Consumer, Host, Processor, Settings,
    ShutdownError, StartError, Status,
};
use spanbridge_kubernetes::{Access, HealthState};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Config;
use crate::cache::Cache;
use crate::enrich::{self, Peer};
use crate::hint::{Hint, PERIOD};
use crate::plan::Plan;
use crate::shared::Share;
use crate::telemetry::{CacheMetrics, PathMetrics};

/// Adds to the resources of each batch what is known of their pods, and hands it on.
pub(crate) struct K8sAttributesProcessor {
    settings: Settings,
    config: Config,
    plan: Arc<Plan>,
    metrics: PathMetrics,
    next: Arc<dyn Consumer>,
    /// Empty before the start and after the end: then nothing is known.
    cache: ArcSwapOption<Cache>,
    share: Mutex<Option<Share>>,
    hint: Arc<Hint>,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl K8sAttributesProcessor {
    pub(crate) fn new(
        settings: Settings,
        config: Config,
        next: Arc<dyn Consumer>,
    ) -> Result<Self, BuildError> {
        let plan = Plan::new(&config).map_err(|error| BuildError(error.to_string()))?;
        let metrics = PathMetrics::new(&settings, &plan.associations)?;
        Ok(Self {
            settings,
            config,
            plan: Arc::new(plan),
            metrics,
            next,
            cache: ArcSwapOption::empty(),
            share: Mutex::default(),
            hint: Arc::default(),
            tasks: TaskTracker::new(),
            cancel: CancellationToken::new(),
        })
    }

    fn edit(&self, batch: Batch) -> Batch {
        let mut peer = Peer::new(&self.plan, batch.context.client_address);
        let signal = batch.signal();
        if self.config.passthrough {
            let payload = batch
                .payload
                .edit_resources(|attributes| enrich::pass_through(&self.plan, attributes, &mut peer));
            return Batch { payload, context: batch.context };
        }
        let cache = self.cache.load();
        let Some(cache) = &*cache else { return batch };
        let address = batch.context.client_address.map(|address| address.ip());
        let payload = batch.payload.edit_resources(|attributes| {
            let outcome = enrich::resource(&self.plan, &cache.tables(), attributes, &mut peer);
            self.metrics.looked_up(signal, outcome.rule, outcome.found);
            self.hint.note(outcome.rule.is_some(), outcome.found, address);
        });
        Batch { payload, context: batch.context }
    }

    /// Joins the cache of this configuration.
    async fn join(&self) -> Result<Share, StartError> {
        let build = &self.settings.build;
        let access = Access::new(&self.config.api(), &format!("{}/{}", build.command, build.version));
        let client = access.client().await.map_err(StartError)?;
        let metrics = || CacheMetrics::new(&self.settings.telemetry, &self.settings.id, &self.plan);
        Share::join(&self.config, &self.plan, access, &client, metrics)
            .map_err(|error| StartError(format!("cannot register metrics: {error}")))
    }

    /// Waits until everything has been listed, if the configuration says so.
    async fn wait_for_metadata(&self, share: &Share) -> Result<(), StartError> {
        if !self.config.wait_for_metadata {
            return Ok(());
        }
        let mut health = share.health();
        let within = self.config.wait_for_metadata_timeout.get();
        if timeout(within, health.wait_for(HealthState::is_synced)).await.is_ok() {
            return Ok(());
        }
        let problem = health.borrow().problem().unwrap_or_else(|| format!("not within {within:?}"));
        Err(StartError(format!("failed to wait for caches to sync: {problem}")))
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        use tracing::Instrument as _;
        let cancel = self.cancel.clone();
        let task = async move {
            cancel.run_until_cancelled(task).await;
        };
        self.tasks.spawn(task.instrument(self.settings.span()));
    }
}

/// Reports how the watches are doing, for as long as there are any.
async fn report(host: Host, mut health: watch::Receiver<HealthState>) {
    let mut reported = None;
    loop {
        let status = {
            let state = health.borrow_and_update();
            match state.problem() {
                Some(problem) => Some(Status::RecoverableError(problem)),
                None if state.is_synced() => Some(Status::Ok),
                None => None,
            }
        };
        if let Some(status) = status
            && reported.as_ref() != Some(&status)
        {
            host.report(status.clone());
            reported = Some(status);
        }
        if health.changed().await.is_err() {
            return;
        }
    }
}

/// Says a word when nothing has matched for a minute, once everything has been listed.
async fn hint(hint: Arc<Hint>, mut health: watch::Receiver<HealthState>) {
    if health.wait_for(HealthState::is_synced).await.is_err() {
        return;
    }
    loop {
        tokio::time::sleep(PERIOD).await;
        if let Some(words) = hint.minute() {
            tracing::warn!(
                resources = words.resources,
                without_identifier = words.without_identifier,
                last_peer = words.peer.map(tracing::field::display),
                hint = words.advice,
                "no pod was found for any resource of the last minute"
            );
        }
    }
}

#[async_trait]
impl Component for K8sAttributesProcessor {
    async fn start(&self, host: Host) -> Result<(), StartError> {
        if self.config.passthrough {
            return Ok(());
        }
        let share = {
            use tracing::Instrument as _;
            self.join().instrument(self.settings.span()).await?
        };
        if let Err(error) = self.wait_for_metadata(&share).await {
            share.leave(Instant::now() + PERIOD).await;
            return Err(error);
        }
        self.cache.store(Some(share.cache().clone()));
        self.spawn(report(host, share.health()));
        self.spawn(hint(self.hint.clone(), share.health()));
        *self.share.lock().unwrap_or_else(PoisonError::into_inner) = Some(share);
        Ok(())
    }

    async fn shutdown(&self, deadline: Instant) -> Result<(), ShutdownError> {
        self.cancel.cancel();
        self.tasks.close();
        let share = self.share.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(share) = share {
            share.leave(deadline).await;
        }
        self.cache.store(None);
        let _ = timeout_at(deadline, self.tasks.wait()).await;
        Ok(())
    }
}

impl Processor for K8sAttributesProcessor {}

#[async_trait]
impl Consumer for K8sAttributesProcessor {
    async fn consume(&self, batch: Batch) -> Result<(), ConsumeError> {
        let (signal, items) = (batch.signal(), batch.items());
        self.metrics.items.incoming(signal, items);
        let batch = self.edit(batch);
        self.metrics.items.outgoing(signal, items);
        self.next.consume(batch).await
    }

    fn capabilities(&self) -> Capabilities {
        self.next.capabilities()
    }
}

#[cfg(test)]
mod tests {
    use spanbridge_component::{Context, Signal};
    use spanbridge_testkit::{Payloads, Sink, host, metric};

    use super::*;

    fn processor(yaml: &str, sink: Arc<Sink>) -> (K8sAttributesProcessor, Settings) {
        let config = spanbridge_config::from_yaml(yaml).unwrap_or_else(|e| panic!("{e}"));
        let settings = spanbridge_testkit::settings("k8s_attributes");
        (K8sAttributesProcessor::new(settings.clone(), config, sink).unwrap(), settings)
    }

    #[tokio::test]
    async fn before_anything_is_known_the_very_same_bytes_are_handed_on_with_their_context() {
        let sink = Sink::new();
        let (processor, _) = processor("{}", sink.clone());
        let payload = Payloads::rich().request(Signal::Logs, 10);
        let address = "192.0.2.1:1".parse().ok();
        let context = Context { client_address: address, ..Context::default() };
        processor.consume(Batch { payload: payload.clone(), context }).await.unwrap();
        let out = &sink.batches()[0];
        assert_eq!(out.payload.segments()[0].as_ptr(), payload.segments()[0].as_ptr());
        assert_eq!(out.context.client_address, address);
    }

    #[tokio::test]
    async fn a_start_without_credentials_says_what_is_missing() {
        let (processor, settings) =
            processor("{auth_type: kubeConfig, kube_config_path: /nowhere/kubeconfig}", Sink::new());
        let error = processor.start(host(&settings).0).await.unwrap_err().to_string();
        assert!(error.contains("auth_type=kubeConfig") && error.contains("/nowhere/kubeconfig"), "{error}");
    }

    #[tokio::test]
    async fn what_is_looked_for_and_not_found_is_counted_by_its_rule() {
        let (processor, settings) = processor("{}", Sink::new());
        let plan = processor.plan.clone();
        let metrics = CacheMetrics::new(&settings.telemetry, &settings.id, &plan).unwrap();
        processor.cache.store(Some(Arc::new(Cache::new(plan, metrics))));
        let context = Context { client_address: "192.0.2.1:1".parse().ok(), ..Context::default() };
        for context in [context, Context::default()] {
            let payload = Payloads::small().request(Signal::Traces, 1);
            processor.consume(Batch { payload, context }).await.unwrap();
        }
        let count = |labels: &[(&str, &str)]| {
            metric(&settings.telemetry, "otelcol_k8s_pod_association", labels).unwrap_or_default()
        };
        let by_connection =
            [("status", "error"), ("pod_identifier", "connection"), ("otelcol_signal", "traces")];
        assert!((count(&by_connection) - 1.0).abs() < f64::EPSILON);
        assert_eq!(metric(&settings.telemetry, "otelcol_otelsvc_k8s_ip_lookup_miss", &[]), Some(1.0));
    }
}
