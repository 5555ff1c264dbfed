//! The summary record: how much of what is in a batch.

use std::fmt;

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use spanbridge_pdata::{Decoded, Payload, Signal};
use tracing::info;

/// What the summary record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) signal: Signal,
    pub(crate) resources: usize,
    /// Metrics, each of which has data points; only for that signal.
    pub(crate) metrics: usize,
    /// Spans, data points or log records.
    pub(crate) items: usize,
}

impl Counts {
    /// Counts what is in `payload`, from its bytes.
    pub(crate) fn of_payload(payload: &Payload) -> Self {
        Self {
            signal: payload.signal(),
            resources: payload.resources().count(),
            metrics: payload.metrics(),
            items: payload.items(),
        }
    }

    /// Counts what is in `decoded`.
    pub(crate) fn of(decoded: &Decoded) -> Self {
        match decoded {
            Decoded::Traces(request) => {
                let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
                let items = scopes.map(|scope| scope.spans.len()).sum();
                Self { signal: Signal::Traces, resources: request.resource_spans.len(), metrics: 0, items }
            }
            Decoded::Logs(request) => {
                let scopes = request.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
                let items = scopes.map(|scope| scope.log_records.len()).sum();
                Self { signal: Signal::Logs, resources: request.resource_logs.len(), metrics: 0, items }
            }
            Decoded::Metrics(request) => {
                let resources = request.resource_metrics.len();
                let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
                let (metrics, items) =
                    scopes.flat_map(|scope| &scope.metrics).fold((0, 0), |(metrics, items), metric| {
                        (metrics + 1, items + points(metric.data.as_ref()))
                    });
                Self { signal: Signal::Metrics, resources, metrics, items }
            }
        }
    }

    /// The message of the record.
    pub(crate) fn title(&self) -> &'static str {
        match self.signal {
            Signal::Traces => "Traces",
            Signal::Metrics => "Metrics",
            Signal::Logs => "Logs",
        }
    }

    /// Writes the record to the process's own log. Field names are the Go collector's, blanks included.
    pub(crate) fn log(&self) {
        let (signal, Self { resources, metrics, items, .. }) = (self.signal.name(), *self);
        match self.signal {
            Signal::Traces => {
                info!(otelcol.signal = signal, "resource spans" = resources, "spans" = items, "Traces");
            }
            Signal::Metrics => info!(
                otelcol.signal = signal,
                "resource metrics" = resources,
                "metrics" = metrics,
                "data points" = items,
                "Metrics"
            ),
            Signal::Logs => {
                info!(otelcol.signal = signal, "resource logs" = resources, "log records" = items, "Logs");
            }
        }
    }
}

/// The record in console encoding without time, level and caller: message, tab, fields as spaced JSON.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resources, metrics, items, .. } = self;
        write!(f, "{}\t", self.title())?;
        match self.signal {
            Signal::Traces => write!(f, r#"{{"resource spans": {resources}, "spans": {items}}}"#),
            Signal::Metrics => write!(
                f,
                r#"{{"resource metrics": {resources}, "metrics": {metrics}, "data points": {items}}}"#
            ),
            Signal::Logs => write!(f, r#"{{"resource logs": {resources}, "log records": {items}}}"#),
        }
    }
}

fn points(data: Option<&Data>) -> usize {
    match data {
        None => 0,
        Some(Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(Data::Sum(sum)) => sum.data_points.len(),
        Some(Data::Histogram(histogram)) => histogram.data_points.len(),
        Some(Data::ExponentialHistogram(histogram)) => histogram.data_points.len(),
        Some(Data::Summary(summary)) => summary.data_points.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::samples;

    #[test]
    fn summaries_read_as_in_go() {
        let text = |decoded| Counts::of(&decoded).to_string();
        assert_eq!(text(Decoded::Traces(samples::traces())), "Traces\t{\"resource spans\": 2, \"spans\": 3}");
        assert_eq!(
            text(Decoded::Metrics(samples::metrics())),
            "Metrics\t{\"resource metrics\": 1, \"metrics\": 7, \"data points\": 25}"
        );
        assert_eq!(text(Decoded::Logs(samples::logs())), "Logs\t{\"resource logs\": 2, \"log records\": 4}");
    }

    #[test]
    fn counts_from_the_bytes_are_those_of_the_tree() {
        for decoded in samples::all() {
            let payload = Payload::encode(&decoded).unwrap();
            assert_eq!(Counts::of_payload(&payload), Counts::of(&decoded));
        }
    }
}
