//! The `attributes` processor in the real binary: each signal is edited as its own pipeline says, and nothing else changes.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use tonic::Request;

use crate::harness::Collector;
use crate::sink::Sink;
use crate::{client, data};

/// By sha256sum, of the number 2 as eight little-endian bytes.
const HASH_OF_2: &str = "d86e8112f3c4c4442126f8e9f44f16867da487f29052bf91b810457db34209a4";

fn edge(sink: &Sink) -> Collector {
    let target = sink.address();
    let config = format!(
        "
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:0', include_metadata: true}}}}}}}}
processors:
  attributes/spans:
    include: {{match_type: strict, services: [e2e], span_names: [span 1, span 2]}}
    exclude: {{match_type: strict, attributes: [{{key: number, value: 1}}]}}
    actions:
      - {{key: http.route, action: extract, pattern: '^/(?P<collection>[^/]+)'}}
      - {{key: tenant, action: insert, from_context: metadata.x-tenant}}
      - {{key: number, action: hash}}
  attributes/logs:
    include: {{match_type: regexp, log_bodies: ['[23]$']}}
    actions: [{{key: number, action: convert, converted_type: string}}]
  attributes/metrics:
    exclude: {{match_type: regexp, metric_names: [^nothing]}}
    actions: [{{action: delete, pattern: ^of$}}, {{key: region, action: upsert, value: planet-earth}}]
exporters:
  otlp_grpc: {{endpoint: {target}, tls: {{insecure: true}}, sending_queue: {{enabled: false}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], processors: [attributes/spans], exporters: [otlp_grpc]}}
    logs: {{receivers: [otlp], processors: [attributes/logs], exporters: [otlp_grpc]}}
    metrics: {{receivers: [otlp], processors: [attributes/metrics], exporters: [otlp_grpc]}}
"
    );
    Collector::start("edge", &config)
}

fn set(attributes: &mut [KeyValue], value: KeyValue) {
    let place = attributes.iter_mut().find(|attribute| attribute.key == value.key);
    *place.expect("the attribute is there") = value;
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_that_match_are_edited_and_others_are_not() {
    let sink = Sink::start();
    let edge = edge(&sink);
    let sent = data::spans(1, 3);
    let mut request = Request::new(sent.clone());
    request.metadata_mut().insert("x-tenant", "blue".parse().expect("a metadata value"));
    client::traces(edge.grpc()).await.export(request).await.expect("accepted");

    let mut expected = sent;
    let attributes = &mut expected.resource_spans[0].scope_spans[0].spans[1].attributes;
    set(attributes, data::text("number", HASH_OF_2));
    attributes.extend([data::text("collection", "users"), data::text("tenant", "blue")]);
    assert_eq!(sink.traces(), [expected]);
    edge.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn log_records_that_match_are_edited_and_others_are_not() {
    let sink = Sink::start();
    let edge = edge(&sink);
    let sent = data::logs(1, 4);
    client::logs(edge.grpc()).await.export(sent.clone()).await.expect("accepted");

    let mut expected = sent;
    let records = &mut expected.resource_logs[0].scope_logs[0].log_records;
    set(&mut records[1].attributes, data::text("number", "2"));
    set(&mut records[2].attributes, data::text("number", "3"));
    assert_eq!(sink.logs(), [expected]);
    edge.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn data_points_of_metrics_that_match_are_edited() {
    let sink = Sink::start();
    let edge = edge(&sink);
    let sent = data::metrics(1, 3);
    client::metrics(edge.grpc()).await.export(sent.clone()).await.expect("accepted");

    let mut expected = sent;
    for metric in &mut expected.resource_metrics[0].scope_metrics[0].metrics {
        let Some(Data::Gauge(gauge)) = &mut metric.data else { panic!("{metric:?} is no gauge") };
        for point in &mut gauge.data_points {
            point.attributes = vec![data::text("region", "planet-earth")];
        }
    }
    assert_eq!(sink.metrics(), [expected]);
    edge.stop();
}
