//! The message types of OTLP as tables: which field has which type. The tables are compared with the official
//! descriptors in a test.

/// What a field holds, with its consequences for validation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    /// bool, int32, int64, uint32, uint64, sint32 and enums.
    Varint,
    Fixed64,
    Fixed32,
    /// UTF-8 text.
    Str,
    Bytes,
    /// Bytes of length 16, or empty.
    TraceId,
    /// Bytes of length 8, or empty.
    SpanId,
    /// A repeated varint: packed or one by one, both are legal.
    PackedVarint,
    /// A repeated fixed64 or double: packed or one by one, both are legal.
    PackedFixed64,
    Message(Message),
}

/// One field of a message type.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FieldSpec {
    pub(crate) number: u32,
    pub(crate) name: &'static str,
    pub(crate) ty: Type,
}

const fn f(number: u32, name: &'static str, ty: Type) -> FieldSpec {
    FieldSpec { number, name, ty }
}

macro_rules! messages {
    ($($(#[$doc:meta])* $variant:ident = $full_name:literal { $($number:literal $name:literal: $ty:expr),* $(,)? })*) => {
        /// The message types, of all signals.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Message { $($variant),* }

        impl Message {
            /// Every message type, in the order of its discriminant.
            pub(crate) const ALL: &[Message] = &[$(Message::$variant),*];

            /// The fields that opentelemetry-proto knows.
            pub(crate) const fn fields(self) -> &'static [FieldSpec] {
                match self { $(Message::$variant => &const { [$(f($number, $name, $ty)),*] }),* }
            }

            /// The full protobuf name.
            #[cfg(test)]
            pub(crate) const fn full_name(self) -> &'static str {
                match self { $(Message::$variant => concat!("opentelemetry.proto.", $full_name)),* }
            }
        }
    };
}

use Type::{
    Bytes, Fixed32, Fixed64, Message as M, PackedFixed64, PackedVarint, SpanId, Str, TraceId, Varint,
};

