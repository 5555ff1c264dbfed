//! Credentials and permissions.

use super::*;
use crate::harness::Launch;
use crate::health_check;

const FROM: [(&str, &str); 1] = [("k8s.pod.ip", "10.0.0.1")];

against_both! {
    a_missing_permission_is_named_with_its_rule_and_the_rest_works
    roles_in_namespaces_suffice_for_what_is_in_them
    a_token_that_is_replaced_is_read_again
    the_start_waits_for_metadata_when_it_is_told_to
    a_start_that_waits_in_vain_fails_and_says_why
    probes_are_told_to_wait_while_the_start_waits_for_metadata
    feature_gates_decide_which_names_attributes_have
}

async fn a_missing_permission_is_named_with_its_rule_and_the_rest_works(api: impl Kubernetes) {
    let set = api.create("replicasets", replica_set("web-5d4f8c7b9", Some(("web", "uid-web")))).await;
    let mut pod = pod("web-1", "10.0.0.1");
    pod["metadata"]["ownerReferences"][0]["uid"] = uid(&set).into();
    api.create("pods", pod).await;
    api.grant(&[("", "pods", None)]).await;
    let mut cluster = Cluster::with(api, ", extract: {metadata: [k8s.pod.name, k8s.deployment.uid]}");
    let line = cluster.collector.wait_for_line("forbidden");
    let rule = r#"{apiGroups: ["apps"], resources: ["replicasets"], verbs: ["list", "watch"]}"#;
    let expected = [
        "cannot list resource \"replicasets\" in API group \"apps\" at the cluster scope: forbidden: replicasets.apps is \
         forbidden: User \"system:serviceaccount:observability:spanbridge\" cannot list resource \"replicasets\"",
        "add to the ClusterRole of the service account",
        rule,
    ];
    for text in expected {
        assert!(line.replace('\\', "").contains(text), "{text} is not in {line}");
    }
    cluster.until(&FROM, "k8s.pod.name", Some("web-1")).await;
    assert_eq!(cluster.value(&FROM, "k8s.deployment.uid").await, None);
    cluster.api.grant(&[("", "pods", None), ("apps", "replicasets", None)]).await;
    cluster.until(&FROM, "k8s.deployment.uid", Some("uid-web")).await;
    cluster.collector.stop();
}

async fn roles_in_namespaces_suffice_for_what_is_in_them(api: impl Kubernetes) {
    api.create("pods", pod("web-1", "10.0.0.1")).await;
    api.grant(&[("", "pods", Some("shop"))]).await;
    let mut cluster = Cluster::with(api, ", filter: {namespace: [shop]}");
    cluster.until(&FROM, "k8s.pod.name", Some("web-1")).await;
    assert!(!cluster.collector.log().contains("forbidden"));
    cluster.collector.stop();
}

async fn a_token_that_is_replaced_is_read_again(api: impl Kubernetes) {
    api.create("pods", pod("web-1", "10.0.0.1")).await;
    let mut cluster = Cluster::with(api, "");
    cluster.until(&FROM, "k8s.pod.name", Some("web-1")).await;
    cluster.api.until("a watch", |api| api.count("watch", "pods") == 1).await;
    cluster.api.replace_token().await;
    cluster.api.create("pods", pod("web-2", "10.0.0.2")).await;
    cluster.until(&[("k8s.pod.ip", "10.0.0.2")], "k8s.pod.name", Some("web-2")).await;
    cluster.collector.stop();
}

async fn the_start_waits_for_metadata_when_it_is_told_to(api: impl Kubernetes) {
    api.create("pods", pod("web-1", "10.0.0.1")).await;
    let mut cluster = Cluster::with(api, ", wait_for_metadata: true, wait_for_metadata_timeout: 30s");
    let first = cluster.value(&FROM, "k8s.pod.name").await;
    assert_eq!(first.as_deref(), Some("web-1"), "the very first span is enriched");
    cluster.collector.stop();
}

async fn a_start_that_waits_in_vain_fails_and_says_why(api: impl Kubernetes) {
    api.grant(&[]).await;
    // Long enough for the refusal to come before it, on any machine.
    let keys = ", wait_for_metadata: true, wait_for_metadata_timeout: 10s";
    let dir = tempfile::TempDir::new().expect("a folder");
    let file = dir.path().join("config.yaml");
    std::fs::write(&file, config(&api, keys, ([127, 0, 0, 1], 1).into())).expect("write the configuration");
    let output = tokio::task::spawn_blocking(move || {
        crate::harness::run(dir.path(), &["--config", &file.display().to_string()], &[])
    });
    let output = output.await.expect("it ran");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(log.contains("failed to wait for caches to sync") && log.contains("forbidden"), "{log}");
}

async fn probes_are_told_to_wait_while_the_start_waits_for_metadata(api: impl Kubernetes) {
    api.grant(&[]).await;
    let sink = Sink::start();
    let keys = ", wait_for_metadata: true, wait_for_metadata_timeout: 120s";
    let extension =
        "extensions: {health_check: {endpoint: 127.0.0.1:0}}\nservice:\n  extensions: [health_check]\n";
    let yaml = config(&api, keys, sink.address()).replace("service:\n", extension);
    let dir = tempfile::TempDir::new().expect("a folder");
    let collector = Collector::spawn_in(dir.path(), "waiting", &yaml, &Launch::default());
    let address = health_check::address(&collector, 1);
    collector.wait_for_line("forbidden");
    assert_eq!(health_check::probe(address, "/").code, 503);
    api.grant(&[("", "pods", None)]).await;
    collector.wait_for_line("Everything is ready.");
    assert_eq!(health_check::probe(address, "/").code, 200);
    collector.stop();
}

async fn feature_gates_decide_which_names_attributes_have(api: impl Kubernetes) {
    const NO_OLD: &str = "-processor.k8sattributes.DontEmitV0K8sConventions";
    const NO_STABLE: &str = "-processor.k8sattributes.EmitV1K8sConventions";
    api.create("pods", pod("web-1", "10.0.0.1")).await;
    let both_off = format!("{NO_STABLE},{NO_OLD}");
    for (gates, keys, old, stable) in [
        (NO_OLD, "", true, true),
        (both_off.as_str(), "", true, false),
        (NO_OLD, ", semantic_conventions: v1", false, true),
    ] {
        let sink = Sink::start();
        let keys = format!(", wait_for_metadata: true, wait_for_metadata_timeout: 30s{keys}");
        let yaml = config(&api, &keys, sink.address());
        let collector = Collector::start_with("gated", &yaml, &["--feature-gates", gates]);
        let mut client = client::traces(collector.grpc()).await;
        let mut request = data::spans(1, 1);
        let resource = request.resource_spans[0].resource.as_mut().expect("a resource");
        resource.attributes = FROM.iter().map(|(key, value)| text(key, value)).collect();
        client.export(request).await.expect("accepted");
        let received = sink.traces().pop().expect("what was accepted has arrived");
        let enriched = &received.resource_spans[0].resource.as_ref().expect("a resource").attributes;
        let has = |key: &str| enriched.iter().any(|attribute| attribute.key == key);
        assert_eq!(has("container.image.tag"), old, "{gates}: {enriched:?}");
        assert_eq!(has("container.image.tags"), stable, "{gates}: {enriched:?}");
        collector.stop();
    }
}
