//! The whole generator against a small gRPC server that records what it gets.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod destination;

use std::collections::HashSet;
use std::time::Duration;

use clap::Parser;
use destination::{Answer, Destination, Request};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use spanbridge_telemetrygen::{Args, Error, Summary, run};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// No test waits longer for anything.
const LIMIT: Duration = Duration::from_secs(20);

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

async fn generate_until(
    shutdown: CancellationToken,
    destination: &Destination,
    signal: &str,
    flags: &[&str],
) -> Result<Summary, Error> {
    let endpoint = destination.endpoint();
    let fixed = ["telemetrygen", signal, "--otlp-insecure", "--otlp-endpoint", &endpoint];
    let cli = Cli::try_parse_from(fixed.iter().chain(flags)).unwrap();
    timeout(LIMIT, run(cli.args, shutdown)).await.expect("the generator hangs")
}

async fn generate(destination: &Destination, signal: &str, flags: &[&str]) -> Result<Summary, Error> {
    generate_until(CancellationToken::new(), destination, signal, flags).await
}

fn spans(request: &Request) -> Vec<Span> {
    let request = ExportTraceServiceRequest::decode(request.message.as_slice()).unwrap();
    let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

#[tokio::test]
async fn sends_exactly_the_spans_that_were_asked_for() {
    let destination = Destination::start(Answer::Accept).await;
    let flags = ["--workers=2", "--traces=5", "--child-spans=3", "--batch-size=7"];
    let summary = generate(&destination, "traces", &flags).await.unwrap();
    assert_eq!((summary.traces, summary.sent_items, summary.failed_items), (10, 40, 0));

    let requests = destination.requests();
    // Each worker sends its 20 spans as 7, 7 and 6.
    let mut sizes: Vec<_> = requests.iter().map(|request| spans(request).len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [6, 6, 7, 7, 7, 7]);
    let spans: Vec<_> = requests.iter().flat_map(spans).collect();
    let ids: HashSet<_> = spans.iter().map(|span| &span.span_id).collect();
    let traces: HashSet<_> = spans.iter().map(|span| &span.trace_id).collect();
    assert_eq!((ids.len(), traces.len()), (40, 10));
    assert_eq!(spans.iter().filter(|span| span.name == "lets-go").count(), 10);
    assert!(spans.iter().all(|span| span.parent_span_id.is_empty() || ids.contains(&span.parent_span_id)));
}

#[tokio::test]
async fn requests_carry_resource_scope_and_headers() {
    let destination = Destination::start(Answer::Accept).await;
    let flags = ["--service=shop", "--otlp-attributes", "n=1", "--otlp-header", "x-tenant=\"acme\""];
    generate(&destination, "traces", &flags).await.unwrap();
    let request = &destination.requests()[0];
    assert_eq!(request.path, "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
    assert_eq!(request.headers["x-tenant"], "acme");
    assert!(request.headers.get("grpc-encoding").is_none());
    let message = ExportTraceServiceRequest::decode(request.message.as_slice()).unwrap();
    let resource = message.resource_spans[0].resource.as_ref().unwrap();
    let keys: Vec<_> = resource.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
    assert_eq!(keys, ["service.name", "n"]);
    assert_eq!(message.resource_spans[0].scope_spans[0].scope.as_ref().unwrap().name, "telemetrygen");
}

#[tokio::test]
async fn without_batching_each_span_is_a_request() {
    let destination = Destination::start(Answer::Accept).await;
    let summary = generate(&destination, "traces", &["--traces=2", "--batch=false"]).await.unwrap();
    assert_eq!(summary.sent_items, 4);
    let sizes: Vec<_> = destination.requests().iter().map(|request| spans(request).len()).collect();
    assert_eq!(sizes, [1, 1, 1, 1]);
}

#[tokio::test]
async fn large_records_travel_in_requests_of_bounded_size() {
    let destination = Destination::start(Answer::Accept).await;
    let summary = generate(&destination, "traces", &["--traces=4", "--size=1"]).await.unwrap();
    assert_eq!(summary.sent_items, 8);
    let sizes: Vec<_> = destination.requests().iter().map(|request| request.message.len()).collect();
    assert_eq!(sizes.len(), 2);
    assert!(sizes.iter().all(|size| *size < 4 * 1024 * 1024), "{sizes:?}");
}

#[tokio::test]
async fn metrics_of_every_type_arrive() {
    for metric_type in ["Gauge", "Sum", "Histogram", "ExponentialHistogram"] {
        let destination = Destination::start(Answer::Accept).await;
        let flags = ["--metrics=3", "--metric-type", metric_type, "--telemetry-attributes", "k=\"v\""];
        let summary = generate(&destination, "metrics", &flags).await.unwrap();
        assert_eq!((summary.traces, summary.sent_items), (0, 3));
        let request = &destination.requests()[0];
        assert_eq!(request.path, "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export");
        let message = ExportMetricsServiceRequest::decode(request.message.as_slice()).unwrap();
        assert_eq!(message.resource_metrics[0].scope_metrics[0].metrics.len(), 3);
    }
}

#[tokio::test]
async fn log_records_arrive() {
    let destination = Destination::start(Answer::Accept).await;
    let summary = generate(&destination, "logs", &["--logs=250", "--body=hello"]).await.unwrap();
    assert_eq!(summary.sent_items, 250);
    let requests = destination.requests();
    assert_eq!(requests.len(), 3);
    let message = ExportLogsServiceRequest::decode(requests[0].message.as_slice()).unwrap();
    assert_eq!(message.resource_logs[0].scope_logs[0].log_records.len(), 100);
}

#[tokio::test]
async fn a_refused_export_is_an_error_that_names_the_destination() {
    let destination = Destination::start(Answer::Refuse("quota is used up")).await;
    let error = generate(&destination, "logs", &["--logs=1000000", "--workers=2"]).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot export to {}: ", destination.endpoint())), "{text}");
    assert!(text.contains("quota is used up"), "{text}");
}

#[tokio::test]
async fn allowed_failures_are_counted_and_the_run_goes_on() {
    let destination = Destination::start(Answer::Refuse("no")).await;
    let flags = ["--logs=30", "--batch-size=10", "--allow-export-failures"];
    let summary = generate(&destination, "logs", &flags).await.unwrap();
    assert_eq!((summary.sent_items, summary.failed_items), (0, 30));
    assert_eq!(destination.requests().len(), 3);
}

#[tokio::test]
async fn rejected_items_of_a_partial_success_are_failed_items() {
    let partial = ExportTracePartialSuccess { rejected_spans: 3, error_message: "too old".into() };
    let answer = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    let destination = Destination::start(Answer::Reply(answer)).await;
    let flags = ["--traces=5", "--allow-export-failures"];
    let summary = generate(&destination, "traces", &flags).await.unwrap();
    assert_eq!((summary.sent_items, summary.failed_items), (7, 3));
    let error = generate(&destination, "traces", &["--traces=5"]).await.unwrap_err().to_string();
    assert!(error.ends_with("it rejected 3 of 10 items: too old"), "{error}");
}

#[tokio::test]
async fn an_unreachable_destination_is_an_error() {
    let destination = Destination::closed().await;
    let error = generate(&destination, "traces", &[]).await.unwrap_err().to_string();
    assert!(error.contains("Unavailable"), "{error}");
}

#[tokio::test]
async fn an_export_that_is_not_answered_fails_at_its_timeout() {
    let destination = Destination::start(Answer::Never).await;
    let error = generate(&destination, "traces", &["--timeout=100ms"]).await.unwrap_err().to_string();
    assert!(error.contains("DeadlineExceeded"), "{error}");
}

#[tokio::test]
async fn exports_in_flight_are_bounded() {
    let destination = Destination::start(Answer::Hold).await;
    let generated = async { generate(&destination, "logs", &["--logs=50", "--batch=false"]).await.unwrap() };
    let released = async {
        destination.until_requests(8).await;
        destination.release();
    };
    let (summary, ()) = tokio::join!(generated, released);
    assert_eq!(summary.sent_items, 50);
    assert_eq!(destination.most_in_flight(), 8);
}

#[tokio::test]
async fn shutdown_ends_an_endless_run_and_completes_its_last_trace() {
    let destination = Destination::start(Answer::Accept).await;
    let shutdown = CancellationToken::new();
    let flags = ["--duration=inf", "--rate=2000", "--child-spans=9", "--batch-size=15"];
    let generated = async { generate_until(shutdown.clone(), &destination, "traces", &flags).await.unwrap() };
    let stopped = async {
        destination.until_requests(1).await;
        shutdown.cancel();
    };
    let (summary, ()) = tokio::join!(generated, stopped);
    let spans: Vec<_> = destination.requests().iter().flat_map(spans).collect();
    assert_eq!(summary.sent_items, spans.len() as u64);
    let parents = spans.iter().filter(|span| span.name == "lets-go").count();
    let traces: HashSet<_> = spans.iter().map(|span| &span.trace_id).collect();
    assert_eq!((parents, summary.traces), (traces.len(), traces.len() as u64));
}

#[tokio::test]
async fn a_duration_ends_the_run_whatever_the_count() {
    let destination = Destination::start(Answer::Accept).await;
    let flags = ["--duration=300ms", "--rate=100", "--logs=1"];
    let summary = generate(&destination, "logs", &flags).await.unwrap();
    assert!((2..=32).contains(&summary.sent_items), "{summary:?}");
    assert!(summary.elapsed >= Duration::from_millis(300), "{summary:?}");
}

#[tokio::test]
async fn a_slow_batch_is_sent_before_it_is_full() {
    let destination = Destination::start(Answer::Accept).await;
    let shutdown = CancellationToken::new();
    let flags = ["--duration=inf", "--rate=20", "--batch-size=1000"];
    let generated = async { generate_until(shutdown.clone(), &destination, "logs", &flags).await.unwrap() };
    let stopped = async {
        destination.until_requests(1).await;
        shutdown.cancel();
    };
    let (summary, ()) = tokio::join!(generated, stopped);
    assert!(summary.sent_items < 1000);
}
