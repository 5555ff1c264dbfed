//! Metrics: one data point each, of the type that was asked for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram,
    HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, exemplar,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;

use super::{Generator, attribute, load_attributes, scope};
use crate::value::Value;
use crate::{MetricType, Temporality};

/// Bounds of the explicit histogram: the SDK specification's default.
const BOUNDS: [u32; 15] = [0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10000];
/// Measurements in each histogram: at least, and below.
const MEASUREMENTS: std::ops::Range<usize> = 10..30;
/// Measurements are below this.
const MEASUREMENT_MAX: u32 = 1000;
/// A delta reaches back this far.
const DELTA_NANOS: u64 = 1_000_000_000;

/// What the metrics are like.
#[derive(Debug, Clone)]
pub(crate) struct MetricPlan {
    pub(crate) name: String,
    pub(crate) metric_type: MetricType,
    pub(crate) temporality: Temporality,
    /// 16 bytes or none; one of the two ids makes an exemplar.
    pub(crate) trace_id: Vec<u8>,
    /// 8 bytes or none.
    pub(crate) span_id: Vec<u8>,
    /// How long time series stay unique, if at all.
    pub(crate) unique_for: Option<Duration>,
    pub(crate) attributes: Vec<KeyValue>,
    pub(crate) size_mib: usize,
}

/// Makes metrics.
#[derive(Debug)]
pub(crate) struct MetricGenerator {
    plan: MetricPlan,
    load: Vec<KeyValue>,
    timebox: Arc<Timebox>,
    rng: Rng,
    /// Start of cumulative series: the time of the first record.
    start: Option<u64>,
    completed: u64,
}

/// Numbers that are unique within a span of time, over all workers.
#[derive(Debug, Default)]
pub(crate) struct Timebox(Mutex<(u64, i64)>);

impl Timebox {
    /// A number not yet given within `unique_for` of the first one.
    fn next(&self, unique_for: Duration, now: u64) -> i64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (begun, last) = &mut *state;
        if u128::from(now.saturating_sub(*begun)) >= unique_for.as_nanos() {
            (*begun, *last) = (now, 0);
        }
        *last += 1;
        *last
    }
}

/// Attributes, times and exemplars: what every data point has.
struct Common {
    attributes: Vec<KeyValue>,
    start: u64,
    now: u64,
    exemplars: Vec<Exemplar>,
}

impl MetricGenerator {
    /// `timebox` is shared by all workers.
    pub(crate) fn new(plan: MetricPlan, timebox: Arc<Timebox>, rng: Rng) -> Self {
        let load = load_attributes(plan.size_mib);
        Self { plan, load, timebox, rng, start: None, completed: 0 }
    }

    fn common(&mut self, now: u64) -> Common {
        let first = *self.start.get_or_insert(now);
        let start = match self.plan.temporality {
            Temporality::Cumulative => first,
            Temporality::Delta => now.saturating_sub(DELTA_NANOS),
        };
        let mut attributes = self.plan.attributes.clone();
        if let Some(unique_for) = self.plan.unique_for {
            let number = self.timebox.next(unique_for, now);
            attributes.push(attribute("timebox", &Value::Int(number)));
        }
        attributes.extend_from_slice(&self.load);
        Common { attributes, start, now, exemplars: self.exemplars(now) }
    }

    fn exemplars(&self, now: u64) -> Vec<Exemplar> {
        if self.plan.trace_id.is_empty() && self.plan.span_id.is_empty() {
            return Vec::new();
        }
        vec![Exemplar {
            time_unix_nano: now,
            trace_id: self.plan.trace_id.clone(),
            span_id: self.plan.span_id.clone(),
            value: Some(exemplar::Value::AsInt(1)),
            ..Exemplar::default()
        }]
    }

    /// A point whose value is the number of the metric, from 0.
    fn number(&self, common: Common, start: u64) -> NumberDataPoint {
        NumberDataPoint {
            attributes: common.attributes,
            start_time_unix_nano: start,
            time_unix_nano: common.now,
            exemplars: common.exemplars,
            flags: 0,
            value: Some(number_data_point::Value::AsInt(self.completed.cast_signed())),
        }
    }

    fn measurements(&mut self) -> Vec<u32> {
        let count = self.rng.usize(MEASUREMENTS);
        (0..count).map(|_| self.rng.u32(..MEASUREMENT_MAX)).collect()
    }

