//! What a component needs to be allowed to do in a Kubernetes cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One thing that is done to one sort of objects.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Need {
    group: String,
    resource: String,
    verb: String,
}

/// What a component, or a whole configuration, needs from the Kubernetes API, and nothing beyond it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions {
    cluster: BTreeSet<Need>,
    namespaces: BTreeMap<String, BTreeSet<Need>>,
}

/// A rule of a `Role` or `ClusterRole`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The API group; empty for the core one.
    pub api_group: String,
    /// Such as `pods`; sorted.
    pub resources: Vec<String>,
    /// Such as `list`; sorted.
    pub verbs: Vec<String>,
}

impl Permissions {
    /// None at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing is needed.
    pub fn is_empty(&self) -> bool {
        self.cluster.is_empty() && self.namespaces.is_empty()
    }

    /// Needs `verbs` on `resource` of the API group `group` (empty for the core one): in `namespace`, or in the whole
    /// cluster.
    pub fn need(&mut self, namespace: Option<&str>, group: &str, resource: &str, verbs: &[&str]) {
        let needs = match namespace {
            Some(namespace) => self.namespaces.entry(namespace.to_owned()).or_default(),
            None => &mut self.cluster,
        };
        needs.extend(verbs.iter().map(|verb| Need {
            group: group.to_owned(),
            resource: resource.to_owned(),
            verb: (*verb).to_owned(),
        }));
    }

    /// Needs what `other` needs, too.
    pub fn merge(&mut self, other: Self) {
        self.cluster.extend(other.cluster);
        for (namespace, needs) in other.namespaces {
            self.namespaces.entry(namespace).or_default().extend(needs);
        }
    }

    /// The rules of the `ClusterRole`; empty if there need be none.
    pub fn cluster(&self) -> Vec<Rule> {
        rules(self.cluster.iter())
    }

    /// The rules of the `Role` in each namespace: what the `ClusterRole` does not grant already.
    pub fn namespaces(&self) -> impl Iterator<Item = (&str, Vec<Rule>)> {
        let roles = self
            .namespaces
            .iter()
            .map(|(namespace, needs)| (namespace.as_str(), rules(needs.difference(&self.cluster))));
        roles.filter(|(_, rules)| !rules.is_empty())
    }
}

/// The fewest rules: one for all resources of a group on which the same is done.
fn rules<'a>(needs: impl Iterator<Item = &'a Need>) -> Vec<Rule> {
    let mut verbs: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for need in needs {
        verbs.entry((&need.group, &need.resource)).or_default().push(&need.verb);
    }
    let mut resources: BTreeMap<(&str, Vec<&str>), Vec<&str>> = BTreeMap::new();
    for ((group, resource), verbs) in verbs {
        resources.entry((group, verbs)).or_default().push(resource);
    }
    let owned = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect();
    let rule = |((group, verbs), resources): ((&str, _), _)| Rule {
        api_group: group.to_owned(),
        resources: owned(resources),
        verbs: owned(verbs),
    };
    resources.into_iter().map(rule).collect()
}

/// On one line, as it can be put into a manifest.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list =
            |texts: &[String]| texts.iter().map(|text| format!("\"{text}\"")).collect::<Vec<_>>().join(", ");
        let (resources, verbs) = (list(&self.resources), list(&self.verbs));
        write!(f, "{{apiGroups: [\"{}\"], resources: [{resources}], verbs: [{verbs}]}}", self.api_group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(rules: &[Rule]) -> Vec<String> {
        rules.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn resources_on_which_the_same_is_done_share_a_rule() {
        let mut permissions = Permissions::new();
        permissions.need(None, "", "pods", &["watch", "list"]);
        permissions.need(None, "", "nodes", &["list", "watch"]);
        permissions.need(None, "", "secrets", &["get"]);
        permissions.need(None, "apps", "replicasets", &["list"]);
        permissions.need(None, "apps", "replicasets", &["list"]);
        assert_eq!(
            shown(&permissions.cluster()),
            [
                r#"{apiGroups: [""], resources: ["secrets"], verbs: ["get"]}"#,
                r#"{apiGroups: [""], resources: ["nodes", "pods"], verbs: ["list", "watch"]}"#,
                r#"{apiGroups: ["apps"], resources: ["replicasets"], verbs: ["list"]}"#,
            ]
        );
        assert_eq!(permissions.namespaces().count(), 0);
    }

    #[test]
    fn a_role_holds_only_what_the_cluster_role_does_not() {
        let mut permissions = Permissions::new();
        permissions.need(Some("shop"), "", "pods", &["list", "watch"]);
        permissions.need(Some("shop"), "", "endpoints", &["list"]);
        permissions.need(Some("bank"), "", "pods", &["list"]);
        let mut other = Permissions::new();
        assert!(other.is_empty());
        other.need(None, "", "pods", &["list"]);
        permissions.merge(other);
        let roles: Vec<_> = permissions.namespaces().map(|(name, rules)| (name, shown(&rules))).collect();
        let endpoints = r#"{apiGroups: [""], resources: ["endpoints"], verbs: ["list"]}"#.to_owned();
        let pods = r#"{apiGroups: [""], resources: ["pods"], verbs: ["watch"]}"#.to_owned();
        assert_eq!(roles, [("shop", vec![endpoints, pods])]);
    }
}
