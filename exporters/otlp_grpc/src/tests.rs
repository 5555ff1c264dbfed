//! The exporter against a server that is not ours.

mod backend;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::{Config, Factory};
use backend::{Answer, Backend};
use spanbridge_component::telemetry::Telemetry;
use spanbridge_component::{
    Batch, BuildInfo, Code, ComponentId, ConsumeError, Exporter, ExporterFactory, Host, Kind, Settings,
    Signal, Status, StatusSink,
};
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
    telemetry: Telemetry,
}

fn config(endpoint: impl std::fmt::Display) -> Config {
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
        let telemetry = Telemetry::detached();
        let settings = Settings {
            id: "otlp/test".parse().unwrap(),
            kind: Kind::Exporter,
            pipeline: None,
            signals: Signal::ALL.to_vec(),
            ledger: spanbridge_component::Ledger::new(),
            telemetry: telemetry.clone(),
            build: BuildInfo { command: "test", description: "Test Program", version: "1.2.3" },
        };
        Self { exporter: Factory.create(settings, config).unwrap(), telemetry }
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
            let family = families.iter().find(|f| f.name() == name).unwrap();
            family.get_metric()[0].get_counter().get_value()
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
            payload.append(payload.clone());
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
        assert_eq!((error.code(), error.message()), (code, "größer 100 %"));
        assert_eq!(error.details(), &details);
        let retryable = matches!(code.number(), 1 | 4 | 10 | 11 | 14 | 15);
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
    let rig = Rig::start(Config { timeout: short, ..config(backend.address) }).await;
    let error = rig.consume(payload(Signal::Traces)).await.unwrap_err();
    assert_eq!((error.code(), error.is_permanent()), (Code::DeadlineExceeded, false));

    let without = Config { timeout: spanbridge_config::Duration::ZERO, ..config(backend.address) };
    let rig = Rig::start(without).await;
    let mut batch = Batch::new(payload(Signal::Traces));
    batch.context.deadline = Some(std::time::Instant::now() + Duration::from_millis(100));
    let error = patiently(rig.exporter.consume(batch)).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert_eq!(rig.counted(Signal::Traces), (0.0, 10.0));
}

#[tokio::test]
async fn a_client_that_goes_away_counts_its_batch_once_as_failed() {
    let mut backend = Backend::start().await;
    backend.answers(Answer::Hang);
    let rig = Rig::start(config(backend.address)).await;
    tokio::select! {
        result = rig.exporter.consume(Batch::new(payload(Signal::Logs))) => panic!("{result:?}"),
        _ = backend.next() => {}
    }
    assert_eq!(rig.counted(Signal::Logs), (0.0, 10.0));
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
    assert_eq!((error.message(), error.is_permanent()), ("the exporter is not running", false));

    let rig = Rig::start(config(backend.address)).await;
    rig.consume(payload(Signal::Traces)).await.unwrap();
    rig.shutdown().await;
    let error = rig.consume(payload(Signal::Traces)).await.unwrap_err();
    assert!(!error.is_permanent());
    assert_eq!(rig.counted(Signal::Traces), (10.0, 10.0));
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
    assert_eq!(error.undelivered_items, 10);
    assert!(error.message.starts_with("1 requests to 127.0.0.1:"), "{error}");
    let error = patiently(hanging).await.unwrap().unwrap_err();
    assert!(!error.is_permanent());
    assert_eq!(rig.counted(Signal::Traces), (0.0, 10.0));
}
