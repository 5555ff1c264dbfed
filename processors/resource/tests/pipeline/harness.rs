//! What these tests share.

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use resource_processor::{Config, Factory};
use spanbridge_component::{Batch, Context, Payload, Processor, ProcessorFactory};
use spanbridge_pdata::Decoded;
use spanbridge_testkit::Sink;

/// Attributes of a resource, in order.
pub(crate) type Pairs = Vec<(&'static str, Any)>;

pub(crate) fn text(text: &str) -> Any {
    Any::StringValue(text.to_owned())
}

pub(crate) fn list(items: Vec<Any>) -> Any {
    let values = items.into_iter().map(|item| AnyValue { value: Some(item) }).collect();
    Any::ArrayValue(ArrayValue { values })
}

pub(crate) fn config(yaml: &str) -> Config {
    spanbridge_config::from_yaml(yaml).unwrap_or_else(|problems| panic!("{problems}"))
}

pub(crate) fn processor(yaml: &str) -> (Arc<dyn Processor>, Arc<Sink>) {
    let sink = Sink::new();
    let settings = spanbridge_testkit::settings("resource");
    (Factory.create(settings, config(yaml), sink.clone()).unwrap(), sink)
}

/// A request with one span under each of these resources.
pub(crate) fn request(resources: &[Pairs]) -> Payload {
    let attribute = |(key, value): &(&str, Any)| KeyValue {
        key: (*key).to_owned(),
        value: Some(AnyValue { value: Some(value.clone()) }),
        ..KeyValue::default()
    };
    let spans = |pairs: &Pairs| ResourceSpans {
        resource: Some(Resource { attributes: pairs.iter().map(attribute).collect(), ..Resource::default() }),
        scope_spans: vec![ScopeSpans {
            spans: vec![Span {
                name: "span".into(),
                trace_id: vec![1; 16],
                span_id: vec![1; 8],
                ..Span::default()
            }],
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    };
    let resource_spans = resources.iter().map(spans).collect();
    Payload::encode(&Decoded::Traces(ExportTraceServiceRequest { resource_spans })).unwrap()
}

/// What the processor makes of one resource with these attributes.
pub(crate) async fn acted(actions: &str, pairs: Pairs) -> Vec<(String, Any)> {
    acted_with(actions, pairs, Context::default()).await
}

pub(crate) async fn acted_with(actions: &str, pairs: Pairs, context: Context) -> Vec<(String, Any)> {
    let (processor, sink) = processor(&format!("attributes:\n{actions}"));
    processor.consume(Batch { payload: request(&[pairs]), context }).await.unwrap();
    resources(&sink).remove(0)
}

/// The attributes of every resource that came out.
pub(crate) fn resources(sink: &Sink) -> Vec<Vec<(String, Any)>> {
    let mut all = Vec::new();
    for decoded in sink.decoded() {
        let Decoded::Traces(request) = decoded else { panic!("traces went in") };
        for spans in request.resource_spans {
            assert_eq!(spans.scope_spans[0].spans[0].name, "span", "items are passed on");
            let attributes = spans.resource.unwrap_or_default().attributes;
            let pair =
                |kv: KeyValue| (kv.key, kv.value.and_then(|v| v.value).unwrap_or_else(|| text("<none>")));
            all.push(attributes.into_iter().map(pair).collect());
        }
    }
    all
}

/// What is expected, in the form in which it comes out.
pub(crate) fn pairs(expected: Pairs) -> Vec<(String, Any)> {
    expected.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
