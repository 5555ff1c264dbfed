//! The exporter itself.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http::HeaderMap;
use http::uri::PathAndQuery;
use spanbridge_component::telemetry::ExporterMetrics;
use spanbridge_component::{
    Batch, BuildError, Component, ConsumeError, Consumer, Context, Exporter, Host, Payload, Settings,
    ShutdownError, Signal, StartError,
};
use spanbridge_transport::auth::ClientAuth;
use spanbridge_transport::grpc::{Channel, ChannelSettings, Status};
use tokio::time::Instant;

use crate::Config;
use crate::outcome::{PartialSuccess, error_of, partial_success};
use crate::rate_limit::RateLimit;

/// Requests in flight at a time; further callers wait, which is back-pressure. The destination's own limit on streams
/// holds beside it.
const REQUESTS_IN_FLIGHT_MAX: usize = 1024;

/// At most one log line of each sort in this time; the line says how many were held back.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Sends every batch as it is, in one attempt, and answers with the destination's answer.
#[derive(Debug)]
pub(crate) struct OtlpGrpcExporter {
    settings: Settings,
    config: Config,
    metrics: ExporterMetrics,
    paths: [PathAndQuery; 3],
    no_metadata: HeaderMap,
    auth: OnceLock<ClientAuth>,
    /// Made by `start`, since connecting is I/O.
    channel: OnceLock<Channel>,
    in_flight_items: AtomicUsize,
    /// Items of batches that failed, over all time.
    failed_items: AtomicUsize,
    failures_logged: RateLimit,
    rejections_logged: RateLimit,
}

impl OtlpGrpcExporter {
    pub(crate) fn new(settings: Settings, config: Config) -> Result<Self, BuildError> {
        Ok(Self {
            metrics: ExporterMetrics::new(&settings.telemetry, &settings.id)?,
            settings,
            config,
            paths: Signal::ALL.map(|signal| PathAndQuery::from_static(path(signal))),
            no_metadata: HeaderMap::new(),
            auth: OnceLock::new(),
            channel: OnceLock::new(),
            in_flight_items: AtomicUsize::new(0),
            failed_items: AtomicUsize::new(0),
            failures_logged: RateLimit::new(LOG_INTERVAL),
            rejections_logged: RateLimit::new(LOG_INTERVAL),
        })
    }

    /// The sooner of the exporter's timeout and the time until which the client waits.
    fn deadline(&self, client: Option<std::time::Instant>) -> Option<Instant> {
        let timeout = self.config.timeout.get();
        let own = if timeout.is_zero() { None } else { Instant::now().checked_add(timeout) };
        [own, client.map(Instant::from_std)].into_iter().flatten().min()
    }

    async fn send(
        &self,
        payload: &Payload,
        context: &Context,
        deadline: Option<Instant>,
    ) -> Result<Option<PartialSuccess>, Status> {
        let channel = self.channel.get().ok_or_else(not_running)?;
        let path = &self.paths[payload.signal().index()];
        let credentials = match self.auth.get() {
            Some(auth) => Some(auth.metadata(context, deadline).await?),
            None => None,
        };
        let metadata = credentials.as_ref().unwrap_or(&self.no_metadata);
        let response = channel.unary(path, payload.segments(), metadata, deadline).await?;
        partial_success(response.message)
    }

    fn log_failure(&self, status: &Status, rejected_items: usize) {
        if let Some(held_back) = self.failures_logged.admit() {
            let error = format!("rpc error: code = {} desc = {}", status.code(), status.message());
            tracing::error!(error, rejected_items, held_back, "Exporting failed. Rejecting data.");
        }
    }

    fn log_partial_success(&self, signal: Signal, partial: &PartialSuccess) {
        const TEXT: &str = "Partial success response";
        let Some(held_back) = self.rejections_logged.admit() else { return };
        let PartialSuccess { rejected_items: dropped, message } = partial;
        match signal {
            Signal::Traces => tracing::warn!(message, dropped_spans = dropped, held_back, "{TEXT}"),
            Signal::Metrics => tracing::warn!(message, dropped_data_points = dropped, held_back, "{TEXT}"),
            Signal::Logs => tracing::warn!(message, dropped_log_records = dropped, held_back, "{TEXT}"),
        }
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
    Status::new(spanbridge_component::Code::Unavailable, "the exporter is not running")
}

/// Counts a batch once: as sent if it is told so, as failed otherwise, also when its caller goes away.
struct Account<'a> {
    exporter: &'a OtlpGrpcExporter,
    signal: Signal,
    items: usize,
    sent: bool,
}

impl<'a> Account<'a> {
    fn open(exporter: &'a OtlpGrpcExporter, signal: Signal, items: usize) -> Self {
        exporter.in_flight_items.fetch_add(items, Ordering::Relaxed);
        Self { exporter, signal, items, sent: false }
    }
}

impl Drop for Account<'_> {
    fn drop(&mut self) {
        self.exporter.in_flight_items.fetch_sub(self.items, Ordering::Relaxed);
        let metrics = &self.exporter.metrics;
        if self.sent {
            metrics.sent(self.signal, self.items);
        } else {
            self.exporter.failed_items.fetch_add(self.items, Ordering::Relaxed);
            metrics.send_failed(self.signal, self.items, "_OTHER", false);
        }
    }
}

#[async_trait]
impl Component for OtlpGrpcExporter {
    async fn start(&self, host: Host) -> Result<(), StartError> {
        let client = &self.config.client;
        if let Some(auth) = ClientAuth::resolve(&client.auth, client.is_plaintext(), &host)? {
            let _ = self.auth.set(auth);
        }
        // The channel's tasks live in the component's span.
        let _span = self.settings.span().entered();
        let settings = ChannelSettings {
            in_flight_max: REQUESTS_IN_FLIGHT_MAX,
            ..ChannelSettings::new(&self.settings.build)
        };
        let channel = Channel::new(&self.config.client, settings).map_err(|e| StartError(e.to_string()))?;
        // A second start is the service's mistake; the first channel stays.
        let _ = self.channel.set(channel);
        Ok(())
    }

    async fn shutdown(&self, deadline: Instant) -> Result<(), ShutdownError> {
        let Some(channel) = self.channel.get() else { return Ok(()) };
        let failed_before = self.failed_items.load(Ordering::Relaxed);
        match channel.close(deadline).await {
            0 => Ok(()),
            requests => {
                // Some callers know already that they were cut off, the others are about to.
                let failed = self.failed_items.load(Ordering::Relaxed) - failed_before;
                let endpoint = &self.config.client.endpoint;
                Err(ShutdownError {
                    message: format!(
                        "{requests} requests to {endpoint} were still unanswered and are cut off"
                    ),
                    undelivered_items: failed + self.in_flight_items.load(Ordering::Relaxed),
                })
            }
        }
    }
}

#[async_trait]
impl Consumer for OtlpGrpcExporter {
    async fn consume(&self, batch: Batch) -> Result<(), ConsumeError> {
        let (signal, items) = (batch.signal(), batch.items());
        let mut account = Account::open(self, signal, items);
        let deadline = self.deadline(batch.context.deadline);
        match self.send(&batch.payload, &batch.context, deadline).await {
            Ok(partial) => {
                account.sent = true;
                if let Some(partial) = partial {
                    self.log_partial_success(signal, &partial);
                }
                Ok(())
            }
            Err(status) => {
                self.log_failure(&status, items);
                Err(error_of(&status))
            }
        }
    }
}

impl Exporter for OtlpGrpcExporter {}
