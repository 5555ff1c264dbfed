//! The keys of single detectors.

use std::collections::BTreeMap;

use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanbridge_component::Problems;
use spanbridge_config::{Duration, nearest};
use spanbridge_kubernetes::Api;

use crate::detectors::{aws, system};
use crate::found::Table;

/// Patterns of one list at most.
const PATTERNS_MAX: usize = 100;
/// Attempts of one request to the metadata service of EC2 at most.
const ATTEMPTS_MAX: u32 = 100;

/// Which attributes a detector adds, by their names.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Toggles(pub BTreeMap<String, ToggleConfig>);

/// Whether an attribute is added.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ToggleConfig {
    /// Default: as the detector's table in the documentation says.
    pub enabled: Option<bool>,
}

impl Toggles {
    /// Whether this attribute of `table` is wanted.
    pub(crate) fn is_on(&self, name: &str, table: &Table) -> bool {
        let default = table.iter().any(|(known, default)| *known == name && *default);
        self.0.get(name).and_then(|toggle| toggle.enabled).unwrap_or(default)
    }

    /// Reports attributes that are not in `table`.
    pub(crate) fn validate(&self, table: &'static Table, problems: &mut Problems) {
        problems.at("resource_attributes", |problems| {
            for name in self.0.keys().filter(|name| table.iter().all(|(known, _)| known != name)) {
                let known = table.iter().map(|(known, _)| *known);
                let help = match nearest(name, known.clone()) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => format!("one of {}", known.collect::<Vec<_>>().join(", ")),
                };
                problems.error_at(name, format!("this detector has no attribute \"{name}\"")).help(help);
            }
        });
    }
}

/// A detector with nothing to choose but its attributes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PlainConfig {
    /// Which attributes to add.
    pub resource_attributes: Toggles,
}

/// The `env` detector.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EnvConfig {
    /// Only these keys are taken. Default: all; an empty list: none.
    pub allowlist: Option<Vec<String>>,
}

/// The `system` detector.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SystemConfig {
    /// Where the name of the host comes from; the first source that has one counts: `dns` (the fully qualified name: from
    /// `/etc/hosts`, its canonical name, or its address looked up), `os`, `cname`, `lookup`. Default: `dns`, `os`.
    pub hostname_sources: Vec<String>,
    /// Which attributes to add.
    pub resource_attributes: Toggles,
}

impl Default for SystemConfig {
    fn default() -> Self {
        Self {
            hostname_sources: vec!["dns".to_owned(), "os".to_owned()],
            resource_attributes: Toggles::default(),
        }
    }
}

impl SystemConfig {
    pub(super) fn validate(&self, problems: &mut Problems) {
        problems.at("hostname_sources", |problems| {
            for (index, source) in self.hostname_sources.iter().enumerate() {
                if !system::SOURCES.contains(&source.as_str()) {
                    problems
                        .error_at(&index.to_string(), format!("invalid hostname source: \"{source}\""))
                        .help(format!("one of {}", system::SOURCES.join(", ")));
                }
            }
        });
    }
}

/// The `k8s_api` detector.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KubernetesConfig {
    /// How to reach the Kubernetes API: `serviceAccount` (default), `kubeConfig` or `none`.
    pub auth_type: String,
    /// The context of the kubeconfig file. Only for `auth_type: kubeConfig`.
    pub context: String,
    /// The kubeconfig file. Default: what `KUBECONFIG` names, else `.kube/config` in the home folder. Only for
    /// `auth_type: kubeConfig`.
    pub kube_config_path: String,
    /// The variable that holds the name of the node. Default `K8S_NODE_NAME`.
    pub node_from_env_var: String,
    /// Which attributes to add.
    pub resource_attributes: Toggles,
}

/// The variable when none is named.
const NODE_VARIABLE: &str = "K8S_NODE_NAME";

