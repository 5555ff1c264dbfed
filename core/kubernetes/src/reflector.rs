//! One list and watch, for as long as it is wanted.
//!
//! Everything is listed in pages, then followed by watches that continue where the last one ended. Bookmarks keep that
//! place fresh; when the server has forgotten it (410) everything is listed again. Whatever fails, what is known stays
//! known, and the next attempt comes after a pause.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::core::Request;
use kube::core::params::{ListParams, WatchParams};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};

use crate::access::Access;
use crate::failure::Failure;
use crate::health::Health;
use crate::object::{HasMetadata, seconds};
use crate::pace::{Backoff, Throttle};
use crate::query::Query;
use crate::send::send;
use crate::stream::{Event, Events, Page, whole};

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
/// A watch that lasts less than this counts as a failure: it must not be tried again at once.
const SHORTEST_WATCH: Duration = Duration::from_secs(1);

/// What several lists and watches share.
#[derive(Debug)]
pub struct Link {
    /// Where the API is, and who asks.
    pub access: Access,
    /// How often it is asked.
    pub throttle: Throttle,
    /// How the watches are doing, by their numbers.
    pub health: Health,
}

/// Who is told of the objects of one list. Calls come one after the other, and must not take long.
pub trait Observer<T>: Send + Sync + 'static {
    /// This object is there, or has changed. `listing` is the number of the listing that brought it, or that was the last.
    fn put(&self, listing: u64, object: T);

    /// This object is gone.
    fn deleted(&self, object: T);

    /// The listing of this number has ended: what an earlier one had and this one has not is gone.
    fn listed(&self, listing: u64);

    /// The watch is up to date from now on, or is not any more.
    fn synced(&self, _is_synced: bool) {}

    /// A request failed for this reason, in the words of metrics.
    fn failed(&self, _reason: &'static str) {}

    /// An object became known so many seconds after it was made.
    fn lagged(&self, _seconds: f64) {}
}

/// Lists and watches what `query` asks for until it is dropped, and tells `observer`. `number` is its place in the health
/// of `link`.
pub async fn reflect<T: HasMetadata + DeserializeOwned + Send + 'static>(
    link: Arc<Link>,
    number: usize,
    query: Query,
    client: Client,
    observer: impl Observer<T>,
) {
    let reflector = Reflector {
        request: Request::new(query.resource.path(query.namespace.as_deref())),
        link,
        number,
        query,
        client,
        observer: Box::new(observer),
        backoff: Backoff::default(),
        listing: 0,
        page_items: PAGE_ITEMS,
        is_synced: false,
    };
    reflector.run().await;
}

struct Reflector<T: 'static> {
    link: Arc<Link>,
    number: usize,
    query: Query,
    request: Request,
    client: Client,
    observer: Box<dyn Observer<T>>,
    backoff: Backoff,
    listing: u64,
    page_items: u32,
    /// Whether it counts among the watches that are up to date.
    is_synced: bool,
}

impl<T: HasMetadata + DeserializeOwned + Send + 'static> Reflector<T> {
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
        let mut params = ListParams {
            limit: Some(self.page_items),
            label_selector: self.query.label_selector.clone(),
            field_selector: self.query.field_selector.clone(),
            ..ListParams::default()
        };
        for _ in 0..PAGES_MAX {
            let request = if self.query.metadata_only {
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
                self.observer.put(self.listing, item);
            }
            if page.metadata.r#continue.is_empty() {
                self.observer.listed(self.listing);
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
                    self.observer.failed(Failure::Gone.reason());
                    let resource = self.query.resource.plural;
                    tracing::debug!(resource, "watch is too old, listing again");
                    return;
                }
                Err(failure) => self.failed("watch", failure).await,
            }
        }
    }

    /// Watches until the server ends it. Moves `version` along.
    async fn watch_once(&mut self, version: &mut String) -> Result<(), Failure> {
        let length = self.query.seconds.unwrap_or_else(|| fastrand::u32(WATCH_SECONDS));
        let params = WatchParams {
            label_selector: self.query.label_selector.clone(),
            field_selector: self.query.field_selector.clone(),
            timeout: Some(length),
            ..WatchParams::default()
        };
        let request = if self.query.metadata_only {
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
            if event.r#type == "BOOKMARK" {
                idle_max = BOOKMARK_IDLE_MAX;
            } else {
                self.apply(event);
            }
        }
    }

    fn apply(&self, event: Event<T>) {
        let Event { r#type, object } = event;
        match r#type.as_str() {
            "ADDED" => {
                self.measure_lag(&object.metadata().creation_timestamp);
                self.observer.put(self.listing, object);
            }
            "MODIFIED" => self.observer.put(self.listing, object),
            "DELETED" => self.observer.deleted(object),
            other => tracing::debug!(r#type = other, "unknown event of a watch"),
        }
    }

    fn measure_lag(&self, created: &str) {
        if let Some(created) = seconds(created) {
            #[expect(clippy::cast_precision_loss, reason = "a number of seconds is far below 2^52")]
            let lag = (jiff::Timestamp::now().as_second() - created).max(0) as f64;
            self.observer.lagged(lag);
        }
    }

    /// Sends a request when its turn comes, and returns the body of a success.
    async fn send(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<kube::client::Body, Failure> {
        self.link.throttle.pass().await;
        send(&self.client, request).await
    }

    fn succeeded(&mut self) {
        self.backoff.reset();
        self.set_synced(true);
        if self.link.health.works(self.number) {
            let resource = self.query.resource.plural;
            tracing::info!(resource, namespace = self.query.namespace, "watching the Kubernetes API");
        }
    }

    /// Tells what failed, once, and waits before the next attempt.
    async fn failed(&mut self, verb: &str, failure: Failure) {
        self.set_synced(false);
        self.observer.failed(failure.reason());
        let problem = failure.describe(verb, &self.query);
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
            self.observer.synced(synced);
        }
    }
}

impl<T: 'static> Drop for Reflector<T> {
    fn drop(&mut self) {
        if self.is_synced {
            self.observer.synced(false);
        }
    }
}
