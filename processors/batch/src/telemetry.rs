//! The metrics of this component (reference: collector-core, 14.2). They count successful sends only, as there.

use prometheus::{Histogram, IntCounter, IntGauge};
use spanbridge_component::telemetry::{COUNT_BUCKETS, Level, Telemetry};
use spanbridge_component::{BuildError, ComponentId};

/// Why a batch was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// It had enough items, or there was no room to wait for more.
    Size,
    /// Its time had passed, or the processor stopped.
    Timeout,
}

/// Bucket bounds of the histogram of bytes: powers of two from 128 to 16 MiB.
const BYTE_BUCKETS: [f64; 18] = {
    let mut buckets = [128.0; 18];
    let mut i = 1;
    while i < buckets.len() {
        buckets[i] = buckets[i - 1] * 2.0;
        i += 1;
    }
    buckets
};

/// What the processor counts, as far as the level asks for it.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    normal: Option<Normal>,
    bytes: Option<Histogram>,
}

/// What is counted from level `normal` up.
#[derive(Debug)]
struct Normal {
    size: Histogram,
    by_size: IntCounter,
    by_timeout: IntCounter,
    cardinality: IntGauge,
}

impl Metrics {
    pub(crate) fn new(telemetry: &Telemetry, processor: &ComponentId) -> Result<Self, BuildError> {
        let mut metrics = Self::default();
        if telemetry.level() >= Level::Normal {
            metrics.normal = Some(Normal::new(telemetry, processor)?);
        }
        if telemetry.level() >= Level::Detailed {
            let name = "otelcol_processor_batch_batch_send_size_bytes";
            let help =
                "Number of bytes in batch that was sent. Only available on detailed level. [Development]";
            let family = telemetry.histogram(name, help, &BYTE_BUCKETS, &["processor"])?;
            metrics.bytes = Some(family.with_label_values(&[processor.as_str()]));
        }
        Ok(metrics)
    }

    /// A batch of `items` and `bytes` was sent.
    #[allow(clippy::cast_precision_loss, reason = "batches are far smaller than 2^52")]
    pub(crate) fn sent(&self, trigger: Trigger, items: usize, bytes: usize) {
        if let Some(normal) = &self.normal {
            normal.size.observe(items as f64);
            match trigger {
                Trigger::Size => normal.by_size.inc(),
                Trigger::Timeout => normal.by_timeout.inc(),
            }
        }
        if let Some(histogram) = &self.bytes {
            histogram.observe(bytes as f64);
        }
    }

    /// So many combinations of metadata values are in use.
    pub(crate) fn cardinality(&self, combinations: usize) {
        if let Some(normal) = &self.normal {
            normal.cardinality.set(i64::try_from(combinations).unwrap_or(i64::MAX));
        }
    }
}

impl Normal {
    fn new(telemetry: &Telemetry, processor: &ComponentId) -> Result<Self, BuildError> {
        let (labels, values) = (&["processor"], &[processor.as_str()]);
        let counter = |name: &str, help: &str| {
            Ok::<_, prometheus::Error>(telemetry.counter(name, help, labels)?.with_label_values(values))
        };
        Ok(Self {
            size: telemetry
                .histogram(
                    "otelcol_processor_batch_batch_send_size",
                    "Number of units in the batch. [Development]",
                    &COUNT_BUCKETS,
                    labels,
                )?
                .with_label_values(values),
            by_size: counter(
                "otelcol_processor_batch_batch_size_trigger_send",
                "Number of times the batch was sent due to a size trigger. [Development]",
            )?,
            by_timeout: counter(
                "otelcol_processor_batch_timeout_trigger_send",
                "Number of times the batch was sent due to a timeout trigger. [Development]",
            )?,
            cardinality: telemetry
                .gauge(
                    "otelcol_processor_batch_metadata_cardinality",
                    "Number of distinct metadata value combinations being processed. [Development]",
                    labels,
                )?
                .with_label_values(values),
        })
    }
}
