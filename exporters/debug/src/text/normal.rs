//! The layout `normal`: one line an item.

use std::fmt::{self, Display};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, SummaryDataPoint,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::go::{Fixed, Id, Shortest};
use super::value::{Joined, Plain};
use super::{Text, line};

pub(super) fn traces(text: &mut Text<'_>, request: &ExportTraceServiceRequest) {
    for (i, resource_spans) in request.resource_spans.iter().enumerate() {
        resource(text, "ResourceTraces", i, &resource_spans.schema_url, resource_spans.resource.as_ref());
        for (j, scope_spans) in resource_spans.scope_spans.iter().enumerate() {
            scope(text, "ScopeTraces", j, &scope_spans.schema_url, scope_spans.scope.as_ref());
            for span in &scope_spans.spans {
                let (trace_id, span_id) = (Id(&span.trace_id), Id(&span.span_id));
                line!(text, "{} {trace_id} {span_id}{}", span.name, spaced(&span.attributes));
            }
        }
    }
}

pub(super) fn logs(text: &mut Text<'_>, request: &ExportLogsServiceRequest) {
    for (i, resource_logs) in request.resource_logs.iter().enumerate() {
        resource(text, "ResourceLog", i, &resource_logs.schema_url, resource_logs.resource.as_ref());
        for (j, scope_logs) in resource_logs.scope_logs.iter().enumerate() {
            scope(text, "ScopeLog", j, &scope_logs.schema_url, scope_logs.scope.as_ref());
            for record in &scope_logs.log_records {
                // The blank after the body stays when there are no attributes.
                let attributes = Joined { attributes: &record.attributes, lead: "", separator: " " };
                line!(text, "{} {attributes}", Plain(record.body.as_ref()));
            }
        }
    }
}

pub(super) fn metrics(text: &mut Text<'_>, request: &ExportMetricsServiceRequest) {
    for (i, resource_metrics) in request.resource_metrics.iter().enumerate() {
        let described = resource_metrics.resource.as_ref();
        resource(text, "ResourceMetrics", i, &resource_metrics.schema_url, described);
        for (j, scope_metrics) in resource_metrics.scope_metrics.iter().enumerate() {
            scope(text, "ScopeMetrics", j, &scope_metrics.schema_url, scope_metrics.scope.as_ref());
            for metric in &scope_metrics.metrics {
                data_points(text, metric);
            }
        }
    }
}

fn resource(text: &mut Text<'_>, title: &str, index: usize, schema_url: &str, resource: Option<&Resource>) {
    let attributes = resource.map_or(&[][..], |resource| &resource.attributes);
    let url = Bracketed { lead: " ", url: schema_url };
    line!(text, "{title} #{index}{url}{}", spaced(attributes));
}

fn scope(
    text: &mut Text<'_>,
    title: &str,
    index: usize,
    schema_url: &str,
    scope: Option<&InstrumentationScope>,
) {
    let (name, version, attributes) = scope
        .map_or(("", "", &[][..]), |scope| (scope.name.as_str(), scope.version.as_str(), &scope.attributes));
    let lead = if name.is_empty() && version.is_empty() { "" } else { " " };
    let at = if version.is_empty() { "" } else { "@" };
    let url = Bracketed { lead: " ", url: schema_url };
    line!(text, "{title} #{index}{lead}{name}{at}{version}{url}{}", spaced(attributes));
}

/// `[<schema url>]` after `lead`, or nothing.
struct Bracketed<'a> {
    lead: &'static str,
    url: &'a str,
}

impl Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.url.is_empty() { Ok(()) } else { write!(f, "{}[{}]", self.lead, self.url) }
    }
}

/// Each attribute with a blank before it.
fn spaced(attributes: &[KeyValue]) -> Joined<'_> {
    Joined { attributes, lead: " ", separator: " " }
}

// === metrics ===

fn data_points(text: &mut Text<'_>, metric: &Metric) {
    let name = metric.name.as_str();
    match &metric.data {
        None => {}
        Some(Data::Gauge(gauge)) => numbers(text, name, &gauge.data_points),
        Some(Data::Sum(sum)) => numbers(text, name, &sum.data_points),
        Some(Data::Histogram(histogram)) => {
            for point in &histogram.data_points {
                line!(text, "{name}{} {}", Labels(&point.attributes), HistogramValue(point));
            }
        }
        Some(Data::ExponentialHistogram(histogram)) => {
            for point in &histogram.data_points {
                line!(text, "{name}{} {}", Labels(&point.attributes), ExponentialValue(point));
            }
        }
        Some(Data::Summary(summary)) => {
            for point in &summary.data_points {
                line!(text, "{name}{} {}", Labels(&point.attributes), SummaryValue(point));
            }
        }
    }
}

fn numbers(text: &mut Text<'_>, name: &str, points: &[NumberDataPoint]) {
    for point in points {
        let labels = Labels(&point.attributes);
        match point.value {
            Some(number_data_point::Value::AsInt(value)) => line!(text, "{name}{labels} {value}"),
            Some(number_data_point::Value::AsDouble(value)) => {
                line!(text, "{name}{labels} {}", Shortest(value));
            }
            None => line!(text, "{name}{labels} "),
        }
    }
}

/// `{k=v,k=v}`
struct Labels<'a>(&'a [KeyValue]);

impl Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}}}", Joined { attributes: self.0, lead: "", separator: "," })
    }
}

struct HistogramValue<'a>(&'a HistogramDataPoint);

impl Display for HistogramValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let point = self.0;
        write!(f, "count={}", point.count)?;
        write_extremes(f, point.sum, point.min, point.max)?;
        for (index, count) in point.bucket_counts.iter().enumerate() {
            match point.explicit_bounds.get(index) {
                Some(bound) => write!(f, " le{}={count}", Shortest(*bound))?,
                None => write!(f, " {count}")?,
            }
        }
        Ok(())
    }
}

struct ExponentialValue<'a>(&'a ExponentialHistogramDataPoint);

impl Display for ExponentialValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let point = self.0;
        write!(f, "count={}", point.count)?;
        write_extremes(f, point.sum, point.min, point.max)?;
        for bucket in super::detailed::buckets(point.negative.as_ref(), point.scale).rev() {
            write!(f, " le{}={}", Shortest(-bucket.lower), bucket.count)?;
        }
        if point.zero_count != 0 {
            write!(f, " zero={}", point.zero_count)?;
        }
        for bucket in super::detailed::buckets(point.positive.as_ref(), point.scale) {
            write!(f, " le{}={}", Shortest(bucket.upper), bucket.count)?;
        }
        Ok(())
    }
}

struct SummaryValue<'a>(&'a SummaryDataPoint);

impl Display for SummaryValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "count={} sum={}", self.0.count, Fixed(self.0.sum))?;
        for quantile in &self.0.quantile_values {
            write!(f, " q{}={}", Shortest(quantile.quantile), Shortest(quantile.value))?;
        }
        Ok(())
    }
}

fn write_extremes(
    f: &mut fmt::Formatter<'_>,
    sum: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
) -> fmt::Result {
    for (label, value) in [("sum", sum), ("min", min), ("max", max)] {
        if let Some(value) = value {
            write!(f, " {label}={}", Shortest(value))?;
        }
    }
    Ok(())
}
