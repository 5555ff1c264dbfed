//! Telemetry of the tests: small requests whose every id is unique, so that loss and doubling show.

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

/// 2023-11-14T22:13:20Z.
const EPOCH: u64 = 1_700_000_000_000_000_000;

/// A string attribute.
pub(crate) fn text(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

/// An integer attribute.
pub(crate) fn whole(key: &str, value: i64) -> KeyValue {
    let value = AnyValue { value: Some(Value::IntValue(value)) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

/// The resource every request of a test comes from.
pub(crate) fn resource() -> Resource {
    Resource {
        attributes: vec![text("service.name", "e2e"), whole("process.pid", 4711)],
        dropped_attributes_count: 3,
        ..Resource::default()
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "e2e.scope".to_owned(),
        version: "1.0".to_owned(),
        attributes: vec![text("scope.key", "scope value")],
        dropped_attributes_count: 0,
    }
}

/// `count` spans with the ids `first`, `first + 1`, ... (never zero: that id is not valid).
pub(crate) fn spans(first: u64, count: u64) -> ExportTraceServiceRequest {
    let span = |id: u64| Span {
        trace_id: (u128::from(id) << 64 | 0xabcd).to_be_bytes().to_vec(),
        span_id: id.to_be_bytes().to_vec(),
        name: format!("span {id}"),
        start_time_unix_nano: EPOCH + id,
        end_time_unix_nano: EPOCH + id + 1_000,
        attributes: vec![text("http.route", "/users/{id}"), whole("number", id.cast_signed())],
        ..Span::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource()),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope()),
                spans: (first..first + count).map(span).collect(),
                schema_url: "https://opentelemetry.io/schemas/1.30.0".to_owned(),
            }],
            schema_url: "https://opentelemetry.io/schemas/1.29.0".to_owned(),
        }],
    }
}

/// `count` log records numbered from `first` in their attribute `number`.
pub(crate) fn logs(first: u64, count: u64) -> ExportLogsServiceRequest {
    let record = |id: u64| LogRecord {
        time_unix_nano: EPOCH + id,
        severity_text: "INFO".to_owned(),
        body: text("", &format!("record {id}")).value,
        attributes: vec![whole("number", id.cast_signed())],
        ..LogRecord::default()
    };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(resource()),
            scope_logs: vec![ScopeLogs {
                scope: Some(scope()),
                log_records: (first..first + count).map(record).collect(),
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }],
    }
}

/// One gauge with `count` data points, whose values count up from `first`.
pub(crate) fn metrics(first: u64, count: u64) -> ExportMetricsServiceRequest {
    let point = |id: u64| NumberDataPoint {
        time_unix_nano: EPOCH + id,
        attributes: vec![text("of", "gauge")],
        value: Some(number_data_point::Value::AsInt(id.cast_signed())),
        ..NumberDataPoint::default()
    };
    let gauge = Gauge { data_points: (first..first + count).map(point).collect() };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource()),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(scope()),
                metrics: vec![Metric {
                    name: "e2e.gauge".to_owned(),
                    unit: "1".to_owned(),
                    data: Some(metric::Data::Gauge(gauge)),
                    ..Metric::default()
                }],
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }],
    }
}

/// The ids of the spans of a request, as [`spans`] numbered them.
pub(crate) fn span_ids(request: &ExportTraceServiceRequest) -> impl Iterator<Item = u64> + '_ {
    let scopes = request.resource_spans.iter().flat_map(|r| &r.scope_spans);
    scopes.flat_map(|s| &s.spans).map(|span| {
        let id: [u8; 8] = span.span_id.as_slice().try_into().expect("a span id has 8 bytes");
        u64::from_be_bytes(id)
    })
}

/// The value of a string attribute.
pub(crate) fn text_of<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let value = attributes.iter().find(|a| a.key == key)?.value.as_ref()?.value.as_ref()?;
    if let Value::StringValue(text) = value { Some(text) } else { None }
}
