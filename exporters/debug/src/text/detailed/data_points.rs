//! Data points of every metric type.

use std::f64::consts::LN_2;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, NumberDataPoint, SummaryDataPoint, exemplar,
    number_data_point,
};

use super::super::go::{Fixed, Id, Time};
use super::super::{Text, line};
use super::{NESTED, attributes};

pub(super) fn numbers(text: &mut Text<'_>, points: &[NumberDataPoint]) {
    for (index, point) in points.iter().enumerate() {
        line!(text, "NumberDataPoints #{index}");
        head(text, &point.attributes, point.start_time_unix_nano, point.time_unix_nano);
        match point.value {
            Some(number_data_point::Value::AsInt(value)) => line!(text, "Value: {value}"),
            Some(number_data_point::Value::AsDouble(value)) => line!(text, "Value: {}", Fixed(value)),
            None => {}
        }
        exemplars(text, &point.exemplars);
    }
}

pub(super) fn histograms(text: &mut Text<'_>, points: &[HistogramDataPoint]) {
    for (index, point) in points.iter().enumerate() {
        line!(text, "HistogramDataPoints #{index}");
        head(text, &point.attributes, point.start_time_unix_nano, point.time_unix_nano);
        line!(text, "Count: {}", point.count);
        extremes(text, point.sum, point.min, point.max);
        for (i, bound) in point.explicit_bounds.iter().enumerate() {
            line!(text, "ExplicitBounds #{i}: {}", Fixed(*bound));
        }
        for (i, count) in point.bucket_counts.iter().enumerate() {
            line!(text, "Buckets #{i}, Count: {count}");
        }
        exemplars(text, &point.exemplars);
    }
}

pub(super) fn exponential_histograms(text: &mut Text<'_>, points: &[ExponentialHistogramDataPoint]) {
    for (index, point) in points.iter().enumerate() {
        line!(text, "ExponentialHistogramDataPoints #{index}");
        head(text, &point.attributes, point.start_time_unix_nano, point.time_unix_nano);
        line!(text, "Count: {}", point.count);
        extremes(text, point.sum, point.min, point.max);
        for bucket in buckets(point.negative.as_ref(), point.scale).rev() {
            let (from, to) = (Fixed(-bucket.upper), Fixed(-bucket.lower));
            line!(text, "Bucket [{from}, {to}), Count: {}", bucket.count);
        }
        if point.zero_count != 0 {
            line!(text, "Bucket [0, 0], Count: {}", point.zero_count);
        }
        for bucket in buckets(point.positive.as_ref(), point.scale) {
            let (from, to) = (Fixed(bucket.lower), Fixed(bucket.upper));
            line!(text, "Bucket ({from}, {to}], Count: {}", bucket.count);
        }
        exemplars(text, &point.exemplars);
    }
}

pub(super) fn summaries(text: &mut Text<'_>, points: &[SummaryDataPoint]) {
    for (index, point) in points.iter().enumerate() {
        line!(text, "SummaryDataPoints #{index}");
        head(text, &point.attributes, point.start_time_unix_nano, point.time_unix_nano);
        line!(text, "Count: {}", point.count);
        line!(text, "Sum: {}", Fixed(point.sum));
        for (i, value) in point.quantile_values.iter().enumerate() {
            let (quantile, value) = (Fixed(value.quantile), Fixed(value.value));
            line!(text, "QuantileValue #{i}: Quantile {quantile}, Value {value}");
        }
    }
}

/// A bucket of an exponential histogram, on the positive side.
pub(in super::super) struct Bucket {
    pub(in super::super) lower: f64,
    pub(in super::super) upper: f64,
    pub(in super::super) count: u64,
}

/// The buckets in the order of their index; bounds are `exp(index * ln 2 * 2^-scale)`, infinite past the range.
pub(in super::super) fn buckets(
    buckets: Option<&Buckets>,
    scale: i32,
) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
    let factor = LN_2 * 2_f64.powi(scale.saturating_neg());
    let (offset, counts) = buckets.map_or((0, &[][..]), |buckets| (buckets.offset, &buckets.bucket_counts));
    counts.iter().enumerate().map(move |(position, count)| {
        // Exact: a request cannot hold 2^53 buckets.
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53 buckets fit a request")]
        let index = f64::from(offset) + position as f64;
        Bucket { lower: bound(index * factor), upper: bound((index + 1.0) * factor), count: *count }
    })
}

/// `exp(power)`, infinite from 2^1024 on: the nearest float to `1024 ln 2` lies a hair below it.
fn bound(power: f64) -> f64 {
    if power >= 1024.0 * LN_2 { f64::INFINITY } else { power.exp() }
}

/// What every data point begins with.
fn head(text: &mut Text<'_>, labels: &[KeyValue], start: u64, time: u64) {
    attributes(text, "", "Data point attributes:", labels);
    line!(text, "StartTimestamp: {}", Time(start));
    line!(text, "Timestamp: {}", Time(time));
}

fn extremes(text: &mut Text<'_>, sum: Option<f64>, min: Option<f64>, max: Option<f64>) {
    for (label, value) in [("Sum", sum), ("Min", min), ("Max", max)] {
        if let Some(value) = value {
            line!(text, "{label}: {}", Fixed(value));
        }
    }
}

fn exemplars(text: &mut Text<'_>, exemplars: &[Exemplar]) {
    if exemplars.is_empty() {
        return;
    }
    line!(text, "Exemplars:");
    for (index, exemplar) in exemplars.iter().enumerate() {
        line!(text, "Exemplar #{index}");
        line!(text, "     -> Trace ID: {}", Id(&exemplar.trace_id));
        line!(text, "     -> Span ID: {}", Id(&exemplar.span_id));
        line!(text, "     -> Timestamp: {}", Time(exemplar.time_unix_nano));
        match exemplar.value {
            Some(exemplar::Value::AsInt(value)) => line!(text, "     -> Value: {value}"),
            Some(exemplar::Value::AsDouble(value)) => line!(text, "     -> Value: {}", Fixed(value)),
            None => {}
        }
        attributes(text, NESTED, "     -> FilteredAttributes:", &exemplar.filtered_attributes);
    }
}
