//! What users write under `processors::k8s_attributes`.

mod association;
mod extract;
mod filter;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanbridge_component::{Problems, Validate};
use spanbridge_config::{Duration, nearest};
use spanbridge_kubernetes::Api;

pub use association::{AssociationConfig, AssociationSourceConfig};
pub(crate) use extract::anchored;
pub use extract::{ExtractConfig, FieldRuleConfig};
pub use filter::{FilterConfig, FilterTermConfig, Namespaces};

/// Configuration of the `k8s_attributes` processor (reference: contrib-components, B.1).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How to reach the Kubernetes API: `serviceAccount` (default; the account of the pod that this runs in),
    /// `kubeConfig` (a kubeconfig file) or `none` (no credentials, and the certificate of the server is not checked).
    pub auth_type: String,

    /// The context of the kubeconfig file. Default: its current context. Only for `auth_type: kubeConfig`.
    pub context: String,

    /// The kubeconfig file. Default: what `KUBECONFIG` names, else `.kube/config` in the home folder. Only for
    /// `auth_type: kubeConfig`.
    pub kube_config_path: String,

    /// Requests a second to the API after a burst. Default 5, which 0 means too; a negative number means no limit.
    pub kube_api_qps: f64,

    /// Requests that may follow one another without a pause. Default 10, which 0 means too.
    pub kube_api_burst: u32,

    /// Only adds `k8s.pod.ip` from the connection and asks no API: a processor in the next collector does the rest.
    /// Default false.
    pub passthrough: bool,

    /// What to add.
    pub extract: ExtractConfig,

    /// Which pods to watch.
    pub filter: FilterConfig,

    /// How to find the pod of a resource. Of the rules the first whose sources all have a value decides, whether it
    /// finds a pod or not. Default: by `k8s.pod.ip`, `ip`, the address of the connection, or `host.name` if that is an
    /// address.
    pub pod_association: Vec<AssociationConfig>,

    /// Which pods to leave alone.
    pub exclude: ExcludeConfig,

    /// Whether the start waits until everything has been listed. Default false: telemetry flows at once, and is not
    /// enriched until then.
    pub wait_for_metadata: bool,

    /// How long the start waits at most; it fails when that is not enough. Default `10s`. Only with
    /// `wait_for_metadata: true`.
    pub wait_for_metadata_timeout: Duration,

    /// How often the pods that are known are indexed anew, without asking the API. Default `5m`; `0s`: never.
    pub watch_sync_period: Duration,

    /// How long what was deleted can still be found: its last telemetry arrives later. Default `120s`; `0s`: not at all.
    pub pod_delete_grace_period: Duration,

    /// Which generation of the semantic conventions names attributes: `v1` (default: `k8s.pod.label.<key>`,
    /// `container.image.tags`), `v0` (`k8s.pod.labels.<key>`, `container.image.tag`) or `both`. Stands for the feature
    /// gates `processor.k8sattributes.EmitV1K8sConventions` and `...DontEmitV0K8sConventions`, which say what is the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub semantic_conventions: Option<Conventions>,
}

/// Which pods to leave alone.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExcludeConfig {
    /// Pods by name. An empty list stands for `jaeger-agent` and `jaeger-collector`.
    pub pods: Vec<ExcludedPodConfig>,
}

/// Pods to leave alone, by name.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExcludedPodConfig {
    /// A regular expression, which matches anywhere in the name unless it is anchored.
    pub name: String,
}

/// A generation of the semantic conventions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Conventions {
    /// The names before the conventions became stable.
    V0,
    /// The stable names.
    #[default]
    V1,
    /// Both, while dashboards move from one to the other.
    Both,
}

impl Conventions {
    /// Whether the old names are written.
    pub const fn old(self) -> bool {
        matches!(self, Self::V0 | Self::Both)
    }

    /// Whether the stable names are written.
    pub const fn stable(self) -> bool {
        matches!(self, Self::V1 | Self::Both)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            auth_type: Api::of_service_account().auth_type,
            context: String::new(),
            kube_config_path: String::new(),
            kube_api_qps: 5.0,
            kube_api_burst: 10,
            passthrough: false,
            extract: ExtractConfig::default(),
            filter: FilterConfig::default(),
            pod_association: Vec::new(),
            exclude: ExcludeConfig::default(),
            wait_for_metadata: false,
            wait_for_metadata_timeout: Duration::from_secs(10),
            watch_sync_period: Duration::from_secs(300),
            pod_delete_grace_period: Duration::from_secs(120),
            semantic_conventions: None,
        }
    }
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        self.validate_access(problems);
        problems.at("extract", |problems| self.extract.validate(self.conventions(), problems));
        problems.nested("filter", &self.filter);
        problems.at("pod_association", |problems| association::validate(&self.pod_association, problems));
        problems.nested("exclude", &self.exclude);
    }
}

