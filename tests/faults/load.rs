//! A load of clients that never give up: each keeps what it was told about every request.

use std::collections::BTreeMap;
use std::error::Error;
use std::iter;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use crate::data;

const CONNECTIONS: usize = 4;
const LANES_PER_CONNECTION: usize = 4;
/// Spans of one request.
pub(crate) const SPANS: u64 = 10;
/// A client that was refused waits this long before its next request.
const PAUSE: Duration = Duration::from_millis(10);
/// A client waits this long for an answer.
const ANSWER: Duration = Duration::from_secs(20);

/// What the clients know: the first span of each request, which has [`SPANS`] consecutive ones.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Answered with OK.
    pub(crate) acknowledged: Vec<u64>,
    /// Answered with an error, or not at all.
    pub(crate) refused: Vec<u64>,
    /// What the clients were told of those, and how often.
    pub(crate) errors: BTreeMap<String, u64>,
}

impl Record {
    /// The spans that were acknowledged.
    pub(crate) fn acknowledged_spans(&self) -> impl Iterator<Item = u64> + '_ {
        self.acknowledged.iter().flat_map(|first| *first..*first + SPANS)
    }

    /// Spans in all requests.
    pub(crate) fn sent(&self) -> u64 {
        (self.acknowledged.len() + self.refused.len()) as u64 * SPANS
    }
}

/// A running load.
pub(crate) struct Load {
    stop: watch::Sender<bool>,
    lanes: JoinSet<Record>,
    acknowledged: watch::Receiver<u64>,
    refused: watch::Receiver<u64>,
}

/// Counts answers for whoever waits for them.
struct Answers {
    acknowledged: watch::Sender<u64>,
    refused: watch::Sender<u64>,
}

impl Load {
    /// Begins to send to `address`, as fast as the answers come.
    pub(crate) fn start(address: SocketAddr) -> Self {
        let (stop, stopped) = watch::channel(false);
        let answers = Arc::new(Answers { acknowledged: watch::channel(0).0, refused: watch::channel(0).0 });
        let (acknowledged, refused) = (answers.acknowledged.subscribe(), answers.refused.subscribe());
        let next = Arc::new(AtomicU64::new(1));
        let mut lanes = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("a URI").timeout(ANSWER);
            let client = TraceServiceClient::new(endpoint.connect_lazy());
            for _ in 0..LANES_PER_CONNECTION {
                lanes.spawn(lane(client.clone(), next.clone(), answers.clone(), stopped.clone()));
            }
        }
        Self { stop, lanes, acknowledged, refused }
    }

    /// Waits until `requests` more are acknowledged.
    pub(crate) async fn gets_through(&mut self, requests: u64) {
        grows(&mut self.acknowledged, requests, "acknowledged").await;
    }

    /// Waits until `requests` more are refused.
    pub(crate) async fn is_refused(&mut self, requests: u64) {
        grows(&mut self.refused, requests, "refused").await;
    }

    /// Stops sending, waits for the answers under way, and returns what the clients know.
    pub(crate) async fn stop(mut self) -> Record {
        self.stop.send_replace(true);
        let mut all = Record::default();
        while let Some(lane) = self.lanes.join_next().await {
            let lane = lane.expect("a lane of the load");
            all.acknowledged.extend(lane.acknowledged);
            all.refused.extend(lane.refused);
            for (error, count) in lane.errors {
                *all.errors.entry(error).or_default() += count;
            }
        }
        all
    }
}

/// How long a load may take to get that far, beside other tests on a busy machine.
const PROGRESS: Duration = Duration::from_secs(90);

async fn grows(counter: &mut watch::Receiver<u64>, by: u64, what: &str) {
    let goal = *counter.borrow() + by;
    let reached = counter.wait_for(|count| *count >= goal);
    let in_time = tokio::time::timeout(PROGRESS, reached).await;
    in_time.unwrap_or_else(|_| panic!("not {by} requests {what} within {PROGRESS:?}")).expect("lanes run");
}

/// What is behind an error, after a colon each.
fn causes(error: &dyn Error) -> String {
    iter::successors(error.source(), |cause| (*cause).source())
        .fold(String::new(), |all, cause| format!("{all}: {cause}"))
}

async fn lane(
    mut client: TraceServiceClient<Channel>,
    next: Arc<AtomicU64>,
    answers: Arc<Answers>,
    stopped: watch::Receiver<bool>,
) -> Record {
    let mut record = Record::default();
    while !*stopped.borrow() {
        let first = next.fetch_add(SPANS, Ordering::Relaxed);
        match client.export(data::spans(first, SPANS)).await {
            Ok(_) => {
                record.acknowledged.push(first);
                answers.acknowledged.send_modify(|count| *count += 1);
            }
            Err(status) => {
                record.refused.push(first);
                answers.refused.send_modify(|count| *count += 1);
                let error = format!("{:?}: {}{}", status.code(), status.message(), causes(&status));
                *record.errors.entry(error).or_default() += 1;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    record
}
