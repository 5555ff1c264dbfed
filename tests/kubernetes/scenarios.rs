//! What becomes of telemetry while pods come and go.

use super::fixtures::{deployment, node};
use super::*;

against_both! {
    a_pod_that_is_created_after_its_first_span_is_known_from_then_on
    a_deleted_pod_is_known_for_its_grace_period_and_no_longer
    an_address_that_is_used_again_belongs_to_the_new_pod
    pods_of_the_host_network_are_found_by_their_uid_and_not_by_the_address_they_share
    workloads_nodes_and_namespaces_add_what_the_rules_ask_for
    the_server_filters_and_all_pipelines_share_one_watch
    with_pass_through_only_the_address_is_added_and_nobody_is_asked
    the_pages_of_a_list_are_read_to_the_end
    a_server_that_has_forgotten_the_past_is_listed_again
}

async fn a_pod_that_is_created_after_its_first_span_is_known_from_then_on(api: impl Kubernetes) {
    let mut cluster = Cluster::with(api, "");
    assert!(cluster.enriched(&[]).await.is_empty(), "nothing is known yet, and nothing is held up");
    let pod = cluster.api.create("pods", pod("web-1", &HERE.to_string())).await;
    cluster.until(&[], "k8s.pod.name", Some("web-1")).await;

    let enriched = cluster.enriched(&[("k8s.node.name", "mine"), ("k8s.pod.uid", "")]).await;
    let created = pod["metadata"]["creationTimestamp"].as_str().expect("a time");
    let expected = [
        ("k8s.namespace.name", "shop"),
        ("k8s.pod.name", "web-1"),
        ("k8s.pod.uid", &uid(&pod)),
        ("k8s.pod.start_time", created),
        ("k8s.deployment.name", "web"),
        ("k8s.node.name", "mine"),
        ("container.image.name", "registry:5000/web"),
    ];
    for (key, value) in expected {
        assert_eq!(data::text_of(&enriched, key), Some(value), "{key}");
    }
    assert_eq!(enriched.len(), expected.len() + 1, "{enriched:?}");
    assert_eq!(enriched.last().map(|attribute| attribute.key.as_str()), Some("container.image.tags"));
    assert_eq!(cluster.value(&[], "k8s.node.name").await.as_deref(), Some("node-1"));
    cluster.collector.stop();
}

async fn a_deleted_pod_is_known_for_its_grace_period_and_no_longer(api: impl Kubernetes) {
    api.create("pods", pod("web-1", "10.0.0.1")).await;
    let mut cluster = Cluster::with(api, ", pod_delete_grace_period: 2s");
    let from = [("k8s.pod.ip", "10.0.0.1")];
    cluster.until(&from, "k8s.pod.name", Some("web-1")).await;
    let deleted = Instant::now();
    cluster.api.delete("pods", "shop", "web-1").await;
    cluster.api.create("pods", pod("web-2", "10.0.0.2")).await;
    cluster.until(&[("k8s.pod.ip", "10.0.0.2")], "k8s.pod.name", Some("web-2")).await;
    let last = cluster.value(&from, "k8s.pod.name").await;
    if deleted.elapsed() < Duration::from_secs(2) {
        assert_eq!(last.as_deref(), Some("web-1"), "its last spans come later");
    }
    cluster.until(&from, "k8s.pod.name", None).await;
    assert!(deleted.elapsed() >= Duration::from_secs(2));
    cluster.collector.stop();
}

