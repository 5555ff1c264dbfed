//! Traces: a client span `lets-go` and its server spans `okey-dokey-<n>`, one after the other.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, SpanFlags, Status};
use prost::Message as _;

use super::{Generator, attribute, load_attributes, scope, text_attribute};
use crate::StatusCode;
use crate::value::Value;

/// Spans that later ones may link to; older ones are forgotten.
const LINK_TARGETS_MAX: usize = 1000;
/// W3C trace flag `sampled`, in the low byte of the span flags.
const SAMPLED: u32 = 1;

/// What the traces are like.
#[derive(Debug, Clone)]
pub(crate) struct TracePlan {
    /// At least 1.
    pub(crate) child_spans: u64,
    pub(crate) span_duration: Duration,
    pub(crate) status: StatusCode,
    /// Links of each span.
    pub(crate) links: usize,
    /// Whether children see their parent as remote, as if its context had come in headers.
    pub(crate) remote_parent: bool,
    pub(crate) attributes: Vec<KeyValue>,
    pub(crate) size_mib: usize,
}

/// Makes the spans of one trace after the other, children first: a span is sent when it has ended.
#[derive(Debug)]
pub(crate) struct TraceGenerator {
    plan: TracePlan,
    parent_attributes: Vec<KeyValue>,
    child_attributes: Vec<KeyValue>,
    rng: Rng,
    open: Option<OpenTrace>,
    completed: u64,
    link_targets: VecDeque<Context>,
}

/// A trace whose parent has not ended.
#[derive(Debug)]
struct OpenTrace {
    parent: Context,
    parent_links: Vec<Link>,
    start: u64,
    /// End of the last child.
    end: u64,
    children: u64,
}

#[derive(Debug, Clone, Copy)]
struct Context {
    trace_id: [u8; 16],
    span_id: [u8; 8],
}

impl TraceGenerator {
    /// Ids come from `rng`.
    pub(crate) fn new(plan: TracePlan, rng: Rng) -> Self {
        let attributes = |peer: &str| {
            let mut attributes =
                vec![text_attribute("network.peer.address", "1.2.3.4"), text_attribute("peer.service", peer)];
            attributes.extend_from_slice(&plan.attributes);
            attributes
        };
        let mut parent_attributes = attributes("telemetrygen-server");
        parent_attributes.extend(load_attributes(plan.size_mib));
        let child_attributes = attributes("telemetrygen-client");
        let link_targets = VecDeque::new();
        Self { plan, parent_attributes, child_attributes, rng, open: None, completed: 0, link_targets }
    }

    fn begin(&mut self, now: u64) -> OpenTrace {
        let parent = Context { trace_id: self.trace_id(), span_id: self.span_id() };
        let parent_links = self.links(parent);
        OpenTrace { parent, parent_links, start: now, end: now, children: 0 }
    }

    fn child(&mut self, open: &mut OpenTrace) -> Span {
        let context = Context { trace_id: open.parent.trace_id, span_id: self.span_id() };
        let index = open.children;
        let start = open.end;
        open.children += 1;
        open.end =
            start.saturating_add(u64::try_from(self.plan.span_duration.as_nanos()).unwrap_or(u64::MAX));
        let mut flags = SAMPLED | SpanFlags::ContextHasIsRemoteMask as u32;
        if self.plan.remote_parent {
            flags |= SpanFlags::ContextIsRemoteMask as u32;
        }
        Span {
            name: format!("okey-dokey-{index}"),
            kind: SpanKind::Server.into(),
            parent_span_id: open.parent.span_id.to_vec(),
            flags,
            start_time_unix_nano: start,
            end_time_unix_nano: open.end,
            attributes: self.child_attributes.clone(),
            links: self.links(context),
            ..self.span(context)
        }
    }

    fn end(&mut self, open: OpenTrace) -> Span {
        self.completed += 1;
        Span {
            name: "lets-go".to_owned(),
            kind: SpanKind::Client.into(),
            flags: SAMPLED | SpanFlags::ContextHasIsRemoteMask as u32,
            start_time_unix_nano: open.start,
            end_time_unix_nano: open.end,
            attributes: self.parent_attributes.clone(),
            links: open.parent_links,
            ..self.span(open.parent)
        }
    }

