//! Keeps the backends as the resolver of the configuration says.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use spanbridge_component::StartError;
use spanbridge_transport::grpc::HostPort;
use spanbridge_transport::grpc::client::Resolve;
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::backends::Backends;
use crate::config::with_port;
use crate::{DnsConfig, StaticConfig};

/// However many backends fail, names are not resolved more often than this.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// The resolver's label in metrics, and its key.
pub(crate) const STATIC: &str = "static";
/// The same of the other one.
pub(crate) const DNS: &str = "dns";
/// The same of the third one.
pub(crate) const KUBERNETES: &str = "k8s";

/// Hands the fixed list over.
pub(crate) fn resolve_static(config: &StaticConfig, backends: &Arc<Backends>) -> Result<(), StartError> {
    let endpoints = config.hostnames.iter().map(|host| with_port(host)).collect::<Result<_, _>>();
    let endpoints = endpoints.map_err(|error| StartError(format!("resolver::static: {error}")))?;
    backends.metrics().resolved(true);
    backends.update(endpoints);
    Ok(())
}

/// Resolves a DNS name again and again.
pub(crate) struct DnsTask {
    pub(crate) config: DnsConfig,
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) backends: Arc<Backends>,
    pub(crate) news: Arc<News>,
}

/// What the resolver and those who send tell one another.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// A backend has failed: it may be gone.
    pub(crate) suspicion: Notify,
    failure: Mutex<Option<String>>,
}

impl News {
    /// Why the last resolution failed, if it did.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Remembers it; whether that is a change.
    pub(crate) fn set_failure(&self, failure: Option<String>) -> bool {
        let mut known = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = known.is_some() != failure.is_some();
        *known = failure;
        changed
    }
}

impl DnsTask {
    /// Runs until `stop`. While the name cannot be resolved, the backends stay as they are.
    pub(crate) async fn run(self, stop: CancellationToken) {
        loop {
            let asked = Instant::now();
            let answer = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                answer = self.resolve() => answer,
            };
            self.apply(answer);
            let interval = self.config.interval.get();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = sleep_until(asked + interval) => {}
                () = self.news.suspicion.notified() => {
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => return,
                        () = sleep_until(asked + INTERVAL_MIN.min(interval)) => {}
                    }
                }
            }
        }
    }

    async fn resolve(&self) -> io::Result<Vec<String>> {
        let target = HostPort { host: self.config.hostname.clone(), port: self.config.port.0 };
        let found = timeout(self.config.timeout.get(), self.resolver.resolve(&target)).await;
        let found = found.map_err(|_| io::Error::other("i/o timeout"))??;
        if found.is_empty() {
            return Err(io::Error::other("no addresses"));
        }
        Ok(found.iter().map(ToString::to_string).collect())
    }

    fn apply(&self, answer: io::Result<Vec<String>>) {
        self.backends.metrics().resolved(answer.is_ok());
        match answer {
            Ok(endpoints) => {
                if self.news.set_failure(None) {
                    tracing::info!(hostname = self.config.hostname, "resolved again");
                }
                self.backends.update(endpoints);
            }
            Err(error) => {
                let hostname = &self.config.hostname;
                if self.news.set_failure(Some(format!("lookup {hostname}: {error}"))) {
                    tracing::warn!(hostname, %error, "failed to resolve; the backends stay as they are");
                }
            }
        }
    }
}
