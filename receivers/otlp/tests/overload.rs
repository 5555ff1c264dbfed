//! More clients than memory, and a pipeline that blocks, is slow, or loses its clients: the account bounds what is received,
//! and every client that tries again gets through. The tests share the account of the process, so one runs at a time, and
//! nothing else runs in this binary.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use otlp_receiver::{Config, Factory};
use prost::Message as _;
use spanbridge_component::{
    Acknowledges, Batch, Capabilities, ConsumeError, Consumer, Kind, Outputs, Receiver, ReceiverFactory as _,
    Signal,
};
use spanbridge_pdata::memory::{Account, Limit};
use spanbridge_pdata::sample::rich_traces;
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;
use tonic::transport::Endpoint;

/// Far more than any of this takes.
const BOUND: Duration = Duration::from_secs(60);
const LIMIT_BYTES: usize = 4 << 20;
const CONNECTIONS: usize = 4;
/// Of one connection: all of them together are four times what fits.
const STREAMS: usize = 8;
/// Larger than every window that so small a limit gives.
const BODY_BYTES: usize = 578_000;
/// Calls are charged without being asked, 4 KiB each, one that was aborted and its successor at the same time.
const CALLS_BYTES: usize = 2 * CONNECTIONS * STREAMS * 4096;
/// Connections may exceed the limit by an eighth.
const CONNECTIONS_BYTES: usize = LIMIT_BYTES / 8;
/// What has to get through after the overload.
const ACKNOWLEDGED: usize = 200;

/// Takes a permit for each batch, and keeps nothing.
struct Pipeline {
    permits: Semaphore,
    taken: AtomicUsize,
}

#[async_trait]
impl Consumer for Pipeline {
    async fn consume(&self, batch: Batch) -> Result<(), ConsumeError> {
        self.permits.acquire().await.unwrap().forget();
        self.taken.fetch_add(batch.items(), Ordering::Relaxed);
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { acknowledges: Acknowledges::Delivered }
    }
}

/// A receiver within a limit.
struct Rig {
    _alone: MutexGuard<'static, ()>,
    folder: TempDir,
    pipeline: Arc<Pipeline>,
    receiver: Arc<dyn Receiver>,
    account: &'static Account,
    limit: Limit,
    clients: JoinSet<()>,
    acknowledged: Arc<AtomicUsize>,
    enough: Arc<AtomicBool>,
}

/// One span with so much text: cheap to encode again and again.
fn request() -> ExportTraceServiceRequest {
    let mut request = ExportTraceServiceRequest::decode(rich_traces(1)).unwrap();
    request.resource_spans[0].scope_spans[0].spans[0].name = "x".repeat(BODY_BYTES);
    request
}

impl Rig {
    async fn start() -> Self {
        static ALONE: Mutex<()> = Mutex::const_new(());
        let alone = ALONE.lock().await;
        let account = Account::process();
        let limit = account.limit_to(LIMIT_BYTES);
        let folder = tempfile::tempdir().unwrap();
        let yaml = format!("{{protocols: {{grpc: {{endpoint: {}, transport: unix}}}}}}", socket(&folder));
        let config: Config = spanbridge_config::from_yaml(&yaml).unwrap();
        let settings = spanbridge_testkit::settings_of(Kind::Receiver, "otlp");
        let pipeline = Arc::new(Pipeline { permits: Semaphore::new(0), taken: AtomicUsize::new(0) });
        let next = Outputs::new().with(Signal::Traces, pipeline.clone());
        let receiver = Factory.create(settings.clone(), config, next).unwrap();
        receiver.start(spanbridge_testkit::host(&settings).0).await.unwrap();
        Self {
            _alone: alone,
            folder,
            pipeline,
            receiver,
            account,
            limit,
            clients: JoinSet::new(),
            acknowledged: Arc::default(),
            enough: Arc::default(),
        }
    }

