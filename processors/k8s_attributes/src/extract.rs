//! What a pod is worth in attributes (reference: contrib-components, B.3, B.8). No I/O.

use std::sync::Arc;

use smallvec::SmallVec;
use spanbridge_kubernetes::{Metadata, Owner, seconds};

use crate::fields::Field;
use crate::object::Pod;
use crate::plan::Plan;
use crate::resource::Resource;

/// The annotation by which a pod asks to be left alone.
const IGNORE: &str = "opentelemetry.io/k8s-processor/ignore";
/// The label that a deployment puts on its pods: the suffix of the replica set's name.
pub(crate) const POD_TEMPLATE_HASH: &str = "pod-template-hash";
/// Labels that say what a service is called; a later one goes before an earlier one.
pub(crate) const SERVICE_NAME_LABELS: [&str; 2] = ["app.kubernetes.io/name", "app.kubernetes.io/instance"];
pub(crate) const SERVICE_VERSION_LABEL: &str = "app.kubernetes.io/version";
/// A job of a cron job ends in the minute it was scheduled for, which has this many digits from 1989 to 2160.
const MINUTE_DIGITS: usize = 8;
/// A pod of a job is created at most this long before the minute in the job's name (clocks differ), ...
const SCHEDULED_LATER_SECONDS: i64 = 300;
/// ... and at most this long after it: retries and starting deadlines take their time.
const SCHEDULED_EARLIER_SECONDS: i64 = 7 * 24 * 3600;

/// Attributes in the order in which they were found; a later value replaces an earlier one of the same name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found(Vec<(Arc<str>, String)>);

impl Found {
    /// Adds or replaces an attribute.
    pub(crate) fn put(&mut self, name: impl Into<Arc<str>> + AsRef<str>, value: impl Into<String>) {
        match self.0.iter_mut().find(|(known, _)| **known == *name.as_ref()) {
            Some((_, known)) => *known = value.into(),
            None => self.0.push((name.into(), value.into())),
        }
    }

    /// The value of an attribute.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| **known == *name).map(|(_, value)| value.as_str())
    }

    /// Everything, in order.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, value.as_str()))
    }

    /// Everything, with names that share their memory.
    pub(crate) fn into_pairs(self) -> impl Iterator<Item = (Arc<str>, String)> {
        self.0.into_iter()
    }
}

/// Who controls an object: the deployment of a replica set, the cron job of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Controller {
    pub(crate) name: Box<str>,
    pub(crate) uid: Arc<str>,
}

/// What is known of who controls an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Control {
    /// The object is not known: it is not watched, or has not been seen yet.
    Unknown,
    /// Nobody of the kind that counts.
    Nobody,
    By(Controller),
}

/// What is known of other objects while a pod is looked at.
pub(crate) trait Related {
    /// Who controls the object of this UID.
    fn control(&self, of: Resource, uid: &str) -> Control;
}

/// The workloads that a pod belongs to, by UID.
pub(crate) type Workloads = SmallVec<[(Resource, Arc<str>); 1]>;

/// Whether the pod asks to be left alone, or the configuration says so.
pub(crate) fn is_ignored(plan: &Plan, metadata: &Metadata) -> bool {
    let annotation = metadata.annotations.get(IGNORE);
    annotation.is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
        || plan.exclude.iter().any(|pattern| pattern.is_match(&metadata.name))
}

/// The attributes of a pod, without those of its containers.
pub(crate) fn attributes(plan: &Plan, pod: &Pod, related: &dyn Related) -> Found {
    let mut found = Found::default();
    let metadata = &pod.metadata;
    let mut put = |field: Field, value: &str| {
        if plan.fields.has(field) && !value.is_empty() {
            found.put(plan.names.of(field), value);
        }
    };
    put(Field::PodName, &metadata.name);
    put(Field::ServiceName, &metadata.name);
    put(Field::PodHostname, &pod.spec.hostname);
    put(Field::PodIp, &pod.status.pod_ip);
    put(Field::NamespaceName, &metadata.namespace);
    put(Field::ServiceNamespace, &metadata.namespace);
    put(Field::PodStartTime, &metadata.creation_timestamp);
    put(Field::PodUid, &metadata.uid);
    for owner in &metadata.owner_references {
        owned_by(plan, owner, metadata, related, &mut put);
    }
    put(Field::NodeName, &pod.spec.node_name);

    let rules = &plan.rules[Resource::Pod.index()];
    rules.extract_labels(&metadata.labels, &mut found);
    if plan.fields.has(Field::ServiceName) {
        for value in SERVICE_NAME_LABELS.iter().filter_map(|label| metadata.labels.get(*label)) {
            found.put(plan.names.of(Field::ServiceName), value.as_str());
        }
    }
    if plan.fields.has(Field::ServiceVersion)
        && let Some(version) = metadata.labels.get(SERVICE_VERSION_LABEL)
    {
        found.put(plan.names.of(Field::ServiceVersion), version.as_str());
    }
    // After the labels, so that what a pod says of itself goes before the well-known labels.
    rules.extract_annotations(&metadata.annotations, &mut found);
    found
}

