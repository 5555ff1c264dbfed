//! The receiver as its clients see it: tonic's generated clients, and bytes where those are too well behaved.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use otlp_receiver::{Config, Factory};
use prost::Message as _;
use spanbridge_component::telemetry::Telemetry;
use spanbridge_component::{
    Batch, BuildInfo, Code, ComponentId, ConsumeError, Consumer, Host, Kind, Outputs, Receiver,
    ReceiverFactory as _, Settings, Signal, Status, StatusSink, async_trait,
};
use spanbridge_pdata::sample::{rich_logs, rich_metrics, rich_traces};
use spanbridge_testkit::conformance::Subject;
use spanbridge_transport::grpc::ServerConfig;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tonic::codec::CompressionEncoding;
use tonic::transport::{Channel, Endpoint};

const SHORT: Duration = Duration::from_secs(10);

/// What the sink answers.
#[derive(Default)]
enum Behaviour {
    #[default]
    Accept,
    Refuse(ConsumeError),
    /// Never answers.
    Hang,
}

#[derive(Default)]
struct Sink {
    behaviour: Mutex<Behaviour>,
    batches: Mutex<Vec<Batch>>,
    arrived: Notify,
    dropped: AtomicUsize,
}

struct CountDrop<'a>(&'a AtomicUsize);