    fn histogram(&mut self, common: Common) -> HistogramDataPoint {
        let measured = self.measurements();
        let mut bucket_counts = vec![0; BOUNDS.len() + 1];
        for value in &measured {
            // Bounds are inclusive at the top.
            bucket_counts[BOUNDS.partition_point(|bound| bound < value)] += 1;
        }
        HistogramDataPoint {
            attributes: common.attributes,
            start_time_unix_nano: common.start,
            time_unix_nano: common.now,
            count: measured.len() as u64,
            sum: Some(f64::from(measured.iter().sum::<u32>())),
            bucket_counts,
            explicit_bounds: BOUNDS.map(f64::from).to_vec(),
            exemplars: common.exemplars,
            flags: 0,
            min: measured.iter().min().map(|value| f64::from(*value)),
            max: measured.iter().max().map(|value| f64::from(*value)),
        }
    }

    /// Scale 0: bucket `i` holds what is above 2^i and up to 2^(i+1).
    fn exponential_histogram(&mut self, common: Common) -> ExponentialHistogramDataPoint {
        let measured = self.measurements();
        let indices: Vec<i32> = measured.iter().filter_map(|value| bucket_index(*value)).collect();
        let offset = indices.iter().min().copied().unwrap_or(0);
        let last = indices.iter().max().copied().unwrap_or(offset);
        let count = |index| indices.iter().filter(|i| **i == index).count() as u64;
        let bucket_counts = if indices.is_empty() { vec![] } else { (offset..=last).map(count).collect() };
        ExponentialHistogramDataPoint {
            attributes: common.attributes,
            start_time_unix_nano: common.start,
            time_unix_nano: common.now,
            count: measured.len() as u64,
            sum: Some(f64::from(measured.iter().sum::<u32>())),
            scale: 0,
            zero_count: (measured.len() - indices.len()) as u64,
            positive: Some(Buckets { offset, bucket_counts }),
            exemplars: common.exemplars,
            min: measured.iter().min().map(|value| f64::from(*value)),
            max: measured.iter().max().map(|value| f64::from(*value)),
            ..ExponentialHistogramDataPoint::default()
        }
    }
}

/// The bucket of `value` at scale 0; none for zero.
fn bucket_index(value: u32) -> Option<i32> {
    // 2^(i+1) belongs to bucket i, so the exponent of value - 1 decides; 1 = 2^0 is in bucket -1.
    match value {
        0 => None,
        1 => Some(-1),
        _ => (value - 1).ilog2().try_into().ok(),
    }
}

impl Generator for MetricGenerator {
    type Record = Metric;

    const PATH: &'static str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

