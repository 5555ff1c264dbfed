//! Telemetry with every field and every odd case, for the golden tests.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use spanbridge_pdata::Decoded;

const START: u64 = 1_581_452_772_000_000_321;
const END: u64 = 1_581_452_773_000_000_789;
const SPAN_ID: [u8; 8] = [0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18];

fn trace_id() -> Vec<u8> {
    (1..=16).collect()
}

fn any(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn text(value: &str) -> Value {
    Value::StringValue(value.to_owned())
}

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(any(value)), ..Default::default() }
}

/// One attribute of every type.
fn every_type() -> Vec<KeyValue> {
    let list = ArrayValue {
        values: vec![any(Value::IntValue(1)), any(text("<a & \"b\">")), AnyValue { value: None }],
    };
    let inner = KeyValueList {
        values: vec![pair("y", Value::BoolValue(false)), pair("x", text("\u{7f}\u{2028}é"))],
    };
    let map = KeyValueList {
        values: vec![
            pair("z", Value::DoubleValue(1.5)),
            pair("bytes", Value::BytesValue(vec![0, 255])),
            pair("inner", Value::KvlistValue(inner)),
            pair("big", Value::DoubleValue(1e21)),
        ],
    };
    vec![
        pair("string", text("line one\n\tline two")),
        pair("bool", Value::BoolValue(true)),
        pair("int", Value::IntValue(i64::MIN)),
        pair("double", Value::DoubleValue(0.1)),
        pair("small", Value::DoubleValue(2.5e-9)),
        pair("big", Value::DoubleValue(1e21)),
        pair("nan", Value::DoubleValue(f64::NAN)),
        pair("infinity", Value::DoubleValue(f64::NEG_INFINITY)),
        pair("bytes", Value::BytesValue(vec![1, 2, 3, 4])),
        pair("list", Value::ArrayValue(list)),
        pair("map", Value::KvlistValue(map)),
        KeyValue { key: "empty".into(), value: Some(AnyValue { value: None }), ..Default::default() },
        KeyValue { key: "absent".into(), ..Default::default() },
        pair("string", text("again")),
    ]
}

fn full_resource() -> Resource {
    let entity_refs = vec![
        EntityRef {
            schema_url: "https://entity/1".into(),
            r#type: "service".into(),
            id_keys: vec!["service.name".into(), "service.instance.id".into()],
            description_keys: vec!["service.version".into()],
        },
        EntityRef { r#type: "host".into(), ..Default::default() },
    ];
    Resource { attributes: every_type(), dropped_attributes_count: 7, entity_refs }
}

fn full_scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "library".into(),
        version: "1.2.3".into(),
        attributes: vec![pair("scope.key", text("scope value"))],
        dropped_attributes_count: 3,
    }
}

fn version_only() -> InstrumentationScope {
    InstrumentationScope { version: "2".into(), ..Default::default() }
}

/// One request of each signal.
pub(crate) fn all() -> [Decoded; 3] {
    [Decoded::Traces(traces()), Decoded::Metrics(metrics()), Decoded::Logs(logs())]
}

pub(crate) fn traces() -> ExportTraceServiceRequest {
    let full = Span {
        trace_id: trace_id(),
        span_id: SPAN_ID.to_vec(),
        parent_span_id: vec![0xff; 8],
        trace_state: "ot=th:0".into(),
        flags: 257,
        name: "operationA".into(),
        kind: 3,
        start_time_unix_nano: START,
        end_time_unix_nano: END,
        attributes: every_type(),
        dropped_attributes_count: 1,
        events: vec![
            Event {
                time_unix_nano: 1_581_452_773_000_000_123,
                name: "event-with-attr".into(),
                attributes: vec![pair("span-event-attr", text("v")), pair("n", Value::IntValue(1))],
                dropped_attributes_count: 2,
            },
            Event { name: "event".into(), ..Default::default() },
        ],
        dropped_events_count: 2,
        links: vec![
            Link {
                trace_id: trace_id(),
                span_id: SPAN_ID.to_vec(),
                trace_state: "a=b".into(),
                attributes: vec![pair("span-link-attr", text("v"))],
                dropped_attributes_count: 4,
                flags: 1,
            },
            Link::default(),
        ],
        dropped_links_count: 3,
        status: Some(Status { message: "status-cancelled".into(), code: 2 }),
    };
    let odd = Span {
        kind: 42,
        status: Some(Status { message: String::new(), code: 9 }),
        end_time_unix_nano: u64::MAX,
        ..Span::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![
            ResourceSpans {
                resource: Some(full_resource()),
                scope_spans: vec![
                    ScopeSpans {
                        scope: Some(full_scope()),
                        spans: vec![full, Span::default(), odd],
                        schema_url: "https://schema/scope".into(),
                    },
                    ScopeSpans { scope: Some(version_only()), spans: vec![], schema_url: "s".into() },
                ],
                schema_url: "https://schema/resource".into(),
            },
            ResourceSpans { scope_spans: vec![ScopeSpans::default()], ..Default::default() },
        ],
    }
}