async fn an_address_that_is_used_again_belongs_to_the_new_pod(api: impl Kubernetes) {
    api.create("pods", pod("old", "10.0.0.1")).await;
    let mut cluster = Cluster::with(api, "");
    let from = [("k8s.pod.ip", "10.0.0.1")];
    cluster.until(&from, "k8s.pod.name", Some("old")).await;
    let mut new = pod("new", "10.0.0.1");
    new["status"]["startTime"] = "2026-01-02T04:00:00Z".into();
    cluster.api.create("pods", new).await;
    cluster.until(&from, "k8s.pod.name", Some("new")).await;
    // Late news of the former owner, and its end, change nothing.
    let news = json!({"metadata": {"annotations": {"seen": "late"}}});
    cluster.api.patch("pods", "shop", "old", news).await;
    cluster.api.delete("pods", "shop", "old").await;
    cluster.api.create("pods", pod("other", "10.0.0.9")).await;
    cluster.until(&[("k8s.pod.ip", "10.0.0.9")], "k8s.pod.name", Some("other")).await;
    assert_eq!(cluster.value(&from, "k8s.pod.name").await.as_deref(), Some("new"));
    cluster.collector.stop();
}

async fn pods_of_the_host_network_are_found_by_their_uid_and_not_by_the_address_they_share(
    api: impl Kubernetes,
) {
    let agent = uid(&api.create("pods", pod_on_host("agent", &HERE.to_string())).await);
    let by_uid = ", pod_association: [{sources: [{from: resource_attribute, name: k8s.pod.uid}]}, {sources: [{from: \
                  connection}]}]";
    let mut cluster = Cluster::with(api, by_uid);
    cluster.until(&[("k8s.pod.uid", &agent)], "k8s.pod.name", Some("agent")).await;
    assert_eq!(cluster.value(&[], "k8s.pod.name").await, None);
    let decided = cluster.value(&[("k8s.pod.uid", "unknown")], "k8s.pod.name").await;
    assert_eq!(decided, None, "the first rule that has values decides");
    cluster.collector.stop();
}

async fn workloads_nodes_and_namespaces_add_what_the_rules_ask_for(api: impl Kubernetes) {
    api.namespace("shop", json!({"team": "sales"})).await;
    let system = uid(&api.namespace("kube-system", json!({})).await);
    let node = uid(&api.create("nodes", node("node-1", "rack-7")).await);
    let web = uid(&api.create("deployments", deployment("web", "frontend")).await);
    let set = api.create("replicasets", replica_set("web-5d4f8c7b9", Some(("web", &web)))).await;
    let mut pod = pod("web-1", "10.0.0.1");
    pod["metadata"]["ownerReferences"][0]["uid"] = uid(&set).into();
    api.create("pods", pod).await;
    let rules = ", extract: {metadata: [k8s.cluster.uid, k8s.node.uid, k8s.deployment.uid], labels: [{key: team, from: \
                 namespace}, {key: team, from: node}, {key: team, from: deployment, tag_name: team}]}";
    let mut cluster = Cluster::with(api, rules);
    let from = [("k8s.pod.ip", "10.0.0.1")];
    for (key, value) in [
        ("k8s.namespace.label.team", "sales"),
        ("k8s.node.label.team", "rack-7"),
        ("team", "frontend"),
        ("k8s.node.uid", &node),
        ("k8s.deployment.uid", &web),
        ("k8s.cluster.uid", &system),
    ] {
        cluster.until(&from, key, Some(value)).await;
    }
    let without_pod = [("k8s.namespace.name", "shop"), ("k8s.deployment.uid", &web)];
    let without_pod = cluster.enriched(&without_pod).await;
    assert_eq!(data::text_of(&without_pod, "k8s.namespace.label.team"), Some("sales"));
    assert_eq!(data::text_of(&without_pod, "team"), Some("frontend"));
    for asked in cluster.api.requests() {
        assert!(asked.metadata_only.is_none_or(|only| only == (asked.plural != "pods")), "{asked:?}");
    }
    cluster.collector.stop();
}

