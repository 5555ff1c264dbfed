//! Metrics: the descriptor; the data points are next door.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;

use super::super::{Text, line};
use super::{NESTED, attributes, data_points, resource, scope};

pub(in super::super) fn metrics(text: &mut Text<'_>, request: &ExportMetricsServiceRequest) {
    for (i, resource_metrics) in request.resource_metrics.iter().enumerate() {
        let described = resource_metrics.resource.as_ref();
        resource(text, "ResourceMetrics", i, &resource_metrics.schema_url, described);
        for (j, scope_metrics) in resource_metrics.scope_metrics.iter().enumerate() {
            scope(text, "ScopeMetrics", j, &scope_metrics.schema_url, scope_metrics.scope.as_ref());
            for (k, one) in scope_metrics.metrics.iter().enumerate() {
                line!(text, "Metric #{k}");
                metric(text, one);
            }
        }
    }
}

fn metric(text: &mut Text<'_>, metric: &Metric) {
    line!(text, "Descriptor:");
    line!(text, "     -> Name: {}", metric.name);
    line!(text, "     -> Description: {}", metric.description);
    line!(text, "     -> Unit: {}", metric.unit);
    line!(text, "     -> DataType: {}", data_type(metric.data.as_ref()));
    attributes(text, NESTED, "     -> Metadata:", &metric.metadata);
    match &metric.data {
        None => {}
        Some(Data::Gauge(gauge)) => data_points::numbers(text, &gauge.data_points),
        Some(Data::Sum(sum)) => {
            line!(text, "     -> IsMonotonic: {}", sum.is_monotonic);
            temporality(text, sum.aggregation_temporality);
            data_points::numbers(text, &sum.data_points);
        }
        Some(Data::Histogram(histogram)) => {
            temporality(text, histogram.aggregation_temporality);
            data_points::histograms(text, &histogram.data_points);
        }
        Some(Data::ExponentialHistogram(histogram)) => {
            temporality(text, histogram.aggregation_temporality);
            data_points::exponential_histograms(text, &histogram.data_points);
        }
        Some(Data::Summary(summary)) => data_points::summaries(text, &summary.data_points),
    }
}

fn data_type(data: Option<&Data>) -> &'static str {
    match data {
        None => "Empty",
        Some(Data::Gauge(_)) => "Gauge",
        Some(Data::Sum(_)) => "Sum",
        Some(Data::Histogram(_)) => "Histogram",
        Some(Data::ExponentialHistogram(_)) => "ExponentialHistogram",
        Some(Data::Summary(_)) => "Summary",
    }
}

fn temporality(text: &mut Text<'_>, number: i32) {
    let name = match number {
        0 => "Unspecified",
        1 => "Delta",
        2 => "Cumulative",
        _ => "",
    };
    line!(text, "     -> AggregationTemporality: {name}");
}
