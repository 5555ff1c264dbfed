//! Keeps the backends as the endpoints of a Kubernetes service are.

use std::sync::{Arc, Mutex, PoisonError};

use spanbridge_component::{Settings, StartError};
use spanbridge_kubernetes::{
    Access, Api, Client, Health, Link, Observer, Query, Resource, Throttle, own_namespace, reflect,
};
use tokio_util::sync::CancellationToken;

use crate::KubernetesConfig;
use crate::backends::Backends;
use crate::resolver::News;
use crate::slices::{EndpointSlice, Naming, Slices};

/// The label that tells whose endpoints a slice has.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";
/// Where a service is looked for when nothing says where.
const DEFAULT_NAMESPACE: &str = "default";

/// Watches the endpoints of a service.
pub(crate) struct KubernetesTask {
    link: Arc<Link>,
    query: Query,
    client: Client,
    watched: Watched,
    news: Arc<News>,
}

impl KubernetesTask {
    /// A task that asks the API with what it finds for it. It connects to nothing yet.
    pub(crate) async fn new(
        settings: &Settings,
        config: &KubernetesConfig,
        backends: Arc<Backends>,
        news: Arc<News>,
    ) -> Result<Self, StartError> {
        let build = &settings.build;
        let access = Access::new(&Api::discovered(), &format!("{}/{}", build.command, build.version));
        let client = access.client().await;
        let client = client.map_err(|error| StartError(format!("resolver::k8s: {error}")))?;
        let (name, namespace) = config.name_and_namespace();
        let namespace = namespace.map_or_else(|| namespace_of(name), ToOwned::to_owned);
        let query = Query {
            namespace: Some(namespace.clone()),
            label_selector: Some(format!("{SERVICE_LABEL}={name}")),
            seconds: Some(u32::try_from(config.timeout.get().as_secs()).unwrap_or(u32::MAX).max(1)),
            ..Query::all(Resource::ENDPOINT_SLICES)
        };
        let domain = config.return_hostnames.then(|| format!(".{name}.{namespace}"));
        let watched = Watched {
            service: format!("{name}.{namespace}"),
            naming: Naming { domain, ports: config.ports() },
            slices: Mutex::default(),
            backends,
            news: Arc::clone(&news),
        };
        let link = Link { access, throttle: Throttle::new(0.0, 0), health: Health::new(1) };
        Ok(Self { link: Arc::new(link), query, client, watched, news })
    }

    /// Runs until `stop`. While the API cannot be reached, the backends stay as they are.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let Self { link, query, client, watched, news } = self;
        let mut health = link.health.subscribe();
        let service = watched.service.clone();
        let report = async {
            while health.changed().await.is_ok() {
                // The watch itself logs it.
                if let Some(problem) = health.borrow_and_update().problem() {
                    news.set_failure(Some(format!("service {service}: {problem}")));
                }
            }
        };
        let watch = reflect(Arc::clone(&link), 0, query, client, watched);
        stop.run_until_cancelled(futures_util::future::join(watch, report)).await;
    }
}

/// The namespace of a service that comes without one.
fn namespace_of(name: &str) -> String {
    match own_namespace() {
        Ok(namespace) if !namespace.is_empty() => {
            tracing::info!(service = name, namespace, "the service is looked for in the own namespace");
            namespace
        }
        _ => {
            tracing::warn!(
                service = name,
                namespace = DEFAULT_NAMESPACE,
                "this runs in no namespace of Kubernetes; write resolver::k8s::service as name.namespace"
            );
            DEFAULT_NAMESPACE.to_owned()
        }
    }
}

/// The slices of the service as they come.
struct Watched {
    service: String,
    naming: Naming,
    slices: Mutex<Slices>,
    backends: Arc<Backends>,
    news: Arc<News>,
}

impl Watched {
    fn apply(&self, slices: &Slices) {
        let found = slices.backends(&self.naming);
        self.backends.metrics().resolved(found.is_ok());
        match found {
            Ok(endpoints) => {
                let none = || format!("service {} has no ready endpoints", self.service);
                let changed = self.news.set_failure(endpoints.is_empty().then(none));
                if changed && endpoints.is_empty() {
                    tracing::warn!(service = self.service, "the service has no ready endpoints");
                }
                self.backends.update(endpoints);
            }
            Err(error) => {
                let failure = format!("service {}: {error}", self.service);
                if self.news.set_failure(Some(failure)) {
                    let hint = "return_hostnames is for the pods of a StatefulSet with a headless service";
                    tracing::warn!(service = self.service, %error, hint, "the backends stay as they are");
                }
            }
        }
    }

    fn with_slices(&self, change: impl FnOnce(&mut Slices) -> bool) {
        let mut slices = self.slices.lock().unwrap_or_else(PoisonError::into_inner);
        if change(&mut slices) {
            self.apply(&slices);
        }
    }
}

impl Observer<EndpointSlice> for Watched {
    fn put(&self, listing: u64, slice: EndpointSlice) {
        self.with_slices(|slices| slices.put(listing, slice));
    }

    fn deleted(&self, slice: EndpointSlice) {
        self.with_slices(|slices| {
            slices.remove(&slice);
            true
        });
    }

    fn listed(&self, listing: u64) {
        self.with_slices(|slices| {
            slices.end_listing(listing);
            true
        });
    }

    fn failed(&self, _reason: &'static str) {
        self.backends.metrics().resolved(false);
    }
}
