//! The `otlp_grpc` exporter as it is by default: what its queue has acknowledged arrives, whatever the destination does.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use tonic::Status;

use crate::client;
use crate::data;
use crate::harness::{Collector, PATIENCE, say};
use crate::sink::{Behaviour, Sink};

/// Traces to `target` by an exporter with its defaults, but for what `exporter` says.
fn config(target: std::net::SocketAddr, exporter: &str) -> String {
    format!(
        "
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 127.0.0.1:0
        max_recv_msg_size_mib: 64
exporters:
  otlp_grpc:
    endpoint: {target}
    tls: {{insecure: true}}
    {exporter}
service:
  telemetry:
    metrics: {{level: none}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [otlp_grpc]}}
"
    )
}

/// Waits until the sink has this many different spans.
async fn arrived(sink: &Sink, spans: usize) {
    let deadline = Instant::now() + PATIENCE;
    while sink.span_counts().len() < spans {
        let count = sink.span_counts().len();
        assert!(Instant::now() < deadline, "{count} of {spans} spans have arrived");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_while_the_destination_was_down_arrives_once_it_is_up() {
    let reserved = TcpListener::bind("127.0.0.1:0").expect("reserve a port");
    let address = reserved.local_addr().expect("the port");
    drop(reserved);
    let edge = Collector::start("edge", &config(address, "retry_on_failure: {initial_interval: 200ms}"));
    let mut client = client::traces(edge.grpc()).await;
    for request in 0..40 {
        client.export(data::spans(1 + request * 10, 10)).await.expect("the queue takes it");
    }
    edge.wait_for_line("Exporting failed. Will retry the request after interval.");
    let sink = Sink::start_at(address);
    arrived(&sink, 400).await;
    edge.stop();
    assert!(sink.span_counts().values().all(|count| *count == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn back_pressure_without_a_delay_is_retried_and_nothing_is_lost() {
    let busy = Some(Status::resource_exhausted("Too Many Requests"));
    let sink = Sink::behaving(Behaviour { refuse: busy, ..Behaviour::default() });
    let edge =
        Collector::start("edge", &config(sink.address(), "retry_on_failure: {initial_interval: 100ms}"));
    client::traces(edge.grpc()).await.export(data::spans(1, 10)).await.expect("the queue takes it");
    edge.wait_for_line("Exporting failed. Will retry the request after interval.");
    sink.behave(Behaviour::default());
    arrived(&sink, 10).await;
    edge.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_three_mebibytes_reaches_a_destination_that_takes_one_in_parts() {
    const LIMIT: usize = 1 << 20;
    let sink = Sink::limited(LIMIT);
    let edge = Collector::start("edge", &config(sink.address(), "compression: none"));
    let mut request = data::spans(1, 20_000);
    for span in &mut request.resource_spans[0].scope_spans[0].spans {
        span.name = format!("{:0>100}", span.name);
    }
    let size = prost::Message::encoded_len(&request);
    assert!(size > 3 * LIMIT, "{size}");
    let mut client = client::traces(edge.grpc()).await.max_encoding_message_size(64 << 20);
    client.export(request).await.expect("the queue takes it");
    arrived(&sink, 20_000).await;
    let parts = sink.traces();
    say(&format!("delivery: {size} bytes arrived in {} parts", parts.len()));
    assert!(parts.len() >= 3 && parts.iter().all(|part| prost::Message::encoded_len(part) <= LIMIT));
    assert!(sink.span_counts().values().all(|count| *count == 1));
    // The limit is remembered: the next request is cut before it is sent.
    let before = parts.len();
    client.export(data::spans(100_000, 20_000)).await.expect("the queue takes it");
    arrived(&sink, 40_000).await;
    assert!(sink.traces().len() > before + 1);
    edge.stop();
}
