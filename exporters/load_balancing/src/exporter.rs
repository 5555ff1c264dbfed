//! Sends the parts of a request to their backends, and says which failed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use spanbridge_component::{
    Batch, BuildError, ConsumeError, ErrorClass, Host, Payload, Settings, ShutdownError, Signal, StartError,
};
use spanbridge_exporterhelper::{Refusal, SendError, Sender};
use spanbridge_transport::grpc::client::{Resolve, SystemResolver};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::Config;
use crate::backends::{Backend, Backends, Set};
use crate::health::Change;
use crate::kubernetes::KubernetesTask;
use crate::resolver::{DNS, DnsTask, KUBERNETES, News, STATIC, resolve_static};
use crate::routing::Routing;
use crate::telemetry::Metrics;

/// How long a request waits for the first backends to be found.
const FIRST_BACKENDS_TIMEOUT: Duration = Duration::from_secs(5);

/// How many errors of backends are put into one message.
const ERRORS_MAX: usize = 3;

/// Sends each item to the backend that its key belongs to, in one attempt.
///
/// What was not taken is reported as the part that failed. The exporter helper sends that again, and it is dealt out anew
/// among the backends there are by then.
pub(crate) struct BalancingSender {
    settings: Settings,
    config: Config,
    /// By signal; `None` where the key makes no sense, which `new` has found to be unused.
    routings: [Option<Routing>; 3],
    backends: Arc<Backends>,
    resolver: Arc<dyn Resolve>,
    news: Arc<News>,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl BalancingSender {
    /// A sender that finds names with the operating system's resolver.
    ///
    /// # Errors
    /// If the routing key makes no sense for a signal that the exporter is used for.
    pub(crate) fn new(settings: &Settings, config: Config) -> Result<Self, BuildError> {
        Self::with_resolver(settings, config, Arc::new(SystemResolver))
    }

    pub(crate) fn with_resolver(
        settings: &Settings,
        config: Config,
        resolver: Arc<dyn Resolve>,
    ) -> Result<Self, BuildError> {
        let key = config.routing_key;
        let routings = Signal::ALL.map(|signal| Routing::new(key, &config.routing_attributes, signal));
        if let Some(signal) = settings.signals.iter().find(|signal| routings[signal.index()].is_none()) {
            return Err(BuildError(format!("unsupported routing_key: {:?} for {signal}", key.name())));
        }
        let name = match &config.resolver {
            resolver if resolver.k8s.is_on() => KUBERNETES,
            resolver if resolver.dns.is_on() => DNS,
            _ => STATIC,
        };
        let metrics = Metrics::new(settings, name)?;
        let backends = Arc::new(Backends::new(settings.clone(), config.protocol.otlp.clone(), metrics));
        Ok(Self {
            settings: settings.clone(),
            config,
            routings,
            backends,
            resolver,
            news: Arc::default(),
            stop: CancellationToken::new(),
            task: Mutex::new(None),
        })
    }

    /// The backends, of which there is at least one.
    async fn backends(&self, batch: &Batch) -> Result<Arc<Set>, SendError> {
        let set = self.backends.current();
        if !set.members.is_empty() {
            return Ok(set);
        }
        let latest = Instant::now() + FIRST_BACKENDS_TIMEOUT;
        let deadline =
            batch.context.deadline.map_or(latest, |deadline| latest.min(Instant::from_std(deadline)));
        let set = self.backends.known(deadline).await;
        if !set.members.is_empty() {
            return Ok(set);
        }
        let cause = self.news.failure().unwrap_or_else(|| "the resolver has not answered yet".to_owned());
        Err(ConsumeError::retryable(format!("no backends are known: {cause}")).into())
    }

    async fn send_part(&self, backend: &Backend, batch: &Batch) -> Result<(), SendError> {
        let start = Instant::now();
        let result = backend.sender.send(batch).await;
        let now = Instant::now();
        backend.metrics.answered(now.duration_since(start), result.is_ok());
        let change = match &result {
            Ok(()) => backend.health.succeeded(),
            Err(failure) if !failure.error.is_permanent() => {
                self.news.suspicion.notify_one();
                backend.health.failed(self.config.failover_after.get(), now)
            }
            // It is there, and does not like this request.
            Err(SendError { refusal: Refusal::TooLarge { .. } | Refusal::Contents, .. }) => {
                backend.health.succeeded()
            }
            Err(_) => None,
        };
        if let Some(change) = change {
            self.report(change, backend, result.as_ref().err());
        }
        result
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = tokio::spawn(task);
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    }

    fn report(&self, change: Change, backend: &Backend, failure: Option<&SendError>) {
        let endpoint = &backend.endpoint;
        let error = failure.map(|failure| failure.error.message()).unwrap_or_default();
        match change {
            Change::Out => {
                let after = self.config.failover_after;
                tracing::warn!(endpoint, %after, error, "backend keeps failing; its share goes to others");
            }
            Change::Back => tracing::info!(endpoint, "backend answers again; its share goes to it"),
        }
    }

    /// The deadline of the parts: that of the request, or the timeout of an attempt at a backend if that is sooner.
    fn deadline(&self, batch: &Batch) -> Option<std::time::Instant> {
        let timeout = self.config.protocol.otlp.timeout.get();
        let own = if timeout.is_zero() { None } else { Instant::now().checked_add(timeout) };
        [own.map(Instant::into_std), batch.context.deadline].into_iter().flatten().min()
    }
}

#[async_trait]
impl Sender for BalancingSender {
    async fn start(&self, host: &Host) -> Result<(), StartError> {
        self.backends.set_host(host);
        let span = self.settings.span();
        let resolver = &self.config.resolver;
        if let Some(fixed) = resolver.fixed.as_ref() {
            return span.in_scope(|| resolve_static(fixed, &self.backends));
        }
        if let Some(config) = resolver.k8s.as_ref() {
            let (backends, news) = (Arc::clone(&self.backends), Arc::clone(&self.news));
            let task = KubernetesTask::new(&self.settings, config, backends, news);
            let task = task.instrument(span.clone()).await?;
            self.spawn(task.run(self.stop.clone()).instrument(span));
            return Ok(());
        }
        let Some(config) = resolver.dns.as_ref().cloned() else {
            return Err(StartError("no resolvers specified for the exporter".to_owned()));
        };
        let task = DnsTask {
            config,
            resolver: Arc::clone(&self.resolver),
            backends: Arc::clone(&self.backends),
            news: Arc::clone(&self.news),
        };
        self.spawn(task.run(self.stop.clone()).instrument(span));
        Ok(())
    }