impl Drop for CountDrop<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Consumer for Sink {
    async fn consume(&self, batch: Batch) -> Result<(), ConsumeError> {
        self.batches.lock().unwrap().push(batch);
        self.arrived.notify_one();
        let answer = match &*self.behaviour.lock().unwrap() {
            Behaviour::Accept => Some(Ok(())),
            Behaviour::Refuse(error) => Some(Err(error.clone())),
            Behaviour::Hang => None,
        };
        let _count = CountDrop(&self.dropped);
        match answer {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}

struct NoSink;

impl StatusSink for NoSink {
    fn report(&self, _: Kind, _: &ComponentId, status: Status) {
        panic!("unexpected report: {status:?}");
    }
}

struct Rig {
    sink: Arc<Sink>,
    receiver: Arc<dyn Receiver>,
    endpoint: String,
    telemetry: Telemetry,
    _folder: tempfile::TempDir,
}

impl Rig {
    async fn new(signals: &[Signal], change: impl FnOnce(&mut ServerConfig)) -> Self {
        Self::with(signals, "repair", change).await
    }

    /// Listens on a unix socket, so that tests need no ports.
    async fn with(signals: &[Signal], invalid_utf8: &str, change: impl FnOnce(&mut ServerConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = folder.path().join("otlp.sock").to_str().unwrap().to_owned();
        let yaml = format!(
            "{{protocols: {{grpc: {{endpoint: {endpoint}, transport: unix}}}}, invalid_utf8: {invalid_utf8}}}"
        );
        let mut config: Config = spanbridge_config::from_yaml(&yaml).unwrap();
        change(config.protocols.grpc.as_mut().unwrap());
        let sink = Arc::new(Sink::default());
        let telemetry = Telemetry::detached();
        let receiver = build(config, telemetry.clone(), signals, &sink);
        receiver.start(host()).await.unwrap();
        Self { sink, receiver, endpoint, telemetry, _folder: folder }
    }

    async fn channel(&self) -> Channel {
        Endpoint::try_from(format!("unix:{}", self.endpoint)).unwrap().connect().await.unwrap()
    }

    fn behave(&self, behaviour: Behaviour) {
        *self.sink.behaviour.lock().unwrap() = behaviour;
    }

    fn last(&self) -> Batch {
        self.sink.batches.lock().unwrap().last().unwrap().clone()
    }

    fn batches(&self) -> usize {
        self.sink.batches.lock().unwrap().len()
    }

    /// Accepted, refused and failed spans.
    fn spans(&self) -> [u64; 3] {
        ["accepted", "refused", "failed"].map(|verb| self.counter(&format!("otelcol_receiver_{verb}_spans")))
    }

    fn counter(&self, name: &str) -> u64 {
        let families = self.telemetry.registry().gather();
        let family = families.iter().find(|f| f.name() == name).unwrap();
        let metric = &family.get_metric()[0];
        let labels: Vec<_> = metric.get_label().iter().map(|l| (l.name(), l.value())).collect();
        assert_eq!(labels, [("receiver", "otlp"), ("transport", "grpc")]);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
        let value = metric.get_counter().get_value() as u64;
        value
    }

    /// Posts a framed body with h2 alone; the status code and message.
    async fn raw(&self, path: &str, message: &[u8]) -> (i32, String) {
        let socket = tokio::net::UnixStream::connect(&self.endpoint).await.unwrap();
        let (mut send, connection) = h2::client::handshake(socket).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::post(format!("http://localhost{path}"))
            .header("content-type", "application/grpc")
            .body(())
            .unwrap();
        let (response, mut body) = send.send_request(request, false).unwrap();
        let prefix = spanbridge_transport::grpc::frame::prefix(false, message.len()).unwrap();
        body.send_data([&prefix, message].concat().into(), true).unwrap();
        let (head, mut body) = timeout(SHORT, response).await.unwrap().unwrap().into_parts();
        while let Some(chunk) = body.data().await {
            assert_eq!(chunk.unwrap().as_ref(), [0, 0, 0, 0, 2, 0x0A, 0]);
        }
        let trailers = body.trailers().await.unwrap().unwrap_or(head.headers);
        let status = spanbridge_transport::grpc::Status::read_from(&trailers).unwrap();
        (status.code().number(), status.message().to_owned())
    }
}

fn build(config: Config, telemetry: Telemetry, signals: &[Signal], sink: &Arc<Sink>) -> Arc<dyn Receiver> {
    let settings = Settings {
        id: "otlp".parse().unwrap(),
        kind: Kind::Receiver,
        pipeline: None,
        signals: signals.to_vec(),
        ledger: spanbridge_component::Ledger::new(),
        telemetry,
        build: BuildInfo { command: "test", description: "", version: "0" },
    };
    let outputs = signals.iter().fold(Outputs::new(), |outputs, signal| outputs.with(*signal, sink.clone()));
    Factory.create(settings, config, outputs).unwrap()
}

fn host() -> Host {
    Host::new(Kind::Receiver, "otlp".parse().unwrap(), Arc::new(NoSink))
}

fn traces() -> ExportTraceServiceRequest {
    ExportTraceServiceRequest::decode(rich_traces(10)).unwrap()
}

#[tokio::test]
async fn all_three_signals_arrive_unchanged_over_one_socket() {
    let rig = Rig::new(&Signal::ALL, |_| {}).await;
    let channel = rig.channel().await;
    let sent = traces();
    let response = TraceServiceClient::new(channel.clone()).export(sent.clone()).await.unwrap();
    assert!(response.get_ref().partial_success.is_some(), "the answer is 0A 00, never empty");
    let batch = rig.last();
    assert_eq!((batch.signal(), batch.items()), (Signal::Traces, 10));
    assert_eq!(batch.payload.segments().concat(), sent.encode_to_vec());

    let sent = ExportMetricsServiceRequest::decode(rich_metrics(10)).unwrap();
    MetricsServiceClient::new(channel.clone()).export(sent.clone()).await.unwrap();
    let batch = rig.last();
    assert_eq!(batch.signal(), Signal::Metrics);
    assert_eq!(batch.payload.segments().concat(), sent.encode_to_vec());

    let sent = ExportLogsServiceRequest::decode(rich_logs(10)).unwrap();
    let response = LogsServiceClient::new(channel).export(sent.clone()).await.unwrap();
    let success = ExportLogsPartialSuccess::default();
    assert_eq!(response.into_inner(), ExportLogsServiceResponse { partial_success: Some(success) });
    let batch = rig.last();
    assert_eq!(batch.signal(), Signal::Logs);
    assert_eq!(batch.payload.segments().concat(), sent.encode_to_vec());
    assert_eq!(rig.spans(), [10, 0, 0]);
}

#[tokio::test]
async fn compressed_requests_arrive_unchanged() {
    let rig = Rig::new(&Signal::ALL, |_| {}).await;
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let mut client = TraceServiceClient::new(rig.channel().await).send_compressed(encoding);
        client.export(traces()).await.unwrap();
        assert_eq!(rig.last().payload.segments().concat(), traces().encode_to_vec());
    }
}

#[tokio::test]
async fn a_signal_without_a_pipeline_is_not_served() {
    let rig = Rig::new(&[Signal::Logs], |_| {}).await;
    let status = TraceServiceClient::new(rig.channel().await).export(traces()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unimplemented);
    assert_eq!(status.message(), "unknown service opentelemetry.proto.collector.trace.v1.TraceService");
    let (code, message) = rig.raw("/opentelemetry.proto.collector.logs.v1.LogsService/Import", b"").await;
    assert_eq!(code, 12);
    assert_eq!(
        message,
        "unknown method Import for service opentelemetry.proto.collector.logs.v1.LogsService"
    );
}

#[tokio::test]
async fn a_request_without_items_succeeds_and_goes_no_further() {
    let rig = Rig::new(&Signal::ALL, |_| {}).await;
    let mut client = TraceServiceClient::new(rig.channel().await);
    client.export(ExportTraceServiceRequest::default()).await.unwrap();
    let mut no_spans = traces();
    no_spans.resource_spans.iter_mut().for_each(|r| r.scope_spans.clear());
    client.export(no_spans).await.unwrap();
    assert_eq!((rig.batches(), rig.spans()), (0, [0, 0, 0]));
}

#[tokio::test]
async fn malformed_requests_are_refused_and_not_counted() {
    let rig = Rig::new(&Signal::ALL, |_| {}).await;
    let (code, message) =
        rig.raw("/opentelemetry.proto.collector.trace.v1.TraceService/Export", &[0x0A, 0x7F]).await;
    assert_eq!(code, 3);
    assert!(message.contains("malformed OTLP request"), "{message}");
    assert_eq!((rig.batches(), rig.spans()), (0, [0, 0, 0]));
}

#[tokio::test]
async fn strings_that_are_not_utf8_are_repaired_or_refused() {
    // One log record whose severity text is the byte FF.
    let record = [0x1A, 1, 0xFF];
    let request = [&[0x0A, 7, 0x12, 5, 0x12, 3], record.as_slice()].concat();
    let path = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
    let rig = Rig::new(&Signal::ALL, |_| {}).await;
    assert_eq!(rig.raw(path, &request).await.0, 0);
    let segments = rig.last().payload.segments().concat();
    let logs = ExportLogsServiceRequest::decode(segments.as_slice()).unwrap();
    assert_eq!(logs.resource_logs[0].scope_logs[0].log_records[0].severity_text, "\u{fffd}");
    assert_eq!(rig.counter("otelcol_receiver_repaired_strings"), 1);
    let strict = Rig::with(&Signal::ALL, "refuse", |_| {}).await;
    assert_eq!(strict.raw(path, &request).await.0, 3);
    assert_eq!(strict.batches(), 0);
}

#[tokio::test]
async fn errors_of_the_pipeline_have_their_codes() {
    let rig = Rig::new(&Signal::ALL, |_| {}).await;
    let mut client = TraceServiceClient::new(rig.channel().await);
    for (error, code) in [
        (ConsumeError::permanent("bad data"), tonic::Code::Internal),
        (ConsumeError::retryable("sending queue is full"), tonic::Code::Unavailable),
        (ConsumeError::permanent("x").with_code(Code::InvalidArgument), tonic::Code::InvalidArgument),
        (ConsumeError::retryable("x").with_code(Code::ResourceExhausted), tonic::Code::ResourceExhausted),
    ] {
        rig.behave(Behaviour::Refuse(error.clone()));
        let status = client.export(traces()).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code, error.message()));
        assert!(status.details().is_empty());
    }
    assert_eq!(rig.spans(), [0, 40, 0]);
}

