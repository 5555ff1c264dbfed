//! What is done to one resource (reference: contrib-components, B.2). No I/O.

use spanbridge_pdata::{Attribute, Attributes, ValueRef};

use crate::cache::{PodEntry, Tables};
use crate::fields::Field;
use crate::identifier::{Address, IpText, POD_IP};
use crate::plan::Plan;
use crate::resource::Resource;
use crate::write::put_if_blank;

/// Workloads whose labels and annotations can be asked for, with the attribute that names one by UID.
const WORKLOADS: [(Resource, &str); 6] = [
    (Resource::Deployment, "k8s.deployment.uid"),
    (Resource::ReplicaSet, "k8s.replicaset.uid"),
    (Resource::StatefulSet, "k8s.statefulset.uid"),
    (Resource::DaemonSet, "k8s.daemonset.uid"),
    (Resource::Job, "k8s.job.uid"),
    (Resource::CronJob, "k8s.cronjob.uid"),
];

/// The address of the peer of one batch, as text and as the attribute that it becomes.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    pub(crate) text: Option<IpText>,
    attribute: Option<Attribute>,
}

impl Peer {
    /// The peer of a batch, if somebody asks for it.
    pub(crate) fn new(plan: &Plan, address: Option<std::net::SocketAddr>) -> Self {
        let address = address.filter(|_| plan.associations.use_connection());
        Self { text: address.map(|address| IpText::new(address.ip())), attribute: None }
    }

    /// `k8s.pod.ip`, made once a batch.
    fn attribute(&mut self) -> Option<&Attribute> {
        if self.attribute.is_none() {
            self.attribute = self.text.as_ref().map(|text| Attribute::new(POD_IP, text.as_str()));
        }
        self.attribute.as_ref()
    }
}

/// What came of looking for the pod of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The rule that decided, if one did.
    pub(crate) rule: Option<usize>,
    /// Whether the pod is known.
    pub(crate) found: bool,
}

/// Notes the address of the pod, and nothing else.
pub(crate) fn pass_through(plan: &Plan, attributes: &mut Attributes<'_>, peer: &mut Peer) {
    if let Some(identified) = plan.associations.identify(attributes, peer.text.as_ref()) {
        note_address(identified.address, attributes, peer);
    }
}

/// Adds to a resource what is known of its pod, namespace, node and workloads.
pub(crate) fn resource(
    plan: &Plan,
    tables: &Tables,
    attributes: &mut Attributes<'_>,
    peer: &mut Peer,
) -> Outcome {
    let identified = plan.associations.identify(attributes, peer.text.as_ref());
    let mut outcome = Outcome { rule: None, found: false };
    let mut pod = None;
    if let Some(identified) = identified {
        if plan.fields.has(Field::PodIp) {
            note_address(identified.address, attributes, peer);
        }
        pod = tables.pod(&identified.key);
        outcome = Outcome { rule: Some(identified.rule), found: pod.is_some() };
    }
    if let Some(pod) = pod {
        put_all(&pod.attributes, attributes);
        if plan.fields.has(Field::ClusterUid)
            && let Some(cluster) = &tables.cluster
        {
            put_if_blank(attributes, cluster);
        }
        pod.containers.write(attributes);
    }
    surroundings(plan, tables, attributes, pod);
    outcome
}

/// Adds what is known of the namespace, node and workloads that the pod, or the resource itself, names.
fn surroundings(plan: &Plan, tables: &Tables, attributes: &mut Attributes<'_>, pod: Option<&PodEntry>) {
    if plan.is_watched(Resource::Namespace) && !plan.rules[Resource::Namespace.index()].is_empty() {
        let known = pod.map(|pod| &*pod.namespace);
        named(tables, Resource::Namespace, known, "k8s.namespace.name", attributes);
    }
    if plan.fields.has(Field::ServiceNamespace) && pod.is_none() {
        let own = attributes.get("k8s.namespace.name");
        let own = own.as_ref().and_then(ValueRef::as_str).filter(|name| !name.is_empty());
        if let Some(namespace) = own.map(|name| Attribute::new(plan.names.of(Field::ServiceNamespace), name))
        {
            put_if_blank(attributes, &namespace);
        }
    }
    if plan.is_watched(Resource::Node) {
        let known = pod.map(|pod| &*pod.node);
        named(tables, Resource::Node, known, "k8s.node.name", attributes);
    }
    for (resource, attribute) in WORKLOADS {
        if plan.rules[resource.index()].is_empty() {
            continue;
        }
        let of_pod = pod.and_then(|pod| pod.workloads.iter().find(|(kind, _)| *kind == resource));
        named(tables, resource, of_pod.map(|(_, uid)| &**uid), attribute, attributes);
    }
}

/// Adds what is known of the object that the pod names, or else the resource's own attribute.
fn named(
    tables: &Tables,
    resource: Resource,
    of_pod: Option<&str>,
    attribute: &str,
    attributes: &mut Attributes<'_>,
) {
    let entry = if let Some(key) = of_pod.filter(|key| !key.is_empty()) {
        tables.object(resource, key)
    } else {
        let own = attributes.get(attribute);
        own.as_ref().and_then(ValueRef::as_str).and_then(|key| tables.object(resource, key))
    };
    if let Some(entry) = entry {
        put_all(&entry.attributes, attributes);
    }
}

fn put_all(from: &[Attribute], attributes: &mut Attributes<'_>) {
    for attribute in from {
        put_if_blank(attributes, attribute);
    }
}

fn note_address(address: Option<Address>, attributes: &mut Attributes<'_>, peer: &mut Peer) {
    match address {
        Some(Address::Peer) => {
            if let Some(attribute) = peer.attribute() {
                put_if_blank(attributes, attribute);
            }
        }
        Some(Address::Attribute(text)) => put_if_blank(attributes, &Attribute::new(POD_IP, text)),
        None => {}
    }
}

#[cfg(test)]
mod tests;
