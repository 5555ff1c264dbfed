use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::{Config, Metrics, Resource};
use crate::telemetry::resource;
use crate::testing::BUILD;

const BOUND: Duration = Duration::from_secs(10);

fn config(level: &str, port: u16) -> Config {
    let prometheus = json!({ "host": "127.0.0.1", "port": port });
    let readers = json!([{ "pull": { "exporter": { "prometheus": prometheus } } }]);
    serde_json::from_value(json!({ "level": level, "readers": readers })).unwrap()
}

fn resource() -> Resource {
    let config: Value = json!({ "service.instance.id": "i", "k8s.cluster.name": "c" });
    Resource::new(&serde_json::from_value::<resource::Config>(config).unwrap(), BUILD)
}

/// The whole answer to a request with this head.
async fn answer(metrics: &Metrics, request: &str) -> String {
    let mut stream = TcpStream::connect(metrics.addresses()[0]).await.unwrap();
    stream
        .write_all(format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    timeout(BOUND, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn serves_what_components_count_under_its_plain_name_with_the_resource_beside_it() {
    let metrics = Metrics::open(&config("normal", 0), &resource()).await.unwrap();
    let family =
        metrics.telemetry().counter("otelcol_receiver_accepted_spans", "Help. [Alpha]", &["receiver"]);
    family.unwrap().with_label_values(&["otlp/2"]).inc_by(7);
    let answer = answer(&metrics, "GET /metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: text/plain; version=0.0.4\r\n"), "{answer}");
    for line in [
        "# HELP otelcol_receiver_accepted_spans Help. [Alpha]",
        "# TYPE otelcol_receiver_accepted_spans counter",
        "otelcol_receiver_accepted_spans{receiver=\"otlp/2\"} 7",
        "# TYPE otelcol_process_uptime counter",
        "target_info{k8s_cluster_name=\"c\",service_instance_id=\"i\",service_name=\"spanbridge\",\
         service_version=\"1.2.3\"} 1",
        "promhttp_metric_handler_errors_total{cause=\"encoding\"} 0",
    ] {
        assert!(answer.lines().any(|l| l == line), "no line {line:?} in\n{answer}");
    }
    metrics.close().await;
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let metrics = Metrics::open(&config("basic", 0), &resource()).await.unwrap();
    assert!(answer(&metrics, "GET /").await.starts_with("HTTP/1.1 404 "));
    assert!(answer(&metrics, "POST /metrics").await.starts_with("HTTP/1.1 405 "));
    metrics.close().await;
}

#[tokio::test]
async fn a_request_head_that_is_too_long_ends_the_connection() {
    let metrics = Metrics::open(&config("basic", 0), &resource()).await.unwrap();
    let request = format!("GET /metrics?{}", "x".repeat(64 * 1024));
    let mut stream = TcpStream::connect(metrics.addresses()[0]).await.unwrap();
    // The server may close while this still writes.
    let _ = stream.write_all(format!("{request} HTTP/1.1\r\n\r\n").as_bytes()).await;
    let mut answer = Vec::new();
    let _ = timeout(BOUND, stream.read_to_end(&mut answer)).await.unwrap();
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    metrics.close().await;
}

#[tokio::test]
async fn level_none_opens_no_port() {
    let metrics = Metrics::open(&config("none", 0), &resource()).await.unwrap();
    assert!(metrics.addresses().is_empty());
}

#[tokio::test]
async fn a_port_in_use_is_named_with_the_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = Metrics::open(&config("normal", port), &resource()).await.err().unwrap();
    assert!(
        error.starts_with(&format!("cannot listen on 127.0.0.1:{port} for internal metrics: ")),
        "{error}"
    );
    assert!(error.contains("level: none"), "{error}");
}

#[tokio::test]
async fn a_closed_endpoint_gives_its_port_back() {
    let metrics = Metrics::open(&config("normal", 0), &resource()).await.unwrap();
    let address = metrics.addresses()[0];
    metrics.close().await;
    TcpListener::bind(address).await.unwrap();
}
