//! The permissions that a configuration needs.

use spanbridge_component::Permissions;
use spanbridge_kubernetes::WATCH_VERBS;

use crate::config::Config;
use crate::plan::Plan;

/// What `config` needs, and nothing beyond it.
///
/// # Errors
/// A regular expression of the configuration that is none.
pub fn permissions(config: &Config) -> Result<Permissions, regex::Error> {
    let mut needed = Permissions::new();
    for watch in &Plan::new(config)?.watches {
        let resource = watch.resource;
        needed.need(watch.namespace.as_deref(), resource.group(), resource.plural(), &WATCH_VERBS);
    }
    Ok(needed)
}

#[cfg(test)]
mod tests {
    use spanbridge_component::Rule;

    use super::*;

    fn needed(yaml: &str) -> (String, Vec<(String, String)>) {
        let config: Config = spanbridge_config::from_yaml(yaml).unwrap_or_else(|e| panic!("{e}"));
        let short = |rules: &[Rule]| {
            let rule = |rule: &Rule| {
                assert_eq!(rule.verbs, ["list", "watch"]);
                format!("{}/{}", rule.api_group, rule.resources.join("+"))
            };
            rules.iter().map(rule).collect::<Vec<_>>().join(" ")
        };
        let permissions = permissions(&config).unwrap();
        let namespaces = permissions.namespaces().map(|(name, rules)| (name.to_owned(), short(&rules)));
        (short(&permissions.cluster()), namespaces.collect())
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
