//! Credentials and permissions.

use super::*;
use crate::harness::Launch;
use crate::health_check;

const FROM: [(&str, &str); 1] = [("k8s.pod.ip", "10.0.0.1")];

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_permission_is_named_with_its_rule_and_the_rest_works() {
    let api = Api::start().await;
    api.put("pods", pod("web-1", "10.0.0.1"));
    let controller = json!([{"kind": "Deployment", "name": "web", "uid": "uid-web", "controller": true}]);
    api.put(
        "replicasets",
        json!({"metadata": {"name": "web-5d4f8c7b9", "namespace": "shop", "uid": "uid-web-5d4f8c7b9",
            "ownerReferences": controller}}),
    );
    api.grant(&[("", "pods", None)]);
    let mut cluster = Cluster::with(api, ", extract: {metadata: [k8s.pod.name, k8s.deployment.uid]}");
    let line = cluster.collector.wait_for_line("forbidden");
    let rule = r#"{apiGroups: [\"apps\"], resources: [\"replicasets\"], verbs: [\"list\", \"watch\"]}"#;
    let expected = [
        "cannot list resource",
        "at the cluster scope",
        "add to the ClusterRole of the service account",
        &rule.replace('\\', ""),
    ];
    for text in expected {
        assert!(line.replace('\\', "").contains(text), "{text} is not in {line}");
    }
    cluster.until(&FROM, "k8s.pod.name", Some("web-1")).await;
    assert_eq!(data::text_of(&cluster.enriched(&FROM).await, "k8s.deployment.uid"), None);
    cluster.api.grant(&[("", "pods", None), ("apps", "replicasets", None)]);
    cluster.until(&FROM, "k8s.deployment.uid", Some("uid-web")).await;
    cluster.collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_in_namespaces_suffice_for_what_is_in_them() {
    let api = Api::start().await;
    api.put("pods", pod("web-1", "10.0.0.1"));
    api.grant(&[("", "pods", Some("shop"))]);
    let mut cluster = Cluster::with(api, ", filter: {namespace: [shop]}");
    cluster.until(&FROM, "k8s.pod.name", Some("web-1")).await;
    assert!(!cluster.collector.log().contains("forbidden"));
    cluster.collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_replaced_is_read_again() {
    let api = Api::start().await;
    api.put("pods", pod("web-1", "10.0.0.1"));
    let mut cluster = Cluster::with(api, "");
    cluster.until(&FROM, "k8s.pod.name", Some("web-1")).await;
    cluster.api.until("a watch", |api| api.store().watches() == 1).await;
    cluster.api.rotate_token("token-2");
    cluster.api.store().disconnect();
    cluster.api.put("pods", pod("web-2", "10.0.0.2"));
    cluster.until(&[("k8s.pod.ip", "10.0.0.2")], "k8s.pod.name", Some("web-2")).await;
    assert_eq!(cluster.api.count("list", "pods"), 1);
    cluster.collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_start_waits_for_metadata_when_it_is_told_to() {
    let api = Api::start().await;
    api.put("pods", pod("web-1", "10.0.0.1"));
    let mut cluster = Cluster::with(api, ", wait_for_metadata: true");
    let first = cluster.enriched(&FROM).await;
    assert_eq!(data::text_of(&first, "k8s.pod.name"), Some("web-1"), "the very first span is enriched");
    cluster.collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_waits_in_vain_fails_and_says_why() {
    let api = Api::start().await;
    api.grant(&[]);
    let keys = ", wait_for_metadata: true, wait_for_metadata_timeout: 500ms";
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

#[tokio::test(flavor = "multi_thread")]
async fn probes_are_told_to_wait_while_the_start_waits_for_metadata() {
    let api = Api::start().await;
    api.grant(&[]);
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
    api.grant(&[("", "pods", None)]);
    collector.wait_for_line("Everything is ready.");
    assert_eq!(health_check::probe(address, "/").code, 200);
    collector.stop();
}
