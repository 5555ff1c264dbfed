//! The real `telemetrygen` (grpc-go as client) sends through Spanbridge to a receiver on grpc-go and the Go stubs.

use std::collections::BTreeSet;

use crate::harness::{CLUSTER, CLUSTER_VALUE, Collector, ZONE, ZONE_VALUE, pipeline, say};
use crate::peers::{Item, Peer, Receiver, or_skip};

const WORKERS: usize = 3;
const EACH: usize = 200;
/// `telemetrygen` makes a parent and one child a trace.
const SPANS_PER_TRACE: usize = 2;

/// Sends one signal and returns what arrived.
fn generate(peer: &Peer, signal: &str) -> Vec<Item> {
    let receiver = Receiver::start(peer);
    let target = receiver.address().parse().expect("an address");
    let edge = Collector::start("edge", &pipeline(target, "timeout: 20ms", "compression: gzip"));
    let (endpoint, workers, each) = (edge.grpc().to_string(), WORKERS.to_string(), EACH.to_string());
    let count = format!("--{signal}");
    peer.send(&[
        signal,
        "--otlp-insecure",
        "--otlp-endpoint",
        &endpoint,
        "--rate",
        "0",
        "--workers",
        &workers,
        &count,
        &each,
        "--otlp-attributes",
        "peer.name=\"go\"",
        "--telemetry-attributes",
        "item.key=\"value\"",
    ]);
    edge.stop();
    let items = receiver.items();
    for item in &items {
        assert_eq!(item.resource_text("service.name"), Some("telemetrygen"));
        assert_eq!(item.resource_text("peer.name"), Some("go"));
        assert_eq!(item.resource_text(ZONE), Some(ZONE_VALUE));
        assert_eq!(item.resource_text(CLUSTER), Some(CLUSTER_VALUE));
    }
    say(&format!("telemetrygen: {} {signal} arrived", items.len()));
    items
}

#[test]
fn go_telemetrygen_traces_arrive_once_each() {
    let Some(peer) = or_skip("go_traces", "go", Peer::go()) else { return };
    let items = generate(&peer, "traces");
    let ids: BTreeSet<String> = items.iter().map(Item::span_id).collect();
    assert_eq!((items.len(), ids.len()), (WORKERS * EACH * SPANS_PER_TRACE, items.len()));
}

#[test]
fn go_telemetrygen_metrics_arrive_once_each() {
    let Some(peer) = or_skip("go_metrics", "go", Peer::go()) else { return };
    assert_eq!(generate(&peer, "metrics").len(), WORKERS * EACH);
}

#[test]
fn go_telemetrygen_logs_arrive_once_each() {
    let Some(peer) = or_skip("go_logs", "go", Peer::go()) else { return };
    assert_eq!(generate(&peer, "logs").len(), WORKERS * EACH);
}
