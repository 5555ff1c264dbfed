//! A flood against a backend that hangs: the process stays within its limit, clients are told to try again, and everything
//! that was acknowledged arrives once the backend is back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;

use crate::client;
use crate::data::{self, text};
use crate::harness::{Collector, PATIENCE, say};
use crate::sink::{Behaviour, Sink};

const LIMIT_MIB: u64 = 64;
const CONNECTIONS: usize = 12;
const IN_FLIGHT: usize = 8;
/// 1.5 MB each: the flood as a whole is more than twice the limit.
const REQUEST_BYTES: usize = 1_500_000;
/// Answers of this kind show that the limit was reached; then the backend comes back.
const REFUSALS: usize = 30;
const RETRY: Duration = Duration::from_millis(200);

fn config(target: SocketAddr, processors: &str) -> String {
    format!(
        "
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: 127.0.0.1:0}}}}}}
processors:
  memory_limiter: {{check_interval: 100ms, limit_mib: {LIMIT_MIB}}}
  batch: {{acknowledge: delivered, send_batch_size: 8}}
exporters:
  otlp_grpc: {{endpoint: {target}, compression: none, timeout: 60s, sending_queue: {{enabled: false}}, retry_on_failure: {{enabled: false}}, tls: {{insecure: true}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], processors: {processors}, exporters: [otlp_grpc]}}
"
    )
}

/// One span, and so much text that compresses well.
fn request(id: u64) -> ExportTraceServiceRequest {
    let mut request = data::spans(id, 1);
    let span = &mut request.resource_spans[0].scope_spans[0].spans[0];
    span.attributes.push(text("padding", &"x".repeat(REQUEST_BYTES)));
    request
}

#[derive(Default)]
struct Tally {
    next_id: AtomicU64,
    refusals: AtomicUsize,
    acknowledged: Mutex<Vec<u64>>,
}

/// Sends request after request until the gate is open, and each of them until it is acknowledged.
async fn lane(mut client: TraceServiceClient<Channel>, tally: Arc<Tally>, gate: watch::Receiver<bool>) {
    loop {
        let id = 1 + tally.next_id.fetch_add(1, Ordering::Relaxed);
        let request = request(id);
        loop {
            match client.export(request.clone()).await {
                Ok(_) => break,
                Err(status) => {
                    let retryable = [Code::Unavailable, Code::Cancelled, Code::DeadlineExceeded];
                    assert!(retryable.contains(&status.code()), "{status:?}");
                    if status.message().contains("data refused due to high memory usage") {
                        tally.refusals.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
            tokio::time::sleep(RETRY).await;
        }
        tally.acknowledged.lock().await.push(id);
        if *gate.borrow() {
            return;
        }
    }
}

async fn flood(name: &'static str, processors: &str, encoding: Option<CompressionEncoding>) {
    let (open, gate) = watch::channel(false);
    let sink = Sink::behaving(Behaviour { gate: Some(gate.clone()), ..Behaviour::default() });
    let collector = Collector::start(name, &config(sink.address(), processors));
    let base = collector.peak_resident_bytes();
    let tally = Arc::<Tally>::default();
    let mut lanes = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let mut client = client::traces(collector.grpc()).await;
        if let Some(encoding) = encoding {
            client = client.send_compressed(encoding);
        }
        for _ in 0..IN_FLIGHT {
            lanes.spawn(lane(client.clone(), tally.clone(), gate.clone()));
        }
    }
    let limited = async {
        while tally.refusals.load(Ordering::Relaxed) < REFUSALS {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, limited).await.expect("the limit is reached");
    open.send_replace(true);
    while let Some(lane) =
        tokio::time::timeout(2 * PATIENCE, lanes.join_next()).await.expect("every lane ends")
    {
        lane.expect("a lane of the flood");
    }
    let peak = collector.peak_resident_bytes();
    collector.stop();

    let arrived = sink.span_counts();
    let acknowledged = tally.acknowledged.lock().await;
    let lost = acknowledged.iter().filter(|id| !arrived.contains_key(id)).count();
    let refusals = tally.refusals.load(Ordering::Relaxed);
    say(&format!(
        "{name}: {} acknowledged, {lost} lost, {refusals} refusals; resident: {} MiB at first, {} MiB at most, limit {LIMIT_MIB}",
        acknowledged.len(),
        base >> 20,
        peak >> 20,
    ));
    assert_eq!(lost, 0);
    assert!(acknowledged.len() >= CONNECTIONS * IN_FLIGHT);
    assert!(peak <= LIMIT_MIB * 1024 * 1024 * 11 / 10, "{} MiB", peak >> 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_stays_within_the_limit_and_loses_nothing() {
    flood("flood", "[memory_limiter]", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_flood_stays_within_the_limit_and_loses_nothing() {
    flood("compressed", "[memory_limiter]", Some(CompressionEncoding::Gzip)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_through_batches_stays_within_the_limit_and_loses_nothing() {
    flood("batched", "[memory_limiter, batch]", None).await;
}
