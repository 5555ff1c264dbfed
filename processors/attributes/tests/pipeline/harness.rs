//! What these tests share: requests of every signal with items that can be told apart.

use std::sync::Arc;

use attributes_processor::{Config, Factory};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    self as metrics, Metric, ResourceMetrics, ScopeMetrics, metric,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, span};
use spanbridge_component::{Batch, BuildError, Context, Payload, Processor, ProcessorFactory, Signal};
use spanbridge_pdata::Decoded;
use spanbridge_testkit::Sink;

/// Attributes, in order.
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

/// A processor in a pipeline of `signal`, and what stands behind it.
pub(crate) fn created(signal: Signal, yaml: &str) -> (Result<Arc<dyn Processor>, BuildError>, Arc<Sink>) {
    let sink = Sink::new();
    let mut settings = spanbridge_testkit::settings("attributes");
    settings.pipeline = Some(signal.name().parse().unwrap());
    (Factory.create(settings, config(yaml), sink.clone()), sink)
}

/// One item: a span, a log record, or a metric with one point.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row {
    pub(crate) resource: Pairs,
    /// Name and version of the scope.
    pub(crate) scope: (&'static str, &'static str),
    /// The name of the span or metric, or the body of the log record.
    pub(crate) name: &'static str,
    /// A body that is no text.
    pub(crate) body: Option<Any>,
    /// Kind of a span.
    pub(crate) kind: i32,
    /// Severity of a log record, as a text and a number.
    pub(crate) severity: (&'static str, i32),
    pub(crate) attributes: Pairs,
}

fn attributes(pairs: &Pairs) -> Vec<KeyValue> {
    let pair = |(key, value): &(&str, Any)| KeyValue {
        key: (*key).to_owned(),
        value: Some(AnyValue { value: Some(value.clone()) }),
        ..KeyValue::default()
    };
    pairs.iter().map(pair).collect()
}

impl Row {
    fn resource(&self) -> Resource {
        Resource { attributes: attributes(&self.resource), ..Resource::default() }
    }

    fn scope(&self) -> InstrumentationScope {
        let (name, version) = (self.scope.0.to_owned(), self.scope.1.to_owned());
        InstrumentationScope { name, version, ..InstrumentationScope::default() }
    }

    fn span(&self) -> ResourceSpans {
        let elsewhere = attributes(&vec![("elsewhere", text("x"))]);
        let event = span::Event { attributes: elsewhere.clone(), ..span::Event::default() };
        let link = span::Link {
            trace_id: vec![2; 16],
            span_id: vec![2; 8],
            attributes: elsewhere,
            ..span::Link::default()
        };
        let span = Span {
            name: self.name.to_owned(),
            trace_id: vec![1; 16],
            span_id: vec![1; 8],
            kind: self.kind,
            attributes: attributes(&self.attributes),
            events: vec![event],
            links: vec![link],
            ..Span::default()
        };
        let scope = ScopeSpans { scope: Some(self.scope()), spans: vec![span], ..ScopeSpans::default() };
        ResourceSpans {
            resource: Some(self.resource()),
            scope_spans: vec![scope],
            ..ResourceSpans::default()
        }
    }

    fn log(&self) -> ResourceLogs {
        let body = self.body.clone().unwrap_or_else(|| text(self.name));
        let record = LogRecord {
            body: Some(AnyValue { value: Some(body) }),
            severity_text: self.severity.0.to_owned(),
            severity_number: self.severity.1,
            attributes: attributes(&self.attributes),
            ..LogRecord::default()
        };
        let scope =
            ScopeLogs { scope: Some(self.scope()), log_records: vec![record], ..ScopeLogs::default() };
        ResourceLogs { resource: Some(self.resource()), scope_logs: vec![scope], ..ResourceLogs::default() }
    }

    fn metric(&self) -> ResourceMetrics {
        let point = metrics::NumberDataPoint {
            attributes: attributes(&self.attributes),
            ..metrics::NumberDataPoint::default()
        };
        let data = metric::Data::Gauge(metrics::Gauge { data_points: vec![point] });
        self.metric_of(data)
    }

    /// A metric with this data.
    pub(crate) fn metric_of(&self, data: metric::Data) -> ResourceMetrics {
        let metric = Metric { name: self.name.to_owned(), data: Some(data), ..Metric::default() };
        let scope =
            ScopeMetrics { scope: Some(self.scope()), metrics: vec![metric], ..ScopeMetrics::default() };
        ResourceMetrics {
            resource: Some(self.resource()),
            scope_metrics: vec![scope],
            ..ResourceMetrics::default()
        }
    }
}

/// A request with these items.
pub(crate) fn request(signal: Signal, rows: &[Row]) -> Payload {
    let decoded = match signal {
        Signal::Traces => Decoded::Traces(ExportTraceServiceRequest {
            resource_spans: rows.iter().map(Row::span).collect(),
        }),
        Signal::Logs => {
            Decoded::Logs(ExportLogsServiceRequest { resource_logs: rows.iter().map(Row::log).collect() })
        }
        Signal::Metrics => Decoded::Metrics(ExportMetricsServiceRequest {
            resource_metrics: rows.iter().map(Row::metric).collect(),
        }),
    };
    Payload::encode(&decoded).unwrap()
}

/// The attributes of every item, in order, as pairs of texts and values. They are the only thing that may differ from
/// what went in.
pub(crate) fn item_attributes(decoded: Decoded) -> Vec<Vec<(String, Any)>> {
    let found: Vec<Vec<KeyValue>> = match decoded {
        Decoded::Traces(request) => {
            let scopes = request.resource_spans.into_iter().flat_map(|node| node.scope_spans);
            scopes.flat_map(|scope| scope.spans).map(|span| span.attributes).collect()
        }
        Decoded::Logs(request) => {
            let scopes = request.resource_logs.into_iter().flat_map(|node| node.scope_logs);
            scopes.flat_map(|scope| scope.log_records).map(|record| record.attributes).collect()
        }
        Decoded::Metrics(request) => {
            let scopes = request.resource_metrics.into_iter().flat_map(|node| node.scope_metrics);
            scopes.flat_map(|scope| scope.metrics).flat_map(point_attributes).collect()
        }
    };
    let pair =
        |pair: KeyValue| (pair.key, pair.value.and_then(|v| v.value).unwrap_or_else(|| text("<none>")));
    found.into_iter().map(|pairs| pairs.into_iter().map(pair).collect()).collect()
}

fn point_attributes(metric: Metric) -> Vec<Vec<KeyValue>> {
    use metric::Data;
    match metric.data.unwrap() {
        Data::Gauge(data) => data.data_points.into_iter().map(|p| p.attributes).collect(),
        Data::Sum(data) => data.data_points.into_iter().map(|p| p.attributes).collect(),
        Data::Histogram(data) => data.data_points.into_iter().map(|p| p.attributes).collect(),
        Data::ExponentialHistogram(data) => data.data_points.into_iter().map(|p| p.attributes).collect(),
        Data::Summary(data) => data.data_points.into_iter().map(|p| p.attributes).collect(),
    }
}

/// What the processor makes of a payload.
pub(crate) async fn processed(signal: Signal, yaml: &str, payload: Payload, context: Context) -> Decoded {
    let (processor, sink) = created(signal, yaml);
    processor.unwrap().consume(Batch { payload, context }).await.unwrap();
    sink.decoded().remove(0)
}
