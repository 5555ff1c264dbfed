//! A destination that is not ours: the services that tonic generates from the OTLP definitions.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

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
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use spanbridge_pdata::Decoded;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tonic::codec::CompressionEncoding;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// What the backend does with the next trace requests.
#[derive(Clone, Default)]
pub(crate) enum Answer {
    #[default]
    Accept,
    RejectSome,
    Fail(Status),
    Hang,
}

/// A request as it arrived.
pub(crate) struct Arrived {
    pub(crate) decoded: Decoded,
    pub(crate) metadata: tonic::metadata::MetadataMap,
}

#[derive(Clone)]
struct Service {
    answer: Arc<Mutex<Answer>>,
    arrived: mpsc::UnboundedSender<Arrived>,
}

pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    arrived: mpsc::UnboundedReceiver<Arrived>,
    _server: AbortOnDropHandle<()>,
}

impl Backend {
    pub(crate) async fn start() -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into()).await
    }

    pub(crate) async fn start_at(address: SocketAddr) -> Self {
        Self::start_with(address, usize::MAX).await
    }

    /// One that takes no larger messages.
    pub(crate) async fn start_limited(message_max_bytes: usize) -> Self {
        Self::start_with(([127, 0, 0, 1], 0).into(), message_max_bytes).await
    }

    async fn start_with(address: SocketAddr, message_max_bytes: usize) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, arrived) = mpsc::unbounded_channel();
        let answer = Arc::<Mutex<Answer>>::default();
        let service = Service { answer: answer.clone(), arrived: sender };
        macro_rules! accepting {
            ($server:expr) => {
                $server
                    .accept_compressed(CompressionEncoding::Gzip)
                    .accept_compressed(CompressionEncoding::Zstd)
                    .send_compressed(CompressionEncoding::Gzip)
                    .max_decoding_message_size(message_max_bytes)
            };
        }
        let router = tonic::transport::Server::builder()
            .add_service(accepting!(TraceServiceServer::new(service.clone())))
            .add_service(accepting!(MetricsServiceServer::new(service.clone())))
            .add_service(accepting!(LogsServiceServer::new(service)));
        let server = tokio::spawn(async move {
            router.serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
        });
        Self { address, answer, arrived, _server: AbortOnDropHandle::new(server) }
    }

    pub(crate) fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    pub(crate) fn try_next(&mut self) -> Result<Arrived, mpsc::error::TryRecvError> {
        self.arrived.try_recv()
    }

    pub(crate) async fn next(&mut self) -> Arrived {
        super::patiently(self.arrived.recv()).await.unwrap()
    }
}

impl Service {
    async fn take(&self, metadata: tonic::metadata::MetadataMap, decoded: Decoded) -> Result<bool, Status> {
        let _ = self.arrived.send(Arrived { decoded, metadata });
        let answer = self.answer.lock().unwrap().clone();
        match answer {
            Answer::Accept => Ok(true),
            Answer::RejectSome => Ok(false),
            Answer::Fail(status) => Err(status),
            Answer::Hang => std::future::pending().await,
        }
    }
}

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        let all = self.take(metadata, Decoded::Traces(message)).await?;
        let partial_success = (!all)
            .then(|| ExportTracePartialSuccess { rejected_spans: 2, error_message: "too old".to_owned() });
        Ok(Response::new(ExportTraceServiceResponse { partial_success }))
    }
}

#[tonic::async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        self.take(metadata, Decoded::Metrics(message)).await?;
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Service {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        self.take(metadata, Decoded::Logs(message)).await?;
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}
