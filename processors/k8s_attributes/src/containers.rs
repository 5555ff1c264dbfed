//! The containers of a pod and what they are worth in attributes (reference: contrib-components, B.7).

use std::sync::Arc;

use smallvec::SmallVec;
use spanbridge_pdata::{Attribute, Attributes, Value, ValueRef};

use crate::fields::{Field, FieldSet};
use crate::image::{Image, canonical};
use crate::object::{ContainerStatus, Pod};
use crate::plan::Plan;
use crate::write::put_if_blank;

/// What says something about containers.
const FIELDS: [Field; 8] = [
    Field::ContainerName,
    Field::ContainerId,
    Field::ContainerImageName,
    Field::ContainerImageTag,
    Field::ContainerImageTags,
    Field::ContainerImageRepoDigests,
    Field::ServiceVersion,
    Field::ServiceInstanceId,
];

const CONTAINER_NAME: &str = "k8s.container.name";
const CONTAINER_ID: &str = "container.id";
const RESTART_COUNT: &str = "k8s.container.restart_count";

/// Whether one of the fields says something about containers.
pub(crate) fn are_needed(fields: FieldSet) -> bool {
    fields.has_any(&FIELDS)
}

/// The containers of one pod.
#[derive(Debug, Default)]
pub(crate) struct Containers(Box<[Container]>);

/// One container.
#[derive(Debug)]
struct Container {
    name: Box<str>,
    /// Written over blanks.
    attributes: Box<[Attribute]>,
    /// Written only where absent: a list has no blank form.
    tags: Option<Attribute>,
    runs: SmallVec<[Run; 1]>,
}

/// One run of a container: the present one, or the one before it.
#[derive(Debug)]
struct Run {
    restarts: i64,
    id: Box<str>,
    attributes: SmallVec<[Attribute; 2]>,
}

/// The id without its scheme: `containerd://`.
pub(crate) fn bare_id(id: &str) -> &str {
    id.split_once("://").map_or(id, |(_, id)| id)
}

/// Every container id that the status of a pod tells, those of runs that ended included.
pub(crate) fn ids(pod: &Pod) -> impl Iterator<Item = &str> {
    let status = &pod.status;
    let all = status.container_statuses.iter().chain(&status.init_container_statuses);
    let ids = all.flat_map(|status| [&*status.container_id, &*status.last_state.terminated.container_id]);
    ids.map(bare_id).filter(|id| !id.is_empty())
}

impl Containers {
    /// What the plan wants to know of the containers of `pod`.
    pub(crate) fn of(plan: &Plan, pod: &Pod) -> Self {
        if !are_needed(plan.fields) {
            return Self::default();
        }
        let specs = pod.spec.containers.iter().chain(&pod.spec.init_containers);
        let statuses = pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses);
        let statuses: Vec<&ContainerStatus> = statuses.collect();
        let containers = specs.map(|spec| {
            let status = statuses.iter().find(|status| status.name == spec.name);
            let (attributes, tags) = of_spec(plan, pod, &spec.name, &spec.image);
            let runs = status.map(|status| runs(plan, status)).unwrap_or_default();
            Container { name: spec.name.as_str().into(), attributes, tags, runs }
        });
        Self(containers.collect())
    }

    /// Adds the attributes of the container that the resource is about, if that is known.
    pub(crate) fn write(&self, attributes: &mut Attributes<'_>) {
        let Some(container) = self.meant_by(attributes) else { return };
        for attribute in &container.attributes {
            put_if_blank(attributes, attribute);
        }
        if let Some(tags) = &container.tags {
            attributes.insert(tags);
        }
        if let Some(run) = container.run(attributes) {
            for attribute in &run.attributes {
                attributes.insert(attribute);
            }
        }
    }

    /// The container by name, else by id, else the only one there is.
    fn meant_by(&self, attributes: &mut Attributes<'_>) -> Option<&Container> {
        let text = |value: Option<ValueRef<'_>>, test: &dyn Fn(&Container, &str) -> bool| {
            let text = value.as_ref().and_then(ValueRef::as_str).filter(|text| !text.is_empty())?;
            Some(self.0.iter().find(|container| test(container, text)))
        };
        if let Some(named) = text(attributes.get(CONTAINER_NAME), &|c, name| *c.name == *name) {
            return named;
        }
        let has_id = |c: &Container, id: &str| c.runs.iter().any(|run| *run.id == *id);
        if let Some(identified) = text(attributes.get(CONTAINER_ID), &has_id) {
            return identified;
        }
        if let [only] = &*self.0 {
            return Some(only);
        }
        // Of a pod whose init containers have not left a trace yet, the one that runs.
        let mut running = self.0.iter().filter(|container| !container.runs.is_empty());
        running.next().filter(|_| running.next().is_none())
    }

    /// Bytes that this takes, roughly.
    pub(crate) fn bytes(&self) -> usize {
        let of = |container: &Container| {
            let runs: usize = container.runs.iter().map(|run| run.id.len() + bytes(&run.attributes)).sum();
            size_of::<Container>() + container.name.len() + bytes(&container.attributes) + runs
        };
        self.0.iter().map(of).sum()
    }
}

