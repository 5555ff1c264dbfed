//! The exporter against a server that is not ours.

mod backend;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::{Config, Factory};
use backend::{Answer, Backend};
use spanbridge_component::telemetry::Telemetry;
use spanbridge_component::{
    Batch, BuildInfo, Code, ComponentId, ConsumeError, Exporter, ExporterFactory, Host, Kind, Ledger,
    Settings, Signal, Status, StatusSink,
};
use spanbridge_config::Toggle;
use spanbridge_exporterhelper::{HelperConfig, QueueConfig, RetryConfig};
use spanbridge_pdata::{InvalidUtf8, Payload, sample};
use spanbridge_transport::grpc::{ClientConfig, ClientTls, Compression, Encoding};
use tokio::time::Instant;

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(20);

async fn patiently<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("the test has waited too long")
}

struct Ignore;

impl StatusSink for Ignore {
    fn report(&self, _: Kind, _: &ComponentId, _: Status) {}
}

/// An exporter and the means to look at its metrics.
struct Rig {
    exporter: Arc<dyn Exporter>,
    ledger: Ledger,
    telemetry: Telemetry,
}

/// One attempt, whose outcome the caller gets: what is tested here is the exporter's own part.
fn config(endpoint: impl std::fmt::Display) -> Config {
    let retry_on_failure = RetryConfig { enabled: false, ..RetryConfig::default() };
    let sending_queue = Toggle::off(QueueConfig::default());
    Config {
        helper: HelperConfig { retry_on_failure, sending_queue, ..HelperConfig::default() },
        ..queued(endpoint)
    }
}

/// The defaults, with a plaintext client.
fn queued(endpoint: impl std::fmt::Display) -> Config {
    let default = Config::default();
    Config {
        client: ClientConfig {
            endpoint: endpoint.to_string(),
            tls: ClientTls::plaintext(),
            ..default.client
        },
        ..default
    }
}

impl Rig {
    fn create(config: Config) -> Self {
        let (telemetry, ledger) = (Telemetry::detached(), Ledger::new());
        let settings = Settings {
            id: "otlp/test".parse().unwrap(),
            kind: Kind::Exporter,
            pipeline: None,
            signals: Signal::ALL.to_vec(),
            ledger: ledger.clone(),
            telemetry: telemetry.clone(),
            build: BuildInfo { command: "test", description: "Test Program", version: "1.2.3" },
        };
        Self { exporter: Factory.create(settings, config).unwrap(), ledger, telemetry }
    }

    async fn start(config: Config) -> Self {
        let rig = Self::create(config);
        let host = Host::new(Kind::Exporter, "otlp/test".parse().unwrap(), Arc::new(Ignore));
        rig.exporter.start(host).await.unwrap();
        rig
    }

    async fn consume(&self, payload: Payload) -> Result<(), ConsumeError> {
        patiently(self.exporter.consume(Batch::new(payload))).await
    }

    async fn shutdown(&self) {
        patiently(self.exporter.shutdown(Instant::now() + PATIENCE)).await.unwrap();
    }

    /// Items sent and failed.
    fn counted(&self, signal: Signal) -> (f64, f64) {
        let count = |verb: &str| {
            let name = format!("otelcol_exporter_{verb}_{}", signal.metric_suffix());
            let families = self.telemetry.registry().gather();
            let family = families.iter().find(|f| f.name() == name);
            let metrics = family.map(prometheus::proto::MetricFamily::get_metric).unwrap_or_default();
            metrics.iter().map(|metric| metric.get_counter().get_value()).sum()
        };
        (count("sent"), count("send_failed"))
    }
}

fn payload(signal: Signal) -> Payload {
    let bytes = match signal {
        Signal::Traces => sample::rich_traces(10),
        Signal::Metrics => sample::rich_metrics(10),
        Signal::Logs => sample::rich_logs(10),
    };
    Payload::from_wire(signal, bytes, InvalidUtf8::Refuse).unwrap().payload
}