messages! {
    TraceRequest = "collector.trace.v1.ExportTraceServiceRequest" { 1 "resource_spans": M(Message::ResourceSpans) }
    MetricsRequest = "collector.metrics.v1.ExportMetricsServiceRequest" {
        1 "resource_metrics": M(Message::ResourceMetrics),
    }
    LogsRequest = "collector.logs.v1.ExportLogsServiceRequest" { 1 "resource_logs": M(Message::ResourceLogs) }

    ResourceSpans = "trace.v1.ResourceSpans" {
        1 "resource": M(Message::Resource), 2 "scope_spans": M(Message::ScopeSpans), 3 "schema_url": Str,
    }
    ResourceMetrics = "metrics.v1.ResourceMetrics" {
        1 "resource": M(Message::Resource), 2 "scope_metrics": M(Message::ScopeMetrics), 3 "schema_url": Str,
    }
    ResourceLogs = "logs.v1.ResourceLogs" {
        1 "resource": M(Message::Resource), 2 "scope_logs": M(Message::ScopeLogs), 3 "schema_url": Str,
    }
    ScopeSpans = "trace.v1.ScopeSpans" {
        1 "scope": M(Message::Scope), 2 "spans": M(Message::Span), 3 "schema_url": Str,
    }
    ScopeMetrics = "metrics.v1.ScopeMetrics" {
        1 "scope": M(Message::Scope), 2 "metrics": M(Message::Metric), 3 "schema_url": Str,
    }
    ScopeLogs = "logs.v1.ScopeLogs" {
        1 "scope": M(Message::Scope), 2 "log_records": M(Message::LogRecord), 3 "schema_url": Str,
    }

    Resource = "resource.v1.Resource" {
        1 "attributes": M(Message::KeyValue), 2 "dropped_attributes_count": Varint,
        3 "entity_refs": M(Message::EntityRef),
    }
    EntityRef = "common.v1.EntityRef" {
        1 "schema_url": Str, 2 "type": Str, 3 "id_keys": Str, 4 "description_keys": Str,
    }
    Scope = "common.v1.InstrumentationScope" {
        1 "name": Str, 2 "version": Str, 3 "attributes": M(Message::KeyValue), 4 "dropped_attributes_count": Varint,
    }
    KeyValue = "common.v1.KeyValue" { 1 "key": Str, 2 "value": M(Message::AnyValue), 3 "key_strindex": Varint }
    AnyValue = "common.v1.AnyValue" {
        1 "string_value": Str, 2 "bool_value": Varint, 3 "int_value": Varint, 4 "double_value": Fixed64,
        5 "array_value": M(Message::ArrayValue), 6 "kvlist_value": M(Message::KeyValueList), 7 "bytes_value": Bytes,
        8 "string_value_strindex": Varint,
    }
    ArrayValue = "common.v1.ArrayValue" { 1 "values": M(Message::AnyValue) }
    KeyValueList = "common.v1.KeyValueList" { 1 "values": M(Message::KeyValue) }

    Span = "trace.v1.Span" {
        1 "trace_id": TraceId, 2 "span_id": SpanId, 3 "trace_state": Str, 4 "parent_span_id": SpanId, 5 "name": Str,
        6 "kind": Varint, 7 "start_time_unix_nano": Fixed64, 8 "end_time_unix_nano": Fixed64,
        9 "attributes": M(Message::KeyValue), 10 "dropped_attributes_count": Varint, 11 "events": M(Message::Event),
        12 "dropped_events_count": Varint, 13 "links": M(Message::Link), 14 "dropped_links_count": Varint,
        15 "status": M(Message::Status), 16 "flags": Fixed32,
    }
    Event = "trace.v1.Span.Event" {
        1 "time_unix_nano": Fixed64, 2 "name": Str, 3 "attributes": M(Message::KeyValue),
        4 "dropped_attributes_count": Varint,
    }
    Link = "trace.v1.Span.Link" {
        1 "trace_id": TraceId, 2 "span_id": SpanId, 3 "trace_state": Str, 4 "attributes": M(Message::KeyValue),
        5 "dropped_attributes_count": Varint, 6 "flags": Fixed32,
    }
    Status = "trace.v1.Status" { 2 "message": Str, 3 "code": Varint }

    LogRecord = "logs.v1.LogRecord" {
        1 "time_unix_nano": Fixed64, 2 "severity_number": Varint, 3 "severity_text": Str, 5 "body": M(Message::AnyValue),
        6 "attributes": M(Message::KeyValue), 7 "dropped_attributes_count": Varint, 8 "flags": Fixed32,
        9 "trace_id": TraceId, 10 "span_id": SpanId, 11 "observed_time_unix_nano": Fixed64, 12 "event_name": Str,
    }

    Metric = "metrics.v1.Metric" {
        1 "name": Str, 2 "description": Str, 3 "unit": Str, 5 "gauge": M(Message::Gauge), 7 "sum": M(Message::Sum),
        9 "histogram": M(Message::Histogram), 10 "exponential_histogram": M(Message::ExponentialHistogram),
        11 "summary": M(Message::Summary), 12 "metadata": M(Message::KeyValue),
    }
    Gauge = "metrics.v1.Gauge" { 1 "data_points": M(Message::NumberDataPoint) }
    Sum = "metrics.v1.Sum" {
        1 "data_points": M(Message::NumberDataPoint), 2 "aggregation_temporality": Varint, 3 "is_monotonic": Varint,
    }
    Histogram = "metrics.v1.Histogram" {
        1 "data_points": M(Message::HistogramDataPoint), 2 "aggregation_temporality": Varint,
    }
    ExponentialHistogram = "metrics.v1.ExponentialHistogram" {
        1 "data_points": M(Message::ExponentialHistogramDataPoint), 2 "aggregation_temporality": Varint,
    }
    Summary = "metrics.v1.Summary" { 1 "data_points": M(Message::SummaryDataPoint) }
    NumberDataPoint = "metrics.v1.NumberDataPoint" {
        2 "start_time_unix_nano": Fixed64, 3 "time_unix_nano": Fixed64, 4 "as_double": Fixed64,
        5 "exemplars": M(Message::Exemplar), 6 "as_int": Fixed64, 7 "attributes": M(Message::KeyValue), 8 "flags": Varint,
    }
    HistogramDataPoint = "metrics.v1.HistogramDataPoint" {
        2 "start_time_unix_nano": Fixed64, 3 "time_unix_nano": Fixed64, 4 "count": Fixed64, 5 "sum": Fixed64,
        6 "bucket_counts": PackedFixed64, 7 "explicit_bounds": PackedFixed64, 8 "exemplars": M(Message::Exemplar),
        9 "attributes": M(Message::KeyValue), 10 "flags": Varint, 11 "min": Fixed64, 12 "max": Fixed64,
    }
    ExponentialHistogramDataPoint = "metrics.v1.ExponentialHistogramDataPoint" {
        1 "attributes": M(Message::KeyValue), 2 "start_time_unix_nano": Fixed64, 3 "time_unix_nano": Fixed64,
        4 "count": Fixed64, 5 "sum": Fixed64, 6 "scale": Varint, 7 "zero_count": Fixed64,
        8 "positive": M(Message::Buckets), 9 "negative": M(Message::Buckets), 10 "flags": Varint,
        11 "exemplars": M(Message::Exemplar), 12 "min": Fixed64, 13 "max": Fixed64, 14 "zero_threshold": Fixed64,
    }
    Buckets = "metrics.v1.ExponentialHistogramDataPoint.Buckets" { 1 "offset": Varint, 2 "bucket_counts": PackedVarint }
    SummaryDataPoint = "metrics.v1.SummaryDataPoint" {
        2 "start_time_unix_nano": Fixed64, 3 "time_unix_nano": Fixed64, 4 "count": Fixed64, 5 "sum": Fixed64,
        6 "quantile_values": M(Message::ValueAtQuantile), 7 "attributes": M(Message::KeyValue), 8 "flags": Varint,
    }
    ValueAtQuantile = "metrics.v1.SummaryDataPoint.ValueAtQuantile" { 1 "quantile": Fixed64, 2 "value": Fixed64 }
    Exemplar = "metrics.v1.Exemplar" {
        2 "time_unix_nano": Fixed64, 3 "as_double": Fixed64, 4 "span_id": SpanId, 5 "trace_id": TraceId,
        6 "as_int": Fixed64, 7 "filtered_attributes": M(Message::KeyValue),
    }
}

