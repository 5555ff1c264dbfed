//! The `k8s_attributes` processor in the real binary, against a stand-in for the Kubernetes API server.
//!
//! The stand-in speaks what a watcher needs of the API, as the server does it: lists in chunks, watches with bookmarks and
//! selectors, resource versions that can be compacted away (410), metadata-only answers, RBAC refusals, throttling,
//! tokens. Tests write objects into it and read telemetry out of the collector.

mod access;
mod api;
mod churn;
mod scenarios;
mod selector;
mod server;
mod store;
mod trouble;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::common::v1::KeyValue;
use serde_json::{Value as Json, json};

use crate::client;
use crate::data::{self, text};
use crate::harness::{Collector, PATIENCE};
use crate::sink::Sink;
use api::Api;

/// What stands between two looks at something that is going to change.
const POLL: Duration = Duration::from_millis(20);

/// A stand-in, a collector that watches it, and a sink behind that.
struct Cluster {
    api: Api,
    collector: Collector,
    sink: Sink,
    next: u64,
}

impl Cluster {
    /// A collector with these keys of `k8s_attributes`, in flow form without the braces.
    fn with(api: Api, keys: &str) -> Self {
        let sink = Sink::start();
        let collector = Collector::start("edge", &config(&api, keys, sink.address()));
        Self { api, collector, sink, next: 1 }
    }

    /// The resource that arrives when one with these attributes is sent.
    async fn enriched(&mut self, attributes: &[(&str, &str)]) -> Vec<KeyValue> {
        let mut request = data::spans(self.next, 1);
        self.next += 1;
        let resource = request.resource_spans[0].resource.as_mut().expect("a resource");
        resource.attributes = attributes.iter().map(|(key, value)| text(key, value)).collect();
        let mut client = client::traces(self.collector.grpc()).await;
        client.export(request).await.expect("accepted");
        let mut received = self.sink.traces();
        let last = received.pop().expect("what was accepted has arrived");
        last.resource_spans[0].resource.clone().expect("a resource").attributes
    }

    /// Sends resources with these attributes until what arrives has `key` with `value` (or, for `None`, lacks it).
    async fn until(&mut self, attributes: &[(&str, &str)], key: &str, value: Option<&str>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let enriched = self.enriched(attributes).await;
            if data::text_of(&enriched, key) == value {
                return;
            }
            assert!(Instant::now() < deadline, "{key} is never {value:?}: {enriched:?}");
            tokio::time::sleep(POLL).await;
        }
    }
}

fn config(api: &Api, keys: &str, target: SocketAddr) -> String {
    format!(
        "
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 127.0.0.1:0
processors:
  k8s_attributes: {{auth_type: kubeConfig, kube_config_path: {}{keys}}}
exporters:
  otlp_grpc:
    endpoint: {target}
    tls: {{insecure: true}}
    sending_queue: {{enabled: false}}
service:
  telemetry:
    metrics: {{level: none}}
  pipelines:
    traces: {{receivers: [otlp], processors: [k8s_attributes], exporters: [otlp_grpc]}}
    logs: {{receivers: [otlp], processors: [k8s_attributes], exporters: [otlp_grpc]}}
",
        api.kube_config().display()
    )
}

/// A pod of the deployment `web`, as the API server has it.
fn pod(name: &str, ip: &str) -> Json {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "shop", "uid": format!("uid-{name}"),
            "creationTimestamp": "2026-01-02T03:04:05Z",
            "labels": {"app": "web", "pod-template-hash": "5d4f8c7b9"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d4f8c7b9",
                "uid": "uid-web-5d4f8c7b9", "controller": true}],
        },
        "spec": {"nodeName": "node-1", "containers": [{"name": "main", "image": "registry:5000/web:1.2"}]},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "startTime": "2026-01-02T03:04:06Z"},
    })
}

/// The address that tests send from.
const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
