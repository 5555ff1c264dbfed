//! The sender against servers that are not ours, with a resolver whose answers the tests change.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::net::SocketAddr;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use spanbridge_component::{Code, Kind};
use spanbridge_pdata::{InvalidUtf8, ItemEdit, sample};
use spanbridge_transport::grpc::{ClientConfig, ClientTls, HostPort};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tonic::codec::CompressionEncoding;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::*;
use crate::{DnsConfig, OtlpConfig, ProtocolConfig, ResolverConfig, StaticConfig};

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(20);

async fn patiently<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("the test has waited too long")
}

/// What a backend does with requests, and what it took.
#[derive(Clone, Default)]
struct Service {
    refuses: Arc<Mutex<Option<Status>>>,
    /// Told of each refusal.
    refused: Arc<Notify>,
    traces: Arc<Mutex<Vec<Vec<u8>>>>,
}

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        if let Some(status) = self.refuses.lock().unwrap().clone() {
            self.refused.notify_one();
            return Err(status);
        }
        let scopes = request.get_ref().resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        let ids = scopes.flat_map(|scope| &scope.spans).map(|span| span.trace_id.clone());
        self.traces.lock().unwrap().extend(ids);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

struct Backend {
    address: SocketAddr,
    service: Service,
    server: AbortHandle,
}

