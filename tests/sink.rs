//! An OTLP/gRPC receiver on tonic's generated services: the far end of the pipelines under test.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::data::span_ids;

const MAX_REQUEST_BYTES: usize = 64 << 20;

/// How the sink answers.
#[derive(Clone, Default)]
pub(crate) struct Behaviour {
    /// Refuse with this status; what is refused is not kept.
    pub(crate) refuse: Option<Status>,
    /// Wait this long before anything else.
    pub(crate) delay: Duration,
    /// Hang until this is open.
    pub(crate) gate: Option<watch::Receiver<bool>>,
}

#[derive(Default)]
struct Received {
    traces: Vec<ExportTraceServiceRequest>,
    metrics: Vec<ExportMetricsServiceRequest>,
    logs: Vec<ExportLogsServiceRequest>,
    metadata: Vec<MetadataMap>,
}

#[derive(Clone, Default)]
struct Service {
    behaviour: Arc<Mutex<Behaviour>>,
    received: Arc<Mutex<Received>>,
}

impl Service {
    async fn take<T>(&self, request: Request<T>, keep: impl FnOnce(&mut Received, T)) -> Result<(), Status> {
        let behaviour = self.behaviour.lock().expect("sink").clone();
        tokio::time::sleep(behaviour.delay).await;
        if let Some(mut gate) = behaviour.gate {
            // A gate whose owner is gone is as good as open.
            let _ = gate.wait_for(|open| *open).await;
        }
        if let Some(status) = behaviour.refuse {
            return Err(status);
        }
        let mut received = self.received.lock().expect("sink");
        received.metadata.push(request.metadata().clone());
        keep(&mut received, request.into_inner());
        Ok(())
    }
}

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.take(request, |received, request| received.traces.push(request)).await?;
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.take(request, |received, request| received.metrics.push(request)).await?;
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Service {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.take(request, |received, request| received.logs.push(request)).await?;
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

/// A running sink; it stops when it is dropped.
pub(crate) struct Sink {
    address: SocketAddr,
    behaviour: Arc<Mutex<Behaviour>>,
    received: Arc<Mutex<Received>>,
    server: AbortHandle,
}

impl Sink {
    /// A sink that takes everything.
    pub(crate) fn start() -> Self {
        Self::behaving(Behaviour::default())
    }

    /// A sink with the given behaviour. It needs the test's runtime.
    pub(crate) fn behaving(behaviour: Behaviour) -> Self {
        Self::with(([127, 0, 0, 1], 0).into(), behaviour, MAX_REQUEST_BYTES)
    }

    /// A sink that takes everything, at this address.
    pub(crate) fn start_at(address: SocketAddr) -> Self {
        Self::with(address, Behaviour::default(), MAX_REQUEST_BYTES)
    }

    /// A sink that takes no larger messages, before and after decompression.
    pub(crate) fn limited(message_max_bytes: usize) -> Self {
        Self::with(([127, 0, 0, 1], 0).into(), Behaviour::default(), message_max_bytes)
    }

    fn with(address: SocketAddr, behaviour: Behaviour, message_max_bytes: usize) -> Self {
        let incoming = TcpIncoming::bind(address).expect("bind the sink");
        let address = incoming.local_addr().expect("address of the sink");
        let service = Service { behaviour: Arc::new(Mutex::new(behaviour)), received: Arc::default() };
        let (behaviour, received) = (service.behaviour.clone(), service.received.clone());
        macro_rules! accepting {
            ($server:ident) => {
                $server::new(service.clone())
                    .accept_compressed(CompressionEncoding::Gzip)
                    .accept_compressed(CompressionEncoding::Zstd)
                    .max_decoding_message_size(message_max_bytes)
            };
        }
        let server = Server::builder()
            .add_service(accepting!(TraceServiceServer))
            .add_service(accepting!(MetricsServiceServer))
            .add_service(accepting!(LogsServiceServer))
            .serve_with_incoming(incoming);
        let server = tokio::spawn(server).abort_handle();
        Self { address, behaviour, received, server }
    }

    /// From now on it answers like this.
    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().expect("sink") = behaviour;
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The trace requests so far.
    pub(crate) fn traces(&self) -> Vec<ExportTraceServiceRequest> {
        self.received.lock().expect("sink").traces.clone()
    }

    /// The metrics requests so far.
    pub(crate) fn metrics(&self) -> Vec<ExportMetricsServiceRequest> {
        self.received.lock().expect("sink").metrics.clone()
    }

    /// The log requests so far.
    pub(crate) fn logs(&self) -> Vec<ExportLogsServiceRequest> {
        self.received.lock().expect("sink").logs.clone()
    }

    /// Forgets what has arrived, so that the same spans count as new.
    pub(crate) fn forget(&self) {
        *self.received.lock().expect("sink") = Received::default();
    }

    /// The metadata of every request so far.
    pub(crate) fn metadata(&self) -> Vec<MetadataMap> {
        self.received.lock().expect("sink").metadata.clone()
    }

    /// How often each span id arrived.
    pub(crate) fn span_counts(&self) -> BTreeMap<u64, usize> {
        let mut counts = BTreeMap::new();
        for request in &self.received.lock().expect("sink").traces {
            for id in span_ids(request) {
                *counts.entry(id).or_default() += 1;
            }
        }
        counts
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.server.abort();
    }
}
