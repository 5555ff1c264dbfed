//! What only writers need: where things came from, and when they go.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use spanbridge_kubernetes::{Metadata, seconds};
use tokio::time::Instant;

use super::{ObjectEntry, PodEntry, Seen, Tables};
use crate::containers::{self, Containers};
use crate::extract;
use crate::object::Pod;
use crate::plan::Plan;
use crate::resource::Resource;

/// What the record of an object takes beside its entry, roughly.
const RECORD_BYTES: usize = 160;
/// What an identifier takes beside its bytes: a place in the table and one in the record, roughly.
const KEY_BYTES: usize = 96;
/// A table is made smaller when it has room for this many times what it holds, ...
const SHRINK_FACTOR: usize = 4;
/// ... and for more than this.
const SHRINK_ABOVE: usize = 1024;

/// A pod before it is put in.
pub(super) struct Prepared {
    entry: PodEntry,
    keys: Box<[Arc<[u8]>]>,
    owners: Vec<Arc<str>>,
    /// What is kept of it to make its attributes anew; `None` if they depend on nothing else.
    source: Option<Box<Pod>>,
}

/// Makes what is known of a pod. `containers` are taken over if they are there: nothing else changes them.
pub(super) fn prepare(
    plan: &Plan,
    tables: &Tables,
    mut pod: Pod,
    containers: Option<Arc<Containers>>,
) -> Prepared {
    let is_ignored = extract::is_ignored(plan, &pod.metadata);
    let found = if is_ignored { extract::Found::default() } else { extract::attributes(plan, &pod, tables) };
    let keys = plan.associations.identifiers(&pod, &found).iter().map(|key| key.as_slice().into()).collect();
    let containers = containers.unwrap_or_else(|| {
        Arc::new(if is_ignored { Containers::default() } else { Containers::of(plan, &pod) })
    });
    let entry = PodEntry {
        uid: pod.metadata.uid.as_str().into(),
        namespace: pod.metadata.namespace.as_str().into(),
        node: pod.spec.node_name.as_str().into(),
        workloads: extract::workloads(plan, &pod.metadata, tables),
        attributes: containers::serialize(found),
        containers,
        is_ignored,
        started: seconds(&pod.status.start_time),
    };
    let (mut owners, mut source) = (Vec::new(), None);
    if plan.depends_on_owners() {
        owners = pod.metadata.owner_references.iter().map(|owner| owner.uid.as_str().into()).collect();
        pod.metadata.labels.retain(|key, _| plan.wants_label(key));
        pod.metadata.annotations.retain(|key, _| plan.wants_annotation(key));
        source = Some(Box::new(pod));
    }
    Prepared { entry, keys, owners, source }
}

/// What is kept of a pod.
#[derive(Debug)]
struct PodRecord {
    entry: Arc<PodEntry>,
    keys: Box<[Arc<[u8]>]>,
    owners: Vec<Arc<str>>,
    source: Option<Box<Pod>>,
    life: Life,
}

/// What is kept of any other object.
#[derive(Debug)]
struct ObjectRecord {
    key: Box<str>,
    life: Life,
}

/// Where something was seen, and when it goes.
#[derive(Debug)]
struct Life {
    seen: Seen,
    goes: Option<Instant>,
    bytes: usize,
}

impl Life {
    fn is_missing_from(&self, listing: Seen) -> bool {
        let same = self.seen.resource == listing.resource && self.seen.watch == listing.watch;
        same && self.seen.listing < listing.listing && self.goes.is_none()
    }
}

/// The writers' books.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pods: HashMap<Arc<str>, PodRecord>,
    objects: [HashMap<Arc<str>, ObjectRecord>; 9],
    pods_by_owner: HashMap<Arc<str>, Vec<Arc<str>>>,
    /// In order of time, since the grace period is the same for all.
    going: VecDeque<(Instant, Resource, Arc<str>)>,
    bytes: usize,
}

impl Writer {
    /// Puts a pod in. Says whether it is new.
    pub(super) fn put_pod(
        &mut self,
        plan: &Plan,
        tables: &mut Tables,
        seen: Seen,
        prepared: Prepared,
    ) -> bool {
        let Prepared { entry, keys, owners, source } = prepared;
        let uid = entry.uid.clone();
        let key_bytes: usize = keys.iter().map(|key| key.len() + KEY_BYTES).sum();
        let bytes = RECORD_BYTES
            + key_bytes
            + containers::bytes(&entry.attributes)
            + entry.containers.bytes()
            + source.as_ref().map_or(0, |_| size_of::<Pod>());
        let record = PodRecord {
            entry: Arc::new(entry),
            keys,
            owners,
            source,
            life: Life { seen, goes: None, bytes },
        };
        let before = self.forget_pod(&uid);
        if let Some(before) = &before {
            for key in before.keys.iter().filter(|key| !record.keys.contains(key)) {
                remove_if_of(tables, key, &uid);
            }
        }
        if plan.depends_on_owners() {
            for owner in &record.owners {
                self.pods_by_owner.entry(owner.clone()).or_default().push(uid.clone());
            }
        }
        self.bytes += bytes;
        self.pods.insert(uid.clone(), record);
        self.index(tables, &uid);
        before.is_none()
    }

    /// Makes a pod be found by its identifiers, but for those that a pod has which started later: an address is used
    /// again, and news of its former owner may come late.
    pub(super) fn index(&self, tables: &mut Tables, uid: &str) {
        let Some(record) = self.pods.get(uid) else { return };
        for key in &record.keys {
            let newer = tables.pods.get(key).is_some_and(|present| {
                *present.uid != *uid
                    && matches!((record.entry.started, present.started), (Some(this), Some(other)) if this < other)
            });
            if !newer {
                tables.pods.insert(key.clone(), record.entry.clone());
            }
        }
    }