#[tokio::test]
async fn every_signal_arrives_unchanged_with_each_compression() {
    let mut backend = Backend::start().await;
    let compressions =
        [Compression::None, Compression::With(Encoding::Gzip), Compression::With(Encoding::Zstd)];
    for compression in compressions {
        let mut config = config(backend.address);
        config.client.compression = compression;
        let rig = Rig::start(config).await;
        for signal in Signal::ALL {
            let mut payload = payload(signal);
            // Several segments arrive as one request.
            payload.append(payload.clone()).unwrap();
            rig.consume(payload.clone()).await.unwrap();
            let arrived = backend.next().await;
            assert_eq!(arrived.decoded, payload.decode().unwrap(), "{signal} {compression:?}");
            let agent = arrived.metadata.get("user-agent").unwrap().to_str().unwrap();
            assert!(agent.starts_with("Test Program/1.2.3 ("), "{agent}");
            assert_eq!(rig.counted(signal), (20.0, 0.0));
        }
        rig.shutdown().await;
    }
}

#[tokio::test]
async fn a_failure_goes_back_with_code_message_details_and_class() {
    let backend = Backend::start().await;
    let rig = Rig::start(config(backend.address)).await;
    for code in Code::ALL.into_iter().skip(1) {
        let details = b"\x08\x0e\x12\x02no".to_vec();
        let status =
            tonic::Status::with_details(code.number().into(), "größer 100 %", details.clone().into());
        backend.answers(Answer::Fail(status));
        let error = rig.consume(payload(Signal::Traces)).await.unwrap_err();
        let retryable = matches!(code.number(), 1 | 4 | 8 | 10 | 11 | 14 | 15);
        if code == Code::ResourceExhausted {
            // Back-pressure without RetryInfo would make a client throw the data away.
            assert_eq!((error.code(), error.details().len()), (Code::Unavailable, 0));
        } else {
            assert_eq!((error.code(), error.message()), (code, "größer 100 %"));
            assert_eq!(error.details(), &details);
        }
        assert_eq!(error.is_permanent(), !retryable, "{code}");
    }
    assert_eq!(rig.counted(Signal::Traces), (0.0, 160.0));
}

#[tokio::test]
async fn a_partial_success_counts_as_sent() {
    let backend = Backend::start().await;
    let rig = Rig::start(config(backend.address)).await;
    backend.answers(Answer::RejectSome);
    rig.consume(payload(Signal::Traces)).await.unwrap();
    assert_eq!(rig.counted(Signal::Traces), (10.0, 0.0));
}

#[tokio::test]
async fn the_sooner_of_timeout_and_client_deadline_ends_an_attempt() {
    let backend = Backend::start().await;
    backend.answers(Answer::Hang);
    let short = spanbridge_config::Duration::from_millis(100);
    let mut short_timeout = config(backend.address);
    short_timeout.helper.timeout = short;
    let rig = Rig::start(short_timeout).await;
    let error = rig.consume(payload(Signal::Traces)).await.unwrap_err();
    assert_eq!((error.code(), error.is_permanent()), (Code::DeadlineExceeded, false));

    let mut without = config(backend.address);
    without.helper.timeout = spanbridge_config::Duration::ZERO;
    let rig = Rig::start(without).await;
    let mut batch = Batch::new(payload(Signal::Traces));
    batch.context.deadline = Some(std::time::Instant::now() + Duration::from_millis(100));
    let error = patiently(rig.exporter.consume(batch)).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert_eq!(rig.counted(Signal::Traces), (0.0, 10.0));
}

#[tokio::test]
async fn a_client_that_goes_away_gets_its_batch_back_in_the_books() {
    let mut backend = Backend::start().await;
    backend.answers(Answer::Hang);
    let rig = Rig::start(config(backend.address)).await;
    tokio::select! {
        result = rig.exporter.consume(Batch::new(payload(Signal::Logs))) => panic!("{result:?}"),
        _ = backend.next() => {}
    }
    let balance = rig.ledger.balance(Signal::Logs);
    assert!(balance.is_balanced() && balance.returned == 10, "{balance:?}");
}

#[tokio::test]
async fn a_destination_that_is_down_is_a_retryable_error_with_its_address_and_cause() {
    let address = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let rig = Rig::start(config(address)).await;
    let error = rig.consume(payload(Signal::Metrics)).await.unwrap_err();
    assert_eq!((error.code(), error.is_permanent()), (Code::Unavailable, false));
    assert!(error.message().contains(&format!("dial tcp {address}: connect: connection refused")), "{error}");
    assert_eq!(rig.counted(Signal::Metrics), (0.0, 10.0));
    rig.shutdown().await;
}

