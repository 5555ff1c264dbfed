//! A configuration, compiled: what to extract, how to find pods, and what has to be watched for it.

use std::sync::Arc;
use std::time::Duration;

use regex::Regex;
use spanbridge_kubernetes::Query;

use crate::config::{Config, FilterTermConfig};
use crate::containers;
use crate::extract::{POD_TEMPLATE_HASH, SERVICE_NAME_LABELS, SERVICE_VERSION_LABEL};
use crate::fields::{Field, FieldSet};
use crate::identifier::{Associations, Needs};
use crate::resource::Resource;
use crate::rules::{self, ObjectRules};

/// What is left alone when the configuration names nothing.
const EXCLUDED_BY_DEFAULT: [&str; 2] = ["jaeger-agent", "jaeger-collector"];
/// The namespace whose UID stands for the cluster.
pub(crate) const KUBE_SYSTEM: &str = "kube-system";

/// A configuration, compiled.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) fields: FieldSet,
    pub(crate) names: Names,
    /// By [`Resource::index`].
    pub(crate) rules: [ObjectRules; 9],
    pub(crate) associations: Associations,
    pub(crate) exclude: Vec<Regex>,
    pub(crate) watches: Vec<Watch>,
    /// How long what was deleted can still be found.
    pub(crate) grace: Duration,
}

/// The names of the fields, each once in memory.
#[derive(Debug)]
pub(crate) struct Names(Vec<Arc<str>>);

impl Names {
    fn new() -> Self {
        Self(Field::ALL.iter().map(|field| field.name().into()).collect())
    }

    /// The name of `field`.
    pub(crate) fn of(&self, field: Field) -> Arc<str> {
        self.0.get(field as usize).cloned().unwrap_or_else(|| field.name().into())
    }
}

/// One list and watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Watch {
    pub(crate) resource: Resource,
    /// `None` for all, and for what is in no namespace.
    pub(crate) namespace: Option<String>,
    /// Whether nothing but the metadata of the objects is needed.
    pub(crate) metadata_only: bool,
    pub(crate) label_selector: Option<String>,
    pub(crate) field_selector: Option<String>,
}

impl Plan {
    /// Compiles a valid configuration.
    ///
    /// # Errors
    /// A regular expression that is none: validation refuses it before.
    pub(crate) fn new(config: &Config) -> Result<Self, regex::Error> {
        let fields = FieldSet::of(config);
        let rules = rules::compile(config)?;
        let associations = Associations::new(&config.pod_association);
        let named: Vec<&str> = config.exclude.pods.iter().map(|pod| pod.name.as_str()).collect();
        let names = if named.is_empty() { EXCLUDED_BY_DEFAULT.to_vec() } else { named };
        let exclude = names.into_iter().map(Regex::new).collect::<Result<_, _>>()?;
        let watches = if config.passthrough {
            Vec::new()
        } else {
            let needs = Needs { fields, rules: &rules, associations: &associations };
            watches(config, &needs)
        };
        let grace = config.pod_delete_grace_period.get();
        Ok(Self { fields, names: Names::new(), rules, associations, exclude, watches, grace })
    }

    /// Whether objects of `resource` are watched.
    pub(crate) fn is_watched(&self, resource: Resource) -> bool {
        self.watches.iter().any(|watch| watch.resource == resource)
    }

    /// Whether a pod's attributes depend on other objects, and have to be made anew when those come or change.
    pub(crate) fn depends_on_owners(&self) -> bool {
        self.is_watched(Resource::ReplicaSet) || self.is_watched(Resource::Job)
    }

    /// Whether this label of a pod plays a part.
    pub(crate) fn wants_label(&self, key: &str) -> bool {
        let service = SERVICE_NAME_LABELS.contains(&key) || key == SERVICE_VERSION_LABEL;
        let rules = &self.rules[Resource::Pod.index()].labels;
        service || key == POD_TEMPLATE_HASH || rules.iter().any(|rule| rule.wants(key))
    }

    /// Whether this annotation of a pod plays a part.
    pub(crate) fn wants_annotation(&self, key: &str) -> bool {
        self.rules[Resource::Pod.index()].annotations.iter().any(|rule| rule.wants(key))
    }
}

