//! Telemetry to feed a component.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use spanbridge_pdata::{Decoded, Payload, Signal};

/// The attribute that numbers every item which [`Payloads`] makes.
pub const ITEM_ID: &str = "item.id";

/// Attributes of each item of a rich payload, its number aside.
const RICH_ATTRIBUTES: usize = 11;
/// Data points of each metric, so that splits also fall inside a metric.
const POINTS_PER_METRIC: usize = 4;
/// A fixed instant in nanoseconds since 1970: payloads are the same in every run.
const NOW_UNIX_NANOS: u64 = 1_700_000_000_000_000_000;

/// Makes payloads whose items are numbered from 0 on, so that a test can tell which of them arrived.
#[derive(Debug, Default)]
pub struct Payloads {
    next_id: u64,
    rich: bool,
}

impl Payloads {
    /// Items with a name and their number: about 60 bytes each.
    pub fn small() -> Self {
        Self::default()
    }

    /// Items with a dozen attributes, as instrumented services send them: about 550 bytes each.
    pub fn rich() -> Self {
        Self { next_id: 0, rich: true }
    }

    /// The number of the next item; as many were made so far.
    pub fn next_id(&self) -> u64 {
        self.next_id
    }

    /// Leaves out the next `ids` numbers.
    pub fn skip(&mut self, ids: u64) {
        self.next_id += ids;
    }

    /// A request of `items` items of `signal`, under one resource and one scope.
    pub fn request(&mut self, signal: Signal, items: usize) -> Payload {
        let decoded = match signal {
            Signal::Traces => Decoded::Traces(self.traces(items)),
            Signal::Metrics => Decoded::Metrics(self.metrics(items)),
            Signal::Logs => Decoded::Logs(self.logs(items)),
        };
        Payload::encode(&decoded).expect("a generated request is valid OTLP")
    }

    fn traces(&mut self, items: usize) -> ExportTraceServiceRequest {
        let spans = (0..items).map(|_| self.span()).collect();
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(resource()),
                scope_spans: vec![ScopeSpans { scope: Some(scope()), spans, schema_url: String::new() }],
                schema_url: String::new(),
            }],
        }
    }

    fn span(&mut self) -> Span {
        let attributes = self.attributes();
        let id = self.next_id; // `attributes` has moved on: ids of spans start at 1, and 0 would not be valid
        Span {
            trace_id: u128::from(id).to_be_bytes().to_vec(),
            span_id: id.to_be_bytes().to_vec(),
            name: "GET /api/orders/{id}".into(),
            kind: 2,
            start_time_unix_nano: NOW_UNIX_NANOS,
            end_time_unix_nano: NOW_UNIX_NANOS + 1_000_000,
            attributes,
            ..Span::default()
        }
    }

    fn logs(&mut self, items: usize) -> ExportLogsServiceRequest {
        let record = |attributes| LogRecord {
            time_unix_nano: NOW_UNIX_NANOS,
            severity_number: 9,
            body: Some(text("order accepted")),
            attributes,
            ..LogRecord::default()
        };
        let log_records = (0..items).map(|_| record(self.attributes())).collect();
        ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs {
                resource: Some(resource()),
                scope_logs: vec![ScopeLogs { scope: Some(scope()), log_records, schema_url: String::new() }],
                schema_url: String::new(),
            }],
        }
    }

    fn metrics(&mut self, items: usize) -> ExportMetricsServiceRequest {
        let point = |attributes| NumberDataPoint {
            time_unix_nano: NOW_UNIX_NANOS,
            value: Some(number_data_point::Value::AsInt(42)),
            attributes,
            ..NumberDataPoint::default()
        };
        let points: Vec<_> = (0..items).map(|_| point(self.attributes())).collect();
        let gauge = |points: &[NumberDataPoint]| Metric {
            name: "orders.pending".into(),
            data: Some(metric::Data::Gauge(Gauge { data_points: points.to_vec() })),
            ..Metric::default()
        };
        let metrics = points.chunks(POINTS_PER_METRIC).map(gauge).collect();
        ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(resource()),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some(scope()),
                    metrics,
                    schema_url: String::new(),
                }],
                schema_url: String::new(),
            }],
        }
    }

    fn attributes(&mut self) -> Vec<KeyValue> {
        let id = Value::IntValue(i64::try_from(self.next_id).expect("fewer items than 2^63"));
        self.next_id += 1;
        let mut attributes = vec![attribute(ITEM_ID, AnyValue { value: Some(id) })];
        if self.rich {
            let rich =
                |n| attribute(&format!("http.request.header.x-{n:02}"), text("a value of usual length"));
            attributes.extend((0..RICH_ATTRIBUTES).map(rich));
        }
        attributes
    }
}

/// The numbers of the items in `payload`, in order. Panics on an item without [`ITEM_ID`].
pub fn item_ids(payload: &Payload) -> Vec<u64> {
    match payload.decode().expect("a payload in the pipeline is valid OTLP") {
        Decoded::Traces(request) => {
            let scopes = request.resource_spans.into_iter().flat_map(|r| r.scope_spans);
            scopes.flat_map(|s| s.spans).map(|span| id_of(&span.attributes)).collect()
        }
        Decoded::Metrics(request) => {
            let scopes = request.resource_metrics.into_iter().flat_map(|r| r.scope_metrics);
            let points = scopes.flat_map(|s| s.metrics).flat_map(points_of);
            points.map(|point| id_of(&point.attributes)).collect()
        }
        Decoded::Logs(request) => {
            let scopes = request.resource_logs.into_iter().flat_map(|r| r.scope_logs);
            scopes.flat_map(|s| s.log_records).map(|record| id_of(&record.attributes)).collect()
        }
    }
}

fn points_of(metric: Metric) -> Vec<NumberDataPoint> {
    match metric.data {
        Some(metric::Data::Gauge(gauge)) => gauge.data_points,
        Some(metric::Data::Sum(sum)) => sum.data_points,
        _ => panic!("numbered data points are in gauges and sums"),
    }
}

fn id_of(attributes: &[KeyValue]) -> u64 {
    let value = attributes.iter().find(|a| a.key == ITEM_ID).and_then(|a| a.value.as_ref()?.value.as_ref());
    match value {
        Some(Value::IntValue(id)) => u64::try_from(*id).expect("item ids are not negative"),
        other => panic!("an item has {other:?} as its {ITEM_ID}"),
    }
}

fn resource() -> Resource {
    let attributes = vec![
        attribute("service.name", text("orders")),
        attribute("service.instance.id", text("orders-7d9f")),
        attribute("host.name", text("node-3")),
    ];
    Resource { attributes, ..Resource::default() }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "io.example.http".into(),
        version: "1.2.3".into(),
        ..InstrumentationScope::default()
    }
}

fn attribute(key: &str, value: AnyValue) -> KeyValue {
    KeyValue { key: key.into(), value: Some(value), ..KeyValue::default() }
}

fn text(text: &str) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(text.into())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_of_every_signal_are_numbered_across_requests() {
        for signal in Signal::ALL {
            let mut payloads = Payloads::rich();
            let (first, second) = (payloads.request(signal, 5), payloads.request(signal, 2));
            assert_eq!((first.items(), second.items()), (5, 2), "{signal}");
            assert_eq!(item_ids(&first), [0, 1, 2, 3, 4], "{signal}");
            assert_eq!(item_ids(&second), [5, 6], "{signal}");
        }
    }
}