    /// What parents and children have in common.
    fn span(&self, context: Context) -> Span {
        Span {
            trace_id: context.trace_id.to_vec(),
            span_id: context.span_id.to_vec(),
            status: Some(status(self.plan.status)),
            ..Span::default()
        }
    }

    /// Links of a span that begins: to spans that began before, picked at random. The very first span has none.
    fn links(&mut self, context: Context) -> Vec<Link> {
        if self.plan.links == 0 {
            return Vec::new();
        }
        let count = if self.link_targets.is_empty() { 0 } else { self.plan.links };
        let links = (0_i64..).take(count).map(|index| {
            let target = self.link_targets[self.rng.usize(..self.link_targets.len())];
            Link {
                trace_id: target.trace_id.to_vec(),
                span_id: target.span_id.to_vec(),
                attributes: vec![
                    text_attribute("link.type", "random"),
                    attribute("link.index", &Value::Int(index)),
                ],
                flags: SAMPLED | SpanFlags::ContextHasIsRemoteMask as u32,
                ..Link::default()
            }
        });
        let links = links.collect();
        if self.link_targets.len() == LINK_TARGETS_MAX {
            self.link_targets.pop_front();
        }
        self.link_targets.push_back(context);
        links
    }

    /// Never all zeros, which would be no id.
    fn trace_id(&mut self) -> [u8; 16] {
        self.rng.u128(1..).to_be_bytes()
    }

    fn span_id(&mut self) -> [u8; 8] {
        self.rng.u64(1..).to_be_bytes()
    }
}

impl Generator for TraceGenerator {
    type Record = Span;

    const PATH: &'static str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

    fn next(&mut self, now: u64) -> Span {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.begin(now),
        };
        if open.children >= self.plan.child_spans {
            return self.end(open);
        }
        let child = self.child(&mut open);
        self.open = Some(open);
        child
    }

    fn completed(&self) -> u64 {
        self.completed
    }

    fn close(&mut self) -> Option<Span> {
        let open = self.open.take()?;
        Some(self.end(open))
    }

    fn request(resource: &Resource, spans: Vec<Span>) -> Bytes {
        let scope_spans = vec![ScopeSpans { scope: Some(scope()), spans, schema_url: String::new() }];
        let resource = Some(resource.clone());
        let resource_spans = vec![ResourceSpans { resource, scope_spans, schema_url: String::new() }];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec().into()
    }

    fn rejected(response: Bytes) -> Result<(i64, String), prost::DecodeError> {
        let partial = ExportTraceServiceResponse::decode(response)?.partial_success.unwrap_or_default();
        Ok((partial.rejected_spans, partial.error_message))
    }
}