/// What an owner adds. The name of the workload is the name of the service, the topmost owner's most of all.
fn owned_by(
    plan: &Plan,
    owner: &Owner,
    pod: &Metadata,
    related: &dyn Related,
    put: &mut impl FnMut(Field, &str),
) {
    let (name, uid) = match owner.kind.as_str() {
        "ReplicaSet" => (Field::ReplicaSetName, Field::ReplicaSetUid),
        "DaemonSet" => (Field::DaemonSetName, Field::DaemonSetUid),
        "StatefulSet" => (Field::StatefulSetName, Field::StatefulSetUid),
        "Job" => (Field::JobName, Field::JobUid),
        _ => return,
    };
    put(name, &owner.name);
    put(uid, &owner.uid);
    put(Field::ServiceName, &owner.name);
    let (resource, name, uid) = match name {
        Field::ReplicaSetName => (Resource::ReplicaSet, Field::DeploymentName, Field::DeploymentUid),
        Field::JobName => (Resource::Job, Field::CronJobName, Field::CronJobUid),
        _ => return,
    };
    match related.control(resource, &owner.uid) {
        Control::By(controller) => {
            put(name, &controller.name);
            put(Field::ServiceName, &controller.name);
            put(uid, &controller.uid);
        }
        // The names tell.
        Control::Unknown if plan.fields.has_any(&[name, Field::ServiceName]) => {
            let guessed = match resource {
                Resource::ReplicaSet => deployment_of(&owner.name, pod),
                _ => cron_job_of(&owner.name, pod),
            };
            if let Some(guessed) = guessed {
                put(name, guessed);
                put(Field::ServiceName, guessed);
            }
        }
        Control::Unknown | Control::Nobody => {}
    }
}

/// The name of the deployment that a replica set belongs to, by the label that deployments put on their pods.
fn deployment_of<'a>(replica_set: &'a str, pod: &Metadata) -> Option<&'a str> {
    let hash = pod.labels.get(POD_TEMPLATE_HASH).filter(|hash| !hash.is_empty())?;
    let name = replica_set.strip_suffix(hash.as_str())?.strip_suffix('-')?;
    (!name.is_empty()).then_some(name)
}

/// The name of the cron job that a job belongs to: what comes before the minute it was scheduled for.
fn cron_job_of<'a>(job: &'a str, pod: &Metadata) -> Option<&'a str> {
    let (name, minute) = job.rsplit_once('-')?;
    let digits = minute.len() == MINUTE_DIGITS && minute.bytes().all(|c| c.is_ascii_digit());
    if name.is_empty() || !digits {
        return None;
    }
    let scheduled = minute.parse::<i64>().ok()? * 60;
    let created = seconds(&pod.creation_timestamp)?;
    let late = created - scheduled;
    (-SCHEDULED_LATER_SECONDS..=SCHEDULED_EARLIER_SECONDS).contains(&late).then_some(name)
}

/// The workloads of a pod whose attributes the plan asks for.
pub(crate) fn workloads(plan: &Plan, metadata: &Metadata, related: &dyn Related) -> Workloads {
    let mut workloads = Workloads::new();
    let mut add = |resource: Resource, uid: Arc<str>| {
        if !plan.rules[resource.index()].is_empty() {
            workloads.push((resource, uid));
        }
    };
    for (kind, resource, above) in [
        ("ReplicaSet", Resource::ReplicaSet, Some(Resource::Deployment)),
        ("StatefulSet", Resource::StatefulSet, None),
        ("DaemonSet", Resource::DaemonSet, None),
        ("Job", Resource::Job, Some(Resource::CronJob)),
    ] {
        let Some(owner) = metadata.owner(kind) else { continue };
        if let Some(above) = above
            && let Control::By(controller) = related.control(resource, &owner.uid)
        {
            add(above, controller.uid);
        }
        add(resource, owner.uid.as_str().into());
    }
    workloads
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(created: &str, hash: &str) -> Metadata {
        let labels = [(POD_TEMPLATE_HASH.to_owned(), hash.to_owned())].into();
        Metadata { creation_timestamp: created.into(), labels, ..Metadata::default() }
    }

    #[test]
    fn a_deployment_is_what_comes_before_the_hash_of_its_pods() {
        let metadata = pod("", "5d4f8c7b9");
        assert_eq!(deployment_of("web-api-5d4f8c7b9", &metadata), Some("web-api"));
        assert_eq!(deployment_of("web-api-other", &metadata), None);
        assert_eq!(deployment_of("5d4f8c7b9", &metadata), None);
        assert_eq!(deployment_of("-5d4f8c7b9", &metadata), None);
        assert_eq!(deployment_of("web-5d4f8c7b9", &Metadata::default()), None);
    }

    #[test]
    fn a_cron_job_is_what_comes_before_a_minute_near_the_creation_of_the_pod() {
        // 29486220 minutes after 1970.
        let metadata = pod("2026-01-23T13:00:05Z", "");
        assert_eq!(seconds("2026-01-23T13:00:00Z"), Some(29_486_220 * 60));
        assert_eq!(cron_job_of("backup-29486220", &metadata), Some("backup"));
        assert_eq!(cron_job_of("backup-29486100", &metadata), Some("backup"), "retried for two hours");
        assert_eq!(cron_job_of("backup-29486999", &metadata), None, "scheduled after it was created");
        assert_eq!(cron_job_of("import-20260101", &metadata), None, "a date is no minute");
        assert_eq!(cron_job_of("backup-2948622", &metadata), None);
        assert_eq!(cron_job_of("backup-29486220", &Metadata::default()), None);
    }
}
