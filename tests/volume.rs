//! Many spans through resource and batch: none missing, none doubled. The program in `bench/` does it with a million.

use tokio::task::JoinSet;

use crate::client;
use crate::data::{self, text_of};
use crate::harness::{CLUSTER, CLUSTER_VALUE, Collector, ZONE, ZONE_VALUE, pipeline, say};
use crate::sink::Sink;

const CONNECTIONS: usize = 4;
const IN_FLIGHT: usize = 8;
const SPANS_PER_REQUEST: u64 = 100;
const REQUESTS: usize = 500;

#[tokio::test(flavor = "multi_thread")]
async fn fifty_thousand_spans_arrive_once_each() {
    let sink = Sink::start();
    let batch = "timeout: 50ms, send_batch_size: 1000, send_batch_max_size: 1500";
    let edge = Collector::start("edge", &pipeline(sink.address(), batch, "compression: none"));

    let workers = CONNECTIONS * IN_FLIGHT;
    let mut running = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let client = client::traces(edge.grpc()).await;
        for lane in 0..IN_FLIGHT {
            let mut client = client.clone();
            running.spawn(async move {
                for request in (connection * IN_FLIGHT + lane..REQUESTS).step_by(workers) {
                    let first = 1 + request as u64 * SPANS_PER_REQUEST;
                    let spans = data::spans(first, SPANS_PER_REQUEST);
                    client.export(spans).await.expect("accepted");
                }
            });
        }
    }
    while let Some(lane) = running.join_next().await {
        lane.expect("a lane of the load");
    }
    edge.stop();

    let counts = sink.span_counts();
    let sent = REQUESTS as u64 * SPANS_PER_REQUEST;
    let missing = (1..=sent).filter(|id| !counts.contains_key(id)).count();
    let doubled = counts.values().filter(|count| **count > 1).count();
    let requests = sink.traces();
    let batches = requests.len();
    say(&format!("volume: {sent} spans sent, {missing} missing, {doubled} doubled, {batches} batches"));
    assert_eq!((missing, doubled, counts.len() as u64), (0, 0, sent));
    for resource in requests.iter().flat_map(|r| &r.resource_spans) {
        let attributes = &resource.resource.as_ref().expect("a resource").attributes;
        assert_eq!(text_of(attributes, ZONE), Some(ZONE_VALUE));
        assert_eq!(text_of(attributes, CLUSTER), Some(CLUSTER_VALUE));
    }
}