/// What has to be watched (reference: contrib-components, B.6).
fn watches(config: &Config, needs: &Needs<'_>) -> Vec<Watch> {
    let fields = needs.fields;
    let rules = |resource: Resource| !needs.rules[resource.index()].is_empty();
    let names_from_replica_sets = config.extract.deployment_name_from_replicaset == Some(false)
        && fields.has_any(&[Field::DeploymentName, Field::ServiceName]);
    let mut watches = Vec::new();
    namespaces(config, rules(Resource::Namespace), fields.has(Field::ClusterUid), &mut watches);
    for (resource, needed) in [
        (
            Resource::ReplicaSet,
            fields.has(Field::DeploymentUid)
                || names_from_replica_sets
                || rules(Resource::Deployment)
                || rules(Resource::ReplicaSet),
        ),
        (Resource::Deployment, rules(Resource::Deployment)),
        (Resource::StatefulSet, rules(Resource::StatefulSet)),
        (Resource::DaemonSet, rules(Resource::DaemonSet)),
        (Resource::Job, fields.has(Field::CronJobUid) || rules(Resource::Job) || rules(Resource::CronJob)),
        (Resource::CronJob, rules(Resource::CronJob)),
    ] {
        if needed {
            namespaced(config, Watch::of(resource), &mut watches);
        }
    }
    if fields.has(Field::NodeUid) || rules(Resource::Node) {
        let field_selector = config.filter.node().map(|node| format!("metadata.name={node}"));
        watches.push(Watch { field_selector, ..Watch::of(Resource::Node) });
    }
    // Last: what pods need to know of the others should come before them.
    let pods = Watch {
        metadata_only: !needs.more_than_metadata(containers::are_needed(fields)),
        label_selector: labels(&config.filter.labels),
        field_selector: self::fields(config),
        ..Watch::of(Resource::Pod)
    };
    namespaced(config, pods, &mut watches);
    watches
}

impl Watch {
    /// All objects of `resource`, their metadata only.
    fn of(resource: Resource) -> Self {
        Self { resource, namespace: None, metadata_only: true, label_selector: None, field_selector: None }
    }

    /// What is asked of the API for it.
    pub(crate) fn query(&self) -> Query {
        Query {
            resource: self.resource.api(),
            namespace: self.namespace.clone(),
            metadata_only: self.metadata_only,
            label_selector: self.label_selector.clone(),
            field_selector: self.field_selector.clone(),
            seconds: None,
        }
    }
}

/// A watch in each namespace of the filter, or one in all.
fn namespaced(config: &Config, watch: Watch, watches: &mut Vec<Watch>) {
    if config.filter.namespace.0.is_empty() {
        watches.push(watch);
        return;
    }
    for namespace in &config.filter.namespace.0 {
        watches.push(Watch { namespace: Some(namespace.clone()), ..watch.clone() });
    }
}

fn namespaces(config: &Config, has_rules: bool, cluster_uid: bool, watches: &mut Vec<Watch>) {
    let mut by_name = |name: &str| {
        let field_selector = Some(format!("metadata.name={name}"));
        watches.push(Watch { field_selector, ..Watch::of(Resource::Namespace) });
    };
    let filtered = &config.filter.namespace.0;
    if has_rules && filtered.is_empty() {
        watches.push(Watch::of(Resource::Namespace));
        return;
    }
    if has_rules {
        for name in filtered {
            by_name(name);
        }
    }
    if cluster_uid && !(has_rules && filtered.iter().any(|name| name == KUBE_SYSTEM)) {
        by_name(KUBE_SYSTEM);
    }
}

fn labels(terms: &[FilterTermConfig]) -> Option<String> {
    let term = |FilterTermConfig { key, value, op }: &FilterTermConfig| match op.as_str() {
        "not-equals" => format!("{key}!={value}"),
        "exists" => key.clone(),
        "does-not-exist" => format!("!{key}"),
        _ => format!("{key}={value}"),
    };
    joined(terms.iter().map(term))
}

fn fields(config: &Config) -> Option<String> {
    let term = |FilterTermConfig { key, value, op }: &FilterTermConfig| {
        let value = value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
        format!("{key}{}{value}", if op == "not-equals" { "!=" } else { "=" })
    };
    let node = config.filter.node().map(|node| format!("spec.nodeName={node}"));
    joined(config.filter.fields.iter().map(term).chain(node))
}

