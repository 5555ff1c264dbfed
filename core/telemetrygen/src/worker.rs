//! One worker: generates records at its rate, packs them into requests, hands them to its exports.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::export::{Exports, Tally};
use crate::generate::Generator;
use crate::limiter::Limiter;

/// A request is sent when its records reach this size, in bytes: receivers usually take 4 MiB.
const BATCH_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Longest time that a record waits for its batch to fill.
const BATCH_TIMEOUT: Duration = Duration::from_secs(1);

/// What one worker works with.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) exports: Exports,
    pub(crate) limiter: Limiter,
    pub(crate) resource: Arc<Resource>,
    pub(crate) batch_size: usize,
    /// Complete traces, metrics or log records after which it is done.
    pub(crate) count: Option<u64>,
    pub(crate) stop: CancellationToken,
    pub(crate) tally: Arc<Tally>,
}

/// Records that wait to be sent.
struct Batch<G: Generator> {
    records: Vec<G::Record>,
    bytes: usize,
    /// When the first record has waited long enough.
    due: Option<Instant>,
}

impl Worker {
    /// Works until the count is reached or it is stopped, and then until everything is answered.
    ///
    /// # Errors
    /// The first failed export, unless failures are allowed.
    pub(crate) async fn run<G: Generator>(mut self, mut generator: G) -> Result<(), Error> {
        let generated = self.generate(&mut generator).await;
        let finished = self.exports.finish().await;
        generated.and(finished)
    }

    async fn generate<G: Generator>(&mut self, generator: &mut G) -> Result<(), Error> {
        let mut batch = Batch::<G> { records: Vec::new(), bytes: 0, due: None };
        let mut counted = 0;
        while self.count.is_none_or(|count| generator.completed() < count) {
            match self.turn(batch.due).await {
                Turn::Record => batch.push(generator.next(nanos_now())),
                Turn::Flush => self.send(&mut batch).await?,
                Turn::Stop => break,
            }
            if batch.records.len() >= self.batch_size || batch.bytes >= BATCH_BYTES_MAX {
                self.send(&mut batch).await?;
                // Unlimited generation into an open window would otherwise never yield.
                tokio::task::yield_now().await;
            }
            counted = self.count_traces(generator.completed(), counted);
        }
        if let Some(last) = generator.close() {
            batch.push(last);
        }
        self.count_traces(generator.completed(), counted);
        self.send(&mut batch).await
    }

    /// What to do next.
    async fn turn(&mut self, due: Option<Instant>) -> Turn {
        if self.stop.is_cancelled() {
            return Turn::Stop;
        }
        if self.limiter.is_unlimited() {
            return Turn::Record;
        }
        // In this order, so that a steady stream of records keeps neither the end nor a batch waiting.
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Turn::Stop,
            () = until(due) => Turn::Flush,
            () = self.limiter.wait() => Turn::Record,
        }
    }

    async fn send<G: Generator>(&mut self, batch: &mut Batch<G>) -> Result<(), Error> {
        if batch.records.is_empty() {
            return Ok(());
        }
        let records = std::mem::take(&mut batch.records);
        (batch.bytes, batch.due) = (0, None);
        let items = records.len() as u64;
        self.exports.submit(G::request(&self.resource, records), items).await
    }

    fn count_traces(&self, completed: u64, counted: u64) -> u64 {
        self.tally.add_traces(completed - counted);
        completed
    }
}

enum Turn {
    Record,
    Flush,
    Stop,
}

impl<G: Generator> Batch<G> {
    fn push(&mut self, record: G::Record) {
        self.bytes += record.encoded_len();
        self.records.push(record);
        self.due.get_or_insert_with(|| Instant::now() + BATCH_TIMEOUT);
    }
}

/// Never, when there is no time.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn nanos_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
