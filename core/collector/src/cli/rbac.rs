//! `k8s rbac`: the roles that a configuration needs in a Kubernetes cluster.

use std::str::FromStr;

use serde_json::{Value, json};
use spanbridge_component::{Permissions, Rule};
use spanbridge_config::to_yaml;
use spanbridge_service::{Config, Registry};

use super::{RbacArgs, load, print};
use crate::Error;

const API_GROUP: &str = "rbac.authorization.k8s.io";
const API_VERSION: &str = "rbac.authorization.k8s.io/v1";
/// Longest name of an object.
const NAME_LENGTH_MAX: usize = 253;

/// The account that the collector runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServiceAccount {
    namespace: String,
    name: String,
}

/// Prints the roles. The configuration is decoded and not validated: the files and variables that it names are in the
/// cluster, and this may run anywhere.
pub(super) fn print_roles(registry: &Registry, args: RbacArgs) -> Result<(), Error> {
    check_name(&args.name).map_err(Error::Usage)?;
    let document = load(args.sources)?;
    let (config, _) = Config::decode(&document, registry).map_err(Error::Config)?;
    let needed = config.permissions().map_err(|error| Error::Usage(error.to_string()))?;
    if needed.is_empty() {
        return print("# This configuration asks nothing of the Kubernetes API: it needs no role.\n");
    }
    let manifests = manifests(&needed, &args.name, args.service_account.as_ref());
    let texts: Vec<String> = manifests.iter().map(to_yaml).collect();
    print(&texts.join("---\n"))
}

/// The objects in the order in which they can be applied.
fn manifests(needed: &Permissions, name: &str, account: Option<&ServiceAccount>) -> Vec<Value> {
    let mut made = Vec::new();
    let cluster = needed.cluster();
    if !cluster.is_empty() {
        let metadata = json!({ "name": name });
        made.push(role("ClusterRole", &metadata, &cluster));
        made.extend(account.map(|account| binding("ClusterRole", &metadata, name, account)));
    }
    for (namespace, rules) in needed.namespaces() {
        let metadata = json!({ "name": name, "namespace": namespace });
        made.push(role("Role", &metadata, &rules));
        made.extend(account.map(|account| binding("Role", &metadata, name, account)));
    }
    made
}

fn role(kind: &str, metadata: &Value, rules: &[Rule]) -> Value {
    let rule = |rule: &Rule| json!({ "apiGroups": [rule.api_group], "resources": rule.resources, "verbs": rule.verbs });
    let rules: Vec<Value> = rules.iter().map(rule).collect();
    json!({ "apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "rules": rules })
}

fn binding(role: &str, metadata: &Value, name: &str, account: &ServiceAccount) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": format!("{role}Binding"),
        "metadata": metadata,
        "roleRef": { "apiGroup": API_GROUP, "kind": role, "name": name },
        "subjects": [{ "kind": "ServiceAccount", "name": account.name, "namespace": account.namespace }],
    })
}

impl FromStr for ServiceAccount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (namespace, name) =
            text.split_once('/').ok_or_else(|| format!("\"{text}\" is not of the form NAMESPACE/NAME"))?;
        check_name(namespace)?;
        check_name(name)?;
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

/// Whether objects may be called so: a DNS name (RFC 1123).
fn check_name(name: &str) -> Result<(), String> {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_name = name.len() <= NAME_LENGTH_MAX
        && name.starts_with(is_inner)
        && name.ends_with(is_inner)
        && name.chars().all(|c| is_inner(c) || matches!(c, '-' | '.'));
    if is_name {
        Ok(())
    } else {
        Err(format!("\"{name}\" is no name of a Kubernetes object: lowercase letters, digits, '-' and '.'"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_a_namespace_and_a_name() {
        let account = ServiceAccount { namespace: "observability".into(), name: "edge".into() };
        assert_eq!("observability/edge".parse(), Ok(account));
        for text in ["edge", "/edge", "observability/", "a/b/c", "Observability/edge", "a/-b"] {
            assert!(text.parse::<ServiceAccount>().is_err(), "{text}");
        }
    }

    #[test]
    fn whoever_has_an_account_gets_a_binding_beside_each_role() {
        let mut needed = Permissions::new();
        needed.need(None, "", "nodes", &["get"]);
        needed.need(Some("shop"), "", "pods", &["list"]);
        let account = ServiceAccount { namespace: "observability".into(), name: "edge".into() };
        let kinds = |account| {
            let made = manifests(&needed, "mine", account);
            made.iter().map(|made| made["kind"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(kinds(None), ["ClusterRole", "Role"]);
        assert_eq!(kinds(Some(&account)), ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"]);
    }
}
