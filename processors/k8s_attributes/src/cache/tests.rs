use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use spanbridge_component::telemetry::Telemetry;
use spanbridge_testkit::metric;

use super::*;
use crate::Config;
use crate::identifier::Key;

struct Fixture {
    cache: Cache,
    telemetry: Telemetry,
    now: Instant,
}

fn fixture(yaml: &str) -> Fixture {
    let config: Config = spanbridge_config::from_yaml(yaml).unwrap_or_else(|e| panic!("{e}"));
    let plan = Arc::new(Plan::new(&config).unwrap());
    let telemetry = Telemetry::detached();
    let id = "k8s_attributes".parse().unwrap();
    let metrics = CacheMetrics::new(&telemetry, &id, &plan).unwrap();
    Fixture { cache: Cache::new(plan, metrics), telemetry, now: Instant::now() }
}

fn pod(name: &str, ip: &str, started: u32) -> Json {
    json!({
        "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}")},
        "spec": {"nodeName": "node-1"},
        "status": {"podIP": ip, "startTime": format!("2026-01-01T00:00:{started:02}Z")},
    })
}

impl Fixture {
    fn seen(&self, resource: Resource, listing: u64) -> Seen {
        let watches = &self.cache.plan.watches;
        let watch = watches.iter().position(|watch| watch.resource == resource).expect("it is watched");
        Seen { resource, watch, listing }
    }

    fn put_pod(&self, pod: Json) {
        self.list_pod(pod, 1);
    }

    fn list_pod(&self, pod: Json, listing: u64) {
        self.cache.put_pod(self.seen(Resource::Pod, listing), serde_json::from_value(pod).unwrap());
    }

    fn put(&self, resource: Resource, object: Json) {
        self.cache.put_object(self.seen(resource, 1), &serde_json::from_value(object).unwrap());
    }

    fn delete_pod(&self, pod: Json) {
        let pod: Pod = serde_json::from_value(pod).unwrap();
        self.cache.delete(Resource::Pod, &pod.metadata, self.now);
    }

    fn after(&self, seconds: u64) {
        self.cache.expire(self.now + Duration::from_secs(seconds));
    }

    /// The name of the pod at this address.
    fn at(&self, ip: &str) -> Option<String> {
        let key = connection(ip);
        self.cache.tables().pod(&key).map(|pod| pod.uid.trim_start_matches("uid-").to_owned())
    }

    fn attribute(&self, ip: &str, name: &str) -> Option<String> {
        let tables = self.cache.tables();
        let pod = tables.pod(&connection(ip))?;
        let found = pod.attributes.iter().find(|attribute| attribute.key() == name)?;
        found.value().as_str().map(str::to_owned)
    }

    /// A count that is small, and whole.
    #[expect(clippy::cast_possible_truncation, reason = "it is small, and whole")]
    fn count(&self, name: &str) -> i64 {
        metric(&self.telemetry, name, &[]).unwrap_or(0.0) as i64
    }
}

/// The identifier of a connection, as the look-up makes it.
fn connection(ip: &str) -> Key {
    let mut key = Key::new();
    key.extend_from_slice(&0_usize.to_le_bytes());
    key.extend_from_slice(&ip.len().to_le_bytes());
    key.extend_from_slice(ip.as_bytes());
    key
}

#[test]
fn a_deleted_pod_is_found_until_its_grace_period_ends() {
    let fixture = fixture("{}");
    fixture.put_pod(pod("a", "10.0.0.1", 1));
    fixture.delete_pod(pod("a", "10.0.0.1", 1));
    fixture.after(119);
    assert_eq!(fixture.at("10.0.0.1").as_deref(), Some("a"));
    fixture.after(120);
    assert_eq!(fixture.at("10.0.0.1"), None);
    assert_eq!(fixture.count("otelcol_otelsvc_k8s_pod_deleted"), 1);
    assert_eq!(fixture.count("otelcol_otelsvc_k8s_pod_table_size"), 0);
    assert_eq!(fixture.count("otelcol_k8s_cache_bytes"), 0, "nothing is left behind");
}

#[test]
fn without_a_grace_period_a_deleted_pod_is_gone_at_once() {
    let fixture = fixture("pod_delete_grace_period: 0s");
    fixture.put_pod(pod("a", "10.0.0.1", 1));
    fixture.delete_pod(pod("a", "10.0.0.1", 1));
    assert_eq!(fixture.at("10.0.0.1"), None);
}

#[test]
fn an_address_belongs_to_the_pod_that_started_last() {
    let fixture = fixture("{}");
    fixture.put_pod(pod("old", "10.0.0.1", 1));
    fixture.put_pod(pod("new", "10.0.0.1", 2));
    assert_eq!(fixture.at("10.0.0.1").as_deref(), Some("new"));
    fixture.put_pod(pod("old", "10.0.0.1", 1));
    assert_eq!(fixture.at("10.0.0.1").as_deref(), Some("new"), "late news of the former owner");
    fixture.delete_pod(pod("old", "10.0.0.1", 1));
    fixture.after(1000);
    assert_eq!(fixture.at("10.0.0.1").as_deref(), Some("new"), "its entry is not the new one's");
}

