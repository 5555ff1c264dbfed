//! One list and watch, for as long as it is wanted.
//!
//! Everything is listed in pages, then followed by watches that continue where the last one ended. Bookmarks keep that
//! place fresh; when the server has forgotten it (410) everything is listed again. Whatever fails, what is known stays
//! known, and the next attempt comes after a pause.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::core::Request;
use kube::core::params::{ListParams, WatchParams};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};

use super::failure::Failure;
use super::pace::Backoff;
use super::stream::{Events, Page, whole};
use super::{Access, Health, Throttle};
use crate::cache::{Cache, Seen};
use crate::object::{HasMetadata, Object, Pod, seconds};
use crate::plan::Watch;

/// Objects of one page of a list.
const PAGE_ITEMS: u32 = 500;
/// Pages of one list at most: five million objects.
const PAGES_MAX: usize = 10_000;
/// How long a watch lasts: the server ends it within these.
const WATCH_SECONDS: std::ops::Range<u32> = 240..290;
/// How much later than that it must have ended, or the connection is dead.
const WATCH_GRACE: Duration = Duration::from_secs(15);
/// A server that sends bookmarks does so about once a minute. Silence of this length means that the connection is dead.
const BOOKMARK_IDLE_MAX: Duration = Duration::from_secs(150);
/// Longest time until a watch answers with its headers.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// A watch that lasts less than this counts as a failure: it must not be tried again at once.
const SHORTEST_WATCH: Duration = Duration::from_secs(1);

/// What all watches of one cache share.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) access: Access,
    pub(crate) throttle: Throttle,
    pub(crate) health: Health,
    pub(crate) cache: Arc<Cache>,
}

/// An object that a watch brings.
trait Watched: HasMetadata + DeserializeOwned + Send + 'static {
    /// Puts it into the cache.
    fn put(self, cache: &Cache, seen: Seen);
}

impl Watched for Pod {
    fn put(self, cache: &Cache, seen: Seen) {
        cache.put_pod(seen, self);
    }
}

impl Watched for Object {
    fn put(self, cache: &Cache, seen: Seen) {
        cache.put_object(seen, &self);
    }
}

/// Lists and watches until it is dropped. `number` is the place of `watch` in the plan.
pub(crate) async fn reflect(link: Arc<Link>, number: usize, watch: Watch, client: Client) {
    if watch.resource == crate::resource::Resource::Pod {
        Reflector::<Pod>::new(link, number, watch, client).run().await;
    } else {
        Reflector::<Object>::new(link, number, watch, client).run().await;
    }
}

struct Reflector<T> {
    link: Arc<Link>,
    number: usize,
    watch: Watch,
    request: Request,
    client: Client,
    backoff: Backoff,
    listing: u64,
    page_items: u32,
    /// Whether it counts among the watches that are up to date.
    is_synced: bool,
    objects: PhantomData<fn() -> T>,
}

impl<T: Watched> Reflector<T> {
    fn new(link: Arc<Link>, number: usize, watch: Watch, client: Client) -> Self {
        let request = Request::new(watch.resource.path(watch.namespace.as_deref()));
        Self {
            link,
            number,
            watch,
            request,
            client,
            backoff: Backoff::default(),
            listing: 0,
            page_items: PAGE_ITEMS,
            is_synced: false,
            objects: PhantomData,
        }
    }

    async fn run(mut self) {
        loop {
            match self.list().await {
                Ok(version) => {
                    self.succeeded();
                    self.follow(version).await;
                    self.set_synced(false);
                }
                Err(failure) => self.failed("list", failure).await,
            }
        }
    }

    /// Lists everything. Returns the version to watch from.
    async fn list(&mut self) -> Result<String, Failure> {
        self.listing += 1;
        let seen = self.seen();
        let mut params = ListParams {
            limit: Some(self.page_items),
            label_selector: self.watch.label_selector.clone(),
            field_selector: self.watch.field_selector.clone(),
            ..ListParams::default()
        };
        for _ in 0..PAGES_MAX {
            let request = if self.watch.metadata_only {
                self.request.list_metadata(&params)
            } else {
                self.request.list(&params)
            };
            let body = self.send(request).await?;
            let body = whole(body).await.inspect_err(|failure| {
                if matches!(failure, Failure::TooLarge) {
                    self.page_items = (self.page_items / 4).max(1);
                }
            })?;
            let page: Page<T> = serde_json::from_slice(&body)
                .map_err(|error| Failure::Server(format!("the list cannot be read: {error}")))?;
            drop(body);
            for item in page.items {
                item.put(&self.link.cache, seen);
            }
            if page.metadata.r#continue.is_empty() {
                self.link.cache.end_listing(seen, Instant::now());
                return Ok(page.metadata.resource_version);
            }
            params.continue_token = Some(page.metadata.r#continue);
        }
        Err(Failure::Server(format!("the list has more than {PAGES_MAX} pages")))
    }

