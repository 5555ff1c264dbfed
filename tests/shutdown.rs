//! SIGTERM under load: what the client was told agrees with what the far end has, to the last span.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::client;
use crate::data;
use crate::harness::{Collector, PATIENCE, passthrough, pipeline, say};
use crate::sink::{Behaviour, Sink};

const ROUNDS: u64 = 5;
const CONNECTIONS: u64 = 4;
const IN_FLIGHT: u64 = 8;
const SPANS_PER_REQUEST: u64 = 20;
/// The signal comes after this many acknowledged requests, so that it falls into a running load on any machine.
const WARM_UP_REQUESTS: usize = 60;
/// Ids of one lane of the load are this far apart from the next lane's.
const IDS_PER_LANE: u64 = 1 << 32;

/// What a client knows at the end.
#[derive(Default)]
struct Outcome {
    acknowledged: BTreeSet<u64>,
    /// No answer came, or one that leaves open what happened.
    unanswered: BTreeSet<u64>,
    /// What the client was told of those.
    errors: BTreeSet<String>,
}

impl Outcome {
    fn merge(&mut self, other: Outcome) {
        self.acknowledged.extend(other.acknowledged);
        self.unanswered.extend(other.unanswered);
        self.errors.extend(other.errors);
    }
}

/// Sends without a pause until a call fails, and reports each acknowledgement.
async fn lane(
    mut client: TraceServiceClient<Channel>,
    first: u64,
    acknowledged: UnboundedSender<()>,
) -> Outcome {
    let mut outcome = Outcome::default();
    for round in 0.. {
        let start = first + round * SPANS_PER_REQUEST;
        let ids = start..start + SPANS_PER_REQUEST;
        match client.export(data::spans(start, SPANS_PER_REQUEST)).await {
            Ok(_) => {
                outcome.acknowledged.extend(ids);
                let _ = acknowledged.send(());
            }
            Err(status) => {
                // The end of the connection, or a refusal at the door: a client sends these elsewhere.
                outcome.errors.insert(format!("{:?}: {}", status.code(), status.message()));
                outcome.unanswered.extend(ids);
                break;
            }
        }
    }
    outcome
}

/// Loads a collector with `config`, signals it in the middle, and compares both ends.
async fn round(name: &'static str, sink: &Sink, config: &str) {
    let mut collector = Collector::start(name, config);
    let (acknowledge, mut acknowledgements) = tokio::sync::mpsc::unbounded_channel();
    let mut lanes = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let client = client::traces(collector.grpc()).await;
        for number in 0..IN_FLIGHT {
            let first = 1 + (connection * IN_FLIGHT + number) * IDS_PER_LANE;
            lanes.spawn(lane(client.clone(), first, acknowledge.clone()));
        }
    }
    for _ in 0..WARM_UP_REQUESTS {
        tokio::time::timeout(PATIENCE, acknowledgements.recv()).await.expect("the load gets through");
    }
    collector.terminate();
    let asked = Instant::now();
    let mut outcome = Outcome::default();
    while let Some(lane) = lanes.join_next().await {
        outcome.merge(lane.expect("a lane of the load"));
    }
    let status = collector.wait();
    assert!(status.success(), "{status}\n{}", collector.log());

    let counts = sink.span_counts();
    let doubled = counts.values().filter(|count| **count > 1).count();
    let received: BTreeSet<u64> = counts.into_keys().collect();
    let lost = outcome.acknowledged.difference(&received).count();
    let unacknowledged: Vec<_> = received.difference(&outcome.acknowledged).collect();
    say(&format!(
        "shutdown/{name}: {} acknowledged, {} received, {lost} lost, {doubled} doubled, {} received without an \
         acknowledgement, {} unanswered {:?}; stopped after {:?}",
        outcome.acknowledged.len(),
        received.len(),
        unacknowledged.len(),
        outcome.unanswered.len(),
        outcome.errors,
        asked.elapsed(),
    ));
    assert_eq!((lost, doubled), (0, 0), "acknowledged and not received, received twice");
    assert!(unacknowledged.is_empty(), "received and not acknowledged: {unacknowledged:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sigterm_under_load_loses_and_doubles_nothing_through_batches() {
    for _ in 0..ROUNDS {
        let sink = Sink::start();
        let config = pipeline(sink.address(), "timeout: 20ms, send_batch_size: 500", "compression: none");
        round("batch", &sink, &config).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sigterm_under_load_loses_and_doubles_nothing_without_batches() {
    for _ in 0..ROUNDS {
        let sink = Sink::start();
        let config = passthrough("endpoint: 127.0.0.1:0", sink.address(), "compression: none");
        round("plain", &sink, &config).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sigterm_waits_for_requests_that_a_slow_destination_still_holds() {
    let sink = Sink::behaving(Behaviour { delay: Duration::from_millis(300), ..Behaviour::default() });
    let config = pipeline(sink.address(), "timeout: 20ms, send_batch_size: 500", "compression: none");
    round("slow", &sink, &config).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_with_a_hung_destination_still_ends() {
    let sink = Sink::behaving(Behaviour { delay: Duration::from_secs(3600), ..Behaviour::default() });
    let config = passthrough("endpoint: 127.0.0.1:0", sink.address(), "timeout: 1s");
    let mut collector = Collector::start("hung", &config);
    let mut client = client::traces(collector.grpc()).await;
    let call = tokio::spawn(async move { client.export(data::spans(1, 1)).await });
    // The call is under way once the exporter's own timeout can be seen to have run for it.
    let answer = call.await.expect("the call ends");
    assert!(answer.is_err(), "a hung destination is no success");
    let mut client = client::traces(collector.grpc()).await;
    let call = tokio::spawn(async move { client.export(data::spans(2, 1)).await });
    collector.terminate();
    let asked = Instant::now();
    collector.wait();
    say(&format!("shutdown/hung: stopped after {:?}", asked.elapsed()));
    assert!(call.await.expect("the call ends").is_err());
    assert!(sink.span_counts().is_empty());
}
