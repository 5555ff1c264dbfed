//! A new configuration under load: what is the same is not touched, nothing fails, and a bad one changes nothing.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tonic::Code;
use tonic::transport::Channel;

use crate::client;
use crate::data;
use crate::harness::{Collector, END_TO_END, PATIENCE, say};
use crate::sink::{Behaviour, Sink};

const CONNECTIONS: u64 = 4;
const IN_FLIGHT: u64 = 4;
const SPANS_PER_REQUEST: u64 = 10;
const IDS_PER_LANE: u64 = 1 << 32;
const RELOADS: usize = 8;
/// Acknowledged requests between one reload and the next, so that each falls into a running load.
const REQUESTS_BETWEEN: usize = 50;

const IN_FORCE: &str = "The new configuration is in force";
const REFUSED: &str = "The new configuration is refused";
const DOES_NOT_START: &str = "The new configuration does not start";

/// Stands between the clients and the collector, and counts the connections: one that is reset is made anew.
struct Tap {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Tap {
    async fn on(target: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind the tap");
        let address = listener.local_addr().expect("address of the tap");
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        let serve = async move {
            let mut open = JoinSet::new();
            loop {
                let (mut near, _) = listener.accept().await.expect("accept");
                counted.fetch_add(1, Ordering::Relaxed);
                open.spawn(async move {
                    let mut far = TcpStream::connect(target).await.expect("connect to the collector");
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        };
        Self { address, connections, task: tokio::spawn(serve).abort_handle() }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A load that runs until it is told to end.
struct Load {
    lanes: JoinSet<(BTreeSet<u64>, Vec<String>)>,
    acknowledged: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
}

impl Load {
    async fn on(address: SocketAddr) -> Self {
        let mut load = Self { lanes: JoinSet::new(), acknowledged: Arc::default(), is_over: Arc::default() };
        for connection in 0..CONNECTIONS {
            let client = client::traces(address).await;
            for number in 0..IN_FLIGHT {
                let first = 1 + (connection * IN_FLIGHT + number) * IDS_PER_LANE;
                let (acknowledged, is_over) = (load.acknowledged.clone(), load.is_over.clone());
                load.lanes.spawn(lane(client.clone(), first, acknowledged, is_over));
            }
        }
        load
    }

    /// Waits for this many more acknowledgements.
    async fn goes_on_for(&self, requests: usize) {
        let enough = self.acknowledged.load(Ordering::Relaxed) + requests;
        let reached = async {
            while self.acknowledged.load(Ordering::Relaxed) < enough {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.expect("the load gets through");
    }

    /// What was acknowledged, and every error.
    async fn end(mut self) -> (BTreeSet<u64>, Vec<String>) {
        self.is_over.store(true, Ordering::Relaxed);
        let (mut acknowledged, mut errors) = (BTreeSet::new(), Vec::new());
        while let Some(lane) = self.lanes.join_next().await {
            let (more, wrong) = lane.expect("a lane of the load");
            acknowledged.extend(more);
            errors.extend(wrong);
        }
        (acknowledged, errors)
    }
}

async fn lane(
    mut client: TraceServiceClient<Channel>,
    first: u64,
    acknowledged: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
) -> (BTreeSet<u64>, Vec<String>) {
    let (mut taken, mut errors) = (BTreeSet::new(), Vec::new());
    for round in 0.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let start = first + round * SPANS_PER_REQUEST;
        match client.export(data::spans(start, SPANS_PER_REQUEST)).await {
            Ok(_) => {
                taken.extend(start..start + SPANS_PER_REQUEST);
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(status) => errors.push(format!("{:?}: {}", status.code(), status.message())),
        }
    }
    (taken, errors)
}

/// Traces to `target`; `more` pipelines beside; `exporter` and `processors` as told.
fn config(target: SocketAddr, exporter: &str, processors: &str, more: &str) -> String {
    format!(
        "
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 127.0.0.1:0
processors:
  batch: {{timeout: 5ms}}
  resource: {{attributes: [{{key: zone, value: a, action: insert}}]}}
exporters:
  otlp_grpc:
    endpoint: {target}
    tls: {{insecure: true}}
    {exporter}
service:
  telemetry:
    metrics: {{level: none}}
  pipelines:
    traces: {{receivers: [otlp], processors: [{processors}], exporters: [otlp_grpc]}}
    {more}
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_under_load_fail_no_request_and_reset_no_connection() {
    let sinks = [Sink::start(), Sink::start()];
    let variants = [
        config(sinks[0].address(), "compression: none", "resource, batch", ""),
        config(
            sinks[1].address(),
            "compression: gzip",
            "batch",
            "logs: {receivers: [otlp], exporters: [otlp_grpc]}",
        ),
    ];
    let collector = Collector::start("reload", &variants[0]);
    let tap = Tap::on(collector.grpc()).await;
    let load = Load::on(tap.address).await;
    load.goes_on_for(REQUESTS_BETWEEN).await;
    let mut logs = client::logs(collector.grpc()).await;
    let served = logs.export(data::logs(1, 1)).await.map_err(|status| status.code());
    assert_eq!(served.err(), Some(Code::Unimplemented), "no pipeline takes logs yet");
    for reload in 1..=RELOADS {
        collector.rewrite(&variants[reload % 2]);
        collector.hang_up();
        collector.wait_for_lines(IN_FORCE, reload);
        load.goes_on_for(REQUESTS_BETWEEN).await;
        let served = logs.export(data::logs(1, 1)).await.map_err(|status| status.code());
        let expected = if reload % 2 == 1 { None } else { Some(Code::Unimplemented) };
        assert_eq!(served.err(), expected, "after reload {reload}");
    }
    let connections = tap.connections();
    let (acknowledged, errors) = load.end().await;
    collector.stop();

    let counts: Vec<_> = sinks.iter().map(Sink::span_counts).collect();
    let received: BTreeSet<u64> = counts.iter().flat_map(|counts| counts.keys().copied()).collect();
    let lost = acknowledged.difference(&received).count();
    let doubled =
        counts.iter().flatten().filter(|(id, n)| **n > 1 || counts.iter().all(|c| c.contains_key(id)));
    say(&format!(
        "reload: {RELOADS} under load, {} spans acknowledged, {} and {} received, {lost} lost, {} doubled, {} failed \
         requests, {connections} connections",
        acknowledged.len(),
        counts[0].len(),
        counts[1].len(),
        doubled.count(),
        errors.len(),
    ));
    assert_eq!((lost, errors), (0, Vec::new()));
    assert_eq!(connections as u64, CONNECTIONS, "a connection was reset");
    assert!(counts.iter().all(|counts| !counts.is_empty()), "both configurations were in force");
}

/// The books that the log closes with: owner, and what became of the items of one signal.
fn books(log: &str) -> Vec<(String, serde_json::Value)> {
    let lines = log.lines().filter(|line| line.contains("Items accounted for"));
    let fields = lines.map(|line| serde_json::from_str(&line[line.find('{').expect("fields")..]));
    let fields = fields.map(|fields| fields.expect("fields are JSON"));
    fields.map(|f: serde_json::Value| (f["owner"].as_str().expect("an owner").to_owned(), f)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn exporters_with_queues_are_replaced_under_load_and_every_item_is_accounted_for() {
    let folder = tempfile::TempDir::new().expect("a folder for the queue");
    let queues = ["", "storage: file_storage, "];
    for queue in queues {
        let config = |consumers: usize| {
            format!(
                "
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: 127.0.0.1:0}}}}}}}}
exporters: {{debug: {{sending_queue: {{{queue}num_consumers: {consumers}}}}}}}
extensions: {{file_storage: {{directory: {}}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  extensions: [file_storage]
  pipelines: {{traces: {{receivers: [otlp], exporters: [debug]}}}}
",
                folder.path().display()
            )
        };
        let collector = Collector::start("queues", &config(1));
        let load = Load::on(collector.grpc()).await;
        for reload in 1..=RELOADS {
            load.goes_on_for(REQUESTS_BETWEEN).await;
            collector.rewrite(&config(1 + reload % 2));
            collector.hang_up();
            collector.wait_for_lines(IN_FORCE, reload);
        }
        let (acknowledged, errors) = load.end().await;
        let log = collector.stopped_log();
        assert_eq!(errors, Vec::<String>::new());
        let books = books(&log);
        let of = |owner: &str, fate: &str| {
            let (_, fields) = books.iter().find(|(name, _)| name == owner).expect("books of the owner");
            fields[fate].as_u64().expect("a count")
        };
        let exporter = |fate| of("\"debug\" exporter", fate);
        say(&format!(
            "reload/{queue}: {} spans acknowledged, {} delivered, {} handed over, {} kept and restored",
            acknowledged.len(),
            exporter("delivered"),
            exporter("returned"),
            exporter("kept"),
        ));
        let spans = acknowledged.len() as u64;
        assert_eq!(of("\"traces\" pipeline", "delivered"), spans);
        assert_eq!(
            exporter("taken") - exporter("returned"),
            spans,
            "each item once, but for those handed over"
        );
        // What still waits in a queue on disk at the end stays there for the next process; one in memory keeps nothing.
        let left = exporter("kept") - exporter("restored");
        assert!(left == 0 || !queue.is_empty(), "{log}");
        assert_eq!((exporter("delivered") + left, exporter("lost")), (spans, 0), "{log}");
        assert!(!log.contains("\terror\t"), "{log}");
    }
}

/// Sends requests until one is refused; the spans that were acknowledged.
async fn fill(client: &mut TraceServiceClient<Channel>, first: u64) -> Vec<u64> {
    let mut acknowledged = Vec::new();
    for round in 0.. {
        let start = first + round * SPANS_PER_REQUEST;
        if client.export(data::spans(start, SPANS_PER_REQUEST)).await.is_err() {
            break;
        }
        acknowledged.extend(start..start + SPANS_PER_REQUEST);
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_during_an_outage_lose_nothing_that_full_queues_hold() {
    let down = Some(tonic::Status::unavailable("down"));
    let sink = Sink::behaving(Behaviour { refuse: down, ..Behaviour::default() });
    let variant = |number: usize| {
        let retries = "retry_on_failure: {initial_interval: 20ms, max_interval: 50ms}";
        let queue = "sending_queue: {queue_size: 5}";
        let exporter = format!("timeout: {}s\n    {retries}\n    {queue}", 5 + number);
        config(sink.address(), &exporter, "", "")
    };
    let collector = Collector::start_with("outage", &variant(0), &["--shutdown-timeout=1s"]);
    let mut client = client::traces(collector.grpc()).await;
    let mut acknowledged = fill(&mut client, 1).await;
    for reload in 1..=3 {
        collector.reload(&variant(reload));
        collector.wait_for_lines(IN_FORCE, reload);
        acknowledged.extend(fill(&mut client, 1 + reload as u64 * IDS_PER_LANE).await);
        // Longer than the bound on what a reload takes out.
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
    sink.behave(Behaviour::default());
    let all_there = async {
        while sink.span_counts().len() < acknowledged.len() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let arrived = tokio::time::timeout(PATIENCE, all_there).await;
    let counts = sink.span_counts();
    say(&format!("reload/outage: {} spans acknowledged, {} received", acknowledged.len(), counts.len()));
    assert!(arrived.is_ok(), "{} of {}", counts.len(), acknowledged.len());
    assert!(acknowledged.iter().all(|id| counts.get(id) == Some(&1)), "each arrives once");
    let log = collector.stopped_log();
    assert!(!log.contains("not_handed_over"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_during_an_outage_lose_nothing_that_a_batch_processor_has_accepted() {
    const REQUESTS: u64 = 20;
    let down = Some(tonic::Status::unavailable("down"));
    let sink = Sink::behaving(Behaviour { refuse: down, ..Behaviour::default() });
    let variant = |number: usize| {
        let retries = "retry_on_failure: {initial_interval: 20ms, max_interval: 50ms}";
        let exporter = format!("{retries}\n    sending_queue: {{queue_size: 5, num_consumers: 5}}");
        let config = config(sink.address(), &exporter, "batch", "");
        config.replace("{timeout: 5ms}", &format!("{{timeout: {}ms, send_batch_size: 10}}", 5 + number))
    };
    let collector = Collector::start_with("outage", &variant(0), &["--shutdown-timeout=1s"]);
    let mut client = client::traces(collector.grpc()).await;
    let mut spans = 0;
    for reload in 0..=3 {
        if reload > 0 {
            collector.reload(&variant(reload));
            collector.wait_for_lines(IN_FORCE, reload);
        }
        for _ in 0..REQUESTS {
            let request = data::spans(1 + spans, SPANS_PER_REQUEST);
            client.export(request).await.expect("the batch processor takes it");
            spans += SPANS_PER_REQUEST;
        }
        // Longer than the bound on what a reload takes out.
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
    sink.behave(Behaviour::default());
    let all_there = async {
        while (sink.span_counts().len() as u64) < spans {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let arrived = tokio::time::timeout(PATIENCE, all_there).await;
    let counts = sink.span_counts();
    say(&format!("reload/outage/batch: {spans} spans acknowledged, {} received", counts.len()));
    let log = collector.stopped_log();
    assert!(arrived.is_ok(), "{} of {spans}: {log}", counts.len());
    assert!(counts.values().all(|count| *count == 1), "each arrives once");
    assert!(!log.contains("could not be handed on") && !log.contains("not_handed_over"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_configuration_changes_nothing_and_is_reported_with_its_places() {
    let sink = Sink::start();
    let good = config(sink.address(), "", "", "");
    let collector = Collector::start("bad reload", &good);
    let mut client = client::traces(collector.grpc()).await;
    client.export(data::spans(1, 1)).await.expect("it works");

    let bad = config(sink.address(), "compresion: none", "btach", "");
    collector.rewrite(&bad);
    collector.hang_up();
    collector.wait_for_line(REFUSED);
    let places = ["config.yaml:14:5", "config.yaml:19:46"];
    let log = collector.log();
    for (place, message) in places.iter().zip(["unknown key", "which is not configured"]) {
        assert!(log.lines().any(|line| line.contains(place) && line.contains(message)), "{place} in\n{log}");
    }
    client.export(data::spans(2, 1)).await.expect("it goes on");
    // Not even YAML.
    collector.rewrite("receivers: [");
    collector.hang_up();
    collector.wait_for_lines(REFUSED, 2);
    client.export(data::spans(3, 1)).await.expect("it goes on");

    collector.rewrite(&config(sink.address(), "timeout: 7s", "batch", ""));
    collector.hang_up();
    collector.wait_for_line(IN_FORCE);
    client.export(data::spans(4, 1)).await.expect("it goes on, changed");
    collector.stop();
    assert_eq!(sink.span_counts().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_leads_back_to_the_former_configuration() {
    let sinks = [Sink::start(), Sink::start()];
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind a port");
    let taken = (taken.local_addr().expect("its address"), taken);
    let collector = Collector::start("clash", &config(sinks[0].address(), END_TO_END, "batch", ""));
    let mut client = client::traces(collector.grpc()).await;
    client.export(data::spans(1, 1)).await.expect("it works");

    // The exporter changes, too: what was brought in before the failure goes out again.
    let clash = format!("otlp/2: {{protocols: {{grpc: {{endpoint: \"{}\"}}}}}}", taken.0);
    let bad =
        config(sinks[1].address(), END_TO_END, "", "traces/2: {receivers: [otlp/2], exporters: [otlp_grpc]}")
            .replace("receivers:\n", &format!("receivers:\n  {clash}\n"));
    collector.rewrite(&bad);
    collector.hang_up();
    let line = collector.wait_for_line(DOES_NOT_START);
    assert!(line.contains("otlp/2") && line.contains(&taken.0.to_string()), "{line}");
    client.export(data::spans(2, 1)).await.expect("it goes on");
    assert_eq!((sinks[0].span_counts().len(), sinks[1].span_counts().len()), (2, 0));

    drop(taken);
    collector.hang_up();
    collector.wait_for_line(IN_FORCE);
    client.export(data::spans(3, 1)).await.expect("it goes on, changed");
    assert_eq!((sinks[0].span_counts().len(), sinks[1].span_counts().len()), (2, 1));
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_file_that_changes_is_read_again() {
    let sinks = [Sink::start(), Sink::start()];
    let first = config(sinks[0].address(), END_TO_END, "", "");
    let collector = Collector::start_with("watch", &first, &["--watch"]);
    let mut client = client::traces(collector.grpc()).await;
    client.export(data::spans(1, 1)).await.expect("it works");
    collector.rewrite(&config(sinks[1].address(), END_TO_END, "", ""));
    collector.wait_for_line(IN_FORCE);
    client.export(data::spans(2, 1)).await.expect("it goes on");
    assert_eq!((sinks[0].span_counts().len(), sinks[1].span_counts().len()), (1, 1));
    let books = collector.stopped_log();
    assert!(books.lines().any(|line| line.contains("Items accounted for") && line.contains("pipeline")));
}
