//! What the queue of one signal counts (reference: collector-core, 14.2).

use prometheus::{Histogram, IntCounter, IntGauge};
use spanbridge_component::telemetry::{BYTE_BUCKETS, COUNT_BUCKETS, Destination, Level};
use spanbridge_component::{Payload, Settings, Signal};

/// The metrics of one signal.
#[derive(Debug, Clone)]
pub(crate) struct LaneMetrics {
    pub(crate) in_flight: IntGauge,
    enqueue_failed: IntCounter,
    /// Only at level `detailed`.
    enqueued: Option<Sizes>,
    /// Only at level `detailed`, with batching.
    batches: Option<Sizes>,
}

/// How large something is, in items and in bytes.
#[derive(Debug, Clone)]
struct Sizes {
    items: Histogram,
    bytes: Histogram,
}

/// The gauges of a queue.
pub(crate) struct QueueGauges {
    pub(crate) size: IntGauge,
    pub(crate) capacity: IntGauge,
}

/// Counts a request as in flight for as long as it lives.
pub(crate) struct InFlight(IntGauge);

impl LaneMetrics {
    /// # Errors
    /// As [`spanbridge_component::telemetry::Telemetry::counter`].
    pub(crate) fn new(
        settings: &Settings,
        signal: Signal,
        destination: &Destination,
        batches: bool,
    ) -> Result<Self, prometheus::Error> {
        let telemetry = &settings.telemetry;
        let exporter = settings.id.as_str();
        let suffix = signal.metric_suffix();
        let failed = telemetry.counter(
            &format!("otelcol_exporter_enqueue_failed_{suffix}"),
            &format!(
                "Number of {} failed to be added to the sending queue. [Alpha]",
                suffix.replace('_', " ")
            ),
            &["exporter"],
        )?;
        let in_flight = telemetry.gauge(
            "otelcol_exporter_in_flight_requests",
            "Current number of export requests in flight. [Alpha]",
            &["exporter", "data_type"],
        )?;
        let detailed = telemetry.level() == Level::Detailed;
        let to = [
            ("exporter", exporter),
            ("server_address", destination.server_address.as_str()),
            ("server_port", destination.server_port.as_str()),
            ("url_path", destination.url_path.as_str()),
        ];
        let sizes = |on: bool, name: &str, help: &str, labels: &[(&str, &str)]| {
            if on { Sizes::new(settings, name, help, labels).map(Some) } else { Ok(None) }
        };
        Ok(Self {
            in_flight: in_flight.with_label_values(&[exporter, signal.name()]),
            enqueue_failed: failed.with_label_values(&[exporter]),
            enqueued: sizes(
                detailed,
                "enqueue_size",
                "requests added to the sending queue",
                &[("exporter", exporter)],
            )?,
            batches: sizes(detailed && batches, "queue_batch_send_size", "batches that were sent", &to)?,
        })
    }

    /// The gauges of what the queue holds and may hold, in the units of its sizer.
    ///
    /// Nothing is set here: until the exporter starts, they may still be its predecessor's.
    ///
    /// # Errors
    /// As [`spanbridge_component::telemetry::Telemetry::gauge`].
    pub(crate) fn queue_size(settings: &Settings, signal: Signal) -> Result<QueueGauges, prometheus::Error> {
        let gauge = |name: &str, help: &str| {
            let family = settings.telemetry.gauge(name, help, &["exporter", "data_type"])?;
            Ok::<_, prometheus::Error>(family.with_label_values(&[settings.id.as_str(), signal.name()]))
        };
        Ok(QueueGauges {
            size: gauge(
                "otelcol_exporter_queue_size",
                "Current size of the sending queue, in units of its sizer. [Alpha]",
            )?,
            capacity: gauge(
                "otelcol_exporter_queue_capacity",
                "Fixed capacity of the sending queue, in units of its sizer. [Alpha]",
            )?,
        })
    }

    /// A request goes into the queue.
    pub(crate) fn enqueued(&self, payload: &Payload) {
        observe(self.enqueued.as_ref(), payload);
    }

    /// The queue did not take `items`.
    pub(crate) fn enqueue_failed(&self, items: usize) {
        self.enqueue_failed.inc_by(items as u64);
    }

    /// A batch is sent.
    pub(crate) fn batch(&self, payload: &Payload) {
        observe(self.batches.as_ref(), payload);
    }

    /// A request is on its way until this is dropped.
    pub(crate) fn in_flight(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
fn observe(sizes: Option<&Sizes>, payload: &Payload) {
    if let Some(sizes) = sizes {
        sizes.items.observe(payload.items() as f64);
        sizes.bytes.observe(payload.len() as f64);
    }
}

impl Sizes {
    fn new(
        settings: &Settings,
        name: &str,
        what: &str,
        labels: &[(&str, &str)],
    ) -> Result<Self, prometheus::Error> {
        let (names, values): (Vec<_>, Vec<_>) = labels.iter().copied().unzip();
        let one = |suffix: &str, unit: &str, buckets: &[f64]| {
            let name = format!("otelcol_exporter_{name}{suffix}");
            let help = format!("Size of {what}, in {unit}. [Development]");
            Ok::<_, prometheus::Error>(
                settings.telemetry.histogram(&name, &help, buckets, &names)?.with_label_values(&values),
            )
        };
        Ok(Self { items: one("", "items", &COUNT_BUCKETS)?, bytes: one("_bytes", "bytes", &BYTE_BUCKETS)? })
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