    async fn send(&self, batch: &Batch) -> Result<(), SendError> {
        let set = self.backends(batch).await?;
        let Some(routing) = &self.routings[batch.signal().index()] else {
            let text = format!("unsupported routing_key: {:?}", self.config.routing_key.name());
            return Err(ConsumeError::permanent(text).into());
        };
        let (after, now) = (self.config.failover_after.get(), Instant::now());
        let is_out: Vec<bool> = set.members.iter().map(|backend| backend.health.is_out(after, now)).collect();
        let parts = routing.deal(&batch.payload, &set.ring, &is_out);
        let deadline = self.deadline(batch);
        let parts = set.members.iter().zip(parts).filter(|(_, part)| !part.is_empty());
        let sending = parts.map(|(backend, part)| async move {
            let mut batch = Batch { payload: part, context: batch.context.clone() };
            batch.context.deadline = deadline;
            let result = self.send_part(backend, &batch).await;
            (backend.endpoint.as_str(), batch.payload, result)
        });
        let sent = Box::pin(futures_util::future::join_all(sending)).await;
        let count = sent.len();
        let failures: Vec<Failure<'_>> = sent
            .into_iter()
            .filter_map(|(endpoint, part, result)| Some(Failure { endpoint, part, error: result.err()? }))
            .collect();
        if failures.is_empty() { Ok(()) } else { Err(together(failures, count)) }
    }

    async fn shutdown(&self, deadline: Instant) -> Result<(), ShutdownError> {
        self.stop.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            // Ends at its next await point, which it is at.
            let _ = task.await;
        }
        self.backends.shutdown(deadline).await
    }
}

/// A part that a backend did not take.
struct Failure<'a> {
    endpoint: &'a str,
    part: Payload,
    error: SendError,
}

/// The failures of some of `parts` parts as one error.
///
/// It is retryable while any of them is. Parts that were refused for good are then sent again along with the others, and
/// refused again: they must not decide about those that may yet be delivered.
fn together(failures: Vec<Failure<'_>>, parts: usize) -> SendError {
    let class = if failures.iter().any(|failure| !failure.error.error.is_permanent()) {
        ErrorClass::Retryable
    } else {
        ErrorClass::Permanent
    };
    let decisive = || failures.iter().filter(|failure| failure.error.error.class() == class);
    let mut texts: Vec<String> = decisive()
        .take(ERRORS_MAX)
        .map(|failure| format!("backend {}: {}", failure.endpoint, failure.error.error.message()))
        .collect();
    let more = decisive().count().saturating_sub(ERRORS_MAX);
    if more > 0 {
        texts.push(format!("and {more} more"));
    }
    let mut error = ConsumeError::new(class, texts.join("; "));
    if let Some(first) = decisive().next() {
        error = error.with_code(first.error.error.code()).with_details(first.error.error.details().clone());
    }
    if let Some(delay) = decisive().filter_map(|failure| failure.error.error.retry_after()).max() {
        error = error.with_retry_after(delay);
    }
    let refusal = if class == ErrorClass::Retryable { Refusal::Whole } else { refusal(&failures) };
    let failed = (failures.len() < parts || failures.iter().any(|failure| failure.error.failed.is_some()))
        .then(|| {
            failures
                .into_iter()
                .flat_map(|failure| failure.error.failed.unwrap_or(vec![failure.part]))
                .collect()
        });
    SendError { error, refusal, failed }
}

/// What might help all of them: to be let in, the smallest limit, else taking them apart.
fn refusal(failures: &[Failure<'_>]) -> Refusal {
    let all = failures.iter().map(|failure| failure.error.refusal);
    all.reduce(|a, b| match (a, b) {
        (Refusal::Credentials, _) | (_, Refusal::Credentials) => Refusal::Credentials,
        (Refusal::TooLarge { limit: a }, Refusal::TooLarge { limit: b }) => {
            Refusal::TooLarge { limit: [a, b].into_iter().flatten().min() }
        }
        (large @ Refusal::TooLarge { .. }, _) | (_, large @ Refusal::TooLarge { .. }) => large,
        (Refusal::Contents, _) | (_, Refusal::Contents) => Refusal::Contents,
        (Refusal::Whole, Refusal::Whole) => Refusal::Whole,
    })
    .unwrap_or_default()
}

#[cfg(test)]
mod tests;
