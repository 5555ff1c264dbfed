//! How to find the pod of a resource.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanbridge_component::Problems;

use super::suggestion;

/// Sources of one rule at most.
const MAX_SOURCES: usize = 4;

const FROM: [&str; 2] = ["resource_attribute", "connection"];

/// One rule: its sources together identify a pod.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AssociationConfig {
    /// Up to four; all must have a value for the rule to decide.
    pub sources: Vec<AssociationSourceConfig>,
}

/// Where a part of the identification comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AssociationSourceConfig {
    /// `resource_attribute` or `connection` (the address of the peer).
    pub from: String,

    /// The attribute; required for `resource_attribute`. Its value must be a text. `host.name` counts only if it is an
    /// address. An attribute that is not `k8s.namespace.name`, `k8s.pod.name`, `k8s.pod.uid`, `k8s.pod.ip`, `host.name`
    /// or `container.id` has to be extracted as well.
    pub name: String,
}

pub(super) fn validate(associations: &[AssociationConfig], problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    for (index, association) in associations.iter().enumerate() {
        problems.at(index, |problems| {
            let count = association.sources.len();
            if count == 0 {
                problems.error_at("sources", "an association needs at least one source");
            } else if count > MAX_SOURCES {
                problems.error_at("sources", format!("too many association sources. limit is {MAX_SOURCES}"));
            }
            problems.at("sources", |problems| {
                for (index, source) in association.sources.iter().enumerate() {
                    problems.at(index, |problems| source.validate(problems));
                }
            });
            let sources: BTreeSet<_> = association.sources.iter().map(AssociationSourceConfig::key).collect();
            if !seen.insert(sources) {
                problems
                    .error("duplicate pod_association: an earlier rule has the same sources")
                    .help("remove it: an earlier rule whose sources have values always decides");
            }
        });
    }
}

impl AssociationSourceConfig {
    /// What tells it from others: the name plays no part for a connection.
    fn key(&self) -> (&str, &str) {
        (&self.from, if self.from == "connection" { "" } else { &self.name })
    }

    fn validate(&self, problems: &mut Problems) {
        match self.from.as_str() {
            "resource_attribute" if self.name.is_empty() => {
                problems
                    .error("a source from \"resource_attribute\" needs a name")
                    .help("name the attribute that identifies the pod, for example name: k8s.pod.uid");
            }
            "resource_attribute" | "connection" => {}
            other => {
                let message = format!("{other:?} is not a valid choice for from");
                problems.error_at("from", message).help(suggestion(other, &FROM));
            }
        }
    }
}