impl Config {
    /// The conventions that name attributes, where no feature gate says otherwise.
    pub(crate) fn conventions(&self) -> Conventions {
        self.semantic_conventions.unwrap_or_default()
    }

    /// Where the API is, and who asks.
    pub(crate) fn api(&self) -> Api {
        Api {
            auth_type: self.auth_type.clone(),
            context: self.context.clone(),
            kube_config_path: self.kube_config_path.clone(),
        }
    }

    fn validate_access(&self, problems: &mut Problems) {
        self.api().validate(!self.passthrough, problems);
        if !self.kube_api_qps.is_finite() {
            problems.error_at("kube_api_qps", "kube_api_qps must be a finite number");
        }
        if self.wait_for_metadata && self.wait_for_metadata_timeout.is_zero() {
            let message = "wait_for_metadata_timeout must be greater than 0 with wait_for_metadata";
            problems.error_at("wait_for_metadata_timeout", message);
        }
    }
}

impl Validate for ExcludeConfig {
    fn validate(&self, problems: &mut Problems) {
        problems.at("pods", |problems| {
            for (index, pod) in self.pods.iter().enumerate() {
                if let Err(error) = regex::Regex::new(&pod.name) {
                    let message = format!("invalid regex pattern for exclude pod name {:?}", pod.name);
                    problems.at(index, |problems| {
                        problems.error_at("name", message).help(error.to_string());
                    });
                }
            }
        });
    }
}

/// What to write instead of `name`.
pub(crate) fn suggestion(name: &str, valid: &[&'static str]) -> String {
    match nearest(name, valid.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("one of {}", valid.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(yaml: &str) -> String {
        let config: Config = spanbridge_config::from_yaml(yaml).unwrap_or_else(|e| panic!("{e}"));
        let mut problems = Problems::new();
        config.validate(&mut problems);
        let line = |problem: spanbridge_component::Problem| {
            let help = problem.help.map(|help| format!("\n    help: {}", help.replace('\n', "\n    ")));
            let severity = format!("{:?}", problem.severity).to_lowercase();
            format!("{severity} {}: {}{}", problem.path.join("."), problem.message, help.unwrap_or_default())
        };
        problems.into_found().into_iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn every_mistake_is_reported_where_it_stands() {
        let wrong = "\
auth_type: serviceAcount
context: edge
wait_for_metadata: true
wait_for_metadata_timeout: 0s
extract:
  metadata: [k8s.pod.nam, container.image.tag]
  deployment_name_from_replicaset: true
  labels:
    - {key: a, key_regex: b}
    - {tag_name: nothing}
    - {key: a, from: pods}
    - {key_regex: '('}
    - {key_regex: 'a)(b'}
    - {key_regex: a.*, tag_name: unused}
filter:
  node_from_env_var: SPANBRIDGE_TEST_THAT_IS_NOT_SET
  namespace: [Shop, '']
  labels: [{key: a, op: exist}, {value: b}, {key: a, value: b, op: exists}, {key: 'a,b'}]
  fields: [{key: a, op: exists}]
pod_association:
  - sources: [{from: conection}, {from: resource_attribute}]
  - sources: []
  - sources: [{from: connection}, {from: connection}, {from: connection}, {from: connection}, {from: connection}]
  - sources: [{from: resource_attribute, name: a}, {from: resource_attribute, name: b}]
  - sources: [{from: resource_attribute, name: b}, {from: resource_attribute, name: a}]
exclude:
  pods: [{name: '['}]
";
        insta::assert_snapshot!(problems(wrong));
    }

    #[test]
    fn certificates_come_from_a_file_and_their_absence_is_warned_about() {
        assert_eq!(
            problems("auth_type: tls"),
            "error auth_type: invalid authType for kubernetes: tls\n    help: client certificates come from a kubeconfig \
             file: auth_type: kubeConfig"
        );
        assert!(problems("auth_type: none").starts_with("warning auth_type: with auth_type \"none\""));
        assert_eq!(problems("{auth_type: none, passthrough: true}"), "");
    }

    #[test]
    fn a_namespace_is_a_text_or_a_list() {
        let of = |yaml: &str| {
            let config: Config = spanbridge_config::from_yaml(yaml).unwrap_or_else(|e| panic!("{e}"));
            config.filter.namespace.0
        };
        assert_eq!(of("filter: {namespace: a}"), ["a"]);
        assert_eq!(of("filter: {namespace: [a, b]}"), ["a", "b"]);
        assert_eq!(of("filter: {namespace: ''}"), [""; 0]);
        assert_eq!(of("filter: {namespace: }"), [""; 0]);
    }

    #[test]
    fn the_examples_are_valid() {
        for yaml in [include_str!("../testdata/every_key.yaml"), include_str!("../testdata/minimal.yaml")] {
            assert_eq!(problems(yaml), "");
        }
    }
}
