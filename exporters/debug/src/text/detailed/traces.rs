//! Spans and log records.

use std::fmt::Display;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};

use super::super::go::{Id, Time};
use super::super::value::Typed;
use super::super::{Text, line};
use super::{NESTED, attributes, resource, scope};

const SPAN_KINDS: [&str; 6] = ["Unspecified", "Internal", "Server", "Client", "Producer", "Consumer"];
const STATUS_CODES: [&str; 3] = ["Unset", "Ok", "Error"];
const SEVERITIES: [&str; 25] = [
    "Unspecified",
    "Trace",
    "Trace2",
    "Trace3",
    "Trace4",
    "Debug",
    "Debug2",
    "Debug3",
    "Debug4",
    "Info",
    "Info2",
    "Info3",
    "Info4",
    "Warn",
    "Warn2",
    "Warn3",
    "Warn4",
    "Error",
    "Error2",
    "Error3",
    "Error4",
    "Fatal",
    "Fatal2",
    "Fatal3",
    "Fatal4",
];

pub(in super::super) fn traces(text: &mut Text<'_>, request: &ExportTraceServiceRequest) {
    for (i, resource_spans) in request.resource_spans.iter().enumerate() {
        resource(text, "ResourceSpans", i, &resource_spans.schema_url, resource_spans.resource.as_ref());
        for (j, scope_spans) in resource_spans.scope_spans.iter().enumerate() {
            scope(text, "ScopeSpans", j, &scope_spans.schema_url, scope_spans.scope.as_ref());
            for (k, one) in scope_spans.spans.iter().enumerate() {
                line!(text, "Span #{k}");
                span(text, one);
            }
        }
    }
}

fn span(text: &mut Text<'_>, span: &Span) {
    field(text, "Trace ID", Id(&span.trace_id));
    field(text, "Parent ID", Id(&span.parent_span_id));
    field(text, "ID", Id(&span.span_id));
    field(text, "Name", &span.name);
    field(text, "Kind", name(&SPAN_KINDS, span.kind));
    if !span.trace_state.is_empty() {
        field(text, "TraceState", &span.trace_state);
    }
    field(text, "Start time", Time(span.start_time_unix_nano));
    field(text, "End time", Time(span.end_time_unix_nano));
    let (code, message) = span.status.as_ref().map_or((0, ""), |status| (status.code, &status.message));
    field(text, "Status code", name(&STATUS_CODES, code));
    field(text, "Status message", message);
    field(text, "DroppedAttributesCount", span.dropped_attributes_count);
    field(text, "DroppedEventsCount", span.dropped_events_count);
    field(text, "DroppedLinksCount", span.dropped_links_count);
    attributes(text, "", "Attributes:", &span.attributes);
    events(text, &span.events);
    links(text, &span.links);
}

/// One field of a span: the label is padded, a longer one stays whole.
fn field(text: &mut Text<'_>, label: &str, value: impl Display) {
    line!(text, "    {label:<15}: {value}");
}

fn events(text: &mut Text<'_>, events: &[Event]) {
    if events.is_empty() {
        return;
    }
    line!(text, "Events:");
    for (index, event) in events.iter().enumerate() {
        line!(text, "SpanEvent #{index}");
        line!(text, "     -> Name: {}", event.name);
        line!(text, "     -> Timestamp: {}", Time(event.time_unix_nano));
        line!(text, "     -> DroppedAttributesCount: {}", event.dropped_attributes_count);
        attributes(text, NESTED, "     -> Attributes::", &event.attributes);
    }
}

fn links(text: &mut Text<'_>, links: &[Link]) {
    if links.is_empty() {
        return;
    }
    line!(text, "Links:");
    for (index, link) in links.iter().enumerate() {
        line!(text, "SpanLink #{index}");
        line!(text, "     -> Trace ID: {}", Id(&link.trace_id));
        line!(text, "     -> ID: {}", Id(&link.span_id));
        line!(text, "     -> TraceState: {}", link.trace_state);
        line!(text, "     -> DroppedAttributesCount: {}", link.dropped_attributes_count);
        attributes(text, NESTED, "     -> Attributes::", &link.attributes);
    }
}

pub(in super::super) fn logs(text: &mut Text<'_>, request: &ExportLogsServiceRequest) {
    for (i, resource_logs) in request.resource_logs.iter().enumerate() {
        // Singular here and plural for the scope: so it is in the original.
        resource(text, "ResourceLog", i, &resource_logs.schema_url, resource_logs.resource.as_ref());
        for (j, scope_logs) in resource_logs.scope_logs.iter().enumerate() {
            scope(text, "ScopeLogs", j, &scope_logs.schema_url, scope_logs.scope.as_ref());
            for (k, record) in scope_logs.log_records.iter().enumerate() {
                line!(text, "LogRecord #{k}");
                log_record(text, record);
            }
        }
    }
}

fn log_record(text: &mut Text<'_>, record: &LogRecord) {
    line!(text, "ObservedTimestamp: {}", Time(record.observed_time_unix_nano));
    line!(text, "Timestamp: {}", Time(record.time_unix_nano));
    line!(text, "SeverityText: {}", record.severity_text);
    let number = record.severity_number;
    line!(text, "SeverityNumber: {}({number})", name(&SEVERITIES, number));
    if !record.event_name.is_empty() {
        line!(text, "EventName: {}", record.event_name);
    }
    line!(text, "Body: {}", Typed(record.body.as_ref()));
    attributes(text, "", "Attributes:", &record.attributes);
    line!(text, "Trace ID: {}", Id(&record.trace_id));
    line!(text, "Span ID: {}", Id(&record.span_id));
    line!(text, "Flags: {}", record.flags);
}

/// The name of an enum value; empty for a number that has none.
fn name(names: &[&'static str], number: i32) -> &'static str {
    usize::try_from(number).ok().and_then(|index| names.get(index).copied()).unwrap_or("")
}
