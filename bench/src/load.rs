//! Sends requests over several connections, several at a time on each, and counts what was acknowledged.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use http::HeaderMap;
use tokio::task::{JoinHandle, spawn_local};

use crate::Outcome;
use crate::grpc;
use crate::request::{SPANS_PER_REQUEST, Template};
use crate::target::Target;

/// No request of a healthy run takes this long.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// A timer may be this late by itself.
const TIMER_SLACK: Duration = Duration::from_millis(2);

/// How the load is sent.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Shape {
    /// Spans to send; requests hold 100 each.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) spans: u64,
    /// Connections.
    #[arg(long, default_value_t = 4)]
    pub(crate) connections: usize,
    /// Requests in flight on each connection.
    #[arg(long, default_value_t = 8)]
    pub(crate) in_flight: usize,
    /// Most bytes of an HTTP/2 frame that is sent.
    #[arg(long, default_value_t = grpc::GO_FRAME_BYTES)]
    pub(crate) frame_bytes: u32,
    /// Spans a second; 0 sends as fast as answers come.
    #[arg(long, default_value_t = 0)]
    pub(crate) rate: u64,
}

/// What the load saw.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    /// Spans whose request was answered with success.
    pub(crate) acknowledged: u64,
    /// Requests that were not, by what was answered instead.
    pub(crate) failures: Vec<String>,
    /// From the first request to the last answer.
    pub(crate) elapsed: Duration,
    latencies: Vec<Duration>,
}

impl Report {
    /// The latency that `share` (0 to 1) of all requests stayed within.
    pub(crate) fn latency(&self, share: f64) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a share of a length is an index"
        )]
        let index = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
        sorted.get(index).copied().unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} spans acknowledged in {:.2?}, {} requests failed, latency p50 {:.2?}, p99 {:.2?}",
            self.acknowledged,
            self.elapsed,
            self.failures.len(),
            self.latency(0.5),
            self.latency(0.99),
        )?;
        self.failures.first().map_or(Ok(()), |first| write!(f, "; the first failure: {first}"))
    }
}

/// What all lanes share.
struct Load {
    template: Rc<Template>,
    frame_bytes: usize,
    target: Target,
    /// The number of the next request, and of the one after the last.
    next: Cell<u64>,
    end: u64,
    /// Time between two requests of a paced load.
    pace: Option<Duration>,
    started: Instant,
    first: u64,
    report: RefCell<Report>,
}

/// Sends `shape.spans` spans, numbered from `first_span`, and returns when every answer is there.
///
/// # Errors
/// When a connection cannot be made. Requests that fail are part of the report.
pub(crate) async fn run(
    target: &Target,
    shape: &Shape,
    template: &Rc<Template>,
    first_span: u64,
) -> Outcome<Report> {
    let first = first_span / SPANS_PER_REQUEST;
    let pace = (shape.rate > 0)
        .then(|| Duration::from_secs(SPANS_PER_REQUEST) / u32::try_from(shape.rate).unwrap_or(u32::MAX));
    let load = Rc::new(Load {
        template: template.clone(),
        frame_bytes: usize::try_from(shape.frame_bytes)?,
        target: target.clone(),
        next: Cell::new(first),
        end: first + shape.spans / SPANS_PER_REQUEST,
        pace,
        started: Instant::now(),
        first,
        report: RefCell::default(),
    });
    let mut lanes: Vec<JoinHandle<()>> = Vec::new();
    for _ in 0..shape.connections {
        let client = target.connect().await?;
        lanes.extend((0..shape.in_flight).map(|_| spawn_local(lane(load.clone(), client.clone()))));
    }
    for lane in lanes {
        lane.await?;
    }
    let mut report = load.report.take();
    report.elapsed = load.started.elapsed();
    Ok(report)
}

/// Sends one request after the other until all have been taken by some lane.
async fn lane(load: Rc<Load>, client: SendRequest<Bytes>) {
    loop {
        let number = load.next.get();
        if number >= load.end {
            return;
        }
        load.next.set(number + 1);
        let started = load.due(number).await;
        let answer = tokio::time::timeout(REQUEST_TIMEOUT, load.send(client.clone(), number)).await;
        let mut report = load.report.borrow_mut();
        match answer {
            Ok(Ok(())) => {
                report.acknowledged += SPANS_PER_REQUEST;
                report.latencies.push(started.elapsed());
            }
            Ok(Err(error)) => report.failures.push(error.to_string()),
            Err(_) => report.failures.push(format!("no answer within {REQUEST_TIMEOUT:?}")),
        }
    }
}

impl Load {
    /// Waits until a paced request is due, and returns when its latency begins: now, or, when no lane was free to send it
    /// in time, when it was due.
    async fn due(&self, number: u64) -> Instant {
        let Some(pace) = self.pace else { return Instant::now() };
        let due = self.started + pace * u32::try_from(number - self.first).unwrap_or(u32::MAX);
        tokio::time::sleep_until(due.into()).await;
        if due.elapsed() > TIMER_SLACK { due } else { Instant::now() }
    }

    async fn send(&self, client: SendRequest<Bytes>, number: u64) -> Outcome<()> {
        let mut body = Vec::with_capacity(grpc::PREFIX_BYTES + self.template.len());
        body.extend(grpc::prefix(self.template.len()));
        self.template.write(number, &mut body);
        let mut body = Bytes::from(body);

        let request = self.target.export();
        let (answer, mut stream) = client.ready().await?.send_request(request.body(())?, false)?;
        while body.len() > self.frame_bytes {
            stream.send_data(body.split_to(self.frame_bytes), false)?;
        }
        stream.send_data(body, true)?;

        let answer = answer.await?;
        let status = answer.status();
        let headers = answer.headers().clone();
        let mut body = answer.into_body();
        grpc::read(&mut body).await?;
        let trailers = body.trailers().await?;
        match grpc_status(trailers.as_ref().unwrap_or(&headers)) {
            Some("0") => Ok(()),
            other => Err(format!("HTTP status {status}, gRPC status {other:?}").into()),
        }
    }
}

fn grpc_status(headers: &HeaderMap) -> Option<&str> {
    headers.get("grpc-status").and_then(|value| value.to_str().ok())
}
