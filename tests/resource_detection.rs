//! The `resource_detection` processor in the real binary: variables and the machine, and the metadata services of clouds as
//! stand-ins at the places that their own variables name.

use axum::extract::Request;
use axum::http::StatusCode;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use tempfile::TempDir;

use crate::client;
use crate::data::{self, text, text_of};
use crate::harness::{Collector, Launch, run};
use crate::sink::Sink;

fn config(sink: &Sink, keys: &str) -> String {
    format!(
        "
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:0'}}}}}}
processors:
  resource_detection: {{{keys}}}
exporters:
  otlp_grpc:
    endpoint: {}
    tls: {{insecure: true}}
    sending_queue: {{enabled: false}}
service:
  telemetry:
    metrics: {{level: none}}
  pipelines:
    traces: {{receivers: [otlp], processors: [resource_detection], exporters: [otlp_grpc]}}
    logs: {{receivers: [otlp], processors: [resource_detection], exporters: [otlp_grpc]}}
",
        sink.address()
    )
}

/// The resource that arrives when one of the host `sender` is sent.
async fn arrived(keys: &str, environment: &[(&str, &str)]) -> Vec<KeyValue> {
    let (sink, dir) = (Sink::start(), TempDir::new().expect("a folder"));
    let environment =
        environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let launch = Launch { environment, ..Launch::default() };
    let collector = Collector::start_in(dir.path(), "edge", &config(&sink, keys), &launch);
    let mut request = data::spans(1, 1);
    let resource = request.resource_spans[0].resource.as_mut().expect("a resource");
    resource.attributes = vec![text("service.name", "shop"), text("host.name", "sender")];
    client::traces(collector.grpc()).await.export(request).await.expect("accepted");
    let received = sink.traces();
    let once = collector.stopped_log();
    assert_eq!(once.matches("detected resource information").count(), 1, "all pipelines share it: {once}");
    received[0].resource_spans[0].resource.clone().expect("a resource").attributes
}

/// A metadata service; returns its `host:port`.
async fn serve(answer: fn(&Request) -> Option<String>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind the stand-in");
    let address = listener.local_addr().expect("its address");
    let handler = move |request: Request| async move {
        match answer(&request) {
            Some(body) => (StatusCode::OK, [("metadata-flavor", "Google")], body),
            None => (StatusCode::NOT_FOUND, [("metadata-flavor", "Google")], String::new()),
        }
    };
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(handler)).await });
    address.to_string()
}

/// EC2, which wants a token for everything but the token.
fn ec2(request: &Request) -> Option<String> {
    let path = request.uri().path();
    if path == "/latest/api/token" {
        return (request.method() == "PUT").then(|| "token".to_owned());
    }
    if request.headers().get("x-aws-ec2-metadata-token").is_none_or(|token| token != "token") {
        return None;
    }
    let body = match path {
        "/latest/meta-data/instance-id" => "i-1",
        "/latest/meta-data/hostname" => "ip-10-0-0-1.ec2.internal",
        "/latest/dynamic/instance-identity/document" => {
            r#"{"accountId": "123", "availabilityZone": "eu-west-1a", "region": "eu-west-1", "instanceId": "i-1",
                "imageId": "ami-1", "instanceType": "m5.large"}"#
        }
        _ => return None,
    };
    Some(body.to_owned())
}

fn gcp(request: &Request) -> Option<String> {
    let body = match request.uri().path().strip_prefix("/computeMetadata/v1/")? {
        "project/project-id" => "my-project",
        "instance/zone" => "projects/1/zones/europe-west1-b",
        "instance/machine-type" => "projects/1/machineTypes/n1-standard-1",
        "instance/id" => "42",
        "instance/name" => "vm-1",
        _ => return None,
    };
    Some(body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_and_the_machine_are_added_in_the_order_of_the_detectors() {
    let variables = [("OTEL_RESOURCE_ATTRIBUTES", "team=a%20b,os.type=of-the-variable")];
    let resource = arrived("detectors: [env, system], system: {hostname_sources: [os]}", &variables).await;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("the name of this machine");
    assert_eq!(text_of(&resource, "team"), Some("a b"));
    assert_eq!(text_of(&resource, "os.type"), Some("of-the-variable"), "the first detector wins");
    assert_eq!(text_of(&resource, "host.name"), Some(host.trim()), "the sender's is overridden");
    assert_eq!(text_of(&resource, "service.name"), Some("shop"));
}

#[tokio::test(flavor = "multi_thread")]
async fn clouds_are_found_at_their_metadata_services_and_what_is_there_may_stay() {
    let endpoint = format!("http://{}", serve(ec2).await);
    let keys = "detectors: [ec2, gcp], override: false, fail_on_missing_metadata: true";
    let host = serve(gcp).await;
    let variables =
        [("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint.as_str()), ("GCE_METADATA_HOST", host.as_str())];
    let resource = arrived(keys, &variables).await;
    for (key, value) in [
        ("cloud.provider", "aws"),
        ("cloud.platform", "aws_ec2"),
        ("cloud.region", "eu-west-1"),
        ("host.id", "i-1"),
        ("host.image.id", "ami-1"),
        ("host.name", "sender"),
    ] {
        assert_eq!(text_of(&resource, key), Some(value), "{key}");
    }
    let resource = arrived("detectors: [gcp, ec2]", &variables).await;
    for (key, value) in [
        ("cloud.platform", "gcp_compute_engine"),
        ("cloud.availability_zone", "europe-west1-b"),
        ("host.name", "vm-1"),
        ("host.image.id", "ami-1"),
    ] {
        assert_eq!(text_of(&resource, key), Some(value), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detector_that_fails_ends_the_start_and_says_why() {
    let (sink, dir) = (Sink::start(), TempDir::new().expect("a folder"));
    for (keys, environment, expected) in [
        (
            "detectors: [env], timeout: 500ms",
            ("OTEL_RESOURCE_ATTRIBUTES", "nonsense"),
            "detector env: invalid resource format: ",
        ),
        (
            "detectors: [ec2], fail_on_missing_metadata: true, timeout: 1s, ec2: {max_attempts: 1}",
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1"),
            "detector ec2: EC2 metadata unavailable: PUT http://127.0.0.1:1/latest/api/token: ",
        ),
        ("detectors: [k8s_api]", ("K8S_NODE_NAME", ""), "environment variable K8S_NODE_NAME is not set"),
    ] {
        let file = dir.path().join("config.yaml");
        std::fs::write(&file, config(&sink, keys)).expect("write the configuration");
        let environment = [(environment.0.to_owned(), environment.1.to_owned())];
        let output = run(dir.path(), &["--config", &file.display().to_string()], &environment);
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && log.contains(expected), "{expected} is not in {log}");
    }
}
