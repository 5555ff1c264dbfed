//! What the receiver counts, and the guard that makes sure it counts every request once.

use prometheus::IntCounter;
use spanbridge_component::telemetry::ReceiverMetrics;
use spanbridge_component::{ConsumeError, Settings, Signal};

/// The label `transport` of OTLP/gRPC.
const TRANSPORT: &str = "grpc";

/// The receiver's metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    items: ReceiverMetrics,
    repaired_strings: IntCounter,
}

impl Metrics {
    pub(crate) fn new(settings: &Settings) -> Result<Self, prometheus::Error> {
        let repaired_strings = settings.telemetry.counter(
            "otelcol_receiver_repaired_strings",
            "Number of strings that were not UTF-8 and were repaired. [Alpha]",
            &["receiver", "transport"],
        )?;
        Ok(Self {
            items: ReceiverMetrics::new(&settings.telemetry, &settings.id, TRANSPORT)?,
            repaired_strings: repaired_strings.with_label_values(&[settings.id.as_str(), TRANSPORT]),
        })
    }

    /// Strings were repaired.
    pub(crate) fn repaired(&self, strings: usize) {
        self.repaired_strings.inc_by(strings as u64);
    }

    /// A request with `items` goes to the pipeline now. It counts as failed unless it is settled: its client may go
    /// away, or its deadline may pass, while the pipeline has it.
    pub(crate) fn offer(&self, signal: Signal, items: usize) -> Offered<'_> {
        Offered { metrics: Some(self), signal, items }
    }
}

/// A request that the pipeline has not answered yet.
#[derive(Debug)]
pub(crate) struct Offered<'a> {
    metrics: Option<&'a Metrics>,
    signal: Signal,
    items: usize,
}

impl Offered<'_> {
    /// The pipeline has answered.
    pub(crate) fn settle(mut self, result: &Result<(), ConsumeError>) {
        if let Some(metrics) = self.metrics.take() {
            match result {
                Ok(()) => metrics.items.accepted(self.signal, self.items),
                Err(_) => metrics.items.refused(self.signal, self.items),
            }
        }
    }
}

impl Drop for Offered<'_> {
    fn drop(&mut self) {
        if let Some(metrics) = self.metrics {
            metrics.items.failed(self.signal, self.items);
        }
    }
}