#[test]
fn an_address_that_its_new_owner_left_is_found_again_after_indexing_anew() {
    let fixture = fixture("pod_delete_grace_period: 0s");
    fixture.put_pod(pod("old", "10.0.0.1", 1));
    fixture.put_pod(pod("new", "10.0.0.1", 2));
    fixture.delete_pod(pod("new", "10.0.0.1", 2));
    assert_eq!(fixture.at("10.0.0.1"), None);
    fixture.cache.reindex();
    assert_eq!(fixture.at("10.0.0.1").as_deref(), Some("old"));
}

#[test]
fn a_pod_that_moves_to_another_address_leaves_the_first() {
    let fixture = fixture("{}");
    fixture.put_pod(pod("a", "10.0.0.1", 1));
    fixture.put_pod(pod("a", "10.0.0.2", 1));
    assert_eq!((fixture.at("10.0.0.1"), fixture.at("10.0.0.2").as_deref()), (None, Some("a")));
}

#[test]
fn pods_of_the_host_network_are_not_found_by_address() {
    let fixture = fixture("{}");
    let mut on_host = pod("a", "192.168.0.1", 1);
    on_host["spec"]["hostNetwork"] = true.into();
    fixture.put_pod(on_host);
    assert_eq!(fixture.at("192.168.0.1"), None);
    assert_eq!(fixture.count("otelcol_otelsvc_k8s_pod_table_size"), 1, "by its UID it is");
}

#[test]
fn every_address_of_a_pod_leads_to_it_in_its_canonical_form() {
    let fixture = fixture("{}");
    let mut dual = pod("a", "10.0.0.1", 1);
    dual["status"]["podIPs"] = json!([{"ip": "10.0.0.1"}, {"ip": "fd00:0:0::00A1"}]);
    fixture.put_pod(dual);
    assert_eq!(fixture.at("fd00::a1").as_deref(), Some("a"));
}

#[test]
fn pods_can_ask_to_be_left_alone() {
    let fixture = fixture("{}");
    fixture.put_pod(pod("my-jaeger-agent-x", "10.0.0.1", 1));
    assert_eq!(fixture.at("10.0.0.1"), None, "the pattern matches anywhere in the name");
    let mut ignored = pod("b", "10.0.0.2", 1);
    ignored["metadata"]["annotations"] = json!({"opentelemetry.io/k8s-processor/ignore": " True "});
    fixture.put_pod(ignored);
    assert_eq!(fixture.at("10.0.0.2"), None);
}

#[test]
fn what_a_new_listing_lacks_is_gone_and_what_comes_back_stays() {
    let fixture = fixture("{}");
    fixture.list_pod(pod("a", "10.0.0.1", 1), 1);
    fixture.list_pod(pod("b", "10.0.0.2", 1), 1);
    fixture.cache.end_listing(fixture.seen(Resource::Pod, 1), fixture.now);
    fixture.list_pod(pod("b", "10.0.0.2", 1), 2);
    fixture.cache.end_listing(fixture.seen(Resource::Pod, 2), fixture.now);
    assert_eq!(fixture.at("10.0.0.1").as_deref(), Some("a"), "within its grace period");
    fixture.list_pod(pod("a", "10.0.0.1", 1), 2);
    fixture.after(1000);
    assert_eq!(fixture.at("10.0.0.1").as_deref(), Some("a"), "it came back");
    fixture.cache.end_listing(fixture.seen(Resource::Pod, 3), fixture.now);
    fixture.after(1000);
    assert_eq!((fixture.at("10.0.0.1"), fixture.at("10.0.0.2")), (None, None));
}

fn owned(by: &str) -> Json {
    let mut pod = pod("a", "10.0.0.1", 1);
    pod["metadata"]["ownerReferences"] =
        json!([{"kind": by, "name": format!("{by}-1"), "uid": "owner", "controller": true}]);
    pod
}

#[test]
fn a_replica_set_that_comes_after_its_pods_is_made_up_for() {
    let fixture = fixture("extract: {metadata: [k8s.deployment.name, k8s.deployment.uid, service.name]}");
    fixture.put_pod(owned("ReplicaSet"));
    assert_eq!(fixture.attribute("10.0.0.1", "service.name").as_deref(), Some("ReplicaSet-1"));
    assert_eq!(fixture.attribute("10.0.0.1", "k8s.deployment.name"), None);
    let controller = json!([{"kind": "Deployment", "name": "web", "uid": "d", "controller": true}]);
    fixture.put(
        Resource::ReplicaSet,
        json!({"metadata": {"name": "r", "uid": "owner", "ownerReferences": controller}}),
    );
    for (name, value) in
        [("k8s.deployment.name", "web"), ("k8s.deployment.uid", "d"), ("service.name", "web")]
    {
        assert_eq!(fixture.attribute("10.0.0.1", name).as_deref(), Some(value));
    }
}