impl Default for KubernetesConfig {
    fn default() -> Self {
        Self {
            auth_type: Api::of_service_account().auth_type,
            context: String::new(),
            kube_config_path: String::new(),
            node_from_env_var: NODE_VARIABLE.to_owned(),
            resource_attributes: Toggles::default(),
        }
    }
}

impl KubernetesConfig {
    /// Where the API is, and who asks.
    pub(crate) fn api(&self) -> Api {
        Api {
            auth_type: self.auth_type.clone(),
            context: self.context.clone(),
            kube_config_path: self.kube_config_path.clone(),
        }
    }

    /// The variable with the node's name.
    pub(crate) fn variable(&self) -> &str {
        if self.node_from_env_var.is_empty() { NODE_VARIABLE } else { &self.node_from_env_var }
    }

    pub(super) fn validate(&self, is_used: bool, problems: &mut Problems) {
        self.api().validate(is_used, problems);
    }
}

/// The `ec2` detector.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AwsConfig {
    /// Tags of the instance to add, by regular expressions for their keys. Needs `tags_from_imds`. Default: none.
    pub tags: Vec<String>,
    /// Whether tags come from the metadata service, which has to be allowed for the instance. Default false, which is of no
    /// use here: the API of EC2 is not asked.
    pub tags_from_imds: bool,
    /// Attempts of one request to the metadata service. Default 3.
    pub max_attempts: u32,
    /// Longest pause between them. Default 20s.
    pub max_backoff: Duration,
    /// As the key of this name of the processor, for this detector. Deprecated.
    pub fail_on_missing_metadata: bool,
    /// Which attributes to add.
    pub resource_attributes: Toggles,
}

impl Default for AwsConfig {
    fn default() -> Self {
        Self {
            tags: Vec::new(),
            tags_from_imds: false,
            max_attempts: 3,
            max_backoff: Duration::from_secs(20),
            fail_on_missing_metadata: false,
            resource_attributes: Toggles::default(),
        }
    }
}

impl AwsConfig {
    pub(super) fn validate(&self, problems: &mut Problems) {
        validate_patterns("tags", &self.tags, problems);
        if !self.tags.is_empty() && !self.tags_from_imds {
            problems
                .error_at("tags", "tags come from the metadata service only: the API of EC2 is not asked")
                .help("write tags_from_imds: true, and allow tags in the instance's metadata options");
        }
        if !(1..=ATTEMPTS_MAX).contains(&self.max_attempts) {
            problems.error_at("max_attempts", format!("must be between 1 and {ATTEMPTS_MAX}"));
        }
        if self.fail_on_missing_metadata {
            let text = "deprecated: write fail_on_missing_metadata at the processor's own level";
            problems.warn_at("fail_on_missing_metadata", text);
        }
        self.resource_attributes.validate(aws::TABLE, problems);
    }
}

/// The `eks` detector.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EksConfig {
    /// The variable that holds the name of the node, of which the API is asked where the metadata service cannot be
    /// reached. Default: none, and the API is not asked.
    pub node_from_env_var: String,
    /// Which attributes to add.
    pub resource_attributes: Toggles,
}

/// The `azure` detector.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AzureConfig {
    /// Tags of the machine to add, by regular expressions for their keys. Default: none.
    pub tags: Vec<String>,
    /// Which attributes to add.
    pub resource_attributes: Toggles,
}

/// Reports patterns that are none.
pub(super) fn validate_patterns(key: &str, patterns: &[String], problems: &mut Problems) {
    if patterns.len() > PATTERNS_MAX {
        problems.error_at(key, format!("more than {PATTERNS_MAX} patterns"));
    }
    problems.at(key, |problems| {
        for (index, pattern) in patterns.iter().enumerate() {
            if let Err(error) = Regex::new(pattern) {
                problems
                    .error_at(&index.to_string(), format!("invalid pattern \"{pattern}\""))
                    .help(error.to_string());
            }
        }
    });
}
