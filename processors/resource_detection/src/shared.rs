//! One detection for all processors with the same configuration, whatever their pipelines and signals.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use spanbridge_pdata::Attribute;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::detect;
use crate::world::World;

/// What was found, as every user sees it.
pub(crate) type Current = Arc<ArcSwapOption<Vec<Attribute>>>;

/// Every detection that is in use, by the configuration that it is for.
static RUNNING: LazyLock<Mutex<HashMap<String, Arc<Source>>>> = LazyLock::new(Mutex::default);

fn running() -> MutexGuard<'static, HashMap<String, Arc<Source>>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Default)]
struct Source {
    detected: OnceCell<()>,
    current: Current,
    tasks: TaskTracker,
    cancel: CancellationToken,
    /// Under the lock of [`RUNNING`].
    users: Mutex<usize>,
}

/// One user's share. The last one ends it, at the latest when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    key: String,
    source: Arc<Source>,
    is_released: bool,
}

impl Share {
    /// Joins the detection for this configuration, or makes it.
    ///
    /// # Errors
    /// What the detectors that failed say.
    pub(crate) async fn join(id: &str, config: &Config, world: World) -> Result<Self, String> {
        // Tasks end with their runtime: one cannot serve two. How the result is written makes no difference to it.
        let config = Config { r#override: true, ..config.clone() };
        let runtime = tokio::runtime::Handle::current().id();
        let key = format!("{runtime} {id} {}", serde_json::to_string(&config).unwrap_or_default());
        let source = {
            let mut running = running();
            let source = running.entry(key.clone()).or_default().clone();
            *source.users.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            source
        };
        let share = Self { key, source, is_released: false };
        share.source.detected.get_or_try_init(|| share.source.begin(config, world)).await?;
        Ok(share)
    }

    /// What was found, also by later detections.
    pub(crate) fn current(&self) -> Current {
        self.source.current.clone()
    }

    /// Leaves. The last one waits for the end of the task, until `deadline`.
    pub(crate) async fn leave(mut self, deadline: Instant) {
        if self.release() {
            // It is cancelled at its next wait; nothing of it blocks.
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
    async fn begin(&self, config: Config, world: World) -> Result<(), String> {
        use tracing::Instrument as _;
        self.current.store(Some(Arc::new(detect::all(&config, &world).await?)));
        let interval = config.refresh_interval.get();
        if !interval.is_zero() {
            let (current, cancel) = (self.current.clone(), self.cancel.clone());
            let task = async move {
                cancel.run_until_cancelled(refresh(current, config, world, interval)).await;
            };
            self.tasks.spawn(task.in_current_span());
        }
        Ok(())
    }
}

/// Detects again and again. What was found stays while that fails.
async fn refresh(current: Current, config: Config, world: World, interval: Duration) {
    loop {
        sleep(interval).await;
        match detect::all(&config, &world).await {
            Ok(found) => current.store(Some(Arc::new(found))),
            Err(error) => tracing::warn!(error, "resource refresh failed; what was found before stays"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(attributes: &str) -> World {
        World::made_up(std::path::Path::new("/nowhere"), &[("OTEL_RESOURCE_ATTRIBUTES", attributes)])
    }

    fn keys(share: &Share) -> Vec<String> {
        let current = share.current().load_full().expect("something was detected");
        current.iter().map(|attribute| attribute.key().to_owned()).collect()
    }

    #[tokio::test]
    async fn equal_configurations_of_one_name_are_detected_once() {
        let config = Config::default();
        let first = Share::join("resource_detection/once", &config, world("a=1")).await.unwrap();
        let keeping = Config { r#override: false, ..config.clone() };
        let second = Share::join("resource_detection/once", &keeping, world("b=1")).await.unwrap();
        assert_eq!((keys(&first), keys(&second)), (vec!["a".to_owned()], vec!["a".to_owned()]));
        let other = Share::join("resource_detection/other", &config, world("b=1")).await.unwrap();
        assert_eq!(keys(&other), ["b"]);
        drop((first, second));
        let again = Share::join("resource_detection/once", &config, world("c=1")).await.unwrap();
        assert_eq!(keys(&again), ["c"], "the last one has ended it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refresh_replaces_what_was_found_and_ends_with_the_last_user() {
        let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let seen = count.clone();
        let world = World::with_variables(move |name| {
            let number = seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            // The second time it cannot be read.
            let text = if number == 1 { "nonsense".to_owned() } else { format!("number{number}=1") };
            (name == "OTEL_RESOURCE_ATTRIBUTES").then_some(text)
        });
        let config: Config =
            spanbridge_config::from_yaml("{refresh_interval: 60s, retry: {enabled: false}}").unwrap();
        let share = Share::join("resource_detection/refresh", &config, world).await.unwrap();
        assert_eq!(keys(&share), ["number0"]);
        sleep(Duration::from_secs(61)).await;
        assert_eq!(keys(&share), ["number0"], "a failure changes nothing");
        sleep(Duration::from_secs(60)).await;
        assert_eq!(keys(&share), ["number2"]);
        let tasks = share.source.tasks.clone();
        share.leave(Instant::now() + Duration::from_secs(10)).await;
        assert!(tasks.is_empty());
    }
}
