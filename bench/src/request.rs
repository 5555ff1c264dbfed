//! The request that is sent: 100 rich spans, 57.8 kB, the same bytes each time but for the ids.
//!
//! Ids are numbers that count up, so that both ends know exactly which spans there must be. They are written into a
//! finished encoding, which costs the load no more than a copy of the request.

use std::ops::Range;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;

/// Spans of one request.
pub(crate) const SPANS_PER_REQUEST: u64 = 100;

/// Where the ids are in an encoded span: `0a 10 <trace id> 12 08 <span id>` come first in prost's encoding.
const TRACE_ID: Range<usize> = 2..18;
const SPAN_ID: Range<usize> = 20..28;

/// A request whose ids are still to be filled in.
pub(crate) struct Template {
    request: Vec<u8>,
    /// Where each span is in `request`.
    spans: Vec<Range<usize>>,
}

impl Template {
    /// The request of all measurements.
    pub(crate) fn rich() -> Self {
        let spans: Vec<Span> = (0..SPANS_PER_REQUEST).map(span).collect();
        let encoded: Vec<Vec<u8>> = spans.iter().map(Message::encode_to_vec).collect();
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(resource()),
                scope_spans: vec![ScopeSpans {
                    scope: Some(InstrumentationScope {
                        name: "io.opentelemetry.http.server".to_owned(),
                        version: "2.11.0".to_owned(),
                        ..InstrumentationScope::default()
                    }),
                    spans,
                    schema_url: String::new(),
                }],
                schema_url: String::new(),
            }],
        }
        .encode_to_vec();
        let mut ranges = Vec::with_capacity(encoded.len());
        let mut from = 0;
        for span in &encoded {
            // Placeholder ids are the span's index, so each encoding occurs once, and in this order.
            if let Some(at) = find(&request[from..], span) {
                ranges.push(from + at..from + at + span.len());
                from += at + span.len();
            }
        }
        Self { request, spans: ranges }
    }

    /// Length of a request in bytes.
    pub(crate) fn len(&self) -> usize {
        self.request.len()
    }

    /// Appends request number `number` to `buffer`; it holds the spans `number * 100` to `number * 100 + 99`.
    pub(crate) fn write(&self, number: u64, buffer: &mut Vec<u8>) {
        let start = buffer.len();
        buffer.extend_from_slice(&self.request);
        for (span, index) in self.spans.iter().zip(number * SPANS_PER_REQUEST..) {
            let span = &mut buffer[start + span.start..start + span.end];
            span[TRACE_ID].copy_from_slice(&trace_id(index));
            span[SPAN_ID].copy_from_slice(&span_id(index));
        }
    }

    /// The number of an encoded span, and whether every byte of it is as it was sent. `None`: it was never sent.
    pub(crate) fn recognise(&self, span: &[u8]) -> Option<(u64, bool)> {
        let id: [u8; 8] = span.get(SPAN_ID)?.try_into().ok()?;
        let index = u64::from_be_bytes(id).checked_sub(1)?;
        let position = usize::try_from(index % SPANS_PER_REQUEST).ok()?;
        let sent = &self.request[self.spans.get(position)?.clone()];
        let unchanged = span.len() == sent.len()
            && span[..TRACE_ID.start] == sent[..TRACE_ID.start]
            && span[TRACE_ID] == trace_id(index)
            && span[TRACE_ID.end..SPAN_ID.start] == sent[TRACE_ID.end..SPAN_ID.start]
            && span[SPAN_ID.end..] == sent[SPAN_ID.end..];
        Some((index, unchanged))
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// All spans of a request share a trace.
fn trace_id(index: u64) -> [u8; 16] {
    let number = u128::from(index / SPANS_PER_REQUEST);
    (0x5370_616e_6272_6964_0000_0000_0000_0000 | number).to_be_bytes()
}

/// Zero is not a valid id, so they count from one.
fn span_id(index: u64) -> [u8; 8] {
    (index + 1).to_be_bytes()
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn whole(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn resource() -> Resource {
    let attributes = vec![
        text("service.name", "checkout"),
        text("service.namespace", "shop"),
        text("service.instance.id", "627cc493-f310-47de-96bd-71410b7dec09"),
        text("service.version", "2024.11.3"),
        text("telemetry.sdk.name", "opentelemetry"),
        text("telemetry.sdk.language", "java"),
        text("telemetry.sdk.version", "1.43.0"),
        text("host.name", "checkout-7d4b9c6f5-x2x9z"),
    ];
    Resource { attributes, ..Resource::default() }
}

/// A server span as an HTTP instrumentation makes it: 12 attributes.
fn span(index: u64) -> Span {
    let number = index.cast_signed();
    Span {
        trace_id: trace_id(0).to_vec(),
        span_id: span_id(index).to_vec(),
        parent_span_id: 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes().to_vec(),
        name: format!("POST /api/v1/carts/{{cart}}/items/{index:03}"),
        kind: SpanKind::Server.into(),
        start_time_unix_nano: 1_700_000_000_000_000_000 + index,
        end_time_unix_nano: 1_700_000_000_012_345_678 + index,
        attributes: vec![
            text("http.request.method", "POST"),
            text("url.scheme", "https"),
            text("url.path", &format!("/api/v1/carts/8c2f1d60/items/{index:03}")),
            text("http.route", "/api/v1/carts/{cart}/items/{item}"),
            whole("http.response.status_code", 201),
            text("network.protocol.version", "1.1"),
            text("server.address", "checkout.shop.svc.cluster.local"),
            whole("server.port", 8443),
            text("client.address", "10.42.17.203"),
            text("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Firefox/128.0"),
            text("thread.name", "http-nio-8443-exec-7"),
            whole("thread.id", 40_000 + number),
        ],
        status: Some(Status::default()),
        flags: 0x101,
        ..Span::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_the_one_of_the_budgets() {
        let template = Template::rich();
        assert_eq!(template.spans.len(), 100);
        assert!((57_000..58_600).contains(&template.len()), "{} bytes", template.len());
    }

    #[test]
    fn ids_are_written_and_read_back() {
        let template = Template::rich();
        let mut buffer = Vec::new();
        template.write(7, &mut buffer);
        let decoded = ExportTraceServiceRequest::decode(buffer.as_slice()).expect("a request");
        for (position, span) in decoded.resource_spans[0].scope_spans[0].spans.iter().enumerate() {
            let mut encoded = span.encode_to_vec();
            assert_eq!(template.recognise(&encoded), Some((700 + position as u64, true)));
            *encoded.last_mut().expect("a byte") ^= 1;
            assert_eq!(template.recognise(&encoded), Some((700 + position as u64, false)));
        }
    }
}
