//! Reading what a component counted.

use prometheus::proto::{Metric, MetricFamily, MetricType};
use spanbridge_component::telemetry::Telemetry;

/// The value of the counter or gauge `name` with at least these labels; for a histogram, the sum of what it observed.
/// `None` when there is no such series.
pub fn metric(telemetry: &Telemetry, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let family = family(telemetry, name)?;
    let metric = series(&family, labels)?;
    Some(match family.get_field_type() {
        MetricType::COUNTER => metric.get_counter().get_value(),
        MetricType::GAUGE => metric.get_gauge().get_value(),
        MetricType::HISTOGRAM => metric.get_histogram().get_sample_sum(),
        other => panic!("{name} is a {other:?}, which components do not make"),
    })
}

/// How often the histogram `name` with at least these labels observed something. `None` when there is no such series.
pub fn metric_count(telemetry: &Telemetry, name: &str, labels: &[(&str, &str)]) -> Option<u64> {
    let family = family(telemetry, name)?;
    series(&family, labels).map(|metric| metric.get_histogram().get_sample_count())
}

fn family(telemetry: &Telemetry, name: &str) -> Option<MetricFamily> {
    telemetry.registry().gather().into_iter().find(|family| family.name() == name)
}

fn series<'a>(family: &'a MetricFamily, labels: &[(&str, &str)]) -> Option<&'a Metric> {
    let has = |metric: &Metric, name: &str, value: &str| {
        metric.get_label().iter().any(|label| label.name() == name && label.value() == value)
    };
    family.get_metric().iter().find(|metric| labels.iter().all(|(name, value)| has(metric, name, value)))
}
