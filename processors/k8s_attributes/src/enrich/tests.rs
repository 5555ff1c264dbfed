//! One resource at a time, through the real splices.

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource as OtlpResource;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use serde_json::{Value as Json, json};
use spanbridge_component::telemetry::Telemetry;
use spanbridge_pdata::{Decoded, Payload};

use super::*;
use crate::Config;
use crate::cache::{Cache, Seen};
use crate::telemetry::CacheMetrics;

type Pairs = Vec<(String, Any)>;

struct Fixture {
    plan: Arc<Plan>,
    cache: Cache,
}

fn fixture(yaml: &str, pods: &[Json]) -> Fixture {
    let config: Config = spanbridge_config::from_yaml(yaml).unwrap_or_else(|e| panic!("{e}"));
    let plan = Arc::new(Plan::new(&config).unwrap());
    let telemetry = Telemetry::detached();
    let metrics = CacheMetrics::new(&telemetry, &"k8s_attributes".parse().unwrap(), &plan).unwrap();
    let cache = Cache::new(plan.clone(), metrics);
    for pod in pods {
        let seen = Seen { resource: Resource::Pod, watch: 0, listing: 1 };
        cache.put_pod(seen, serde_json::from_value(pod.clone()).unwrap());
    }
    Fixture { plan, cache }
}

fn text(text: &str) -> Any {
    Any::StringValue(text.to_owned())
}

impl Fixture {
    fn enriched(&self, peer: Option<&str>, pairs: &[(&str, Any)]) -> (Outcome, Pairs) {
        let attribute = |(key, value): &(&str, Any)| KeyValue {
            key: (*key).to_owned(),
            value: Some(AnyValue { value: Some(value.clone()) }),
            ..KeyValue::default()
        };
        let attributes = pairs.iter().map(attribute).collect();
        let resource = Some(OtlpResource { attributes, ..OtlpResource::default() });
        let resource_spans = vec![ResourceSpans { resource, ..ResourceSpans::default() }];
        let payload =
            Payload::encode(&Decoded::Traces(ExportTraceServiceRequest { resource_spans })).unwrap();
        let peer = peer.map(|ip| std::net::SocketAddr::new(ip.parse().unwrap(), 1));
        let mut peer = Peer::new(&self.plan, peer);
        let mut outcome = None;
        let edited = payload.edit_resources(|attributes| {
            outcome = Some(super::resource(&self.plan, &self.cache.tables(), attributes, &mut peer));
        });
        let Decoded::Traces(request) = edited.decode().unwrap() else { panic!("traces went in") };
        let attributes = request.resource_spans[0].resource.clone().unwrap().attributes;
        let pairs = attributes.into_iter().map(|kv| (kv.key, kv.value.unwrap().value.unwrap())).collect();
        (outcome.unwrap(), pairs)
    }

    fn value(&self, pairs: &[(&str, Any)], key: &str) -> Option<Any> {
        let (_, pairs) = self.enriched(Some("10.0.0.1"), pairs);
        pairs.into_iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }
}

fn pod(containers: &[&str]) -> Json {
    let digest = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
    let spec = |name: &&str| json!({"name": name, "image": format!("host:5000/{name}:v-{name}")});
    let status = |name: &&str| {
        json!({"name": name, "containerID": format!("containerd://{name}-2"), "restartCount": 2,
            "imageID": format!("host:5000/{name}@{digest}"),
            "lastState": {"terminated": {"containerID": format!("containerd://{name}-1")}}})
    };
    json!({
        "metadata": {"name": "a", "namespace": "shop", "uid": "uid-a", "labels": {"zone": "z"}},
        "spec": {"containers": containers.iter().map(spec).collect::<Vec<_>>()},
        "status": {"podIP": "10.0.0.1",
            "containerStatuses": containers.iter().map(status).collect::<Vec<_>>()},
    })
}

const CONTAINERS: &str = "extract: {metadata: [k8s.container.name, container.id, container.image.name, container.image.tags, \
                          container.image.tag, container.image.repo_digests, service.version, service.instance.id]}";

#[test]
fn blanks_are_filled_and_everything_else_stays() {
    let fixture =
        fixture("extract: {metadata: [k8s.pod.name, k8s.pod.uid, k8s.namespace.name]}", &[pod(&[])]);
    let own = [("k8s.pod.name", Any::IntValue(5)), ("k8s.pod.uid", text("")), ("other", text(""))];
    let (outcome, pairs) = fixture.enriched(Some("10.0.0.1"), &own);
    assert_eq!(outcome, Outcome { rule: Some(2), found: true });
    let expected = [
        ("k8s.pod.name", Any::IntValue(5)),
        ("k8s.pod.uid", text("uid-a")),
        ("other", text("")),
        ("k8s.namespace.name", text("shop")),
    ];
    assert_eq!(pairs, expected.map(|(key, value)| (key.to_owned(), value)));
}