pub(crate) fn logs() -> ExportLogsServiceRequest {
    let full = LogRecord {
        time_unix_nano: END,
        observed_time_unix_nano: START,
        severity_number: 9,
        severity_text: "Info".into(),
        body: Some(any(text("This is a log message"))),
        attributes: vec![pair("app", text("server")), pair("instance_num", Value::IntValue(1))],
        dropped_attributes_count: 1,
        flags: 1,
        trace_id: trace_id(),
        span_id: SPAN_ID.to_vec(),
        event_name: "event_name".into(),
    };
    let mapped = LogRecord {
        severity_number: 24,
        body: Some(any(Value::KvlistValue(KeyValueList { values: every_type_but_non_finite() }))),
        ..Default::default()
    };
    ExportLogsServiceRequest {
        resource_logs: vec![
            ResourceLogs {
                resource: Some(full_resource()),
                scope_logs: vec![ScopeLogs {
                    scope: Some(full_scope()),
                    log_records: vec![
                        full,
                        LogRecord::default(),
                        mapped,
                        LogRecord { severity_number: 25, ..Default::default() },
                    ],
                    schema_url: "https://schema/scope".into(),
                }],
                schema_url: "https://schema/resource".into(),
            },
            ResourceLogs::default(),
        ],
    }
}

/// Inside JSON what is not finite prints differently from Go, on purpose.
fn every_type_but_non_finite() -> Vec<KeyValue> {
    every_type().into_iter().filter(|entry| !matches!(entry.key.as_str(), "nan" | "infinity")).collect()
}

pub(crate) fn metrics() -> ExportMetricsServiceRequest {
    let metric = |name: &str, data: Option<Data>| Metric {
        name: name.into(),
        description: format!("{name} description"),
        unit: "1".into(),
        metadata: vec![],
        data,
    };
    let described = Metric {
        metadata: vec![pair("meta", text("data"))],
        ..metric("gauge", Some(Data::Gauge(Gauge { data_points: number_points() })))
    };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(full_resource()),
            scope_metrics: vec![
                ScopeMetrics {
                    scope: Some(full_scope()),
                    metrics: vec![
                        described,
                        metric("sum", Some(Data::Sum(sum()))),
                        metric("histogram", Some(Data::Histogram(histogram()))),
                        metric("exponential", Some(Data::ExponentialHistogram(exponential_histogram()))),
                        metric("summary", Some(Data::Summary(summary()))),
                        metric("none", None),
                    ],
                    schema_url: "https://schema/scope".into(),
                },
                ScopeMetrics { scope: None, metrics: vec![Metric::default()], schema_url: String::new() },
            ],
            schema_url: "https://schema/resource".into(),
        }],
    }
}

fn exemplars() -> Vec<Exemplar> {
    vec![
        Exemplar {
            filtered_attributes: vec![pair("exemplar-attachment", text("v"))],
            time_unix_nano: END,
            span_id: SPAN_ID.to_vec(),
            trace_id: trace_id(),
            value: Some(exemplar::Value::AsDouble(15.0)),
        },
        Exemplar { value: Some(exemplar::Value::AsInt(-2)), ..Default::default() },
        Exemplar::default(),
    ]
}

fn number_points() -> Vec<NumberDataPoint> {
    let double = |value| NumberDataPoint {
        value: Some(number_data_point::Value::AsDouble(value)),
        ..Default::default()
    };
    vec![
        NumberDataPoint {
            attributes: vec![pair("label-1", text("v")), pair("label-2", Value::IntValue(2))],
            start_time_unix_nano: START,
            time_unix_nano: END,
            exemplars: exemplars(),
            flags: 0,
            value: Some(number_data_point::Value::AsInt(123)),
        },
        double(1.23),
        double(1e6),
        double(123_456_789.123),
        double(0.000_012_3),
        double(f64::NAN),
        double(f64::INFINITY),
        double(-0.0),
        NumberDataPoint { flags: 1, ..Default::default() },
    ]
}

fn sum() -> Sum {
    Sum { data_points: number_points(), aggregation_temporality: 2, is_monotonic: true }
}

fn histogram() -> Histogram {
    let full = HistogramDataPoint {
        attributes: vec![pair("label", text("v"))],
        start_time_unix_nano: START,
        time_unix_nano: END,
        count: 1338,
        sum: Some(1e6),
        bucket_counts: vec![1324, 13, 1],
        explicit_bounds: vec![0.125, 0.5],
        exemplars: exemplars(),
        flags: 0,
        min: Some(0.0),
        max: Some(1234.5),
    };
    Histogram { data_points: vec![full, HistogramDataPoint::default()], aggregation_temporality: 1 }
}

fn exponential_histogram() -> ExponentialHistogram {
    let full = ExponentialHistogramDataPoint {
        attributes: vec![pair("label", text("v"))],
        start_time_unix_nano: START,
        time_unix_nano: END,
        count: 6,
        sum: Some(-1.5),
        scale: 1,
        zero_count: 1,
        positive: Some(Buckets { offset: 1, bucket_counts: vec![1, 0, 2] }),
        negative: Some(Buckets { offset: -3, bucket_counts: vec![1, 1] }),
        flags: 0,
        exemplars: exemplars(),
        min: Some(-1.0),
        max: Some(4.0),
        zero_threshold: 0.5,
    };
    let huge = ExponentialHistogramDataPoint {
        scale: -10,
        positive: Some(Buckets { offset: -1, bucket_counts: vec![1, 1] }),
        negative: Some(Buckets { offset: 0, bucket_counts: vec![1] }),
        ..Default::default()
    };
    ExponentialHistogram {
        data_points: vec![full, ExponentialHistogramDataPoint::default(), huge],
        aggregation_temporality: 7,
    }
}

fn summary() -> Summary {
    let quantile = |quantile, value| ValueAtQuantile { quantile, value };
    let full = SummaryDataPoint {
        attributes: vec![pair("label", text("v"))],
        start_time_unix_nano: START,
        time_unix_nano: END,
        count: 1,
        sum: 15.0,
        quantile_values: vec![quantile(0.01, 15.0), quantile(0.99, 1.5e6)],
        flags: 0,
    };
    Summary { data_points: vec![full, SummaryDataPoint::default()] }
}