async fn the_server_filters_and_all_pipelines_share_one_watch(api: impl Kubernetes) {
    let mut elsewhere = pod("web-2", "10.0.0.2");
    elsewhere["spec"]["nodeName"] = "node-2".into();
    api.create("pods", elsewhere).await;
    api.create("pods", pod("web-1", "10.0.0.1")).await;
    let filter = ", filter: {node: node-1, namespace: shop, labels: [{key: app, value: web}]}";
    let mut cluster = Cluster::with(api, filter);
    cluster.until(&[("k8s.pod.ip", "10.0.0.1")], "k8s.pod.name", Some("web-1")).await;
    assert_eq!(cluster.value(&[("k8s.pod.ip", "10.0.0.2")], "k8s.pod.name").await, None);
    cluster.api.until("a watch", |api| api.count("watch", "pods") > 0).await;
    let requests = cluster.api.requests();
    assert_eq!(requests.len(), 2, "a list and a watch for two pipelines: {requests:#?}");
    for asked in &requests {
        assert_eq!(asked.namespace.as_deref(), Some("shop"));
        assert!(asked.query.contains("fieldSelector=spec.nodeName%3Dnode-1"), "{asked:?}");
        assert!(asked.query.contains("labelSelector=app%3Dweb"), "{asked:?}");
    }
    // A pod that does not match any more is gone, as far as this watch is told.
    cluster.api.patch("pods", "shop", "web-1", json!({"metadata": {"labels": {"app": "other"}}})).await;
    cluster.api.create("pods", pod("web-3", "10.0.0.1")).await;
    cluster.until(&[("k8s.pod.ip", "10.0.0.1")], "k8s.pod.name", Some("web-3")).await;
    cluster.collector.stop();
}

async fn with_pass_through_only_the_address_is_added_and_nobody_is_asked(api: impl Kubernetes) {
    let mut cluster = Cluster::with(api, ", passthrough: true");
    let enriched = cluster.enriched(&[]).await;
    assert_eq!(enriched, [text("k8s.pod.ip", &HERE.to_string())]);
    assert_eq!(cluster.api.requests(), []);
    cluster.collector.stop();
}

async fn the_pages_of_a_list_are_read_to_the_end(api: impl Kubernetes) {
    const PODS: usize = 1_200;
    let name = |number: usize| format!("web-{number:04}");
    let ip = |number: usize| format!("10.0.{}.{}", number / 250, number % 250);
    // Several at a time: the real server takes a while for so many.
    let creating = (0..PODS).map(|number| api.create("pods", pod(&name(number), &ip(number))));
    at_a_time(16, creating).await;
    let mut cluster = Cluster::with(api, "");
    for number in [PODS - 1, 0] {
        cluster.until(&[("k8s.pod.ip", &ip(number))], "k8s.pod.name", Some(&name(number))).await;
    }
    let lists = cluster.api.requests().into_iter().filter(|asked| asked.verb == "list").collect::<Vec<_>>();
    assert_eq!(lists.len(), 3, "{lists:#?}");
    assert!(lists.iter().all(|asked| asked.query.contains("limit=500")));
    cluster.collector.stop();
}

async fn a_server_that_has_forgotten_the_past_is_listed_again(api: impl Kubernetes) {
    api.create("pods", pod("gone", "10.0.0.1")).await;
    let mut cluster = Cluster::with(api, ", pod_delete_grace_period: 0s");
    let from = [("k8s.pod.ip", "10.0.0.1")];
    cluster.until(&from, "k8s.pod.name", Some("gone")).await;
    cluster.api.until("a watch", |api| api.count("watch", "pods") == 1).await;
    // What this watch is not told of moves the version of the cluster on.
    cluster.api.create("nodes", node("node-9", "rack-1")).await;
    cluster.api.restart().await;
    cluster.api.delete("pods", "shop", "gone").await;
    cluster.api.create("pods", pod("new", "10.0.0.2")).await;
    cluster.until(&[("k8s.pod.ip", "10.0.0.2")], "k8s.pod.name", Some("new")).await;
    cluster.until(&from, "k8s.pod.name", None).await;
    assert_eq!(cluster.api.count("list", "pods"), 2, "{:#?}", cluster.api.requests());
    cluster.collector.stop();
}

/// Waits for all of these, so many of them at a time.
async fn at_a_time<T>(most: usize, futures: impl Iterator<Item = impl Future<Output = T>>) {
    use futures_util::stream::{StreamExt, iter};
    iter(futures).buffer_unordered(most).for_each(|_| std::future::ready(())).await;
}