#[tokio::test]
async fn outside_start_and_shutdown_batches_are_refused_as_retryable() {
    let backend = Backend::start().await;
    let rig = Rig::create(config(backend.address));
    // A service that failed to start elsewhere shuts down what was never started.
    rig.shutdown().await;
    let error = rig.consume(payload(Signal::Traces)).await.unwrap_err();
    assert!(!error.is_permanent(), "{error}");

    let rig = Rig::start(config(backend.address)).await;
    rig.consume(payload(Signal::Traces)).await.unwrap();
    rig.shutdown().await;
    let error = rig.consume(payload(Signal::Traces)).await.unwrap_err();
    assert!(!error.is_permanent());
    assert_eq!(rig.counted(Signal::Traces), (10.0, 0.0));
}

#[tokio::test]
async fn shutdown_returns_at_its_deadline_and_says_what_was_cut_off() {
    let mut backend = Backend::start().await;
    backend.answers(Answer::Hang);
    let rig = Rig::start(config(backend.address)).await;
    let exporter = rig.exporter.clone();
    let hanging = tokio::spawn(async move { exporter.consume(Batch::new(payload(Signal::Traces))).await });
    backend.next().await;
    let deadline = Instant::now() + Duration::from_millis(100);
    let error = patiently(rig.exporter.shutdown(deadline)).await.unwrap_err();
    assert_eq!(error.undelivered_items, 10, "{error}");
    assert!(Instant::now() < deadline + Duration::from_secs(2));
    let error = patiently(hanging).await.unwrap().unwrap_err();
    assert!(!error.is_permanent());
    assert_eq!(rig.counted(Signal::Traces), (0.0, 10.0));
}

#[tokio::test]
async fn by_default_the_queue_acknowledges_and_delivers_once_the_destination_is_up() {
    let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let mut config = queued(address);
    config.helper.retry_on_failure.initial_interval = spanbridge_config::Duration::from_millis(100);
    let rig = Rig::start(config).await;
    for _ in 0..3 {
        rig.consume(payload(Signal::Traces)).await.unwrap();
    }
    assert_eq!(rig.counted(Signal::Traces), (0.0, 0.0));
    let mut backend = Backend::start_at(address).await;
    for _ in 0..3 {
        backend.next().await;
    }
    rig.shutdown().await;
    assert_eq!(rig.counted(Signal::Traces), (30.0, 0.0));
    let balance = rig.ledger.balance(Signal::Traces);
    assert!(balance.is_balanced() && balance.delivered == 30, "{balance:?}");
}

#[tokio::test]
async fn what_is_too_large_for_the_destination_is_sent_in_parts() {
    let mut backend = Backend::start_limited(20_000).await;
    let mut config = queued(backend.address);
    config.client.compression = Compression::None;
    let rig = Rig::start(config).await;
    let bytes = sample::rich_traces(100);
    assert!(bytes.len() > 50_000);
    let whole = Payload::from_wire(Signal::Traces, bytes, InvalidUtf8::Refuse).unwrap().payload;
    rig.consume(whole).await.unwrap();
    rig.shutdown().await;
    assert_eq!(rig.counted(Signal::Traces), (100.0, 0.0));
    let mut requests = 0;
    while let Ok(arrived) = backend.try_next() {
        requests += 1;
        assert!(matches!(arrived.decoded, spanbridge_pdata::Decoded::Traces(_)));
    }
    assert!((3..=7).contains(&requests), "{requests} parts");
}

#[tokio::test]
async fn metrics_are_labelled_with_the_destination() {
    let backend = Backend::start().await;
    let rig = Rig::start(config(backend.address)).await;
    rig.consume(payload(Signal::Traces)).await.unwrap();
    let text = prometheus::TextEncoder::new().encode_to_string(&rig.telemetry.registry().gather()).unwrap();
    let port = backend.address.port();
    let line = format!(
        "otelcol_exporter_sent_spans{{exporter=\"otlp/test\",server_address=\"127.0.0.1\",server_port=\"{port}\"}} 10"
    );
    assert!(text.contains(&line), "{line}\nis not in\n{text}");
}
