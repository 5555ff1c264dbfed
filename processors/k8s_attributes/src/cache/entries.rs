//! What readers see.

use std::collections::HashMap;
use std::sync::Arc;

use spanbridge_kubernetes::Metadata;
use spanbridge_pdata::Attribute;

use crate::containers::{self, Containers};
use crate::extract::{Control, Controller, Found, Related, Workloads};
use crate::fields::Field;
use crate::plan::{KUBE_SYSTEM, Plan};
use crate::resource::Resource;

/// A pod, ready to be spliced into resources.
#[derive(Debug)]
pub(crate) struct PodEntry {
    pub(crate) uid: Arc<str>,
    pub(crate) namespace: Box<str>,
    /// Empty until it is scheduled.
    pub(crate) node: Box<str>,
    pub(crate) workloads: Workloads,
    pub(crate) attributes: Box<[Attribute]>,
    pub(crate) containers: Arc<Containers>,
    /// Whether it is to be left alone.
    pub(crate) is_ignored: bool,
    /// When it started, in seconds since 1970.
    pub(crate) started: Option<i64>,
}

/// Any other object, ready to be spliced into resources.
#[derive(Debug)]
pub(crate) struct ObjectEntry {
    pub(crate) uid: Arc<str>,
    pub(crate) attributes: Box<[Attribute]>,
    pub(crate) control: Control,
}

impl ObjectEntry {
    /// What `plan` wants of an object.
    pub(crate) fn of(plan: &Plan, resource: Resource, metadata: &Metadata) -> Self {
        let rules = &plan.rules[resource.index()];
        let mut found = Found::default();
        rules.extract_labels(&metadata.labels, &mut found);
        rules.extract_annotations(&metadata.annotations, &mut found);
        if resource == Resource::Node && plan.fields.has(Field::NodeUid) {
            found.put(plan.names.of(Field::NodeUid), metadata.uid.as_str());
        }
        let above = match resource {
            Resource::ReplicaSet => metadata.controller("Deployment"),
            Resource::Job => metadata.controller("CronJob"),
            _ => None,
        };
        let control = above.map_or(Control::Nobody, |owner| {
            let (name, uid) = (owner.name.as_str().into(), owner.uid.as_str().into());
            Control::By(Controller { name, uid })
        });
        Self { uid: metadata.uid.as_str().into(), attributes: containers::serialize(found), control }
    }

    /// Bytes that this takes, roughly.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.uid.len() + containers::bytes(&self.attributes)
    }
}

/// Everything, by what it is looked up by.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub(crate) pods: HashMap<Arc<[u8]>, Arc<PodEntry>>,
    /// By [`Resource::index`]: namespaces and nodes by name, workloads by UID.
    pub(crate) objects: [HashMap<Box<str>, Arc<ObjectEntry>>; 9],
    /// `k8s.cluster.uid`.
    pub(crate) cluster: Option<Attribute>,
}

impl Tables {
    /// The pod with this identifier, unless it is to be left alone.
    pub(crate) fn pod(&self, key: &[u8]) -> Option<&PodEntry> {
        self.pods.get(key).map(|entry| &**entry).filter(|entry| !entry.is_ignored)
    }

    /// Another object: namespaces and nodes by name, workloads by UID.
    pub(crate) fn object(&self, resource: Resource, key: &str) -> Option<&ObjectEntry> {
        self.objects[resource.index()].get(key).map(|entry| &**entry)
    }

    /// What an object is looked up by.
    pub(crate) fn key_of(resource: Resource, metadata: &Metadata) -> &str {
        match resource {
            Resource::Namespace | Resource::Node => &metadata.name,
            _ => &metadata.uid,
        }
    }

    /// Notes the UID of the cluster if this is the namespace that has it.
    pub(crate) fn note_cluster(&mut self, resource: Resource, metadata: &Metadata) {
        if resource == Resource::Namespace && metadata.name == KUBE_SYSTEM {
            self.cluster = Some(Attribute::new(Field::ClusterUid.name(), metadata.uid.as_str()));
        }
    }
}

impl Related for Tables {
    fn control(&self, of: Resource, uid: &str) -> Control {
        self.object(of, uid).map_or(Control::Unknown, |entry| entry.control.clone())
    }
}