#[test]
fn the_only_container_is_meant_when_nothing_else_is_said() {
    let fixture = fixture(CONTAINERS, &[pod(&["main"])]);
    for (key, value) in [
        ("k8s.container.name", "main"),
        ("container.id", "main-2"),
        ("container.image.name", "host:5000/main"),
        ("service.version", "v-main"),
        ("service.instance.id", "shop.a.main"),
    ] {
        assert_eq!(fixture.value(&[], key), Some(text(value)), "{key}");
    }
    let tags = Any::ArrayValue(ArrayValue { values: vec![AnyValue { value: Some(text("v-main")) }] });
    assert_eq!(fixture.value(&[], "container.image.tags"), Some(tags));
    assert_eq!(fixture.value(&[], "container.image.tag"), None, "the stable conventions have none");
    let digests = fixture.value(&[], "container.image.repo_digests");
    let Some(Any::ArrayValue(digests)) = digests else { panic!("{digests:?}") };
    assert_eq!(digests.values.len(), 1);
}

#[test]
fn of_several_containers_the_resource_says_which() {
    let fixture = fixture(CONTAINERS, &[pod(&["main", "sidecar"])]);
    let image = |pairs: &[(&str, Any)]| fixture.value(pairs, "container.image.name");
    assert_eq!(image(&[]), None);
    assert_eq!(image(&[("k8s.container.name", text("sidecar"))]), Some(text("host:5000/sidecar")));
    assert_eq!(image(&[("container.id", text("main-1"))]), Some(text("host:5000/main")));
    assert_eq!(image(&[("k8s.container.name", text("none")), ("container.id", text("main-1"))]), None);
    assert_eq!(image(&[("k8s.container.name", Any::IntValue(1))]), None);
}

#[test]
fn the_restart_count_says_which_run() {
    let fixture = fixture(CONTAINERS, &[pod(&["main"])]);
    let id = |count: Any| fixture.value(&[("k8s.container.restart_count", count)], "container.id");
    assert_eq!(id(Any::IntValue(1)), Some(text("main-1")));
    assert_eq!(id(text("2")), Some(text("main-2")));
    assert_eq!(id(Any::IntValue(7)), None, "that run is not known");
    assert_eq!(id(text("two")), None);
}

#[test]
fn without_rules_addresses_are_tried_in_their_order() {
    let fixture = fixture("extract: {metadata: [k8s.pod.name, k8s.pod.ip]}", &[pod(&[])]);
    let rule = |peer: Option<&str>, pairs: &[(&str, Any)]| {
        let outcome = fixture.enriched(peer, pairs).0;
        (outcome.rule, outcome.found)
    };
    assert_eq!(rule(None, &[]), (None, false));
    assert_eq!(rule(None, &[("host.name", text("node-1"))]), (None, false), "no address");
    assert_eq!(rule(None, &[("host.name", text("10.0.0.1"))]), (Some(3), true));
    assert_eq!(rule(Some("::ffff:10.0.0.1"), &[("host.name", text("1.1.1.1"))]), (Some(2), true));
    assert_eq!(rule(Some("10.0.0.1"), &[("ip", text("10.0.0.9"))]), (Some(1), false), "it decides");
    assert_eq!(rule(None, &[("k8s.pod.ip", Any::IntValue(1)), ("ip", text("10.0.0.1"))]), (Some(1), true));
    let (_, pairs) = fixture.enriched(Some("10.0.0.7"), &[]);
    assert_eq!(pairs, [("k8s.pod.ip".to_owned(), text("10.0.0.7"))], "also of a pod that is not known");
}

#[test]
fn rules_need_all_their_sources_and_the_first_that_has_them_decides() {
    let rules = "pod_association: [{sources: [{from: resource_attribute, name: k8s.namespace.name}, {from: \
                 resource_attribute, name: k8s.pod.name}]}, {sources: [{from: resource_attribute, name: container.id}]}, \
                 {sources: [{from: resource_attribute, name: k8s.pod.label.zone}]}, {sources: [{from: connection}]}]";
    let fixture =
        fixture(&format!("{{{rules}, extract: {{labels: [{{key: zone}}]}}}}"), &[pod(&["main", "sidecar"])]);
    let rule = |pairs: &[(&str, Any)]| {
        let outcome = fixture.enriched(Some("10.0.0.1"), pairs).0;
        (outcome.rule, outcome.found)
    };
    let (namespace, name) = (("k8s.namespace.name", text("shop")), ("k8s.pod.name", text("a")));
    assert_eq!(rule(&[namespace.clone(), name.clone()]), (Some(0), true));
    assert_eq!(rule(&[("k8s.namespace.name", text("other")), name]), (Some(0), false));
    assert_eq!(rule(&[namespace]), (Some(3), true), "the pod's name is missing");
    assert_eq!(rule(&[("container.id", text("sidecar-1"))]), (Some(1), true), "a run that ended");
    assert_eq!(rule(&[("k8s.pod.label.zone", text("z"))]), (Some(2), true));
    assert_eq!(rule(&[("container.id", text(""))]), (Some(3), true));
}

#[test]
fn the_address_is_only_written_when_it_is_asked_for() {
    let fixture = fixture("extract: {metadata: [k8s.pod.name]}", &[pod(&[])]);
    let (_, pairs) = fixture.enriched(Some("10.0.0.1"), &[]);
    assert_eq!(pairs, [("k8s.pod.name".to_owned(), text("a"))]);
}