    /// Puts any other object in. Says whether it is new.
    pub(super) fn put_object(
        &mut self,
        tables: &mut Tables,
        seen: Seen,
        metadata: &Metadata,
        entry: ObjectEntry,
    ) -> bool {
        let key: Box<str> = Tables::key_of(seen.resource, metadata).into();
        let bytes = RECORD_BYTES + 2 * key.len() + entry.bytes();
        let uid = entry.uid.clone();
        tables.note_cluster(seen.resource, metadata);
        tables.objects[seen.resource.index()].insert(key.clone(), Arc::new(entry));
        let record = ObjectRecord { key, life: Life { seen, goes: None, bytes } };
        let before = self.objects[seen.resource.index()].insert(uid, record);
        self.bytes = self.bytes + bytes - before.as_ref().map_or(0, |before| before.life.bytes);
        before.is_none()
    }

    /// Lets something go at `at`. Says whether it was there.
    pub(super) fn delete(&mut self, resource: Resource, uid: &str, at: Instant) -> bool {
        let life = match resource {
            Resource::Pod => self.pods.get_mut(uid).map(|record| &mut record.life),
            _ => self.objects[resource.index()].get_mut(uid).map(|record| &mut record.life),
        };
        let Some(life) = life.filter(|life| life.goes.is_none()) else { return false };
        life.goes = Some(at);
        self.going.push_back((at, resource, uid.into()));
        true
    }

    /// Lets everything go at `at` that an earlier listing of this watch had and this one has not. Says how much.
    pub(super) fn end_listing(&mut self, listing: Seen, at: Instant) -> usize {
        let missing: Vec<Arc<str>> = match listing.resource {
            Resource::Pod => {
                let pods = self.pods.iter().filter(|(_, record)| record.life.is_missing_from(listing));
                pods.map(|(uid, _)| uid.clone()).collect()
            }
            resource => {
                let objects = self.objects[resource.index()].iter();
                let objects = objects.filter(|(_, record)| record.life.is_missing_from(listing));
                objects.map(|(uid, _)| uid.clone()).collect()
            }
        };
        missing.iter().filter(|uid| self.delete(listing.resource, uid, at)).count()
    }

    /// Whether [`Writer::expire`] has something to do.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.going.front().is_some_and(|(at, ..)| *at <= now)
    }

    /// Forgets what goes until `now`, unless it has come back.
    pub(super) fn expire(&mut self, tables: &mut Tables, now: Instant) {
        while self.is_due(now) {
            let Some((at, resource, uid)) = self.going.pop_front() else { break };
            if resource == Resource::Pod {
                if self.pods.get(&uid).is_some_and(|record| record.life.goes == Some(at))
                    && let Some(record) = self.forget_pod(&uid)
                {
                    record.keys.iter().for_each(|key| remove_if_of(tables, key, &uid));
                }
                continue;
            }
            let records = &mut self.objects[resource.index()];
            if records.get(&uid).is_some_and(|record| record.life.goes == Some(at))
                && let Some(record) = records.remove(&uid)
            {
                self.bytes -= record.life.bytes;
                let table = &mut tables.objects[resource.index()];
                if table.get(&record.key).is_some_and(|entry| *entry.uid == *uid) {
                    table.remove(&record.key);
                }
            }
        }
        shrink(&mut tables.pods);
        shrink(&mut self.pods);
        shrink(&mut self.pods_by_owner);
        tables.objects.iter_mut().for_each(shrink);
        self.objects.iter_mut().for_each(shrink);
    }

    /// Takes a pod out of the books.
    fn forget_pod(&mut self, uid: &str) -> Option<PodRecord> {
        let record = self.pods.remove(uid)?;
        self.bytes -= record.life.bytes;
        for owner in &record.owners {
            if let Some(pods) = self.pods_by_owner.get_mut(owner) {
                pods.retain(|pod| **pod != *uid);
                if pods.is_empty() {
                    self.pods_by_owner.remove(owner);
                }
            }
        }
        Some(record)
    }

    /// The pods of this owner.
    pub(super) fn pods_of(&self, owner: &str) -> Vec<Arc<str>> {
        self.pods_by_owner.get(owner).cloned().unwrap_or_default()
    }

    /// What a pod is made anew from, unless it is gone.
    pub(super) fn source_of(&self, uid: &str) -> Option<(Seen, Pod, Arc<Containers>)> {
        let record = self.pods.get(uid).filter(|record| record.life.goes.is_none())?;
        Some((record.life.seen, record.source.as_deref()?.clone(), record.entry.containers.clone()))
    }

    /// The pods that are not gone.
    pub(super) fn living_pods(&self) -> Vec<Arc<str>> {
        let living = self.pods.iter().filter(|(_, record)| record.life.goes.is_none());
        living.map(|(uid, _)| uid.clone()).collect()
    }

    /// How many objects of `resource` there are, those that go included.
    pub(super) fn count(&self, resource: Resource) -> usize {
        if resource == Resource::Pod { self.pods.len() } else { self.objects[resource.index()].len() }
    }

    /// Bytes of everything, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Removes an entry if it is still that of this pod.
fn remove_if_of(tables: &mut Tables, key: &[u8], uid: &str) {
    if tables.pods.get(key).is_some_and(|entry| *entry.uid == *uid) {
        tables.pods.remove(key);
    }
}

fn shrink<K: std::hash::Hash + Eq, V>(table: &mut HashMap<K, V>) {
    if table.capacity() > SHRINK_ABOVE && table.capacity() > SHRINK_FACTOR * table.len() {
        table.shrink_to_fit();
    }
}