impl Container {
    /// The run that `k8s.container.restart_count` names; without that attribute the last one.
    fn run(&self, attributes: &mut Attributes<'_>) -> Option<&Run> {
        let Some(wanted) = attributes.get(RESTART_COUNT) else {
            return self.runs.iter().max_by_key(|run| run.restarts);
        };
        let wanted = match wanted {
            ValueRef::Int(restarts) => Some(restarts),
            ValueRef::Str(text) => text.parse().ok(),
            _ => None,
        };
        if wanted.is_none() {
            tracing::debug!(
                "k8s.container.restart_count is no number: the run of the container is not known"
            );
        }
        self.runs.iter().find(|run| Some(run.restarts) == wanted)
    }
}

/// What the specification of a container tells.
fn of_spec(plan: &Plan, pod: &Pod, name: &str, image: &str) -> (Box<[Attribute]>, Option<Attribute>) {
    let has = |field| plan.fields.has(field);
    let attribute = |field, value: &str| Attribute::new(plan.names.of(field), value);
    let mut attributes = Vec::new();
    let mut tags = None;
    if has(Field::ContainerName) {
        attributes.push(attribute(Field::ContainerName, name));
    }
    if let Some(image) = Image::parse(image) {
        if has(Field::ContainerImageName) {
            attributes.push(attribute(Field::ContainerImageName, image.repository));
        }
        if let Some(tag) = image.tag_or_latest() {
            if has(Field::ContainerImageTag) {
                attributes.push(attribute(Field::ContainerImageTag, tag));
            }
            if has(Field::ContainerImageTags) {
                let list = Value::List(vec![tag.into()]);
                tags = Some(Attribute::new(plan.names.of(Field::ContainerImageTags), list));
            }
        }
        if has(Field::ServiceVersion)
            && let Some(version) = image.version()
        {
            attributes.push(attribute(Field::ServiceVersion, &version));
        }
    }
    if has(Field::ServiceInstanceId) {
        let instance = format!("{}.{}.{name}", pod.metadata.namespace, pod.metadata.name);
        attributes.push(attribute(Field::ServiceInstanceId, &instance));
    }
    (attributes.into(), tags)
}

/// The present run of a container and the one before it, as far as the status tells.
fn runs(plan: &Plan, status: &ContainerStatus) -> SmallVec<[Run; 1]> {
    let mut runs = SmallVec::new();
    let digest = plan
        .fields
        .has(Field::ContainerImageRepoDigests)
        .then(|| canonical(&status.image_id))
        .flatten()
        .map(|digest| Value::List(vec![Value::Str(digest)]));
    let digest = digest.map(|digest| Attribute::new(plan.names.of(Field::ContainerImageRepoDigests), digest));
    let last = &status.last_state.terminated.container_id;
    for (id, restarts) in [(&status.container_id, status.restart_count), (last, status.restart_count - 1)] {
        let id = bare_id(id);
        if id.is_empty() || restarts < 0 {
            continue;
        }
        let mut attributes = SmallVec::new();
        if plan.fields.has(Field::ContainerId) {
            attributes.push(Attribute::new(plan.names.of(Field::ContainerId), id));
        }
        attributes.extend(digest.clone());
        runs.push(Run { restarts, id: id.into(), attributes });
    }
    runs
}

/// Bytes that these attributes take, roughly: keys are shared.
pub(crate) fn bytes(attributes: &[Attribute]) -> usize {
    /// What the value of a text takes beside the text, and what the allocator and counters take.
    const OVERHEAD: usize = 32;
    let of = |attribute: &Attribute| {
        let value = attribute.value();
        size_of::<Attribute>() + OVERHEAD + attribute.key().len() + value.as_str().map_or(64, str::len)
    };
    attributes.iter().map(of).sum()
}

/// The attributes of what was found, serialized.
pub(crate) fn serialize(found: crate::extract::Found) -> Box<[Attribute]> {
    found.into_pairs().map(|(name, value): (Arc<str>, String)| Attribute::new(name, value)).collect()
}