/// OTLP numbers the codes otherwise than the API does: Ok is 1 there and Error 2.
fn status(code: StatusCode) -> Status {
    use opentelemetry_proto::tonic::trace::v1::status::StatusCode as Otlp;
    let code = match code {
        StatusCode::Unset => Otlp::Unset,
        StatusCode::Ok => Otlp::Ok,
        StatusCode::Error => Otlp::Error,
    };
    Status { code: code.into(), message: String::new() }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::LOAD_BYTES;
    use super::*;

    const NOW: u64 = 1_700_000_000_000_000_000;

    fn plan() -> TracePlan {
        TracePlan {
            child_spans: 2,
            span_duration: Duration::from_micros(123),
            status: StatusCode::Unset,
            links: 0,
            remote_parent: false,
            attributes: vec![],
            size_mib: 0,
        }
    }

    fn spans(plan: TracePlan, count: usize) -> Vec<Span> {
        let mut generator = TraceGenerator::new(plan, Rng::with_seed(7));
        (0..count).map(|_| generator.next(NOW)).collect()
    }

    fn texts(attributes: &[KeyValue]) -> Vec<String> {
        let text =
            |a: &KeyValue| format!("{}={:?}", a.key, a.value.as_ref().unwrap().value.as_ref().unwrap());
        attributes.iter().map(text).collect()
    }

    #[test]
    fn children_follow_one_another_and_the_parent_spans_them() {
        let spans = spans(plan(), 3);
        let facts: Vec<_> = spans
            .iter()
            .map(|s| (s.name.as_str(), s.kind, s.start_time_unix_nano - NOW, s.end_time_unix_nano - NOW))
            .collect();
        assert_eq!(
            facts,
            [
                ("okey-dokey-0", SpanKind::Server as i32, 0, 123_000),
                ("okey-dokey-1", SpanKind::Server as i32, 123_000, 246_000),
                ("lets-go", SpanKind::Client as i32, 0, 246_000),
            ]
        );
        let parent = &spans[2];
        assert!(parent.parent_span_id.is_empty());
        assert!(spans[..2].iter().all(|s| s.parent_span_id == parent.span_id));
        assert!(spans.iter().all(|s| s.trace_id == parent.trace_id && s.flags == 0x101));
    }

    #[test]
    fn attributes_name_the_peer_of_each_side() {
        let mut plan = plan();
        plan.attributes = vec![attribute("team", &Value::Int(7))];
        let spans = spans(plan, 3);
        let address = "network.peer.address=StringValue(\"1.2.3.4\")";
        assert_eq!(
            texts(&spans[0].attributes),
            [address, "peer.service=StringValue(\"telemetrygen-client\")", "team=IntValue(7)"]
        );
        assert_eq!(
            texts(&spans[2].attributes),
            [address, "peer.service=StringValue(\"telemetrygen-server\")", "team=IntValue(7)"]
        );
    }

    #[test]
    fn ids_are_unique_and_traces_are_counted_when_they_end() {
        let mut generator = TraceGenerator::new(plan(), Rng::with_seed(1));
        let mut traces = HashSet::new();
        let mut ids = HashSet::new();
        for number in 0..3000_u64 {
            assert_eq!(generator.completed(), number / 3);
            let span = generator.next(NOW);
            traces.insert(span.trace_id);
            assert!(ids.insert(span.span_id));
        }
        assert_eq!(traces.len(), 1000);
    }

    #[test]
    fn size_is_on_the_parent_in_mebibytes() {
        let spans = spans(TracePlan { size_mib: 2, ..plan() }, 3);
        assert!(spans[0].encoded_len() < 1000);
        assert!(spans[2].encoded_len() > 2 * LOAD_BYTES);
        assert_eq!(spans[2].attributes[3].key, "load-1");
    }

    #[test]
    fn status_applies_to_every_span_under_its_otlp_number() {
        for (code, number) in [(StatusCode::Unset, 0), (StatusCode::Ok, 1), (StatusCode::Error, 2)] {
            let spans = spans(TracePlan { status: code, ..plan() }, 3);
            assert!(spans.iter().all(|s| s.status.as_ref().unwrap().code == number));
        }
    }

    #[test]
    fn marshalled_context_makes_the_parent_remote() {
        let spans = spans(TracePlan { remote_parent: true, ..plan() }, 3);
        assert_eq!(spans.iter().map(|s| s.flags).collect::<Vec<_>>(), [0x301, 0x301, 0x101]);
    }

    #[test]
    fn links_point_at_spans_that_began_before() {
        let spans = spans(TracePlan { links: 3, ..plan() }, 3000);
        let mut begun = HashSet::new();
        for trace in spans.chunks(3) {
            // The parent is sent last and begins first.
            for span in [&trace[2], &trace[0], &trace[1]] {
                let expected = if begun.is_empty() { 0 } else { 3 };
                assert_eq!(span.links.len(), expected);
                assert!(span.links.iter().all(|link| begun.contains(&link.span_id)));
                begun.insert(span.span_id.clone());
            }
        }
    }

    #[test]
    fn closing_ends_a_trace_that_has_begun() {
        let mut generator = TraceGenerator::new(plan(), Rng::with_seed(1));
        assert_eq!(generator.close(), None);
        let child = generator.next(NOW);
        let parent = generator.close().unwrap();
        assert_eq!((parent.name.as_str(), &parent.span_id), ("lets-go", &child.parent_span_id));
        assert_eq!(parent.end_time_unix_nano, child.end_time_unix_nano);
        assert_eq!((generator.close(), generator.completed()), (None, 1));
    }
}
