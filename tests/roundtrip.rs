//! Each signal goes from an edge collector to a remote one and arrives as it was sent, plus the inserted attributes.

use crate::client;
use crate::data::{self, text_of};
use crate::harness::{CLUSTER, CLUSTER_VALUE, Collector, ZONE, ZONE_VALUE, passthrough, pipeline};
use crate::sink::Sink;

use opentelemetry_proto::tonic::resource::v1::Resource;

/// Edge (insert, batch, compress) and remote (insert nothing new, batch) in two processes.
fn edge_and_remote(sink: &Sink) -> (Collector, Collector) {
    let remote = Collector::start("remote", &pipeline(sink.address(), "timeout: 20ms", "compression: none"));
    let edge = Collector::start("edge", &pipeline(remote.grpc(), "timeout: 20ms", "compression: zstd"));
    (edge, remote)
}

/// Checks the inserted attributes and takes them off.
fn strip_inserted(resource: Option<&mut Resource>) {
    let attributes = &mut resource.expect("a resource").attributes;
    assert_eq!(text_of(attributes, ZONE), Some(ZONE_VALUE));
    assert_eq!(text_of(attributes, CLUSTER), Some(CLUSTER_VALUE));
    attributes.retain(|a| a.key != ZONE && a.key != CLUSTER);
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_arrive_unchanged_over_two_hops_with_the_inserted_attributes() {
    let sink = Sink::start();
    let (edge, remote) = edge_and_remote(&sink);
    let sent = data::spans(1, 37);
    client::traces(edge.grpc()).await.export(sent.clone()).await.expect("accepted");

    let mut received = sink.traces();
    assert_eq!(received.len(), 1);
    strip_inserted(received[0].resource_spans[0].resource.as_mut());
    assert_eq!(received, [sent]);
    edge.stop();
    remote.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_arrive_unchanged_over_two_hops_with_the_inserted_attributes() {
    let sink = Sink::start();
    let (edge, remote) = edge_and_remote(&sink);
    let sent = data::metrics(1, 37);
    client::metrics(edge.grpc()).await.export(sent.clone()).await.expect("accepted");

    let mut received = sink.metrics();
    assert_eq!(received.len(), 1);
    strip_inserted(received[0].resource_metrics[0].resource.as_mut());
    assert_eq!(received, [sent]);
    edge.stop();
    remote.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn log_records_arrive_unchanged_over_two_hops_with_the_inserted_attributes() {
    let sink = Sink::start();
    let (edge, remote) = edge_and_remote(&sink);
    let sent = data::logs(1, 37);
    client::logs(edge.grpc()).await.export(sent.clone()).await.expect("accepted");

    let mut received = sink.logs();
    assert_eq!(received.len(), 1);
    strip_inserted(received[0].resource_logs[0].resource.as_mut());
    assert_eq!(received, [sent]);
    edge.stop();
    remote.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn insert_leaves_an_attribute_that_is_there_already() {
    let sink = Sink::start();
    let edge = Collector::start("edge", &pipeline(sink.address(), "timeout: 20ms", "compression: none"));
    let mut sent = data::spans(1, 1);
    let resource = sent.resource_spans[0].resource.as_mut().expect("a resource");
    resource.attributes.push(data::text(ZONE, "from the client"));
    client::traces(edge.grpc()).await.export(sent).await.expect("accepted");

    let received = sink.traces();
    let attributes = &received[0].resource_spans[0].resource.as_ref().expect("a resource").attributes;
    assert_eq!(text_of(attributes, ZONE), Some("from the client"));
    assert_eq!(attributes.iter().filter(|a| a.key == ZONE).count(), 1);
    assert_eq!(text_of(attributes, CLUSTER), Some(CLUSTER_VALUE));
    edge.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exporter_sends_its_configured_headers_and_user_agent() {
    let sink = Sink::start();
    let exporter = "headers: {x-tenant: blue}";
    let edge = Collector::start("edge", &passthrough("endpoint: 127.0.0.1:0", sink.address(), exporter));
    client::traces(edge.grpc()).await.export(data::spans(1, 1)).await.expect("accepted");

    let metadata = sink.metadata();
    assert_eq!(metadata[0].get("x-tenant").and_then(|v| v.to_str().ok()), Some("blue"));
    let agent = metadata[0].get("user-agent").and_then(|v| v.to_str().ok()).unwrap_or_default();
    assert!(agent.to_lowercase().contains("spanbridge"), "user-agent is {agent:?}");
    edge.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_compression_of_the_exporter_reaches_a_server_that_knows_it() {
    for compression in ["gzip", "zstd", "none"] {
        let sink = Sink::start();
        let exporter = format!("compression: {compression}");
        let config = passthrough("endpoint: 127.0.0.1:0", sink.address(), &exporter);
        let edge = Collector::start("edge", &config);
        let sent = data::spans(1, 100);
        client::traces(edge.grpc()).await.export(sent.clone()).await.expect("accepted");
        assert_eq!(sink.traces(), [sent], "{compression}");
        let encoding =
            sink.metadata()[0].get("grpc-encoding").and_then(|v| v.to_str().ok().map(str::to_owned));
        let expected = (compression != "none").then(|| compression.to_owned());
        assert_eq!(encoding, expected);
        edge.stop();
    }
}
