//! The three `Export` methods.

use async_trait::async_trait;
use http::HeaderMap;
use http::uri::Authority;
use spanbridge_component::{Batch, BuildError, ConsumeError, Context, Metadata, Outputs, Settings, Signal};
use spanbridge_pdata::{InvalidUtf8, Payload, Received};
use spanbridge_transport::grpc::{Code, Reply, Route, Status, UnaryHandler, UnaryRequest};
use spanbridge_transport::log_gate::LogGate;

use crate::Config;
use crate::telemetry::Metrics;

/// The one method that every OTLP service has.
const METHOD: &str = "Export";
/// A serialized `Export*ServiceResponse` with an empty `partial_success`, as the Go collector answers (reference:
/// collector-core, 6.3): clients that insist on a body are content.
const SUCCESS: &[u8] = &[0x0A, 0x00];
/// Request headers that belong to gRPC itself and are no metadata (grpc-go leaves them out as well).
const PROTOCOL_HEADERS: [&str; 4] = ["te", "grpc-encoding", "grpc-timeout", "grpc-message-type"];

/// Takes requests and hands them to the pipelines.
pub(crate) struct ExportService {
    next: Outputs,
    include_metadata: bool,
    invalid_utf8: InvalidUtf8,
    metrics: Metrics,
    success: Reply,
    repaired_gate: LogGate,
}

impl ExportService {
    pub(crate) fn new(settings: &Settings, config: &Config, next: Outputs) -> Result<Self, BuildError> {
        Ok(Self {
            next,
            include_metadata: config.protocols.grpc.contents().include_metadata,
            invalid_utf8: config.invalid_utf8.into(),
            metrics: Metrics::new(settings)?,
            success: Reply::new(SUCCESS).ok_or_else(|| BuildError("the answer has no frame".to_owned()))?,
            repaired_gate: LogGate::new(),
        })
    }

    /// Validates the request at the door; nothing malformed gets in.
    fn admit(&self, signal: Signal, request: &mut UnaryRequest) -> Result<Payload, Status> {
        let message = std::mem::take(&mut request.message);
        let Received { payload, repaired_strings } =
            Payload::from_wire(signal, message, self.invalid_utf8)
                .map_err(|malformed| Status::new(Code::InvalidArgument, malformed.to_string()))?;
        if repaired_strings > 0 {
            self.metrics.repaired(repaired_strings);
            if let Some(held_back) = self.repaired_gate.open() {
                tracing::warn!(
                    peer = %request.peer,
                    %signal,
                    repaired_strings,
                    held_back,
                    "A client sends strings that are not UTF-8; they were repaired"
                );
            }
        }
        Ok(payload)
    }

    fn context(&self, request: &UnaryRequest) -> Context {
        Context {
            client_address: request.peer.address(),
            metadata: if self.include_metadata {
                metadata(&request.metadata, request.uri.authority())
            } else {
                Metadata::default()
            },
            auth: request.auth.clone(),
            deadline: request.deadline.map(tokio::time::Instant::into_std),
        }
    }
}

#[async_trait]
impl UnaryHandler for ExportService {
    fn route(&self, service: &str, method: &str) -> Route {
        // A signal without a pipeline is not served: its clients shall notice.
        match signal_of(service).filter(|signal| self.next.has(*signal)) {
            None => Route::UnknownService,
            Some(_) if method == METHOD => Route::Found,
            Some(_) => Route::UnknownMethod,
        }
    }

    async fn call(&self, mut request: UnaryRequest) -> Result<Reply, Status> {
        let served = request.service_and_method().and_then(|(service, _)| {
            let signal = signal_of(service)?;
            Some((signal, self.next.get(signal)?))
        });
        let Some((signal, next)) = served else {
            return Err(Status::new(Code::Unimplemented, "unknown service"));
        };
        let payload = self.admit(signal, &mut request)?;
        if payload.items() > 0 {
            let offered = self.metrics.offer(signal, payload.items());
            let result = next.consume(Batch { payload, context: self.context(&request) }).await;
            offered.settle(&result);
            result.map_err(|error| status(&error))?;
        }
        Ok(self.success.clone())
    }
}

fn signal_of(service: &str) -> Option<Signal> {
    match service {
        "opentelemetry.proto.collector.trace.v1.TraceService" => Some(Signal::Traces),
        "opentelemetry.proto.collector.metrics.v1.MetricsService" => Some(Signal::Metrics),
        "opentelemetry.proto.collector.logs.v1.LogsService" => Some(Signal::Logs),
        _ => None,
    }
}

/// What the client sees of the pipeline's error: downstream's own status where there is one.
fn status(error: &ConsumeError) -> Status {
    let status = Status::new(error.code(), error.message().to_owned());
    match error.retry_after() {
        _ if !error.details().is_empty() => status.with_details(error.details().clone()),
        Some(delay) => status.with_retry_delay(delay),
        None => status,
    }
}

/// Request metadata as the Go collector passes it on: all of it, and `:authority`, also under the name `host`.
fn metadata(headers: &HeaderMap, authority: Option<&Authority>) -> Metadata {
    let own = headers
        .iter()
        .filter(|(name, _)| !PROTOCOL_HEADERS.contains(&name.as_str()))
        .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let host = authority.into_iter().flat_map(|authority| {
        [(":authority", authority.as_str().to_owned()), ("host", authority.as_str().to_owned())]
    });
    Metadata::from_pairs(own.chain(host))
}
