//! From the watches into the cache.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use spanbridge_kubernetes::{Client, HasMetadata, Link, Object, Observer, reflect};
use tokio::time::Instant;

use crate::cache::{Cache, Seen};
use crate::object::Pod;
use crate::plan::Watch;
use crate::resource::Resource;

/// Lists and watches until it is dropped. `number` is the place of `watch` in the plan.
pub(crate) async fn feed(link: Arc<Link>, cache: Arc<Cache>, number: usize, watch: Watch, client: Client) {
    let feed = Feed { cache, resource: watch.resource, watch: number };
    if watch.resource == Resource::Pod {
        reflect::<Pod>(link, number, watch.query(), client, feed).await;
    } else {
        reflect::<Object>(link, number, watch.query(), client, feed).await;
    }
}

struct Feed {
    cache: Arc<Cache>,
    resource: Resource,
    watch: usize,
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

impl Feed {
    fn seen(&self, listing: u64) -> Seen {
        Seen { resource: self.resource, watch: self.watch, listing }
    }
}

impl<T: Watched> Observer<T> for Feed {
    fn put(&self, listing: u64, object: T) {
        object.put(&self.cache, self.seen(listing));
    }

    fn deleted(&self, object: T) {
        self.cache.delete(self.resource, object.metadata(), Instant::now());
    }

    fn listed(&self, listing: u64) {
        self.cache.end_listing(self.seen(listing), Instant::now());
    }

    fn synced(&self, is_synced: bool) {
        self.cache.metrics().synced(self.resource, is_synced);
    }

    fn failed(&self, reason: &'static str) {
        self.cache.metrics().failed(self.resource, reason);
    }

    fn lagged(&self, seconds: f64) {
        self.cache.metrics().lag(self.resource, seconds);
    }
}
