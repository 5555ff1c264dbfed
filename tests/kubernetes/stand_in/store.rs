//! The objects of the stand-in, their versions, and who watches them.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value as Json, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::selector::Selector;

/// When everything was created.
const CREATED: &str = "2026-01-02T03:04:05Z";

/// Namespace and name.
pub(super) type Key = (String, String);

/// What a request is about.
#[derive(Debug, Clone)]
pub(super) struct Query {
    pub(super) plural: String,
    pub(super) namespace: Option<String>,
    pub(super) selector: Selector,
    pub(super) metadata_only: bool,
    pub(super) bookmarks: bool,
}

/// One change.
#[derive(Debug, Clone)]
struct Change {
    version: u64,
    plural: String,
    before: Option<Json>,
    /// `None`: it was deleted.
    after: Option<Json>,
}

struct Watcher {
    query: Query,
    events: UnboundedSender<Bytes>,
}

/// A list that is read page by page: what is left of it, as it was when the first page was asked for.
struct Paged {
    version: u64,
    rest: Vec<Json>,
}

/// Everything.
#[derive(Default)]
pub(in super::super) struct Store {
    version: u64,
    compacted: u64,
    objects: BTreeMap<String, BTreeMap<Key, Json>>,
    history: Vec<Change>,
    watchers: Vec<Watcher>,
    pages: BTreeMap<String, Paged>,
}

/// Why a list or watch is refused: the version is too old.
pub(super) struct Expired;

impl Store {
    /// Creates or replaces an object, and returns it as it is then.
    pub(in super::super) fn put(&mut self, plural: &str, mut object: Json) -> Json {
        self.version += 1;
        let name = key(&object).1;
        let metadata = &mut object["metadata"];
        metadata["resourceVersion"] = self.version.to_string().into();
        for (field, value) in [("uid", format!("uid-{name}")), ("creationTimestamp", CREATED.to_owned())] {
            if metadata[field].is_null() {
                metadata[field] = value.into();
            }
        }
        let objects = self.objects.entry(plural.to_owned()).or_default();
        let before = objects.insert(key(&object), object.clone());
        let after = Some(object.clone());
        self.record(Change { version: self.version, plural: plural.to_owned(), before, after });
        object
    }

    /// Changes an object by a merge patch, and returns it as it is then.
    pub(super) fn patch(&mut self, plural: &str, key: &Key, patch: &Json) -> Json {
        let found = self.objects.get(plural).and_then(|objects| objects.get(key));
        let mut object = found.expect("it is there").clone();
        merge(&mut object, patch);
        self.put(plural, object)
    }

    /// Deletes an object.
    pub(in super::super) fn delete(&mut self, plural: &str, namespace: &str, name: &str) {
        let objects = self.objects.entry(plural.to_owned()).or_default();
        let before = objects.remove(&(namespace.to_owned(), name.to_owned())).expect("it is there");
        self.version += 1;
        self.record(Change {
            version: self.version,
            plural: plural.to_owned(),
            before: Some(before),
            after: None,
        });
    }

    fn record(&mut self, change: Change) {
        self.watchers.retain(|watcher| match watcher.query.event(&change) {
            Some(event) => watcher.events.send(event).is_ok(),
            None => !watcher.events.is_closed(),
        });
        self.history.push(change);
    }

    /// Forgets the history: whoever is behind gets a 410.
    pub(in super::super) fn compact(&mut self) {
        self.compacted = self.version;
        self.history.clear();
        self.pages.clear();
    }

    /// Sends every watcher that asked for them a bookmark.
    pub(in super::super) fn bookmark(&mut self) {
        for watcher in self.watchers.iter().filter(|watcher| watcher.query.bookmarks) {
            let metadata = json!({"resourceVersion": self.version.to_string(), "creationTimestamp": null});
            let _ = watcher.events.send(line("BOOKMARK", &json!({"metadata": metadata})));
        }
    }

    /// Ends every watch, as a broken connection does.
    pub(in super::super) fn disconnect(&mut self) {
        self.watchers.clear();
    }

    /// How many watches there are.
    pub(in super::super) fn watches(&mut self) -> usize {
        self.watchers.retain(|watcher| !watcher.events.is_closed());
        self.watchers.len()
    }

    /// One page of a list.
    pub(super) fn list(&mut self, query: &Query, limit: usize, token: &str) -> Result<Json, Expired> {
        let (version, mut rest) = if token.is_empty() {
            (self.version, self.matching(query))
        } else {
            let paged = self.pages.remove(token).ok_or(Expired)?;
            (paged.version, paged.rest)
        };
        let limit = if limit == 0 { rest.len() } else { limit.min(rest.len()) };
        let after = rest.split_off(limit);
        let mut metadata = json!({"resourceVersion": version.to_string()});
        if !after.is_empty() {
            let token = format!("page-{version}-{}", self.pages.len());
            metadata["continue"] = token.clone().into();
            metadata["remainingItemCount"] = after.len().into();
            self.pages.insert(token, Paged { version, rest: after });
        }
        let (group, kind) = if query.metadata_only {
            ("meta.k8s.io/v1", "PartialObjectMetadataList")
        } else {
            ("v1", "List")
        };
        Ok(json!({"apiVersion": group, "kind": kind, "metadata": metadata, "items": rest}))
    }

    fn matching(&self, query: &Query) -> Vec<Json> {
        let objects = self.objects.get(&query.plural).into_iter().flatten();
        let objects = objects.filter(|(_, object)| query.selects(object));
        objects.map(|(_, object)| query.shown(object)).collect()
    }

    /// The events from `version` on.
    pub(super) fn watch(&mut self, query: Query, version: u64) -> Result<UnboundedReceiver<Bytes>, Expired> {
        if version < self.compacted {
            return Err(Expired);
        }
        let (events, receiver) = unbounded_channel();
        for change in self.history.iter().filter(|change| change.version > version) {
            if let Some(event) = query.event(change) {
                let _ = events.send(event);
            }
        }
        self.watchers.push(Watcher { query, events });
        Ok(receiver)
    }
}

impl Query {
    fn selects(&self, object: &Json) -> bool {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        self.namespace.as_deref().is_none_or(|wanted| wanted == namespace) && self.selector.matches(object)
    }

    /// The object as it is asked for.
    fn shown(&self, object: &Json) -> Json {
        if !self.metadata_only {
            return object.clone();
        }
        json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": object["metadata"]})
    }

    /// What a watcher is told: an object that does not match any more is deleted to it.
    fn event(&self, change: &Change) -> Option<Bytes> {
        if change.plural != self.plural {
            return None;
        }
        let before = change.before.as_ref().filter(|object| self.selects(object));
        let after = change.after.as_ref().filter(|object| self.selects(object));
        match (before, after) {
            (None, Some(object)) => Some(line("ADDED", &self.shown(object))),
            (Some(_), Some(object)) => Some(line("MODIFIED", &self.shown(object))),
            (Some(object), None) => {
                let mut object = self.shown(object);
                object["metadata"]["resourceVersion"] = change.version.to_string().into();
                Some(line("DELETED", &object))
            }
            (None, None) => None,
        }
    }
}

/// One line of a watch.
pub(super) fn line(kind: &str, object: &Json) -> Bytes {
    format!("{}\n", json!({"type": kind, "object": object})).into()
}

/// A merge patch (RFC 7396).
fn merge(target: &mut Json, patch: &Json) {
    let Some(fields) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in fields {
        if value.is_null() {
            target.as_object_mut().expect("an object").remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

/// Namespace and name of an object.
pub(super) fn key(object: &Json) -> Key {
    let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}