fn joined(terms: impl Iterator<Item = String>) -> Option<String> {
    let terms: Vec<_> = terms.collect();
    (!terms.is_empty()).then(|| terms.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watches_of(yaml: &str) -> Vec<String> {
        let config: Config = spanbridge_config::from_yaml(yaml).unwrap_or_else(|e| panic!("{e}"));
        let of = |watch: &Watch| {
            let mut text = watch.resource.api().path(watch.namespace.as_deref());
            text.extend(watch.metadata_only.then_some(" meta"));
            text.extend(watch.label_selector.iter().map(|l| format!(" labels {l}")));
            text.extend(watch.field_selector.iter().map(|f| format!(" fields {f}")));
            text
        };
        Plan::new(&config).unwrap().watches.iter().map(of).collect()
    }

    #[test]
    fn by_default_only_pods_are_watched() {
        assert_eq!(watches_of("{}"), ["/api/v1/pods"]);
        assert_eq!(watches_of("passthrough: true"), [""; 0]);
    }

    #[test]
    fn filters_become_selectors_for_the_server() {
        assert_eq!(
            watches_of(
                "filter: {node: n-1, labels: [{key: a, value: b}, {key: c, op: exists}, {key: d, op: does-not-exist}, {key: e, \
                 value: f, op: not-equals}], fields: [{key: status.phase, value: Running}]}"
            ),
            ["/api/v1/pods labels a=b,c,!d,e!=f fields status.phase=Running,spec.nodeName=n-1"]
        );
        assert_eq!(
            watches_of("filter: {namespace: [a, b]}"),
            ["/api/v1/namespaces/a/pods", "/api/v1/namespaces/b/pods"]
        );
    }

    #[test]
    fn what_needs_other_objects_watches_them_and_their_metadata_only() {
        for (extract, expected) in [
            ("metadata: [k8s.deployment.uid]", "/apis/apps/v1/replicasets meta"),
            ("labels: [{key: a, from: replicaset}]", "/apis/apps/v1/replicasets meta"),
            ("labels: [{key: a, from: statefulset}]", "/apis/apps/v1/statefulsets meta"),
            ("annotations: [{key: a, from: daemonset}]", "/apis/apps/v1/daemonsets meta"),
            ("metadata: [k8s.cronjob.uid]", "/apis/batch/v1/jobs meta"),
            ("metadata: [k8s.node.uid]", "/api/v1/nodes meta"),
            ("labels: [{key: a, from: node}]", "/api/v1/nodes meta"),
            ("metadata: [k8s.cluster.uid]", "/api/v1/namespaces meta fields metadata.name=kube-system"),
            ("labels: [{key: a, from: namespace}]", "/api/v1/namespaces meta"),
        ] {
            assert_eq!(
                watches_of(&format!("extract: {{{extract}}}")),
                [expected, "/api/v1/pods"],
                "{extract}"
            );
        }
        assert_eq!(
            watches_of("extract: {labels: [{key: a, from: deployment}]}")[..2],
            ["/apis/apps/v1/replicasets meta", "/apis/apps/v1/deployments meta"]
        );
        assert_eq!(
            watches_of(
                "{filter: {node: n, namespace: x}, extract: {metadata: [k8s.node.uid, k8s.cluster.uid]}}"
            )[..2],
            [
                "/api/v1/namespaces meta fields metadata.name=kube-system",
                "/api/v1/nodes meta fields metadata.name=n"
            ]
        );
    }

    #[test]
    fn pods_by_uid_with_nothing_of_their_specification_are_watched_by_their_metadata() {
        let by_uid = "pod_association: [{sources: [{from: resource_attribute, name: k8s.pod.uid}]}]";
        assert_eq!(
            watches_of(&format!("{{{by_uid}, extract: {{metadata: [k8s.pod.name, k8s.deployment.name]}}}}")),
            ["/api/v1/pods meta"]
        );
        assert_eq!(
            watches_of(&format!("{{{by_uid}, extract: {{metadata: [k8s.node.name]}}}}")),
            ["/api/v1/pods"]
        );
        assert_eq!(
            watches_of("{pod_association: [{sources: [{from: connection}]}], extract: {metadata: []}}"),
            ["/api/v1/pods"]
        );
    }
}
