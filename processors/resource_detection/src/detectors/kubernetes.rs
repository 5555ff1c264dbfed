//! `k8s_api`: the node and the cluster that this runs in, by asking the Kubernetes API.

use spanbridge_component::Permissions;
use spanbridge_kubernetes::{Access, Client, Failure, Object, Query, Resource, get};

use crate::config::{Config, KubernetesConfig};
use crate::found::{Collector, Found, Table};
use crate::world::World;

/// The attributes, and which of them are added by default.
pub(crate) const TABLE: &Table =
    &[("k8s.node.name", true), ("k8s.node.uid", true), ("k8s.cluster.uid", true)];

/// The namespace whose UID stands for the cluster.
const KUBE_SYSTEM: &str = "kube-system";
/// How requests name this program.
const USER_AGENT: &str = concat!("spanbridge/", env!("CARGO_PKG_VERSION"));

pub(super) async fn detect(
    block: &KubernetesConfig,
    config: &Config,
    world: &World,
) -> Result<Found, String> {
    let name = world.variable(block.variable()).unwrap_or_default();
    let access = Access::new(&block.api(), USER_AGENT);
    let client =
        access.client().await.map_err(|error| format!("failed to create K8s API client: {error}"))?;
    match ask(block, &client, &name).await {
        Ok(found) => Ok(found),
        Err(problem) if config.fail_on_missing_metadata => Err(problem),
        Err(problem) => {
            tracing::warn!(error = problem, "the k8s_api detector finds nothing");
            Ok(Found::default())
        }
    }
}

async fn ask(block: &KubernetesConfig, client: &Client, name: &str) -> Result<Found, String> {
    let mut found = Collector::new(&block.resource_attributes, TABLE);
    if found.wants("k8s.node.name") || found.wants("k8s.node.uid") {
        let node: Object = get(client, Resource::NODES, name)
            .await
            .map_err(|failure| said(&failure, Resource::NODES, name))?;
        found.text("k8s.node.name", node.metadata.name);
        found.text("k8s.node.uid", node.metadata.uid);
    }
    if found.wants("k8s.cluster.uid") {
        let namespace: Result<Object, _> = get(client, Resource::NAMESPACES, KUBE_SYSTEM).await;
        match namespace {
            Ok(namespace) => found.text("k8s.cluster.uid", namespace.metadata.uid),
            // It came later than the others: roles may not have it.
            Err(failure @ (Failure::Forbidden(_) | Failure::Unauthorized(_))) => {
                let problem = said(&failure, Resource::NAMESPACES, KUBE_SYSTEM);
                tracing::warn!(error = problem, "k8s.cluster.uid is left out");
            }
            Err(failure) => return Err(said(&failure, Resource::NAMESPACES, KUBE_SYSTEM)),
        }
    }
    Ok(found.finish())
}

/// Adds what this detector asks for.
pub(super) fn need(block: &KubernetesConfig, needed: &mut Permissions) {
    let found = Collector::new(&block.resource_attributes, TABLE);
    if found.wants("k8s.node.name") || found.wants("k8s.node.uid") {
        need_object(Resource::NODES, needed);
    }
    if found.wants("k8s.cluster.uid") {
        need_object(Resource::NAMESPACES, needed);
    }
}

/// Adds the reading of single objects.
pub(super) fn need_object(resource: Resource, needed: &mut Permissions) {
    needed.need(None, resource.group, resource.plural, &["get"]);
}

/// What failed, of which object.
pub(super) fn said(failure: &Failure, resource: Resource, name: &str) -> String {
    format!("{name:?}: {}", failure.describe("get", &Query::all(resource)))
}

#[cfg(test)]
mod tests {
    use axum::extract::Path;
    use axum::http::StatusCode;
    use axum::routing;
    use serde_json::json;
    use spanbridge_pdata::Value;

    use super::*;
    use crate::world::tests::serve;

    /// An API server that has the node `node-1`, and namespaces if `with_namespaces`.
    async fn api(with_namespaces: bool) -> String {
        let node = |Path(name): Path<String>| async move {
            if name == "node-1" {
                (StatusCode::OK, json!({"metadata": {"name": name, "uid": "uid-1"}}).to_string())
            } else {
                (StatusCode::NOT_FOUND, json!({"code": 404, "message": "nodes not found"}).to_string())
            }
        };
        let namespace = move |Path(name): Path<String>| async move {
            if with_namespaces {
                (StatusCode::OK, json!({"metadata": {"name": name, "uid": "uid-of-cluster"}}).to_string())
            } else {
                (StatusCode::FORBIDDEN, json!({"code": 403, "message": "no"}).to_string())
            }
        };
        let router = axum::Router::new()
            .route("/api/v1/nodes/{name}", routing::get(node))
            .route("/api/v1/namespaces/{name}", routing::get(namespace));
        serve(router).await
    }

    async fn found(base: &str, node: &str, fails: bool) -> Result<Vec<(String, Value)>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubeconfig");
        let text = format!(
            "{{apiVersion: v1, kind: Config, current-context: t, contexts: [{{name: t, context: {{cluster: c, user: u}}}}], \
             clusters: [{{name: c, cluster: {{server: '{base}'}}}}], users: [{{name: u, user: {{token: t}}}}]}}"
        );
        std::fs::write(&path, text).unwrap();
        let config = Config {
            k8s_api: KubernetesConfig {
                auth_type: "kubeConfig".into(),
                kube_config_path: path.display().to_string(),
                ..KubernetesConfig::default()
            },
            fail_on_missing_metadata: fails,
            ..Config::default()
        };
        let world = World::made_up(dir.path(), &[("K8S_NODE_NAME", node)]);
        Ok(detect(&config.k8s_api, &config, &world).await?.0)
    }

    #[tokio::test]
    async fn the_node_and_the_cluster_are_found() {
        let found = found(&api(true).await, "node-1", true).await.unwrap();
        let expected =
            [("k8s.node.name", "node-1"), ("k8s.node.uid", "uid-1"), ("k8s.cluster.uid", "uid-of-cluster")];
        assert_eq!(found, expected.map(|(name, text)| (name.to_owned(), Value::from(text))));
    }

    #[tokio::test]
    async fn without_permission_for_the_namespace_only_the_cluster_is_left_out() {
        assert_eq!(found(&api(false).await, "node-1", true).await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn a_node_that_is_not_there_is_an_error_only_if_it_has_to_be_there() {
        let base = api(true).await;
        let error = found(&base, "node-2", true).await.unwrap_err();
        assert!(
            error.contains("\"node-2\": cannot get resource \"nodes\"") && error.contains("not found"),
            "{error}"
        );
        assert_eq!(found(&base, "node-2", false).await.unwrap(), []);
    }
}
