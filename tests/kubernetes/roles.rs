//! The roles that `k8s rbac` prints are enough, and nothing in them is too much: with exactly them everything is watched and
//! nothing is refused, and without any one permission something is.

use std::fs;

use tempfile::TempDir;

use super::stand_in::Permission;
use super::*;
use crate::harness::{Launch, run, say};

/// Keys of `k8s_attributes`, and how many resources each has watched.
const CONFIGURATIONS: [(&str, usize); 10] = [
    ("", 1),
    (", passthrough: true", 0),
    (", filter: {node: node-1}", 1),
    (", extract: {metadata: [k8s.cluster.uid]}", 2),
    (", extract: {metadata: [k8s.pod.name, k8s.node.uid]}", 2),
    (", extract: {deployment_name_from_replicaset: false}", 2),
    (", extract: {metadata: [k8s.deployment.uid], labels: [{key: team, from: namespace}]}", 3),
    (", extract: {labels: [{key: a, from: deployment}, {key: a, from: cronjob}]}", 5),
    (
        ", extract: {annotations: [{key: a, from: statefulset}, {key: a, from: daemonset}, {key: a, from: job}]}",
        4,
    ),
    (", filter: {namespace: [bank, shop]}, extract: {metadata: [k8s.deployment.uid, k8s.node.uid]}", 5),
];

/// What the program prints for this configuration.
fn printed(file: &Path) -> Vec<Permission> {
    let output = run(Path::new("/"), &["k8s", "rbac", "--config", &file.display().to_string()], &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("a text");
    if text.starts_with('#') {
        return Vec::new();
    }
    let roles: Vec<Json> = serde_saphyr::from_multiple(&text).expect("YAML");
    let texts = |list: &Json| {
        let list = list.as_array().expect("a list").iter();
        list.map(|text| text.as_str().expect("a text").to_owned()).collect::<Vec<_>>()
    };
    let mut permissions = Vec::new();
    for role in roles {
        let namespace = role["metadata"]["namespace"].as_str().map(str::to_owned);
        assert_eq!(role["kind"], if namespace.is_some() { "Role" } else { "ClusterRole" });
        for rule in role["rules"].as_array().expect("rules") {
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    let all = texts(&rule["verbs"]).into_iter();
                    permissions
                        .extend(all.map(|verb| (verb, group.clone(), resource.clone(), namespace.clone())));
                }
            }
        }
    }
    permissions
}

fn spawn(dir: &Path, config: &str) -> Collector {
    Collector::spawn_in(dir, "under its roles", config, &Launch::default())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_roles_that_are_printed_are_enough_and_nothing_in_them_is_too_much() {
    for (keys, watches) in CONFIGURATIONS {
        let api = Api::start().await;
        let sink = Sink::start();
        let dir = TempDir::new().expect("a folder");
        let config = config(&api, keys, sink.address());
        let file = dir.path().join("printed.yaml");
        fs::write(&file, &config).expect("write the configuration");
        let permissions = printed(&file);
        assert_eq!(permissions.len(), 2 * watches, "each watch lists and watches: {keys}: {permissions:?}");

        api.permit(permissions.clone());
        let collector = spawn(dir.path(), &config);
        collector.wait_for_line("Everything is ready.");
        let all = "every watch";
        api.until(all, |api| api.store().watches() == watches).await;
        assert_eq!(api.refusals(), 0, "{keys}");
        collector.stop();

        for left_out in &permissions {
            let refused = api.refusals();
            api.permit(permissions.iter().filter(|permission| *permission != left_out).cloned().collect());
            let collector = spawn(dir.path(), &config);
            api.until(&format!("a refusal without {left_out:?}"), |api| api.refusals() > refused).await;
            let line = collector.wait_for_line("forbidden");
            assert!(line.contains(&left_out.2), "{left_out:?}: {line}");
            drop(collector);
        }
        say(&format!("roles: {} permissions, each of them needed:{keys}", permissions.len()));
    }
}
