//! Internal telemetry as components see it: metrics under the Go collector's names.
//!
//! Names carry the prefix `otelcol_`; neither `_total` nor a unit is appended, as in the Go collector's default
//! translation (reference: collector-core, 14.1). Help texts end in a stability suffix there and here.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};
use serde::{Deserialize, Serialize};
use spanbridge_pdata::Signal;

use crate::ComponentId;

mod exporter;

pub use exporter::{Destination, ExporterMetrics};

/// How much internal telemetry is made (`service::telemetry::metrics::level`).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// None at all; no port is opened.
    None,
    /// What everyone needs.
    Basic,
    /// Basic and the batch processor's.
    #[default]
    Normal,
    /// Everything.
    Detailed,
}

/// Where a component creates its metrics. Cheap to clone.
#[derive(Clone)]
pub struct Telemetry {
    level: Level,
    registry: Registry,
    families: Arc<Mutex<HashMap<String, Family>>>,
}

/// A family that is registered already: components that ask for the same name share it.
#[derive(Clone)]
enum Family {
    Counter(IntCounterVec),
    Gauge(IntGaugeVec),
    Histogram(HistogramVec),
}

impl Telemetry {
    /// Metrics at `level`, registered with `registry`.
    pub fn new(level: Level, registry: Registry) -> Self {
        Self { level, registry, families: Arc::default() }
    }

    /// For tests: a registry of its own at level `detailed`.
    pub fn detached() -> Self {
        Self::new(Level::Detailed, Registry::new())
    }

    /// The level the user chose.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The registry, to render or inspect it.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// A counter family. Components that share a name share the family.
    ///
    /// # Errors
    /// If the name or a label is not valid, or the name stands for something else already: our own mistake.
    pub fn counter(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        let family =
            self.family(name, || IntCounterVec::new(Opts::new(name, help), labels), Family::Counter)?;
        if let Family::Counter(family) = family { Ok(family) } else { Err(prometheus::Error::AlreadyReg) }
    }

    /// A gauge family; as [`Telemetry::counter`].
    ///
    /// # Errors
    /// As [`Telemetry::counter`].
    pub fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
        let family = self.family(name, || IntGaugeVec::new(Opts::new(name, help), labels), Family::Gauge)?;
        if let Family::Gauge(family) = family { Ok(family) } else { Err(prometheus::Error::AlreadyReg) }
    }

    /// A histogram family with these bucket bounds; as [`Telemetry::counter`].
    ///
    /// # Errors
    /// As [`Telemetry::counter`].
    pub fn histogram(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
        labels: &[&str],
    ) -> Result<HistogramVec, prometheus::Error> {
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let family = self.family(name, || HistogramVec::new(opts, labels), Family::Histogram)?;
        if let Family::Histogram(family) = family { Ok(family) } else { Err(prometheus::Error::AlreadyReg) }
    }

    fn family<C: Collector + Clone + 'static>(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<C, prometheus::Error>,
        wrap: impl FnOnce(C) -> Family,
    ) -> Result<Family, prometheus::Error> {
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(family) = families.get(name) {
            return Ok(family.clone());
        }
        let family = make()?;
        self.registry.register(Box::new(WithoutEmptyLabels(family.clone())))?;
        let family = wrap(family);
        families.insert(name.to_owned(), family.clone());
        Ok(family)
    }
}

/// A family whose series leave out the labels that are empty, so that components with different labels can share it. To
/// Prometheus an empty label is the same as none.
struct WithoutEmptyLabels<C>(C);

impl<C: Collector> Collector for WithoutEmptyLabels<C> {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = self.0.collect();
        for metric in families.iter_mut().flat_map(|family| family.mut_metric().iter_mut()) {
            let mut labels = metric.take_label();
            labels.retain(|label| !label.value().is_empty());
            metric.set_label(labels);
        }
        families
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").field("level", &self.level).finish_non_exhaustive()
    }
}

/// One counter a signal.
#[derive(Debug, Clone)]
struct PerSignal([IntCounter; 3]);

impl PerSignal {
    fn new(
        telemetry: &Telemetry,
        prefix: &str,
        help: impl Fn(&str) -> String,
        labels: &[&str],
        values: &[&str],
    ) -> Result<Self, prometheus::Error> {
        let one = |signal: Signal| {
            let name = format!("{prefix}_{}", signal.metric_suffix());
            let noun = signal.metric_suffix().replace('_', " ");
            Ok::<_, prometheus::Error>(
                telemetry.counter(&name, &help(&noun), labels)?.with_label_values(values),
            )
        };
        Ok(Self([one(Signal::Traces)?, one(Signal::Metrics)?, one(Signal::Logs)?]))
    }

    fn of(&self, signal: Signal) -> &IntCounter {
        &self.0[signal.index()]
    }
}

/// What each receiver counts: every item offered is accepted, refused (the pipeline turned it away) or failed (the
/// receiver itself could not go on).
#[derive(Debug, Clone)]
pub struct ReceiverMetrics {
    accepted: PerSignal,
    refused: PerSignal,
    failed: PerSignal,
}

