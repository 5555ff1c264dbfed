//! The objects of the stand-in, their versions, and who watches them.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value as Json, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::query::Query;
use super::server::status;

/// When everything was created.
const CREATED: &str = "2026-01-02T03:04:05Z";

/// How tokens for pages begin.
const PAGE: &str = "page-";

/// Namespace and name.
pub(super) type Key = (String, String);

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

    /// Deletes an object. A pod is marked first, as the server does it.
    pub(in super::super) fn delete(&mut self, plural: &str, namespace: &str, name: &str) {
        if plural == "pods" {
            let mark = json!({"metadata": {"deletionTimestamp": CREATED, "deletionGracePeriodSeconds": 0}});
            self.patch(plural, &(namespace.to_owned(), name.to_owned()), &mark);
        }
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
            let _ = watcher.events.send(self.bookmark_for(&watcher.query));
        }
    }

    /// A bookmark for who asked this.
    pub(super) fn bookmark_for(&self, query: &Query) -> Bytes {
        line("BOOKMARK", &query.shown(&json!({"metadata": {"resourceVersion": self.version.to_string()}})))
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

    /// One page of a list; the error is what the server answers.
    pub(super) fn list(&mut self, query: &Query) -> Result<Json, Json> {
        self.has_come(query.version)?;
        let (version, mut rest) = if query.token.is_empty() {
            (self.version, self.matching(query))
        } else {
            let paged = self.pages.remove(&query.token).ok_or_else(|| expired(&query.token))?;
            (paged.version, paged.rest)
        };
        // Any version comes from a cache, which does not care for limits.
        let limit = if query.version == Some(0) { 0 } else { query.limit };
        let limit = if limit == 0 { rest.len() } else { limit.min(rest.len()) };
        let after = rest.split_off(limit);
        let mut metadata = json!({"resourceVersion": version.to_string()});
        if !after.is_empty() {
            let token = format!("{PAGE}{version}-{}", self.pages.len());
            metadata["continue"] = token.clone().into();
            if query.selector.is_empty() {
                metadata["remainingItemCount"] = after.len().into();
            }
            self.pages.insert(token, Paged { version, rest: after });
        }
        let (api_version, kind) = query.type_of_objects();
        Ok(
            json!({"apiVersion": api_version, "kind": format!("{kind}List"), "metadata": metadata, "items": rest}),
        )
    }

    /// Refuses a version that is yet to come.
    fn has_come(&self, version: Option<u64>) -> Result<(), Json> {
        let Some(version) = version.filter(|version| *version > self.version) else { return Ok(()) };
        let message = format!("Timeout: Too large resource version: {version}, current: {}", self.version);
        let mut status = status(504, "Timeout", &message);
        let cause = json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"});
        status["details"] = json!({"causes": [cause], "retryAfterSeconds": 1});
        Err(status)
    }

    /// What is asked for, as a list has it: the list itself says of which type its objects are.
    fn matching(&self, query: &Query) -> Vec<Json> {
        let objects = self.objects.get(&query.plural).into_iter().flatten();
        let objects = objects.filter(|(_, object)| query.selects(object));
        let shown = objects.map(|(_, object)| query.shown(object)).map(|mut object| {
            if !query.metadata_only
                && let Some(fields) = object.as_object_mut()
            {
                fields.remove("apiVersion");
                fields.remove("kind");
            }
            object
        });
        shown.collect()
    }

    /// The events from the version on; the error is what the server sends as the only event.
    pub(super) fn watch(&mut self, query: Query) -> Result<UnboundedReceiver<Bytes>, Json> {
        let (events, receiver) = unbounded_channel();
        let from = query.version.filter(|version| *version > 0 && !query.initial_events);
        if let Some(version) = from {
            if version < self.compacted {
                let message = format!("too old resource version: {version} ({})", self.compacted);
                return Err(status(410, "Expired", &message));
            }
            for change in self.history.iter().filter(|change| change.version > version) {
                if let Some(event) = query.event(change) {
                    let _ = events.send(event);
                }
            }
        } else {
            let objects = self.objects.get(&query.plural).into_iter().flatten();
            for (_, object) in objects.filter(|(_, object)| query.selects(object)) {
                let _ = events.send(line("ADDED", &query.shown(object)));
            }
        }
        if query.initial_events && query.bookmarks {
            let _ = events.send(self.end_of_initial_events(&query));
        }
        self.watchers.push(Watcher { query, events });
        Ok(receiver)
    }

    fn end_of_initial_events(&self, query: &Query) -> Bytes {
        let annotations = json!({"k8s.io/initial-events-end": "true"});
        let metadata = json!({"resourceVersion": self.version.to_string(), "annotations": annotations});
        line("BOOKMARK", &query.shown(&json!({"metadata": metadata})))
    }
}

impl Query {
    fn selects(&self, object: &Json) -> bool {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        self.namespace.as_deref().is_none_or(|wanted| wanted == namespace) && self.selector.matches(object)
    }

    /// API version and kind of what comes.
    fn type_of_objects(&self) -> (&'static str, &'static str) {
        if self.metadata_only {
            ("meta.k8s.io/v1", "PartialObjectMetadata")
        } else {
            type_of(&self.plural).expect("it is watched")
        }
    }

    /// The object as it is asked for.
    fn shown(&self, object: &Json) -> Json {
        let (api_version, kind) = self.type_of_objects();
        if self.metadata_only {
            return json!({"apiVersion": api_version, "kind": kind, "metadata": object["metadata"]});
        }
        let mut object = object.clone();
        object["apiVersion"] = api_version.into();
        object["kind"] = kind.into();
        object
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

/// API version and kind of a resource, if the server has it.
pub(super) fn type_of(plural: &str) -> Option<(&'static str, &'static str)> {
    let of = match plural {
        "pods" => ("v1", "Pod"),
        "namespaces" => ("v1", "Namespace"),
        "nodes" => ("v1", "Node"),
        "replicasets" => ("apps/v1", "ReplicaSet"),
        "deployments" => ("apps/v1", "Deployment"),
        "statefulsets" => ("apps/v1", "StatefulSet"),
        "daemonsets" => ("apps/v1", "DaemonSet"),
        "jobs" => ("batch/v1", "Job"),
        "cronjobs" => ("batch/v1", "CronJob"),
        "endpointslices" => ("discovery.k8s.io/v1", "EndpointSlice"),
        _ => return None,
    };
    Some(of)
}

/// Why there is no page for this token: it is too old, or was never given.
fn expired(token: &str) -> Json {
    if token.starts_with(PAGE) {
        let message = "The provided continue parameter is too old to display a consistent list result. You can start a new \
                       list without the continue parameter.";
        status(410, "Expired", message)
    } else {
        status(400, "BadRequest", "invalid continue token: continue key is not valid")
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
