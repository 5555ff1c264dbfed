//! A large cluster that does not hold still.

use super::*;
use crate::harness::say;

const DEPLOYMENTS: usize = 500;
const PODS: usize = 10_000;
const CHANGES_A_SECOND: u64 = 50;
const SECONDS: u64 = 4;
/// Not the budget, which a release build is measured against: what no build may need.
const RESIDENT_BYTES_MAX: u64 = 200 << 20;

fn ip(number: usize) -> String {
    format!("10.{}.{}.{}", number / 62_500, number / 250 % 250, number % 250)
}

fn of_deployment(number: usize, name: &str, ip: &str) -> Json {
    let deployment = number % DEPLOYMENTS;
    let mut pod = pod(name, ip);
    pod["metadata"]["ownerReferences"][0]["name"] = format!("app-{deployment}-5d4f8c7b9").into();
    pod["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied": "x".repeat(1_000)});
    pod
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_pods_with_fifty_changes_a_second_are_followed() {
    let api = Api::start().await;
    for number in 0..PODS {
        api.put("pods", of_deployment(number, &format!("p-{number}"), &ip(number)));
    }
    let started = Instant::now();
    let mut cluster = Cluster::with(api, ", pod_delete_grace_period: 500ms");
    let last = ip(PODS - 1);
    cluster.until(&[("k8s.pod.ip", &last)], "k8s.deployment.name", Some("app-499")).await;
    say(&format!("{PODS} pods known after {:?}", started.elapsed()));

    // Each change takes a pod away and brings another with the next address.
    let mut tick =
        tokio::time::interval(Duration::from_secs(1) / u32::try_from(CHANGES_A_SECOND).expect("small"));
    let changes = usize::try_from(CHANGES_A_SECOND * SECONDS).expect("small");
    for change in 0..changes {
        tick.tick().await;
        let next = PODS + change;
        let mut store = cluster.api.store();
        store.delete("pods", "shop", &format!("p-{change}"));
        store.put("pods", of_deployment(next, &format!("p-{next}"), &ip(next)));
    }
    let changed = Instant::now();
    let (gone, last) = (ip(changes - 1), ip(PODS + changes - 1));
    cluster.until(&[("k8s.pod.ip", &last)], "k8s.pod.name", Some(&format!("p-{}", PODS + changes - 1))).await;
    say(&format!("the last of {changes} changes showed after {:?}", changed.elapsed()));
    cluster.until(&[("k8s.pod.ip", &gone)], "k8s.pod.name", None).await;
    assert_eq!(cluster.api.count("list", "pods"), PODS / 500, "nothing had to be listed again");
    let resident = cluster.collector.peak_resident_bytes();
    say(&format!("{} MiB resident at most with {PODS} pods", resident >> 20));
    assert!(resident < RESIDENT_BYTES_MAX);
    cluster.collector.stop();
}