impl ReceiverMetrics {
    /// The counters of `receiver` for one transport (`grpc`, `http`).
    ///
    /// # Errors
    /// As [`Telemetry::counter`].
    pub fn new(
        telemetry: &Telemetry,
        receiver: &ComponentId,
        transport: &str,
    ) -> Result<Self, prometheus::Error> {
        let labels = &["receiver", "transport"];
        let values = &[receiver.as_str(), transport];
        let family = |verb: &str, help: &'static str| {
            let prefix = format!("otelcol_receiver_{verb}");
            PerSignal::new(telemetry, &prefix, |noun| help.replace("{}", noun), labels, values)
        };
        Ok(Self {
            accepted: family("accepted", "Number of {} successfully pushed into the pipeline. [Alpha]")?,
            refused: family("refused", "Number of {} that could not be pushed into the pipeline. [Alpha]")?,
            failed: family("failed", "Number of {} that failed to be processed by the receiver. [Alpha]")?,
        })
    }

    /// The pipeline took `items`.
    pub fn accepted(&self, signal: Signal, items: usize) {
        self.accepted.of(signal).inc_by(items as u64);
    }

    /// The pipeline refused `items`.
    pub fn refused(&self, signal: Signal, items: usize) {
        self.refused.of(signal).inc_by(items as u64);
    }

    /// The receiver itself failed on `items`, or their client went away before the answer was known.
    pub fn failed(&self, signal: Signal, items: usize) {
        self.failed.of(signal).inc_by(items as u64);
    }
}

/// What a processor counts: what comes in and what goes out.
#[derive(Debug, Clone)]
pub struct ProcessorMetrics {
    incoming: [IntCounter; 3],
    outgoing: [IntCounter; 3],
}

impl ProcessorMetrics {
    /// The counters of `processor`.
    ///
    /// # Errors
    /// As [`Telemetry::counter`].
    pub fn new(telemetry: &Telemetry, processor: &ComponentId) -> Result<Self, prometheus::Error> {
        let family = |name: &str, help: &str| {
            let family = telemetry.counter(name, help, &["processor", "otel_signal"])?;
            Ok::<_, prometheus::Error>(
                Signal::ALL.map(|signal| family.with_label_values(&[processor.as_str(), signal.name()])),
            )
        };
        Ok(Self {
            incoming: family(
                "otelcol_processor_incoming_items",
                "Number of items passed to the processor. [Alpha]",
            )?,
            outgoing: family(
                "otelcol_processor_outgoing_items",
                "Number of items emitted from the processor. [Alpha]",
            )?,
        })
    }

    /// `items` came in.
    pub fn incoming(&self, signal: Signal, items: usize) {
        self.incoming[signal.index()].inc_by(items as u64);
    }

    /// `items` went out.
    pub fn outgoing(&self, signal: Signal, items: usize) {
        self.outgoing[signal.index()].inc_by(items as u64);
    }
}

/// Bucket bounds of size histograms counted in items (reference: collector-core, 14.2).
pub const COUNT_BUCKETS: [f64; 22] = [
    10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2000.0, 3000.0, 4000.0, 5000.0, 6000.0,
    7000.0, 8000.0, 9000.0, 10000.0, 20000.0, 30000.0, 50000.0, 100_000.0,
];

/// Bucket bounds of size histograms in bytes: the powers of two from 128 B to 16 MiB (reference: collector-core, 14.2).
pub const BYTE_BUCKETS: [f64; 18] = [
    128.0,
    256.0,
    512.0,
    1024.0,
    2048.0,
    4096.0,
    8192.0,
    16384.0,
    32768.0,
    65536.0,
    131_072.0,
    262_144.0,
    524_288.0,
    1_048_576.0,
    2_097_152.0,
    4_194_304.0,
    8_388_608.0,
    16_777_216.0,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_carry_the_go_collectors_names() {
        let telemetry = Telemetry::detached();
        let id: ComponentId = "otlp/2".parse().unwrap();
        ReceiverMetrics::new(&telemetry, &id, "grpc").unwrap().accepted(Signal::Logs, 3);
        ExporterMetrics::new(&telemetry, &id).unwrap().send_failed(Signal::Metrics, 2, "Unavailable", false);
        ProcessorMetrics::new(&telemetry, &id).unwrap().outgoing(Signal::Traces, 1);

        let text = prometheus::TextEncoder::new().encode_to_string(&telemetry.registry().gather()).unwrap();

        for line in [
            "otelcol_receiver_accepted_log_records{receiver=\"otlp/2\",transport=\"grpc\"} 3",
            "otelcol_exporter_send_failed_metric_points{error_permanent=\"false\",error_type=\"Unavailable\",exporter=\"otlp/2\"} 2",
            "otelcol_processor_outgoing_items{otel_signal=\"traces\",processor=\"otlp/2\"} 1",
            "# HELP otelcol_receiver_accepted_spans Number of spans successfully pushed into the pipeline. [Alpha]",
        ] {
            assert!(text.contains(line), "{line}\nis not in\n{text}");
        }
    }

    #[test]
    fn components_that_ask_for_one_name_share_the_family() {
        let telemetry = Telemetry::detached();
        let first = telemetry.counter("otelcol_x", "h", &["a"]).unwrap();
        telemetry.clone().counter("otelcol_x", "h", &["a"]).unwrap().with_label_values(&["1"]).inc();
        assert_eq!(first.with_label_values(&["1"]).get(), 1);
        assert!(telemetry.gauge("otelcol_x", "h", &["a"]).is_err());
    }
}
