//! The backends there are now, and how others take their place.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use spanbridge_component::{Host, Settings, ShutdownError};
use spanbridge_exporterhelper::Sender as _;
use spanbridge_otlp::OtlpGrpcSender;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::OtlpConfig;
use crate::health::Health;
use crate::ring::{ENDPOINTS_MAX, Ring};
use crate::telemetry::{BackendMetrics, Metrics};

/// How long a backend that has left may take to answer what it was sent before; what is unanswered then is sent again, to
/// another one.
const RETIREMENT_MAX: Duration = Duration::from_secs(30);

/// One backend: its client, and what is known of it.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) endpoint: String,
    pub(crate) sender: OtlpGrpcSender,
    pub(crate) health: Health,
    pub(crate) metrics: BackendMetrics,
}

/// The backends at one moment.
#[derive(Debug, Default)]
pub(crate) struct Set {
    pub(crate) ring: Ring,
    /// By their numbers on the ring: sorted by endpoint.
    pub(crate) members: Vec<Arc<Backend>>,
}

/// The backends over time.
#[derive(Debug)]
pub(crate) struct Backends {
    settings: Settings,
    config: OtlpConfig,
    metrics: Metrics,
    /// Set at the start, before any backend.
    host: OnceLock<Host>,
    current: watch::Sender<Arc<Set>>,
    retiring: TaskTracker,
    /// Those that retire have no more time.
    hurry: CancellationToken,
}

impl Backends {
    /// No backends yet.
    pub(crate) fn new(settings: Settings, config: OtlpConfig, metrics: Metrics) -> Self {
        Self {
            settings,
            config,
            metrics,
            host: OnceLock::new(),
            current: watch::Sender::new(Arc::default()),
            retiring: TaskTracker::new(),
            hurry: CancellationToken::new(),
        }
    }

    /// Whom new backends ask for their authenticator.
    pub(crate) fn set_host(&self, host: &Host) {
        let _ = self.host.set(host.clone());
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The backends now.
    pub(crate) fn current(&self) -> Arc<Set> {
        Arc::clone(&self.current.borrow())
    }

    /// The backends once there are some; as they are, if there are none until `deadline`.
    pub(crate) async fn known(&self, deadline: Instant) -> Arc<Set> {
        let mut current = self.current.subscribe();
        let known = timeout_at(deadline, current.wait_for(|set| !set.members.is_empty())).await;
        match known {
            Ok(Ok(set)) => Arc::clone(&set),
            _ => self.current(),
        }
    }

    /// From now on there are these backends. New ones are connected to; those that are no longer there finish what they
    /// have begun, and close. Must be called within a runtime.
    pub(crate) fn update(self: &Arc<Self>, mut endpoints: Vec<String>) {
        endpoints.sort();
        endpoints.dedup();
        if endpoints.len() > ENDPOINTS_MAX {
            tracing::warn!(found = endpoints.len(), used = ENDPOINTS_MAX, "too many backends");
            endpoints.truncate(ENDPOINTS_MAX);
        }
        let before = self.current();
        if before.members.iter().map(|backend| &backend.endpoint).eq(&endpoints) {
            return;
        }
        let members: Vec<_> =
            endpoints.iter().filter_map(|endpoint| self.member(endpoint, &before)).collect();
        let ring = Ring::new(members.iter().map(|backend| backend.endpoint.as_str()));
        let after = Arc::new(Set { ring, members });
        self.metrics.updated(after.members.len());
        self.current.send_replace(Arc::clone(&after));
        for gone in before.members.iter().filter(|backend| !after.has(&backend.endpoint)) {
            tracing::info!(endpoint = gone.endpoint, "backend is no longer there");
            self.retire(Arc::clone(gone));
        }
    }

    /// The backend at `endpoint`: the one that is there, or a new one.
    fn member(&self, endpoint: &str, before: &Set) -> Option<Arc<Backend>> {
        if let Some(known) = before.members.iter().find(|backend| backend.endpoint == endpoint) {
            return Some(Arc::clone(known));
        }
        let backend = Backend {
            endpoint: endpoint.to_owned(),
            sender: OtlpGrpcSender::new(&self.settings, self.config.client_of(endpoint)),
            health: Health::default(),
            metrics: self.metrics.backend(endpoint),
        };
        let host = self.host.get()?;
        // Validation has looked at everything but the endpoint, which is an address.
        if let Err(error) = backend.sender.connect(host) {
            tracing::error!(endpoint, %error, "cannot use the backend");
            return None;
        }
        tracing::info!(endpoint, "backend found");
        Some(Arc::new(backend))
    }

    fn retire(self: &Arc<Self>, backend: Arc<Backend>) {
        let this = Arc::clone(self);
        let retirement = async move {
            let deadline = Instant::now() + RETIREMENT_MAX;
            let result = tokio::select! {
                biased;
                result = backend.sender.shutdown(deadline) => result,
                () = this.hurry.cancelled() => backend.sender.shutdown(Instant::now()).await,
            };
            if let Err(error) = result {
                tracing::info!(endpoint = backend.endpoint, %error, "unanswered requests are sent to other backends");
            }
            if !this.current().has(&backend.endpoint) {
                this.metrics.forget(&backend.endpoint);
            }
        };
        self.retiring.spawn(retirement.in_current_span());
    }

    /// Closes every connection, by `deadline`.
    pub(crate) async fn shutdown(&self, deadline: Instant) -> Result<(), ShutdownError> {
        self.retiring.close();
        let set = self.current.send_replace(Arc::default());
        let closing = set.members.iter().map(|backend| backend.sender.shutdown(deadline));
        let results = futures_util::future::join_all(closing).await;
        if timeout_at(deadline, self.retiring.wait()).await.is_err() {
            self.hurry.cancel();
            self.retiring.wait().await;
        }
        let errors: Vec<String> = results.into_iter().filter_map(Result::err).map(|e| e.message).collect();
        if errors.is_empty() {
            return Ok(());
        }
        Err(ShutdownError { message: errors.join("; "), undelivered_items: 0 })
    }
}

impl Set {
    fn has(&self, endpoint: &str) -> bool {
        self.members.iter().any(|backend| backend.endpoint == endpoint)
    }
}
