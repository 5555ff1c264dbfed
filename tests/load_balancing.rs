//! The `load_balancing` exporter over real backends: a trace stays at one of them while they are the same, and nothing that
//! was acknowledged is lost while they change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use tokio::task::JoinSet;
use tonic::Status;

use crate::client;
use crate::data;
use crate::harness::{Collector, PATIENCE, say};
use crate::sink::{Behaviour, Sink};

const LANES: u64 = 8;
/// Spans of a request, each of another trace.
const TRACES_PER_REQUEST: u64 = 20;
/// Requests with spans of the same traces.
const SPANS_PER_TRACE: u64 = 4;
const IN_FORCE: &str = "The new configuration is in force";

fn config(backends: &[&Sink]) -> String {
    let hostnames: Vec<_> = backends.iter().map(|sink| sink.address().to_string()).collect();
    let hostnames = hostnames.join(", ");
    format!(
        "
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 127.0.0.1:0
exporters:
  load_balancing:
    protocol:
      otlp:
        compression: none
        tls: {{insecure: true}}
    resolver:
      static:
        hostnames: [{hostnames}]
    retry_on_failure:
      initial_interval: 100ms
      max_interval: 500ms
    sending_queue:
      queue_size: 100000
service:
  telemetry:
    metrics: {{level: none}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [load_balancing]}}
"
    )
}

/// Spans with the ids `first`, `first + 1`, ... that belong to the traces `trace`, `trace + 1`, ...
fn spans(first: u64, trace: u64) -> ExportTraceServiceRequest {
    let mut request = data::spans(first, TRACES_PER_REQUEST);
    for (span, trace) in request.resource_spans[0].scope_spans[0].spans.iter_mut().zip(trace..) {
        span.trace_id = (u128::from(trace) << 64 | 0x7ace).to_be_bytes().to_vec();
    }
    request
}

/// The ids that requests of all lanes are made from; each number is used once.
#[derive(Default)]
struct Load {
    next: AtomicU64,
    is_over: AtomicBool,
}

impl Load {
    /// Sends until it is over; the spans that were acknowledged.
    async fn lane(self: Arc<Self>, address: std::net::SocketAddr) -> BTreeSet<u64> {
        let mut client = client::traces(address).await;
        let mut acknowledged = BTreeSet::new();
        while !self.is_over.load(Ordering::Relaxed) {
            let round = self.next.fetch_add(1, Ordering::Relaxed);
            let trace = 1 + round * TRACES_PER_REQUEST;
            for piece in 0..SPANS_PER_TRACE {
                let first = 1 + (round * SPANS_PER_TRACE + piece) * TRACES_PER_REQUEST;
                client.export(spans(first, trace)).await.expect("the queue takes it");
                acknowledged.extend(first..first + TRACES_PER_REQUEST);
            }
        }
        acknowledged
    }
}

/// Runs a load for as long as `during` takes; what was acknowledged.
async fn under_load(
    collector: &Collector,
    load: &Arc<Load>,
    during: impl Future<Output = ()>,
) -> BTreeSet<u64> {
    load.is_over.store(false, Ordering::Relaxed);
    let mut lanes = JoinSet::new();
    for _ in 0..LANES {
        lanes.spawn(load.clone().lane(collector.grpc()));
    }
    during.await;
    load.is_over.store(true, Ordering::Relaxed);
    let mut acknowledged = BTreeSet::new();
    while let Some(lane) = lanes.join_next().await {
        acknowledged.extend(lane.expect("a lane of the load"));
    }
    acknowledged
}

/// Waits until each of these spans has arrived at one of the sinks, and returns how many arrived more than once.
async fn all_arrive(sinks: &[&Sink], acknowledged: &BTreeSet<u64>) -> usize {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut counts = BTreeMap::<u64, usize>::new();
        for (id, count) in sinks.iter().flat_map(|sink| sink.span_counts()) {
            *counts.entry(id).or_default() += count;
        }
        let missing = acknowledged.iter().filter(|id| !counts.contains_key(id)).count();
        if missing == 0 {
            return counts.values().filter(|count| **count > 1).count();
        }
        assert!(
            Instant::now() < deadline,
            "{missing} of {} acknowledged spans are missing",
            acknowledged.len()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Of the traces with these spans, those that are at more than one of the sinks.
fn torn(sinks: &[&Sink], spans: &BTreeSet<u64>) -> usize {
    let mut places = BTreeMap::<Vec<u8>, BTreeSet<usize>>::new();
    for (number, sink) in sinks.iter().enumerate() {
        for request in sink.traces() {
            let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
            for span in scopes.flat_map(|scope| &scope.spans) {
                let id = u64::from_be_bytes(span.span_id.as_slice().try_into().expect("8 bytes"));
                if spans.contains(&id) {
                    places.entry(span.trace_id.clone()).or_default().insert(number);
                }
            }
        }
    }
    assert!(!places.is_empty());
    places.values().filter(|places| places.len() > 1).count()
}

/// contrib#35378, #36717.
#[tokio::test(flavor = "multi_thread")]
async fn backends_leave_and_join_under_load_and_nothing_acknowledged_is_lost() {
    let [first, second, third, fourth] = [Sink::start(), Sink::start(), Sink::start(), Sink::start()];
    let sinks = [&first, &second, &third, &fourth];
    let edge = Collector::start("edge", &config(&[&first, &second, &third]));
    let load = Arc::new(Load::default());
    let pause = || tokio::time::sleep(Duration::from_millis(700));

    let stable = under_load(&edge, &load, pause()).await;
    let doubled = all_arrive(&sinks, &stable).await;
    assert_eq!((torn(&sinks, &stable), doubled), (0, 0), "torn traces, doubled spans");
    assert!(sinks[..3].iter().all(|sink| !sink.span_counts().is_empty()), "each has its share");

    let change = async {
        pause().await;
        first
            .behave(Behaviour { refuse: Some(Status::unavailable("shutting down")), ..Behaviour::default() });
        pause().await;
        edge.rewrite(&config(&[&second, &third, &fourth]));
        edge.hang_up();
        edge.wait_for_line(IN_FORCE);
        pause().await;
    };
    let changing = under_load(&edge, &load, change).await;
    let doubled = all_arrive(&sinks, &changing).await;

    let stable_again = under_load(&edge, &load, pause()).await;
    all_arrive(&sinks, &stable_again).await;
    assert_eq!(torn(&sinks, &stable_again), 0, "torn traces");
    assert!(!fourth.span_counts().is_empty());
    say(&format!(
        "load_balancing: {} + {} + {} spans acknowledged, 0 lost, {doubled} doubled while the backends changed",
        stable.len(),
        changing.len(),
        stable_again.len()
    ));
    edge.stop();
}

/// contrib#31209.
#[tokio::test(flavor = "multi_thread")]
async fn the_share_of_a_dead_host_in_a_static_list_arrives_elsewhere() {
    let (alive, dead) = (Sink::start(), Sink::start());
    dead.behave(Behaviour { refuse: Some(Status::unavailable("out of order")), ..Behaviour::default() });
    let config = config(&[&alive, &dead])
        .replace("    retry_on_failure:", "    failover_after: 1s\n    retry_on_failure:");
    let edge = Collector::start("edge", &config);
    let load = Arc::new(Load::default());
    let acknowledged = under_load(&edge, &load, tokio::time::sleep(Duration::from_millis(300))).await;
    all_arrive(&[&alive], &acknowledged).await;
    edge.wait_for_line("backend keeps failing; its share goes to others");
    edge.stop();
}
