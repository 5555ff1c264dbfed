//! Objects as the API server takes them.

use serde_json::{Value as Json, json};

/// A running pod of the deployment `web` on `node-1`.
pub(super) fn pod(name: &str, ip: &str) -> Json {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "shop",
            "labels": {"app": "web", "pod-template-hash": "5d4f8c7b9"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d4f8c7b9",
                "uid": "uid-web-5d4f8c7b9", "controller": true}],
        },
        "spec": {"nodeName": "node-1", "containers": [{"name": "main", "image": "registry:5000/web:1.2"}]},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "startTime": "2026-01-02T03:04:06Z"},
    })
}

/// The same in the network of its host.
pub(super) fn pod_on_host(name: &str, ip: &str) -> Json {
    let mut pod = pod(name, ip);
    pod["spec"]["hostNetwork"] = true.into();
    pod["status"]["hostIP"] = ip.into();
    pod["status"]["hostIPs"] = json!([{"ip": ip}]);
    pod
}

/// A deployment in the namespace `shop` with this label `team`.
pub(super) fn deployment(name: &str, team: &str) -> Json {
    let mut deployment = replica_set(name, None);
    deployment["kind"] = "Deployment".into();
    deployment["metadata"]["labels"] = json!({"team": team});
    deployment
}

/// A replica set in the namespace `shop`, controlled by the deployment with this name and uid.
pub(super) fn replica_set(name: &str, deployment: Option<(&str, &str)>) -> Json {
    let owners: Vec<Json> = deployment
        .map(|(name, uid)| {
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": uid, "controller": true})
        })
        .into_iter()
        .collect();
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": name, "namespace": "shop", "ownerReferences": owners},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "registry:5000/web:1.2"}]},
            },
        },
    })
}

/// A node with this label `team`.
pub(super) fn node(name: &str, team: &str) -> Json {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"team": team}}})
}