    /// Clients that send one request after the other, each until it is acknowledged. Those with `patience` give up after
    /// that, and send the same again with a little more of it: on a slow machine nobody would get through otherwise.
    async fn flood(&mut self, patience: Option<Duration>) {
        let request = request();
        for _ in 0..CONNECTIONS {
            let endpoint = Endpoint::from_shared(format!("unix:{}", socket(&self.folder))).unwrap();
            let channel = endpoint.connect().await.unwrap();
            for _ in 0..STREAMS {
                let (mut client, request) = (TraceServiceClient::new(channel.clone()), request.clone());
                let (acknowledged, enough) = (self.acknowledged.clone(), self.enough.clone());
                let mut patience = patience.unwrap_or(BOUND);
                self.clients.spawn(async move {
                    while !enough.load(Ordering::Relaxed) {
                        let call = client.export(request.clone());
                        match timeout(patience, call).await {
                            Ok(Ok(_)) => _ = acknowledged.fetch_add(1, Ordering::Relaxed),
                            Ok(Err(status)) => {
                                assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                                sleep(Duration::from_millis(50)).await;
                            }
                            Err(_) => patience = patience * 3 / 2,
                        }
                    }
                });
            }
        }
    }

    /// Waits until `done`; nothing exceeds the limit meanwhile. The most that was charged.
    async fn until(&self, done: impl Fn(&Self) -> bool) -> usize {
        let (started, mut most) = (Instant::now(), 0);
        while !done(self) {
            most = most.max(self.account.used());
            assert!(most <= LIMIT_BYTES + CALLS_BYTES + CONNECTIONS_BYTES, "{most}");
            assert!(
                started.elapsed() < BOUND,
                "{} acknowledged, {:?}",
                self.acknowledged(),
                self.account.usage()
            );
            sleep(Duration::from_millis(1)).await;
        }
        most
    }

    /// Every client ends, and so does every charge.
    async fn finish(mut self) {
        self.enough.store(true, Ordering::Relaxed);
        while let Some(client) = timeout(BOUND, self.clients.join_next()).await.unwrap() {
            client.unwrap();
        }
        assert!(self.pipeline.taken.load(Ordering::Relaxed) >= self.acknowledged());
        self.receiver.shutdown(Instant::now() + BOUND).await.unwrap();
        let Self { pipeline, receiver, account, limit, .. } = self;
        drop((pipeline, receiver, limit));
        assert_eq!(account.used(), 0, "{account:?}");
    }

    fn refusals(&self) -> u64 {
        self.account.usage().refusals
    }

    fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::Relaxed)
    }
}

fn socket(folder: &TempDir) -> String {
    folder.path().join("otlp.sock").to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_gets_through_after_the_pipeline_was_blocked() {
    let mut rig = Rig::start().await;
    let refused = rig.refusals();
    rig.flood(None).await;
    // Every client was refused once on average: the load goes on, and the account does not grow with it.
    let most = rig.until(|rig| rig.refusals() >= refused + (CONNECTIONS * STREAMS) as u64).await;
    assert!(most > LIMIT_BYTES / 2, "the limit is used: {most}");
    assert_eq!(rig.acknowledged(), 0);
    rig.pipeline.permits.add_permits(Semaphore::MAX_PERMITS);
    rig.until(|rig| rig.acknowledged() >= ACKNOWLEDGED).await;
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_gets_through_while_the_pipeline_is_slow() {
    let mut rig = Rig::start().await;
    rig.flood(None).await;
    for target in (1..=ACKNOWLEDGED).step_by(4) {
        rig.pipeline.permits.add_permits(4);
        rig.until(|rig| rig.acknowledged() >= target).await;
    }
    rig.pipeline.permits.add_permits(Semaphore::MAX_PERMITS / 2);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_abort_within_their_bodies_leave_nothing_behind() {
    let mut rig = Rig::start().await;
    let refused = rig.refusals();
    rig.flood(Some(Duration::from_millis(700))).await;
    rig.until(|rig| rig.refusals() >= refused + 8).await;
    rig.pipeline.permits.add_permits(Semaphore::MAX_PERMITS);
    rig.until(|rig| rig.acknowledged() >= ACKNOWLEDGED).await;
    rig.finish().await;
}
