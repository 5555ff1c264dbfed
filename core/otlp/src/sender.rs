//! One attempt at one request over OTLP/gRPC.

use std::fmt;
use std::sync::OnceLock;

use async_trait::async_trait;
use http::HeaderMap;
use http::uri::PathAndQuery;
use spanbridge_component::telemetry::Destination;
use spanbridge_component::{Batch, Code, Host, Settings, ShutdownError, Signal, StartError};
use spanbridge_exporterhelper::{Refusal, SendError, Sender};
use spanbridge_transport::auth::ClientAuth;
use spanbridge_transport::grpc::{
    Channel, ChannelSettings, ClientConfig, Compression, Encoding, Endpoint, Status,
};
use spanbridge_transport::log_gate::LogGate;
use tokio::time::Instant;
use tracing::Span;

use crate::classify::send_error;
use crate::partial_success::{PartialSuccess, partial_success};

/// Requests in flight at a time; further callers wait, which is back-pressure. The destination's own limit on streams
/// holds beside it.
const REQUESTS_IN_FLIGHT_MAX: usize = 1024;

/// The Go exporter's default of `write_buffer_size`.
const WRITE_BUFFER_BYTES: usize = 512 * 1024;

/// A client's configuration with the defaults of the Go collector's OTLP/gRPC exporter (reference: collector-core, 8.1):
/// gzip, and a write buffer of 512 KiB.
pub fn client_config_default() -> ClientConfig {
    ClientConfig {
        compression: Compression::With(Encoding::Gzip),
        write_buffer_size: WRITE_BUFFER_BYTES,
        ..ClientConfig::default()
    }
}

/// Sends requests to one OTLP/gRPC endpoint, each in one attempt.
///
/// A request that a server has certainly not looked at is sent once more within the attempt (gRPC's transparent retry).
/// What the answers mean is told by [`send_error`]. A partial success is logged, at most once in ten seconds.
pub struct OtlpGrpcSender {
    config: ClientConfig,
    settings: ChannelSettings,
    span: Span,
    paths: [PathAndQuery; 3],
    no_metadata: HeaderMap,
    /// Found by `start`; nothing is sent without it if the configuration names one.
    auth: OnceLock<ClientAuth>,
    /// Made by `start`, since connecting is I/O.
    channel: OnceLock<Channel>,
    rejections_logged: LogGate,
}

impl OtlpGrpcSender {
    /// A sender for the component with these settings. Connects when it is started.
    pub fn new(settings: &Settings, config: ClientConfig) -> Self {
        let channel_settings = ChannelSettings {
            in_flight_max: REQUESTS_IN_FLIGHT_MAX,
            ..ChannelSettings::new(&settings.build)
        };
        Self {
            config,
            settings: channel_settings,
            span: settings.span(),
            paths: Signal::ALL.map(|signal| PathAndQuery::from_static(path(signal))),
            no_metadata: HeaderMap::new(),
            auth: OnceLock::new(),
            channel: OnceLock::new(),
            rejections_logged: LogGate::new(),
        }
    }

    /// Where it sends to, as configured.
    pub fn endpoint(&self) -> &str {
        &self.config.endpoint
    }

    /// Finds the authenticator and begins to connect; as [`Sender::start`], where nothing can be awaited. A second call
    /// changes nothing.
    ///
    /// # Errors
    /// If the authenticator does not run, or the configuration is one that validation refuses.
    pub fn connect(&self, host: &Host) -> Result<(), StartError> {
        // The channel's tasks live in the component's span.
        let _span = self.span.enter();
        if self.channel.get().is_some() {
            return Ok(());
        }
        if let Some(auth) = ClientAuth::resolve(&self.config.auth, self.config.is_plaintext(), host)? {
            // Whoever came first stays.
            let _ = self.auth.set(auth);
        }
        let channel =
            Channel::new(&self.config, self.settings.clone()).map_err(|e| StartError(e.to_string()))?;
        let _ = self.channel.set(channel);
        Ok(())
    }

    async fn attempt(&self, batch: &Batch) -> Result<Option<PartialSuccess>, SendError> {
        let channel = self.channel.get().ok_or_else(|| send_error(&not_running()))?;
        let path = &self.paths[batch.signal().index()];
        let deadline = batch.context.deadline.map(Instant::from_std);
        let credentials = match self.auth.get() {
            Some(auth) => {
                let metadata = auth.metadata(&batch.context, deadline).await;
                Some(metadata.map_err(|status| send_error(&status))?)
            }
            None => None,
        };
        let metadata = credentials.as_ref().unwrap_or(&self.no_metadata);
        match channel.unary(path, batch.payload.segments(), metadata, deadline).await {
            Ok(response) => partial_success(response.message).map_err(|status| send_error(&status)),
            Err(status) => Err(self.refused(&status, metadata)),
        }
    }

    /// What a status of the server means for a request with this metadata of the authenticator.
    fn refused(&self, status: &Status, sent: &HeaderMap) -> SendError {
        let mut error = send_error(status);
        // Without an authenticator the credentials are in the configuration, or missing there.
        if status.code() == Code::Unauthenticated && self.auth.get().is_none_or(|auth| auth.refused(sent)) {
            error.refusal = Refusal::Credentials;
        }
        error
    }
}

impl fmt::Debug for OtlpGrpcSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpGrpcSender").field("endpoint", &self.config.endpoint).finish_non_exhaustive()
    }
}

/// The method that takes this signal (OTLP specification, "OTLP/gRPC").
const fn path(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    }
}

fn not_running() -> Status {
    Status::new(Code::Unavailable, "the exporter is not running")
}

#[async_trait]
impl Sender for OtlpGrpcSender {
    async fn start(&self, host: &Host) -> Result<(), StartError> {
        self.connect(host)
    }

    async fn send(&self, batch: &Batch) -> Result<(), SendError> {
        match self.attempt(batch).await {
            Ok(partial) => {
                if let Some(partial) = partial
                    && let Some(held_back) = self.rejections_logged.open()
                {
                    partial.log(batch.signal(), held_back);
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn destination(&self, _: Signal) -> Destination {
        let (server_address, server_port) = match self.config.target() {
            Ok(Endpoint::Dns(target) | Endpoint::Passthrough(target)) => {
                (target.host, target.port.to_string())
            }
            Ok(Endpoint::Unix(path)) => (path.display().to_string(), String::new()),
            Err(_) => Default::default(),
        };
        Destination { server_address, server_port, ..Destination::default() }
    }

    async fn shutdown(&self, deadline: Instant) -> Result<(), ShutdownError> {
        let Some(channel) = self.channel.get() else { return Ok(()) };
        match channel.close(deadline).await {
            0 => Ok(()),
            // The callers of `send` still have the items, and count them.
            requests => Err(ShutdownError {
                message: format!(
                    "{requests} requests to {} were still unanswered and are cut off",
                    self.endpoint()
                ),
                undelivered_items: 0,
            }),
        }
    }
}
