//! Exports of one worker: a bounded number in flight, every answer awaited and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::uri::PathAndQuery;
use spanbridge_transport::grpc::Channel;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Error;

/// Exports of a worker that wait for their answer; when they are used up the worker waits.
pub(crate) const EXPORTS_IN_FLIGHT_MAX: usize = 8;

/// What all workers have done so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    traces: AtomicU64,
    sent_items: AtomicU64,
    failed_items: AtomicU64,
}

impl Tally {
    pub(crate) fn traces(&self) -> u64 {
        self.traces.load(Ordering::Relaxed)
    }

    pub(crate) fn sent_items(&self) -> u64 {
        self.sent_items.load(Ordering::Relaxed)
    }

    pub(crate) fn failed_items(&self) -> u64 {
        self.failed_items.load(Ordering::Relaxed)
    }

    pub(crate) fn add_traces(&self, traces: u64) {
        self.traces.fetch_add(traces, Ordering::Relaxed);
    }
}

/// Reads how many items an answer rejects.
type Rejected = fn(Bytes) -> Result<(i64, String), prost::DecodeError>;

/// Sends requests and counts the answers.
#[derive(Debug)]
pub(crate) struct Exports {
    target: Target,
    /// Go on after a failure.
    allow_failures: bool,
    tally: Arc<Tally>,
    in_flight: JoinSet<Outcome>,
}

/// Where and how requests are sent.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) channel: Channel,
    /// As the user wrote it, for errors.
    pub(crate) endpoint: Arc<str>,
    pub(crate) path: PathAndQuery,
    pub(crate) timeout: Duration,
    pub(crate) rejected: Rejected,
}

/// What became of one export.
#[derive(Debug)]
struct Outcome {
    sent_items: u64,
    failed_items: u64,
    failure: Option<String>,
}

impl Exports {
    pub(crate) fn new(target: Target, allow_failures: bool, tally: Arc<Tally>) -> Self {
        Self { target, allow_failures, tally, in_flight: JoinSet::new() }
    }

    /// Sends `request`, which holds `items`, as soon as there is room; its answer is counted later.
    ///
    /// # Errors
    /// When an earlier export failed and failures are not allowed.
    pub(crate) async fn submit(&mut self, request: Bytes, items: u64) -> Result<(), Error> {
        while let Some(done) = self.in_flight.try_join_next() {
            self.count(done)?;
        }
        while self.in_flight.len() >= EXPORTS_IN_FLIGHT_MAX
            && let Some(done) = self.in_flight.join_next().await
        {
            self.count(done)?;
        }
        self.in_flight.spawn(self.target.clone().export(request, items));
        Ok(())
    }

    /// Waits for every answer, also after a failure; none takes longer than the timeout.
    ///
    /// # Errors
    /// The first failure, unless failures are allowed.
    pub(crate) async fn finish(mut self) -> Result<(), Error> {
        let mut result = Ok(());
        while let Some(done) = self.in_flight.join_next().await {
            result = result.and(self.count(done));
        }
        result
    }

    fn count(&self, done: Result<Outcome, tokio::task::JoinError>) -> Result<(), Error> {
        let outcome = done.map_err(|error| Error::Worker(error.to_string()))?;
        self.tally.sent_items.fetch_add(outcome.sent_items, Ordering::Relaxed);
        self.tally.failed_items.fetch_add(outcome.failed_items, Ordering::Relaxed);
        match outcome.failure {
            Some(reason) if !self.allow_failures => {
                Err(Error::Export { endpoint: self.target.endpoint.to_string(), reason })
            }
            _ => Ok(()),
        }
    }
}

impl Target {
    async fn export(self, request: Bytes, items: u64) -> Outcome {
        let deadline = Instant::now() + self.timeout;
        let answer = self.channel.unary(&self.path, &[request], &HeaderMap::new(), Some(deadline)).await;
        let rejected = match answer {
            Ok(response) => {
                (self.rejected)(response.message).map_err(|error| format!("malformed answer: {error}"))
            }
            Err(status) => Err(status.to_string()),
        };
        match rejected {
            // What is sent here has not changed: 0 with a text is a warning of no consequence.
            Ok((rejected, _)) if rejected <= 0 => {
                Outcome { sent_items: items, failed_items: 0, failure: None }
            }
            Ok((rejected, reason)) => {
                let failed_items = rejected.unsigned_abs().min(items);
                let failure = Some(format!("it rejected {failed_items} of {items} items: {reason}"));
                Outcome { sent_items: items - failed_items, failed_items, failure }
            }
            Err(failure) => Outcome { sent_items: 0, failed_items: items, failure: Some(failure) },
        }
    }
}