impl Message {
    /// The name of field `number`, for error messages.
    pub(crate) fn field_name(self, number: u32) -> Option<&'static str> {
        self.fields().iter().find(|field| field.number == number).map(|field| field.name)
    }

    /// What a walk does on meeting an item or what holds items; see [`Role`].
    pub(crate) const fn role(self) -> Role {
        match self {
            Message::Span
            | Message::LogRecord
            | Message::NumberDataPoint
            | Message::HistogramDataPoint
            | Message::ExponentialHistogramDataPoint
            | Message::SummaryDataPoint => Role::Item,
            Message::Metric => Role::Metric,
            Message::Gauge
            | Message::Sum
            | Message::Histogram
            | Message::ExponentialHistogram
            | Message::Summary => Role::MetricData,
            _ => Role::Other,
        }
    }
}

/// What a message means for counting items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Other,
    /// A span, a log record or a data point.
    Item,
    /// A metric; its data is a oneof, of which the last given alternative counts.
    Metric,
    /// The data of a metric: gauge, sum, ...
    MetricData,
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::field_descriptor_proto::{Label, Type as Official};
    use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

    use super::*;

    fn collect(scope: &str, message: &DescriptorProto, all: &mut Vec<(String, DescriptorProto)>) {
        let name = format!("{scope}.{}", message.name());
        message.nested_type.iter().for_each(|nested| collect(&name, nested, all));
        all.push((name, message.clone()));
    }

    fn official() -> Vec<(String, DescriptorProto)> {
        let set = FileDescriptorSet::decode(opentelemetry_proto::DESCRIPTORS).unwrap();
        let mut all = Vec::new();
        for file in &set.file {
            file.message_type.iter().for_each(|message| collect(file.package(), message, &mut all));
        }
        all
    }

    fn our_type(field: &FieldDescriptorProto) -> Type {
        let repeated = field.label() == Label::Repeated;
        match field.r#type() {
            Official::Uint64 if repeated => Type::PackedVarint,
            Official::Fixed64 | Official::Double if repeated => Type::PackedFixed64,
            Official::Fixed64 | Official::Sfixed64 | Official::Double => Type::Fixed64,
            Official::Fixed32 => Type::Fixed32,
            Official::String => Type::Str,
            Official::Bytes if field.name() == "trace_id" => Type::TraceId,
            Official::Bytes if field.name().ends_with("span_id") => Type::SpanId,
            Official::Bytes => Type::Bytes,
            Official::Message => {
                let name = field.type_name().trim_start_matches('.');
                Type::Message(*Message::ALL.iter().find(|message| message.full_name() == name).unwrap())
            }
            other if repeated => panic!("no rule for a repeated {other:?}"),
            _ => Type::Varint,
        }
    }

    #[test]
    fn the_tables_say_what_the_official_descriptors_say() {
        let official = official();
        for (index, message) in Message::ALL.iter().enumerate() {
            assert_eq!(*message as usize, index);
            let (_, descriptor) = official.iter().find(|(name, _)| name == message.full_name()).unwrap();
            let mut theirs: Vec<_> = descriptor
                .field
                .iter()
                .map(|f| (f.number().cast_unsigned(), f.name(), our_type(f)))
                .collect();
            theirs.sort_by_key(|field| field.0);
            let ours: Vec<_> = message.fields().iter().map(|f| (f.number, f.name, f.ty)).collect();
            assert_eq!(ours, theirs, "{}", message.full_name());
        }
    }
}