#[tokio::test]
async fn details_of_downstream_and_delays_reach_the_client() {
    let rig = Rig::new(&Signal::ALL, |_| {}).await;
    let mut client = TraceServiceClient::new(rig.channel().await);
    let details = Bytes::from_static(&[8, 8, 18, 1, b'x']);
    let error = ConsumeError::retryable("x").with_details(details.clone()).with_retry_after(SHORT);
    rig.behave(Behaviour::Refuse(error));
    assert_eq!(client.export(traces()).await.unwrap_err().details(), details);
    rig.behave(Behaviour::Refuse(ConsumeError::retryable("busy").with_retry_after(Duration::from_secs(7))));
    let status = client.export(traces()).await.unwrap_err();
    let read = spanbridge_transport::grpc::Status::new(Code::Unavailable, "")
        .with_details(Bytes::copy_from_slice(status.details()));
    assert_eq!(read.retry_delay(), Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn metadata_goes_along_only_where_it_is_asked_for() {
    for include_metadata in [true, false] {
        let rig = Rig::new(&Signal::ALL, |grpc| grpc.include_metadata = include_metadata).await;
        let mut request = tonic::Request::new(traces());
        request.metadata_mut().append("x-tenant", "a".parse().unwrap());
        request.metadata_mut().append("x-tenant", "b".parse().unwrap());
        request.set_timeout(Duration::from_secs(60));
        TraceServiceClient::new(rig.channel().await).export(request).await.unwrap();
        let context = rig.last().context;
        if include_metadata {
            assert_eq!(context.metadata.values("X-Tenant"), ["a", "b"]);
            assert_eq!(context.metadata.values(":authority"), context.metadata.values("host"));
            assert_eq!(context.metadata.values("host").len(), 1);
            assert!(context.metadata.values("grpc-timeout").is_empty());
        } else {
            assert!(context.metadata.is_empty());
        }
        let left = context.deadline.unwrap().saturating_duration_since(std::time::Instant::now());
        assert!(left > Duration::from_secs(50) && left <= Duration::from_secs(60), "{left:?}");
        assert_eq!(context.client_address, None, "a unix socket has no address");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_counts_as_failed_once() {
    let rig = Rig::new(&Signal::ALL, |_| {}).await;
    rig.behave(Behaviour::Hang);
    let mut client = TraceServiceClient::new(rig.channel().await);
    let call = tokio::spawn(async move { client.export(traces()).await });
    timeout(SHORT, rig.sink.arrived.notified()).await.unwrap();
    call.abort();
    let gone = async {
        while rig.sink.dropped.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(SHORT, gone).await.unwrap();
    while rig.spans() == [0, 0, 0] {
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.spans(), [0, 0, 10]);
}

#[tokio::test]
async fn a_tcp_client_is_known_by_its_address() {
    let config = "{protocols: {grpc: {endpoint: \"localhost:0\"}}}";
    let mut config: Config = spanbridge_config::from_yaml(config).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    config.protocols.grpc.as_mut().unwrap().endpoint = format!("localhost:{port}");
    let sink = Arc::new(Sink::default());
    let receiver = build(config.clone(), Telemetry::detached(), &Signal::ALL, &sink);
    receiver.start(host()).await.unwrap();
    let second = build(config, Telemetry::detached(), &Signal::ALL, &sink);
    let error = second.start(host()).await.unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("cannot listen on localhost:{port}: Address already in use")),
        "{error}"
    );
    second.shutdown(Instant::now()).await.unwrap();
    let channel = Endpoint::try_from(format!("http://localhost:{port}")).unwrap().connect().await.unwrap();
    TraceServiceClient::new(channel).export(traces()).await.unwrap();
    let batch = sink.batches.lock().unwrap()[0].clone();
    assert!(batch.context.client_address.unwrap().ip().is_loopback());
    receiver.shutdown(Instant::now() + SHORT).await.unwrap();
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err());
}

#[tokio::test]
async fn shutdown_answers_what_it_can_and_reports_what_it_cuts() {
    let rig = Rig::new(&Signal::ALL, |_| {}).await;
    let mut client = TraceServiceClient::new(rig.channel().await);
    client.export(traces()).await.unwrap();
    rig.sink.arrived.notified().await;
    rig.behave(Behaviour::Hang);
    let call = tokio::spawn(async move { client.export(traces()).await });
    timeout(SHORT, rig.sink.arrived.notified()).await.unwrap();
    let error = rig.receiver.shutdown(Instant::now() + Duration::from_millis(20)).await.unwrap_err();
    assert_eq!(
        (error.undelivered_items, error.message.as_str()),
        (0, "1 calls were cut off unanswered at the deadline")
    );
    assert!(timeout(SHORT, call).await.unwrap().unwrap().is_err(), "not acknowledged");
    assert_eq!(rig.spans(), [10, 0, 10]);
    rig.receiver.shutdown(Instant::now()).await.unwrap();
}

/// Any free port, so that instances live side by side.
fn conforming() -> Config {
    spanbridge_config::from_yaml("{protocols: {grpc: {endpoint: \"localhost:0\"}}}").unwrap()
}

/// What the testkit's macro checks, but for decoding: `Toggle` needs the project's own decoder, not JSON's.
mod conformance {
    use spanbridge_testkit::conformance as suite;

    use super::*;

    fn subject() -> Subject {
        Subject::receiver(Factory, conforming())
    }

    #[test]
    fn the_descriptor_is_sound() {
        suite::the_descriptor_is_sound::<Config>(&subject().descriptor);
    }

    #[test]
    fn the_configuration_survives_a_round_trip() {
        for config in [Config::default(), conforming()] {
            let printed = serde_json::to_string(&config).unwrap();
            assert_eq!(spanbridge_config::from_yaml::<Config>(&printed).unwrap(), config, "{printed}");
        }
    }

    #[test]
    fn the_schema_describes_every_key() {
        suite::the_schema_describes_every_key::<Config>();
    }

    #[test]
    fn shuts_down_without_a_start() {
        suite::shuts_down_without_a_start(&subject());
    }

    #[test]
    fn shuts_down_after_a_start_and_leaves_no_task() {
        suite::shuts_down_after_a_start(&subject());
    }

    #[test]
    fn two_instances_live_side_by_side() {
        suite::two_instances_live_side_by_side(&subject());
    }
}
