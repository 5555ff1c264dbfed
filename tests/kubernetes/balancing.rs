//! The `k8s` resolver of the `load_balancing` exporter: backends come and go with the endpoints of a service.

use std::collections::BTreeSet;

use super::*;
use crate::harness::Launch;

/// Spans of each request, each of a trace of its own.
const SPANS: u64 = 20;

fn config(ports: &[u16], keys: &str) -> String {
    format!(
        "
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 127.0.0.1:0
exporters:
  load_balancing:
    protocol: {{otlp: {{compression: none, tls: {{insecure: true}}}}}}
    resolver:
      k8s: {{service: collectors.obs, ports: {ports:?}{keys}}}
    retry_on_failure: {{initial_interval: 100ms, max_interval: 500ms}}
service:
  telemetry:
    metrics: {{level: none}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [load_balancing]}}
"
    )
}

fn start(api: &Api, config: &str) -> Collector {
    let path = api.kube_config();
    let environment = vec![("KUBECONFIG".to_owned(), path.display().to_string())];
    let dir = path.parent().expect("a folder");
    Collector::start_in(dir, "edge", config, &Launch { environment, ..Launch::default() })
}

/// A slice of the service `collectors`; an endpoint that is not ready is one that no test may reach.
fn slice(name: &str, ready: &[&str]) -> Json {
    let mut endpoints: Vec<Json> =
        ready.iter().map(|address| json!({"addresses": [address], "conditions": {"ready": true}})).collect();
    endpoints.push(json!({"addresses": ["192.0.2.1"], "conditions": {"ready": false}}));
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": name, "namespace": "obs", "labels": {"kubernetes.io/service-name": "collectors"}},
        "endpoints": endpoints,
    })
}

/// Sends requests, and returns the ids of their spans.
async fn send(collector: &Collector, first: u64, requests: u64) -> BTreeSet<u64> {
    let mut client = client::traces(collector.grpc()).await;
    let mut sent = BTreeSet::new();
    for number in 0..requests {
        let from = first + number * SPANS;
        client.export(data::spans(from, SPANS)).await.expect("the queue takes it");
        sent.extend(from..from + SPANS);
    }
    sent
}

async fn all_arrive(sinks: &[&Sink], sent: &BTreeSet<u64>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let arrived: BTreeSet<u64> =
            sinks.iter().flat_map(|sink| sink.span_counts()).map(|(id, _)| id).collect();
        let missing = sent.difference(&arrived).count();
        if missing == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "{missing} of {} spans never arrive", sent.len());
        tokio::time::sleep(POLL).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_follow_the_endpoints_of_a_service_and_nothing_acknowledged_is_lost() {
    let (first, second) = (Sink::start(), Sink::start());
    let api = Api::start().await;
    api.grant(&[("discovery.k8s.io", "endpointslices", Some("obs"))]).await;
    // One address, two ports: each port of an endpoint is a backend.
    api.put("endpointslices", slice("collectors-1", &["127.0.0.1"]));
    let ports = [first.address().port(), second.address().port()];
    let edge = start(&api, &config(&ports, ""));
    let mut sent = send(&edge, 1, 20).await;
    all_arrive(&[&first, &second], &sent).await;
    assert!(!first.span_counts().is_empty() && !second.span_counts().is_empty(), "each has its share");
    // The endpoint leaves, and what comes then waits for it to be back in another slice.
    api.store().delete("endpointslices", "obs", "collectors-1");
    edge.wait_for_line("the service has no ready endpoints");
    sent.extend(send(&edge, 10_000, 5).await);
    api.put("endpointslices", slice("collectors-2", &["127.0.0.1"]));
    all_arrive(&[&first, &second], &sent).await;
    // The API goes away: nothing changes.
    let mut api = api;
    api.stop().await;
    sent.extend(send(&edge, 20_000, 5).await);
    all_arrive(&[&first, &second], &sent).await;
    edge.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_missing_is_named_and_nothing_is_lost_until_it_is_granted() {
    let sink = Sink::start();
    let api = Api::start().await;
    api.grant(&[]).await;
    api.put("endpointslices", slice("collectors-1", &["127.0.0.1"]));
    let edge = start(&api, &config(&[sink.address().port()], ""));
    let line = edge.wait_for_line("forbidden").replace('\\', "");
    let rule = r#"add to the Role of the service account: {apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: ["list", "watch"]}"#;
    assert!(line.contains("in the namespace \"obs\"") && line.contains(rule), "{line}");
    let sent = send(&edge, 1, 3).await;
    api.grant(&[("discovery.k8s.io", "endpointslices", Some("obs"))]).await;
    all_arrive(&[&sink], &sent).await;
    edge.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_without_hostnames_are_refused_where_hostnames_are_wanted() {
    let api = Api::start().await;
    api.put("endpointslices", slice("collectors-1", &["127.0.0.1"]));
    let edge = start(&api, &config(&[4317], ", return_hostnames: true"));
    let line = edge.wait_for_line("has no hostname");
    assert!(line.contains("StatefulSet") && line.contains("collectors.obs"), "{line}");
    edge.stop();
}
