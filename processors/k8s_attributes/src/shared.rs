//! One cache for all processors with the same configuration, whatever their pipelines and signals.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use spanbridge_kubernetes::{Access, Client, Health, HealthState, Link, Throttle};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cache::Cache;
use crate::config::Config;
use crate::feed::feed;
use crate::plan::Plan;
use crate::resource::Resource;
use crate::telemetry::CacheMetrics;

/// How long the watch of pods waits for the others: what it makes of pods depends on them.
const PODS_WAIT_MAX: std::time::Duration = std::time::Duration::from_secs(5);

/// Every cache that runs, by the configuration that it is for.
static RUNNING: LazyLock<Mutex<HashMap<String, Arc<Source>>>> = LazyLock::new(Mutex::default);

fn running() -> MutexGuard<'static, HashMap<String, Arc<Source>>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A cache with the watches that feed it.
#[derive(Debug)]
struct Source {
    link: Arc<Link>,
    cache: Arc<Cache>,
    tasks: TaskTracker,
    cancel: CancellationToken,
    /// Under the lock of [`RUNNING`].
    users: Mutex<usize>,
}

/// One user's share of a cache. The last one stops it, at the latest when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    key: String,
    source: Arc<Source>,
    is_released: bool,
}

/// What makes two configurations equal: everything that decides what is watched and how it is read.
pub(crate) fn key(config: &Config) -> String {
    let node = config.filter.node().unwrap_or_default();
    let mut config = config.clone();
    config.wait_for_metadata = false;
    config.wait_for_metadata_timeout = spanbridge_config::Duration::ZERO;
    config.filter.node_from_env_var.clear();
    config.filter.node = node;
    // Tasks end with their runtime: one cache cannot serve two.
    let runtime = tokio::runtime::Handle::current().id();
    format!("{runtime} {}", serde_json::to_string(&config).unwrap_or_default())
}

impl Share {
    /// Joins the cache of this configuration, or starts it.
    pub(crate) fn join(
        config: &Config,
        plan: &Arc<Plan>,
        access: Access,
        client: &Client,
        metrics: impl FnOnce() -> Result<CacheMetrics, prometheus::Error>,
    ) -> Result<Self, prometheus::Error> {
        let key = key(config);
        let mut running = running();
        let source = if let Some(source) = running.get(&key) {
            source.clone()
        } else {
            let source = Arc::new(Source::start(config, plan, access, client, metrics()?));
            running.insert(key.clone(), source.clone());
            source
        };
        *source.users.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Ok(Self { key, source, is_released: false })
    }

    /// What is known of the cluster.
    pub(crate) fn cache(&self) -> &Arc<Cache> {
        &self.source.cache
    }

    /// How the watches are doing.
    pub(crate) fn health(&self) -> watch::Receiver<HealthState> {
        self.source.link.health.subscribe()
    }

    /// Leaves. The last one waits for the end of the watches, until `deadline`.
    pub(crate) async fn leave(mut self, deadline: Instant) {
        if self.release() {
            // They are cancelled at their next wait; nothing of theirs blocks.
            let _ = timeout_at(deadline, self.source.tasks.wait()).await;
        }
    }

    /// Says whether it was the last one.
    fn release(&mut self) -> bool {
        if std::mem::replace(&mut self.is_released, true) {
            return false;
        }
        let mut running = running();
        let mut users = self.source.users.lock().unwrap_or_else(PoisonError::into_inner);
        *users = users.saturating_sub(1);
        let is_last = *users == 0;
        if is_last {
            running.remove(&self.key);
            self.source.cancel.cancel();
            self.source.tasks.close();
        }
        is_last
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.release();
    }
}