    /// Watches from `version` on, until everything has to be listed again.
    async fn follow(&mut self, mut version: String) {
        loop {
            let began = Instant::now();
            match self.watch_once(&mut version).await {
                Ok(()) if began.elapsed() >= SHORTEST_WATCH => self.succeeded(),
                Ok(()) => self.backoff.wait(None).await,
                Err(Failure::Gone) => {
                    self.link.cache.metrics().failed(self.watch.resource, Failure::Gone.reason());
                    tracing::debug!(
                        resource = self.watch.resource.plural(),
                        "watch is too old, listing again"
                    );
                    return;
                }
                Err(failure) => self.failed("watch", failure).await,
            }
        }
    }

    /// Watches until the server ends it. Moves `version` along.
    async fn watch_once(&mut self, version: &mut String) -> Result<(), Failure> {
        let length = fastrand::u32(WATCH_SECONDS);
        let params = WatchParams {
            label_selector: self.watch.label_selector.clone(),
            field_selector: self.watch.field_selector.clone(),
            timeout: Some(length),
            ..WatchParams::default()
        };
        let request = if self.watch.metadata_only {
            self.request.watch_metadata(&params, version)
        } else {
            self.request.watch(&params, version)
        };
        let mut events = Events::new(self.send(request).await?);
        let mut idle_max = Duration::from_secs(length.into()) + WATCH_GRACE;
        let mut settled = false;
        loop {
            let within = if settled { idle_max } else { SHORTEST_WATCH };
            let event = match timeout(within, events.next::<T>()).await {
                Ok(event) => event?,
                // There is nothing to tell, and it has not failed at once: it works.
                Err(_) if !settled => {
                    settled = true;
                    self.succeeded();
                    continue;
                }
                Err(_) => {
                    return Err(Failure::Connection("nothing arrives on the watch any more".into()));
                }
            };
            let Some(event) = event else { return Ok(()) };
            if !std::mem::replace(&mut settled, true) {
                self.succeeded();
            }
            let metadata = event.object.metadata();
            if !metadata.resource_version.is_empty() {
                version.clone_from(&metadata.resource_version);
            }
            match event.r#type.as_str() {
                "ADDED" => {
                    self.measure_lag(&metadata.creation_timestamp);
                    event.object.put(&self.link.cache, self.seen());
                }
                "MODIFIED" => event.object.put(&self.link.cache, self.seen()),
                "DELETED" => self.link.cache.delete(self.watch.resource, metadata, Instant::now()),
                "BOOKMARK" => idle_max = BOOKMARK_IDLE_MAX,
                other => tracing::debug!(r#type = other, "unknown event of a watch"),
            }
        }
    }

    fn seen(&self) -> Seen {
        Seen { resource: self.watch.resource, watch: self.number, listing: self.listing }
    }

    fn measure_lag(&self, created: &str) {
        if let Some(created) = seconds(created) {
            #[expect(clippy::cast_precision_loss, reason = "a number of seconds is far below 2^52")]
            let lag = (jiff::Timestamp::now().as_second() - created).max(0) as f64;
            self.link.cache.metrics().lag(self.watch.resource, lag);
        }
    }

    /// Sends a request, and returns the body of a success.
    async fn send(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<kube::client::Body, Failure> {
        let request = request.map_err(|error| Failure::Server(error.to_string()))?;
        self.link.throttle.pass().await;
        let answer = timeout(ANSWER_MAX, self.client.send(request.map(kube::client::Body::from))).await;
        let Ok(answer) = answer else {
            return Err(Failure::Connection(format!("no answer within {ANSWER_MAX:?}")));
        };
        let answer = answer.map_err(|error| Failure::of_error(&error))?;
        let (parts, body) = answer.into_parts();
        if parts.status.is_success() {
            return Ok(body);
        }
        let body = whole(body).await.unwrap_or_default();
        Err(Failure::of_answer(parts.status, &parts.headers, &body))
    }

    fn succeeded(&mut self) {
        self.backoff.reset();
        self.set_synced(true);
        if self.link.health.works(self.number) {
            let resource = self.watch.resource.plural();
            tracing::info!(resource, namespace = self.watch.namespace, "watching the Kubernetes API");
        }
    }

    /// Tells what failed, once, and waits before the next attempt.
    async fn failed(&mut self, verb: &str, failure: Failure) {
        self.set_synced(false);
        self.link.cache.metrics().failed(self.watch.resource, failure.reason());
        let problem = failure.describe(verb, &self.watch);
        if !self.link.health.fails(self.number, &problem) {
            tracing::debug!("{problem}");
        } else if matches!(failure, Failure::Forbidden(_) | Failure::Unauthorized(_)) {
            tracing::error!("{problem}");
        } else {
            tracing::warn!("{problem}");
        }
        if matches!(failure, Failure::Unauthorized(_)) {
            // The token, or the authority behind the certificate, may have been replaced.
            match self.link.access.client().await {
                Ok(client) => self.client = client,
                Err(error) => tracing::debug!("{error}"),
            }
        }
        self.backoff.wait(failure.after()).await;
    }

    fn set_synced(&mut self, synced: bool) {
        if self.is_synced != synced {
            self.is_synced = synced;
            self.link.cache.metrics().synced(self.watch.resource, synced);
        }
    }
}

impl<T> Drop for Reflector<T> {
    fn drop(&mut self) {
        if self.is_synced {
            self.link.cache.metrics().synced(self.watch.resource, false);
        }
    }
}