#[test]
fn the_name_of_a_service_comes_from_the_most_telling_source() {
    let fixture = fixture(
        "extract: {metadata: [service.name, service.version, service.namespace], otel_annotations: true}",
    );
    let name = || fixture.attribute("10.0.0.1", "service.name");
    let mut pod = pod("a", "10.0.0.1", 1);
    fixture.put_pod(pod.clone());
    assert_eq!(name().as_deref(), Some("a"));
    pod["metadata"]["ownerReferences"] = json!([{"kind": "StatefulSet", "name": "db", "uid": "s"}]);
    fixture.put_pod(pod.clone());
    assert_eq!(name().as_deref(), Some("db"));
    pod["metadata"]["labels"] =
        json!({"app.kubernetes.io/name": "postgres", "app.kubernetes.io/version": "17"});
    fixture.put_pod(pod.clone());
    assert_eq!(name().as_deref(), Some("postgres"));
    pod["metadata"]["labels"]["app.kubernetes.io/instance"] = "orders-db".into();
    fixture.put_pod(pod.clone());
    assert_eq!(name().as_deref(), Some("orders-db"));
    pod["metadata"]["annotations"] = json!({"resource.opentelemetry.io/service.name": "mine"});
    fixture.put_pod(pod);
    assert_eq!(name().as_deref(), Some("mine"));
    assert_eq!(fixture.attribute("10.0.0.1", "service.version").as_deref(), Some("17"));
    assert_eq!(fixture.attribute("10.0.0.1", "service.namespace").as_deref(), Some("shop"));
}

#[test]
fn the_cluster_is_known_by_the_namespace_of_the_system() {
    let fixture = fixture("extract: {metadata: [k8s.cluster.uid]}");
    fixture.put(Resource::Namespace, json!({"metadata": {"name": "kube-system", "uid": "c"}}));
    let cluster = fixture.cache.tables().cluster.clone().unwrap();
    assert_eq!((cluster.key(), cluster.value().as_str()), ("k8s.cluster.uid", Some("c")));
}

#[test]
fn memory_follows_what_is_extracted() {
    let bytes = |yaml: &str| {
        let fixture = fixture(yaml);
        let mut pod = pod("a", "10.0.0.1", 1);
        pod["metadata"]["annotations"] = json!({"large": "x".repeat(10_000)});
        fixture.put_pod(pod);
        fixture.count("otelcol_k8s_cache_bytes")
    };
    assert!(bytes("{}") < 3_000);
    assert!(
        bytes("extract: {metadata: [k8s.deployment.uid]}") < 3_000,
        "what is kept for later is trimmed, too"
    );
    assert!(bytes("extract: {annotations: [{key: large}]}") > 10_000);
}

#[derive(Debug, Clone)]
enum Step {
    Put { pod: u8, ip: u8, started: u8 },
    Delete { pod: u8 },
    Pass { seconds: u8 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..4_u8, 0..3_u8, 0..4_u8).prop_map(|(pod, ip, started)| Step::Put { pod, ip, started }),
        (0..4_u8).prop_map(|pod| Step::Delete { pod }),
        (0..200_u8).prop_map(|seconds| Step::Pass { seconds }),
    ];
    proptest::collection::vec(step, 0..60)
}

proptest! {
    /// Whatever happens: an address leads only to a pod that has it, and what is gone for long enough leaves no trace.
    #[test]
    fn addresses_lead_only_to_pods_that_have_them(steps in steps()) {
        let mut fixture = fixture("{}");
        let mut last: [Option<u8>; 4] = [None; 4];
        for step in steps {
            match step {
                Step::Put { pod: number, ip, started } => {
                    fixture.put_pod(pod(&number.to_string(), &format!("10.0.0.{ip}"), started.into()));
                    last[usize::from(number)] = Some(ip);
                }
                Step::Delete { pod: number } => fixture.delete_pod(pod(&number.to_string(), "", 0)),
                Step::Pass { seconds } => {
                    fixture.now += Duration::from_secs(seconds.into());
                    fixture.after(0);
                }
            }
            for ip in 0..3_u8 {
                if let Some(found) = fixture.at(&format!("10.0.0.{ip}")) {
                    prop_assert_eq!(last[found.parse::<usize>().unwrap()], Some(ip));
                }
            }
        }
        for number in 0..4 {
            fixture.delete_pod(pod(&number.to_string(), "", 0));
        }
        fixture.after(1000);
        prop_assert_eq!(fixture.count("otelcol_k8s_cache_bytes"), 0);
        prop_assert_eq!(fixture.count("otelcol_otelsvc_k8s_pod_table_size"), 0);
    }
}