impl Backend {
    fn start() -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into())
    }

    fn start_at(address: SocketAddr) -> Self {
        let incoming = TcpIncoming::bind(address).unwrap();
        let (address, service) = (incoming.local_addr().unwrap(), Service::default());
        let traces = TraceServiceServer::new(service.clone()).accept_compressed(CompressionEncoding::Gzip);
        let server = tonic::transport::Server::builder().add_service(traces).serve_with_incoming(incoming);
        Self { address, service, server: tokio::spawn(server).abort_handle() }
    }

    fn refuse(&self, status: Option<Status>) {
        *self.service.refuses.lock().unwrap() = status;
    }

    /// The trace ids of the spans it took, one for each span.
    fn took(&self) -> Vec<Vec<u8>> {
        self.service.traces.lock().unwrap().clone()
    }

    fn traces(&self) -> BTreeSet<Vec<u8>> {
        self.took().into_iter().collect()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A resolver whose answer the test changes. All backends are on one address, so it tells them by port.
#[derive(Default)]
struct Scripted(Mutex<Vec<SocketAddr>>);

impl Scripted {
    fn set(&self, backends: &[&Backend]) {
        *self.0.lock().unwrap() = backends.iter().map(|backend| backend.address).collect();
    }
}

#[async_trait]
impl Resolve for Scripted {
    async fn resolve(&self, target: &HostPort) -> io::Result<Vec<SocketAddr>> {
        assert_eq!(target.to_string(), "gateway:4317");
        let found = self.0.lock().unwrap().clone();
        if found.is_empty() { Err(io::Error::other("no such host")) } else { Ok(found) }
    }
}

fn config(resolver: ResolverConfig) -> Config {
    let client = ClientConfig { tls: ClientTls::plaintext(), ..OtlpConfig::default().client };
    let otlp = OtlpConfig { client, ..OtlpConfig::default() };
    Config { protocol: ProtocolConfig { otlp }, resolver, ..Config::default() }
}

fn fixed(backends: &[&Backend]) -> Config {
    let hostnames = backends.iter().map(|backend| backend.address.to_string()).collect();
    config(ResolverConfig { fixed: Some(StaticConfig { hostnames }).into(), ..ResolverConfig::default() })
}

fn dns() -> Config {
    let interval = spanbridge_config::Duration::from_millis(20);
    let dns = DnsConfig { hostname: "gateway".into(), interval, ..DnsConfig::default() };
    config(ResolverConfig { dns: Some(dns).into(), ..ResolverConfig::default() })
}

fn settings() -> Settings {
    let settings = spanbridge_testkit::settings_of(Kind::Exporter, "load_balancing/test");
    Settings { signals: vec![Signal::Traces], ..settings }
}

async fn started(config: Config, resolver: &Arc<Scripted>) -> BalancingSender {
    let settings = settings();
    let sender = BalancingSender::with_resolver(&settings, config, Arc::clone(resolver) as _).unwrap();
    let (host, _) = spanbridge_testkit::host(&settings);
    sender.start(&host).await.unwrap();
    sender
}

/// 100 spans of 13 traces, told apart by `seed`.
fn batch(seed: u8) -> Batch {
    let payload =
        Payload::from_wire(Signal::Traces, sample::rich_traces(100), InvalidUtf8::Refuse).unwrap().payload;
    let reseeded = payload.edit_items(|item| {
        let mut span = item.bytes().to_vec();
        // The trace id is the first field: key and length, then 16 bytes.
        span[2] = seed;
        ItemEdit::Replace(span.into())
    });
    Batch::new(reseeded.unwrap())
}

/// What the helper does: sends what failed again until nothing fails.
async fn deliver(sender: &BalancingSender, batch: Batch) -> usize {
    let mut waiting = vec![batch.payload];
    let mut attempts = 0;
    while !waiting.is_empty() {
        let mut failed = Vec::new();
        for payload in waiting {
            attempts += 1;
            let batch = Batch::new(payload);
            if let Err(error) = patiently(sender.send(&batch)).await {
                assert!(!error.error.is_permanent(), "{}", error.error);
                failed.extend(error.failed.unwrap_or_else(|| vec![batch.payload.clone()]));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        waiting = failed;
    }
    attempts
}

async fn shut_down(sender: &BalancingSender) {
    patiently(sender.shutdown(Instant::now() + PATIENCE)).await.unwrap();
}

#[tokio::test]
async fn each_trace_arrives_whole_at_one_backend_and_each_span_once() {
    let backends = [Backend::start(), Backend::start(), Backend::start()];
    let sender = started(fixed(&backends.each_ref()), &Arc::default()).await;
    for seed in 0..20 {
        patiently(sender.send(&batch(seed))).await.unwrap();
    }
    shut_down(&sender).await;
    assert_eq!(backends.iter().map(|b| b.took().len()).sum::<usize>(), 2000);
    let traces = backends.each_ref().map(Backend::traces);
    assert!(traces.iter().all(|traces| !traces.is_empty()));
    assert!(
        traces[0].is_disjoint(&traces[1])
            && traces[1].is_disjoint(&traces[2])
            && traces[0].is_disjoint(&traces[2])
    );
}

/// contrib#47600: a retry sent again what had been delivered.
#[tokio::test]
async fn only_the_part_that_failed_is_reported_and_sent_again() {
    let backends = [Backend::start(), Backend::start()];
    let sender = started(fixed(&backends.each_ref()), &Arc::default()).await;
    backends[0].refuse(Some(Status::unavailable("restarting")));
    let error = patiently(sender.send(&batch(1))).await.unwrap_err();
    assert_eq!((error.error.code(), error.error.is_permanent()), (Code::Unavailable, false));
    let text = format!("backend {}: restarting", backends[0].address);
    assert_eq!(error.error.message(), text);
    let failed: usize = error.failed.as_ref().unwrap().iter().map(Payload::items).sum();
    assert_eq!(failed + backends[1].took().len(), 100);
    backends[0].refuse(None);
    for payload in error.failed.unwrap() {
        patiently(sender.send(&Batch::new(payload))).await.unwrap();
    }
    assert_eq!((backends[0].took().len(), failed), (failed, failed), "nothing arrives twice");
    shut_down(&sender).await;
}

#[tokio::test]
async fn a_part_that_was_refused_for_good_does_not_decide_about_the_others() {
    let backends = [Backend::start(), Backend::start()];
    let sender = started(fixed(&backends.each_ref()), &Arc::default()).await;
    backends[0].refuse(Some(Status::invalid_argument("bad span")));
    backends[1].refuse(Some(Status::unavailable("restarting")));
    let error = patiently(sender.send(&batch(1))).await.unwrap_err();
    assert!(!error.error.is_permanent() && error.refusal == Refusal::Whole);
    backends[1].refuse(None);
    let error = patiently(sender.send(&batch(1))).await.unwrap_err();
    assert!(error.error.is_permanent() && error.refusal == Refusal::Contents);
    assert_eq!(
        error.failed.unwrap().iter().map(Payload::items).sum::<usize>() + backends[1].took().len(),
        100
    );
    let size =
        |limit| Status::resource_exhausted(format!("received message larger than max (9000 vs. {limit})"));
    backends[0].refuse(Some(size(2000)));
    backends[1].refuse(Some(size(1000)));
    let error = patiently(sender.send(&batch(1))).await.unwrap_err();
    assert_eq!(error.refusal, Refusal::TooLarge { limit: Some(1000) });
    assert!(error.failed.is_none(), "all of it failed");
    // What one does not let in may still be delivered.
    backends[0].refuse(Some(Status::unauthenticated("who are you?")));
    let error = patiently(sender.send(&batch(1))).await.unwrap_err();
    assert!(error.error.is_permanent() && error.refusal == Refusal::Credentials);
    shut_down(&sender).await;
}

/// contrib#35378, #36717: data was lost when backends changed or scaled.
#[tokio::test]
async fn what_a_leaving_backend_did_not_take_goes_to_the_others() {
    let backends = [Backend::start(), Backend::start(), Backend::start()];
    let [first, second, third] = backends.each_ref();
    let resolver = Arc::new(Scripted::default());
    resolver.set(&[first, second]);
    let sender = started(dns(), &resolver).await;
    for seed in 0..60 {
        match seed {
            // One fails first, and DNS tells later that it is gone.
            20 => {
                second.refuse(Some(Status::unavailable("shutting down")));
                let (resolver, left) = (Arc::clone(&resolver), vec![first.address]);
                let refused = Arc::clone(&second.service.refused);
                tokio::spawn(async move {
                    refused.notified().await;
                    *resolver.0.lock().unwrap() = left;
                });
            }
            40 => resolver.set(&[first, third]),
            _ => {}
        }
        let attempts = deliver(&sender, batch(seed)).await;
        assert!(seed != 20 || attempts > 1, "the failure was met");
    }
    shut_down(&sender).await;
    let took: Vec<_> = backends.iter().map(|backend| backend.took().len()).collect();
    assert!(took.iter().all(|count| *count > 0), "{took:?}");
    let all: BTreeSet<_> = backends.iter().flat_map(Backend::traces).collect();
    assert_eq!(all.len(), 60 * 13, "every trace has arrived");
    assert_eq!(took.iter().sum::<usize>(), 6000, "nothing was lost or doubled");
}

#[tokio::test]
async fn requests_wait_for_the_first_backends_and_then_say_why_there_are_none() {
    let backend = Backend::start();
    let resolver = Arc::new(Scripted::default());
    let sender = started(dns(), &resolver).await;
    let mut late = batch(1);
    late.context.deadline = Some(std::time::Instant::now() + Duration::from_millis(200));
    let error = patiently(sender.send(&late)).await.unwrap_err().error;
    assert_eq!(error.message(), "no backends are known: lookup gateway: no such host");
    assert!(!error.is_permanent());
    let batch = batch(2);
    let (sent, ()) =
        futures_util::future::join(sender.send(&batch), async { resolver.set(&[&backend]) }).await;
    sent.unwrap();
    // Names that cannot be resolved any more change nothing.
    resolver.set(&[]);
    tokio::time::sleep(Duration::from_millis(60)).await;
    patiently(sender.send(&batch)).await.unwrap();
    assert_eq!(backend.took().len(), 200);
    shut_down(&sender).await;
}

/// contrib#31209: a dead host in a static list dropped its share silently.
#[tokio::test]
async fn the_share_of_a_dead_static_host_goes_elsewhere_after_a_while_and_comes_back() {
    let (alive, dead) = (Backend::start(), Backend::start());
    let mut config = fixed(&[&alive, &dead]);
    config.failover_after = spanbridge_config::Duration::from_millis(200);
    let sender = started(config, &Arc::default()).await;
    dead.refuse(Some(Status::unavailable("out of order")));
    let attempts = patiently(deliver(&sender, batch(1))).await;
    assert!(attempts > 2, "retried until it is given up");
    assert_eq!(alive.took().len(), 100);
    // From now on at once, but for the request that tries it.
    deliver(&sender, batch(2)).await;
    assert_eq!((alive.took().len(), dead.took().len()), (200, 0));
    shut_down(&sender).await;
}

#[test]
fn a_key_that_a_signal_does_not_have_is_refused_when_the_exporter_is_made() {
    let config = Config { routing_key: crate::RoutingKey::StreamId, ..dns() };
    let error = BalancingSender::new(&settings(), config).err().unwrap();
    assert_eq!(error.to_string(), "unsupported routing_key: \"streamID\" for traces");
}

#[tokio::test]
async fn metrics_tell_of_resolutions_backends_and_outcomes() {
    let backend = Backend::start();
    let settings = settings();
    let sender =
        BalancingSender::with_resolver(&settings, fixed(&[&backend]), Arc::<Scripted>::default()).unwrap();
    let (host, _) = spanbridge_testkit::host(&settings);
    sender.start(&host).await.unwrap();
    patiently(sender.send(&batch(1))).await.unwrap();
    backend.refuse(Some(Status::unavailable("no")));
    patiently(sender.send(&batch(1))).await.unwrap_err();
    let text =
        prometheus::TextEncoder::new().encode_to_string(&settings.telemetry.registry().gather()).unwrap();
    let endpoint = backend.address;
    for line in [
        "otelcol_loadbalancer_num_resolutions{resolver=\"static\",success=\"true\"} 1".to_owned(),
        "otelcol_loadbalancer_num_backends{resolver=\"static\"} 1".to_owned(),
        "otelcol_loadbalancer_num_backend_updates{resolver=\"static\"} 1".to_owned(),
        format!("otelcol_loadbalancer_backend_outcome{{endpoint=\"{endpoint}\",success=\"true\"}} 1"),
        format!("otelcol_loadbalancer_backend_outcome{{endpoint=\"{endpoint}\",success=\"false\"}} 1"),
        format!("otelcol_loadbalancer_backend_latency_count{{endpoint=\"{endpoint}\"}} 2"),
    ] {
        assert!(text.contains(&line), "{line}\nis not in\n{text}");
    }
    shut_down(&sender).await;
}