impl Source {
    fn start(
        config: &Config,
        plan: &Arc<Plan>,
        access: Access,
        client: &Client,
        metrics: CacheMetrics,
    ) -> Self {
        let cache = Arc::new(Cache::new(plan.clone(), metrics));
        let link = Arc::new(Link {
            access,
            throttle: Throttle::new(config.kube_api_qps, config.kube_api_burst),
            health: Health::new(plan.watches.len()),
        });
        let source = Self {
            link: link.clone(),
            cache: cache.clone(),
            tasks: TaskTracker::new(),
            cancel: CancellationToken::new(),
            users: Mutex::new(0),
        };
        for (number, watch) in plan.watches.iter().enumerate() {
            let (link, watch, client, plan) = (link.clone(), watch.clone(), client.clone(), plan.clone());
            let cache = cache.clone();
            source.spawn(async move {
                if watch.resource == Resource::Pod {
                    others_are_synced(&link, &plan).await;
                }
                feed(link, cache, number, watch, client).await;
            });
        }
        let expiring = cache.clone();
        source.spawn(async move {
            loop {
                tokio::time::sleep(expiring.expiry_interval()).await;
                expiring.expire(Instant::now());
            }
        });
        let period = config.watch_sync_period.get();
        if !period.is_zero() {
            source.spawn(async move {
                loop {
                    tokio::time::sleep(period).await;
                    cache.reindex();
                }
            });
        }
        source
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        use tracing::Instrument as _;
        let cancel = self.cancel.clone();
        let task = async move {
            cancel.run_until_cancelled(task).await;
        };
        self.tasks.spawn(task.in_current_span());
    }
}

/// Waits, for a while, until everything but the pods has been listed.
async fn others_are_synced(link: &Link, plan: &Plan) {
    let is_ready = |state: &HealthState| {
        let others = plan.watches.iter().zip(&state.synced);
        others.filter(|(watch, _)| watch.resource != Resource::Pod).all(|(_, synced)| *synced)
    };
    let mut health = link.health.subscribe();
    let _ = tokio::time::timeout(PODS_WAIT_MAX, health.wait_for(is_ready)).await;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use spanbridge_component::telemetry::Telemetry;

    use super::*;

    /// A configuration of its own: what runs is known to the whole process, other tests included.
    fn config(namespace: &str) -> Config {
        let yaml = format!("filter: {{namespace: {namespace}}}");
        spanbridge_config::from_yaml(&yaml).unwrap_or_else(|e| panic!("{e}"))
    }

    fn join(config: &Config) -> Share {
        let plan = Arc::new(Plan::new(config).unwrap());
        // Nobody listens there.
        let client =
            kube::Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
        let telemetry = Telemetry::detached();
        let id = "k8s_attributes".parse().unwrap();
        let metrics = || CacheMetrics::new(&telemetry, &id, &plan);
        Share::join(config, &plan, Access::new(&config.api(), "test"), &client, metrics).unwrap()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[tokio::test]
    async fn equal_configurations_share_one_cache_until_the_last_one_leaves() {
        let config = config("one-cache");
        // Whether somebody waits at the start makes no difference to what is watched.
        let waiting = Config { wait_for_metadata: true, ..config.clone() };
        let (first, second) = (join(&config), join(&waiting));
        assert!(Arc::ptr_eq(first.cache(), second.cache()));
        let tasks = first.source.tasks.clone();
        first.leave(soon()).await;
        assert!(!tasks.is_empty(), "the second one still needs it");
        assert!(running().contains_key(&key(&config)));
        second.leave(soon()).await;
        assert!(tasks.is_empty(), "every watch has ended");
        assert!(!running().contains_key(&key(&config)));
    }

    #[tokio::test]
    async fn different_configurations_share_nothing() {
        let (first, second) = (join(&config("this")), join(&config("that")));
        assert!(!Arc::ptr_eq(first.cache(), second.cache()));
    }

    #[tokio::test]
    async fn a_share_that_is_dropped_is_left() {
        let config = config("dropped");
        let share = join(&config);
        let tasks = share.source.tasks.clone();
        drop(share);
        assert!(!running().contains_key(&key(&config)));
        tokio::time::timeout(Duration::from_secs(10), tasks.wait()).await.expect("the watches end");
    }
}
