//! The permissions that a configuration needs.

use std::collections::BTreeMap;

pub use spanbridge_kubernetes::Rule;

use crate::config::Config;
use crate::plan::Plan;
use crate::resource::Resource;

/// Everything that a configuration needs, by where it has to be granted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions {
    /// For a `ClusterRole`.
    pub cluster: Vec<Rule>,
    /// For a `Role` in each of these namespaces.
    pub namespaces: BTreeMap<String, Vec<Rule>>,
}

/// What `config` needs, and nothing beyond it.
///
/// # Errors
/// A regular expression of the configuration that is none.
pub fn permissions(config: &Config) -> Result<Permissions, regex::Error> {
    let plan = Plan::new(config)?;
    let mut needed = Permissions::default();
    for watch in &plan.watches {
        let rules = match &watch.namespace {
            Some(namespace) => needed.namespaces.entry(namespace.clone()).or_default(),
            None => &mut needed.cluster,
        };
        add(rules, watch.resource);
    }
    Ok(needed)
}

fn add(rules: &mut Vec<Rule>, resource: Resource) {
    let plural = resource.plural();
    if let Some(rule) = rules.iter_mut().find(|rule| rule.api_group == resource.group()) {
        if !rule.resources.contains(&plural) {
            rule.resources.push(plural);
            rule.resources.sort_unstable();
        }
        return;
    }
    rules.push(Rule::to_watch(resource.api()));
    rules.sort_by_key(|rule| rule.api_group);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needed(yaml: &str) -> (String, Vec<(String, String)>) {
        let config: Config = spanbridge_config::from_yaml(yaml).unwrap_or_else(|e| panic!("{e}"));
        let short = |rules: &[Rule]| {
            let rule = |rule: &Rule| format!("{}/{}", rule.api_group, rule.resources.join("+"));
            rules.iter().map(rule).collect::<Vec<_>>().join(" ")
        };
        let permissions = permissions(&config).unwrap();
        let namespaces = permissions.namespaces.iter().map(|(name, rules)| (name.clone(), short(rules)));
        (short(&permissions.cluster), namespaces.collect())
    }

    #[test]
    fn every_configuration_needs_just_what_it_watches() {
        for (yaml, cluster) in [
            ("{}", "/pods"),
            ("passthrough: true", ""),
            ("filter: {node: n}", "/pods"),
            ("extract: {metadata: [k8s.cluster.uid]}", "/namespaces+pods"),
            ("extract: {metadata: [k8s.node.uid]}", "/nodes+pods"),
            ("extract: {metadata: [k8s.deployment.name]}", "/pods"),
            ("extract: {metadata: [k8s.deployment.uid]}", "/pods apps/replicasets"),
            ("extract: {deployment_name_from_replicaset: false}", "/pods apps/replicasets"),
            ("extract: {labels: [{key: a, from: deployment}]}", "/pods apps/deployments+replicasets"),
            ("extract: {labels: [{key: a, from: cronjob}]}", "/pods batch/cronjobs+jobs"),
            ("extract: {annotations: [{key: a, from: job}, {key: a, from: node}]}", "/nodes+pods batch/jobs"),
        ] {
            assert_eq!(needed(yaml), (cluster.to_owned(), vec![]), "{yaml}");
        }
    }

    #[test]
    fn in_namespaces_a_role_suffices_for_what_is_in_them() {
        let (cluster, namespaces) =
            needed("{filter: {namespace: [a, b]}, extract: {metadata: [k8s.deployment.uid, k8s.node.uid]}}");
        assert_eq!(cluster, "/nodes");
        let role = "/pods apps/replicasets".to_owned();
        assert_eq!(namespaces, [("a".to_owned(), role.clone()), ("b".to_owned(), role)]);
    }
}
