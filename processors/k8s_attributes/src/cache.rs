//! What is known of the cluster, by what resources can be told apart. No I/O.
//!
//! Readers take the tables' lock for one resource at a time, writers for one object at a time and only to put in what
//! they have prepared: neither waits for the network, or long.

mod entries;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use spanbridge_kubernetes::{Metadata, Object};
use tokio::time::Instant;

use crate::extract::Related as _;
use crate::object::Pod;
use crate::plan::Plan;
use crate::resource::Resource;
use crate::telemetry::CacheMetrics;

pub(crate) use entries::{ObjectEntry, PodEntry, Tables};
use writer::Writer;

/// Where an object was seen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) resource: Resource,
    /// Which of [`Plan::watches`].
    pub(crate) watch: usize,
    /// Which listing of that watch: what an earlier one had and this one has not is gone.
    pub(crate) listing: u64,
}

/// What is known of the cluster.
#[derive(Debug)]
pub(crate) struct Cache {
    plan: Arc<Plan>,
    tables: RwLock<Tables>,
    writer: Mutex<Writer>,
    metrics: CacheMetrics,
}

impl Cache {
    pub(crate) fn new(plan: Arc<Plan>, metrics: CacheMetrics) -> Self {
        Self { plan, tables: RwLock::default(), writer: Mutex::default(), metrics }
    }

    /// The tables, to look at: for as long as one resource takes.
    pub(crate) fn tables(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn tables_mut(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pod is there, or has changed.
    pub(crate) fn put_pod(&self, seen: Seen, pod: Pod) {
        let mut writer = self.writer();
        let prepared = writer::prepare(&self.plan, &self.tables(), pod, None);
        let is_new = writer.put_pod(&self.plan, &mut self.tables_mut(), seen, prepared);
        self.metrics.changed(seen.resource, is_new);
        self.measure(&writer);
    }

    /// Any other object is there, or has changed.
    pub(crate) fn put_object(&self, seen: Seen, object: &Object) {
        let mut writer = self.writer();
        let entry = ObjectEntry::of(&self.plan, seen.resource, &object.metadata);
        let is_changed = self.tables().control(seen.resource, &object.metadata.uid) != entry.control;
        let is_new = writer.put_object(&mut self.tables_mut(), seen, &object.metadata, entry);
        self.metrics.changed(seen.resource, is_new);
        if is_changed {
            self.renew_pods_of(&mut writer, &object.metadata.uid);
        }
        self.measure(&writer);
    }

    /// An object is gone. It can be found until its grace period ends.
    pub(crate) fn delete(&self, resource: Resource, metadata: &Metadata, now: Instant) {
        let mut writer = self.writer();
        if writer.delete(resource, &metadata.uid, now + self.plan.grace) {
            self.metrics.deleted(resource);
        }
        self.expire_with(&mut writer, now);
    }

    /// A listing has ended: what it did not have is gone.
    pub(crate) fn end_listing(&self, seen: Seen, now: Instant) {
        let mut writer = self.writer();
        let gone = writer.end_listing(seen, now + self.plan.grace);
        (0..gone).for_each(|_| self.metrics.deleted(seen.resource));
        self.expire_with(&mut writer, now);
    }

    /// Forgets what has been gone for longer than the grace period.
    pub(crate) fn expire(&self, now: Instant) {
        self.expire_with(&mut self.writer(), now);
    }

    fn expire_with(&self, writer: &mut Writer, now: Instant) {
        if writer.is_due(now) {
            writer.expire(&mut self.tables_mut(), now);
        }
        self.measure(writer);
    }

    /// Indexes every pod that is there anew: an entry that another pod had taken over, and left, is found again.
    pub(crate) fn reindex(&self) {
        let writer = self.writer();
        for uid in writer.living_pods() {
            writer.index(&mut self.tables_mut(), &uid);
        }
        self.measure(&writer);
    }

    /// Makes the attributes of the pods of an owner anew.
    fn renew_pods_of(&self, writer: &mut Writer, owner: &str) {
        for uid in writer.pods_of(owner) {
            let Some((seen, pod, containers)) = writer.source_of(&uid) else { continue };
            let prepared = writer::prepare(&self.plan, &self.tables(), pod, Some(containers));
            writer.put_pod(&self.plan, &mut self.tables_mut(), seen, prepared);
        }
    }

    /// How often to call [`Cache::expire`].
    pub(crate) fn expiry_interval(&self) -> Duration {
        const SHORTEST: Duration = Duration::from_millis(100);
        const LONGEST: Duration = Duration::from_secs(5);
        (self.plan.grace / 4).clamp(SHORTEST, LONGEST)
    }

    /// The metrics of this cache.
    pub(crate) fn metrics(&self) -> &CacheMetrics {
        &self.metrics
    }

    fn measure(&self, writer: &Writer) {
        let tables = self.tables();
        self.metrics.pod_table(tables.pods.len());
        for resource in Resource::ALL.into_iter().filter(|resource| self.plan.is_watched(*resource)) {
            self.metrics.entries(resource, writer.count(resource));
        }
        self.metrics.bytes(writer.bytes());
    }
}
