//! What to add to resources.

use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanbridge_component::Problems;

use super::{Conventions, suggestion};
use crate::fields::Field;
use crate::resource::From;

/// What to add to resources.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExtractConfig {
    /// Attributes by name. A list replaces the defaults; an empty one means none of them. Default: `k8s.namespace.name`,
    /// `k8s.pod.name`, `k8s.pod.uid`, `k8s.pod.start_time`, `k8s.deployment.name`, `k8s.node.name`,
    /// `container.image.name` and `container.image.tags` (with the old conventions `container.image.tag`).
    pub metadata: Option<Vec<String>>,

    /// Labels to add.
    pub labels: Vec<FieldRuleConfig>,

    /// Annotations to add.
    pub annotations: Vec<FieldRuleConfig>,

    /// Whether a pod's annotation `resource.opentelemetry.io/<name>` becomes the attribute `<name>`. Default false.
    pub otel_annotations: bool,

    /// Where the name of a deployment comes from. Default, and with true: from the name of the replica set and the
    /// pod's label `pod-template-hash`. With false replica sets are watched for it. The Go collector removed the key in
    /// 0.160.
    pub deployment_name_from_replicaset: Option<bool>,
}

/// Which labels or annotations to add, and under which names.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FieldRuleConfig {
    /// The name of the attribute. Default `k8s.<from>.label.<key>`, `k8s.<from>.annotation.<key>`. With a `key_regex`
    /// that has groups it may refer to them: `$1`, `${name}` (written `$$1`, `$${name}`); with one that has none it
    /// has no effect, which is warned about.
    pub tag_name: String,

    /// The label or annotation. It is added even when its value is empty.
    pub key: String,

    /// A regular expression for whole keys. What matches is added unless its value is empty.
    pub key_regex: String,

    /// Whose: `pod` (default), `namespace`, `node`, `deployment`, `replicaset`, `statefulset`, `daemonset`, `job`,
    /// `cronjob`.
    pub from: String,
}

impl ExtractConfig {
    pub(super) fn validate(&self, conventions: Conventions, problems: &mut Problems) {
        problems.at("metadata", |problems| {
            for (index, name) in self.metadata.iter().flatten().enumerate() {
                let place = index.to_string();
                match Field::parse(name) {
                    None => {
                        let message = format!("\"{name}\" is not a supported metadata field");
                        problems
                            .error_at(&place, message)
                            .help(suggestion(name, &Field::ALL.map(Field::name)));
                    }
                    Some(Field::ContainerImageTag) if !conventions.old() => {
                        problems.warn_at(
                            &place,
                            "container.image.tag is configured but will NOT be written by semantic_conventions v1",
                        );
                    }
                    Some(Field::ContainerImageTags) if !conventions.stable() => {
                        problems.warn_at(
                            &place,
                            "container.image.tags is configured but will NOT be written by semantic_conventions v0",
                        );
                    }
                    Some(_) => {}
                }
            }
        });
        for (key, rules) in [("labels", &self.labels), ("annotations", &self.annotations)] {
            problems.at(key, |problems| {
                for (index, rule) in rules.iter().enumerate() {
                    problems.at(index, |problems| rule.validate(problems));
                }
            });
        }
        if self.deployment_name_from_replicaset.is_some() {
            problems.warn_at(
                "deployment_name_from_replicaset",
                "the key was removed from the Go collector in 0.160; true is how it works without it",
            );
        }
    }
}

impl FieldRuleConfig {
    fn validate(&self, problems: &mut Problems) {
        let Self { tag_name, key, key_regex, from } = self;
        if !key.is_empty() && !key_regex.is_empty() {
            problems.error(format!(
                "Out of Key or KeyRegex only one option is expected to be configured at a time, currently Key:{key} and \
                 KeyRegex:{key_regex}"
            ));
        }
        if key.is_empty() && key_regex.is_empty() {
            problems.error("a rule needs a key or a key_regex");
        }
        if From::parse(from).is_none() {
            let names = From::ALL.map(From::name);
            let list = names.join(", ");
            problems
                .error_at("from", format!("{from} is not a valid choice for From. Must be one of: {list}"))
                .help(suggestion(from, &names));
        }
        match anchored(key_regex) {
            Err(error) => {
                problems
                    .error_at("key_regex", format!("invalid regular expression {key_regex:?}"))
                    .help(error.to_string());
            }
            Ok(regex) if !key_regex.is_empty() && !tag_name.is_empty() && regex.captures_len() == 1 => {
                problems.warn_at(
                    "tag_name",
                    "tag_name has no effect with a key_regex without groups; the default name is used",
                );
            }
            Ok(_) => {}
        }
    }
}

/// The regular expression for whole keys.
pub(crate) fn anchored(pattern: &str) -> Result<Regex, regex::Error> {
    // The pattern by itself must be sound, or `a)(b` would slip through.
    Regex::new(pattern)?;
    Regex::new(&format!("^(?:{pattern})$"))
}
