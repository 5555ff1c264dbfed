//! What becomes of telemetry while pods come and go.

use super::*;

const DEFAULTS: [(&str, &str); 7] = [
    ("k8s.namespace.name", "shop"),
    ("k8s.pod.name", "web-1"),
    ("k8s.pod.uid", "uid-web-1"),
    ("k8s.pod.start_time", "2026-01-02T03:04:05Z"),
    ("k8s.deployment.name", "web"),
    ("k8s.node.name", "node-1"),
    ("container.image.name", "registry:5000/web"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_created_after_its_first_span_is_known_from_then_on() {
    let mut cluster = Cluster::with(Api::start().await, "");
    assert!(cluster.enriched(&[]).await.is_empty(), "nothing is known yet, and nothing is held up");
    cluster.api.put("pods", pod("web-1", &HERE.to_string()));
    cluster.until(&[], "k8s.pod.name", Some("web-1")).await;

    let enriched = cluster.enriched(&[("k8s.node.name", "mine"), ("k8s.pod.uid", "")]).await;
    let text = |key: &str| data::text_of(&enriched, key);
    for (key, value) in DEFAULTS {
        assert_eq!(text(key), Some(if key == "k8s.node.name" { "mine" } else { value }), "{key}");
    }
    assert_eq!(enriched.len(), DEFAULTS.len() + 1, "{enriched:?}");
    assert_eq!(enriched.last().map(|attribute| attribute.key.as_str()), Some("container.image.tags"));
    cluster.collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_pod_is_known_for_its_grace_period_and_no_longer() {
    let api = Api::start().await;
    api.put("pods", pod("web-1", "10.0.0.1"));
    let mut cluster = Cluster::with(api, ", pod_delete_grace_period: 2s");
    let from = [("k8s.pod.ip", "10.0.0.1")];
    cluster.until(&from, "k8s.pod.name", Some("web-1")).await;
    let deleted = Instant::now();
    cluster.api.store().delete("pods", "shop", "web-1");
    cluster.api.put("pods", pod("web-2", "10.0.0.2"));
    cluster.until(&[("k8s.pod.ip", "10.0.0.2")], "k8s.pod.name", Some("web-2")).await;
    if deleted.elapsed() < Duration::from_secs(1) {
        let enriched = cluster.enriched(&from).await;
        assert_eq!(data::text_of(&enriched, "k8s.pod.name"), Some("web-1"), "its last spans come later");
    }
    cluster.until(&from, "k8s.pod.name", None).await;
    assert!(deleted.elapsed() >= Duration::from_secs(2));
    cluster.collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_used_again_belongs_to_the_new_pod() {
    let api = Api::start().await;
    api.put("pods", pod("old", "10.0.0.1"));
    let mut cluster = Cluster::with(api, "");
    let from = [("k8s.pod.ip", "10.0.0.1")];
    cluster.until(&from, "k8s.pod.name", Some("old")).await;
    let mut new = pod("new", "10.0.0.1");
    new["status"]["startTime"] = "2026-01-02T04:00:00Z".into();
    cluster.api.put("pods", new);
    cluster.until(&from, "k8s.pod.name", Some("new")).await;
    // Late news of the former owner, and its end, change nothing.
    cluster.api.put("pods", pod("old", "10.0.0.1"));
    cluster.api.store().delete("pods", "shop", "old");
    cluster.api.put("pods", pod("other", "10.0.0.9"));
    cluster.until(&[("k8s.pod.ip", "10.0.0.9")], "k8s.pod.name", Some("other")).await;
    assert_eq!(data::text_of(&cluster.enriched(&from).await, "k8s.pod.name"), Some("new"));
    cluster.collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_the_host_network_are_found_by_their_uid_and_not_by_the_address_they_share() {
    let api = Api::start().await;
    let mut on_host = pod("agent", &HERE.to_string());
    on_host["spec"]["hostNetwork"] = true.into();
    api.put("pods", on_host);
    let by_uid = ", pod_association: [{sources: [{from: resource_attribute, name: k8s.pod.uid}]}, {sources: [{from: \
                  connection}]}]";
    let mut cluster = Cluster::with(api, by_uid);
    cluster.until(&[("k8s.pod.uid", "uid-agent")], "k8s.pod.name", Some("agent")).await;
    assert_eq!(data::text_of(&cluster.enriched(&[]).await, "k8s.pod.name"), None);
    let decided = cluster.enriched(&[("k8s.pod.uid", "unknown")]).await;
    assert_eq!(data::text_of(&decided, "k8s.pod.name"), None, "the first rule that has values decides");
    cluster.collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn workloads_nodes_and_namespaces_add_what_the_rules_ask_for() {
    let api = Api::start().await;
    let labelled = |name: &str, namespace: &str, label: &str| {
        json!({"metadata": {"name": name, "namespace": namespace, "uid": format!("uid-{name}"),
            "labels": {"team": label}}})
    };
    api.put("namespaces", labelled("shop", "", "sales"));
    api.put("namespaces", labelled("kube-system", "", ""));
    api.put("nodes", labelled("node-1", "", "rack-7"));
    api.put("deployments", labelled("web", "shop", "frontend"));
    let mut set = labelled("web-5d4f8c7b9", "shop", "");
    set["metadata"]["ownerReferences"] =
        json!([{"kind": "Deployment", "name": "web", "uid": "uid-web", "controller": true}]);
    api.put("replicasets", set);
    api.put("pods", pod("web-1", "10.0.0.1"));
    let rules = ", extract: {metadata: [k8s.cluster.uid, k8s.node.uid, k8s.deployment.uid], labels: [{key: team, from: \
                 namespace}, {key: team, from: node}, {key: team, from: deployment, tag_name: team}]}";
    let mut cluster = Cluster::with(api, rules);
    let from = [("k8s.pod.ip", "10.0.0.1")];
    for (key, value) in [
        ("k8s.namespace.label.team", "sales"),
        ("k8s.node.label.team", "rack-7"),
        ("team", "frontend"),
        ("k8s.node.uid", "uid-node-1"),
        ("k8s.deployment.uid", "uid-web"),
        ("k8s.cluster.uid", "uid-kube-system"),
    ] {
        cluster.until(&from, key, Some(value)).await;
    }
    let without_pod =
        cluster.enriched(&[("k8s.namespace.name", "shop"), ("k8s.deployment.uid", "uid-web")]).await;
    assert_eq!(data::text_of(&without_pod, "k8s.namespace.label.team"), Some("sales"));
    assert_eq!(data::text_of(&without_pod, "team"), Some("frontend"));
    for asked in cluster.api.requests() {
        assert_eq!(asked.metadata_only, asked.plural != "pods", "{asked:?}");
    }
    cluster.collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_filters_and_all_pipelines_share_one_watch() {
    let api = Api::start().await;
    let mut elsewhere = pod("web-2", "10.0.0.2");
    elsewhere["spec"]["nodeName"] = "node-2".into();
    api.put("pods", elsewhere);
    api.put("pods", pod("web-1", "10.0.0.1"));
    let filter = ", filter: {node: node-1, namespace: shop, labels: [{key: app, value: web}]}";
    let mut cluster = Cluster::with(api, filter);
    cluster.until(&[("k8s.pod.ip", "10.0.0.1")], "k8s.pod.name", Some("web-1")).await;
    assert_eq!(data::text_of(&cluster.enriched(&[("k8s.pod.ip", "10.0.0.2")]).await, "k8s.pod.name"), None);
    cluster.api.until("a watch", |api| api.count("watch", "pods") > 0).await;
    let requests = cluster.api.requests();
    assert_eq!(requests.len(), 2, "a list and a watch for two pipelines: {requests:#?}");
    for asked in &requests {
        assert_eq!(asked.namespace.as_deref(), Some("shop"));
        assert!(asked.query.contains("fieldSelector=spec.nodeName%3Dnode-1"), "{asked:?}");
        assert!(asked.query.contains("labelSelector=app%3Dweb"), "{asked:?}");
    }
    cluster.collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_pass_through_only_the_address_is_added_and_nobody_is_asked() {
    let mut cluster = Cluster::with(Api::start().await, ", passthrough: true");
    let enriched = cluster.enriched(&[]).await;
    assert_eq!(enriched, [text("k8s.pod.ip", &HERE.to_string())]);
    assert_eq!(cluster.api.requests(), []);
    cluster.collector.stop();
}