    fn next(&mut self, now: u64) -> Metric {
        let common = self.common(now);
        let temporality = match self.plan.temporality {
            Temporality::Delta => AggregationTemporality::Delta,
            Temporality::Cumulative => AggregationTemporality::Cumulative,
        };
        let aggregation_temporality = temporality.into();
        let data = match self.plan.metric_type {
            // A gauge has no start.
            MetricType::Gauge => Data::Gauge(Gauge { data_points: vec![self.number(common, 0)] }),
            MetricType::Sum => {
                let start = common.start;
                let data_points = vec![self.number(common, start)];
                Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic: true })
            }
            MetricType::Histogram => Data::Histogram(Histogram {
                data_points: vec![self.histogram(common)],
                aggregation_temporality,
            }),
            MetricType::ExponentialHistogram => Data::ExponentialHistogram(ExponentialHistogram {
                data_points: vec![self.exponential_histogram(common)],
                aggregation_temporality,
            }),
        };
        self.completed += 1;
        Metric { name: self.plan.name.clone(), data: Some(data), ..Metric::default() }
    }

    fn completed(&self) -> u64 {
        self.completed
    }

    fn request(resource: &Resource, metrics: Vec<Metric>) -> Bytes {
        let scope_metrics = vec![ScopeMetrics { scope: Some(scope()), metrics, schema_url: String::new() }];
        let resource = Some(resource.clone());
        let resource_metrics = vec![ResourceMetrics { resource, scope_metrics, schema_url: String::new() }];
        ExportMetricsServiceRequest { resource_metrics }.encode_to_vec().into()
    }

    fn rejected(response: Bytes) -> Result<(i64, String), prost::DecodeError> {
        let partial = ExportMetricsServiceResponse::decode(response)?.partial_success.unwrap_or_default();
        Ok((partial.rejected_data_points, partial.error_message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000_000_000;

    fn plan(metric_type: MetricType) -> MetricPlan {
        MetricPlan {
            name: "gen".into(),
            metric_type,
            temporality: Temporality::Cumulative,
            trace_id: vec![],
            span_id: vec![],
            unique_for: None,
            attributes: vec![],
            size_mib: 0,
        }
    }

    fn generator(plan: MetricPlan) -> MetricGenerator {
        MetricGenerator::new(plan, Arc::default(), Rng::with_seed(3))
    }

    fn data(plan: MetricPlan) -> Data {
        let mut generator = generator(plan);
        generator.next(NOW);
        let metric = generator.next(NOW + 5);
        assert_eq!(metric.name, "gen");
        metric.data.unwrap()
    }

    #[test]
    fn gauges_count_up_and_have_no_start() {
        let Data::Gauge(gauge) = data(plan(MetricType::Gauge)) else { panic!("no gauge") };
        let point = &gauge.data_points[0];
        assert_eq!(point.value, Some(number_data_point::Value::AsInt(1)));
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (0, NOW + 5));
    }

    #[test]
    fn sums_are_monotonic_and_start_by_their_temporality() {
        let Data::Sum(sum) = data(plan(MetricType::Sum)) else { panic!("no sum") };
        assert!(sum.is_monotonic);
        assert_eq!((sum.aggregation_temporality, sum.data_points[0].start_time_unix_nano), (2, NOW));
        let delta = MetricPlan { temporality: Temporality::Delta, ..plan(MetricType::Sum) };
        let Data::Sum(sum) = data(delta) else { panic!("no sum") };
        let start = NOW + 5 - DELTA_NANOS;
        assert_eq!((sum.aggregation_temporality, sum.data_points[0].start_time_unix_nano), (1, start));
    }

    #[test]
    fn histograms_agree_with_their_own_count() {
        let Data::Histogram(histogram) = data(plan(MetricType::Histogram)) else { panic!("no histogram") };
        let point = &histogram.data_points[0];
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
        assert!(point.min <= point.max && point.sum > point.max);
    }

    #[test]
    fn exponential_histograms_agree_with_their_own_count() {
        let Data::ExponentialHistogram(histogram) = data(plan(MetricType::ExponentialHistogram)) else {
            panic!("no exponential histogram")
        };
        let point = &histogram.data_points[0];
        let buckets = point.positive.as_ref().unwrap();
        assert_eq!(buckets.bucket_counts.iter().sum::<u64>() + point.zero_count, point.count);
        assert!(buckets.bucket_counts.first() > Some(&0) && buckets.bucket_counts.last() > Some(&0));
    }

    #[test]
    fn exponential_buckets_include_their_upper_bound() {
        let indices = [0, 1, 2, 3, 4, 5, 8, 9, 1000].map(bucket_index);
        let expected = [None, Some(-1), Some(0), Some(1), Some(1), Some(2), Some(2), Some(3), Some(9)];
        assert_eq!(indices, expected);
    }

    #[test]
    fn ids_make_an_exemplar() {
        let with_ids = MetricPlan { span_id: vec![1; 8], ..plan(MetricType::Gauge) };
        let Data::Gauge(gauge) = data(with_ids) else { panic!("no gauge") };
        let exemplar = &gauge.data_points[0].exemplars[0];
        assert_eq!((exemplar.span_id.clone(), exemplar.time_unix_nano), (vec![1; 8], NOW + 5));
    }

    #[test]
    fn time_series_are_unique_within_their_time() {
        let second = Duration::from_secs(1);
        let timebox = Timebox::default();
        assert_eq!([timebox.next(second, NOW), timebox.next(second, NOW + 1)], [1, 2]);
        assert_eq!(timebox.next(second, NOW + 999_999_999), 3);
        assert_eq!(timebox.next(second, NOW + 1_000_000_000), 1);

        let unique = MetricPlan { unique_for: Some(second), ..plan(MetricType::Gauge) };
        let Data::Gauge(gauge) = data(unique) else { panic!("no gauge") };
        assert_eq!(gauge.data_points[0].attributes, [attribute("timebox", &Value::Int(2))]);
    }
}
