//! The metrics of this exporter, under the reference's names.

use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge};
use spanbridge_component::{BuildError, Settings};

/// Upper bounds of the latency histogram, in milliseconds.
const LATENCY_BUCKETS: [f64; 15] =
    [0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2500.0, 5000.0, 7500.0, 10000.0];

/// What the exporter counts.
#[derive(Debug)]
pub(crate) struct Metrics {
    resolutions: IntCounterVec,
    resolver: &'static str,
    backends: IntGauge,
    updates: IntCounter,
    latency: HistogramVec,
    outcome: IntCounterVec,
}

/// What is counted of one backend.
#[derive(Debug)]
pub(crate) struct BackendMetrics {
    latency: Histogram,
    succeeded: IntCounter,
    failed: IntCounter,
}

impl Metrics {
    /// The metrics of an exporter that finds its backends with `resolver`.
    pub(crate) fn new(settings: &Settings, resolver: &'static str) -> Result<Self, BuildError> {
        let telemetry = &settings.telemetry;
        let counter = |name: &str, help: &str, labels: &[&str]| {
            telemetry.counter(&format!("otelcol_loadbalancer_{name}"), help, labels)
        };
        Ok(Self {
            resolutions: counter(
                "num_resolutions",
                "Number of times the resolver has triggered new resolutions. [Development]",
                &["resolver", "success"],
            )?,
            resolver,
            backends: telemetry
                .gauge(
                    "otelcol_loadbalancer_num_backends",
                    "Current number of backends in use. [Development]",
                    &["resolver"],
                )?
                .with_label_values(&[resolver]),
            updates: counter(
                "num_backend_updates",
                "Number of times the list of backends was updated. [Development]",
                &["resolver"],
            )?
            .with_label_values(&[resolver]),
            latency: telemetry.histogram(
                "otelcol_loadbalancer_backend_latency",
                "Response latency in ms for the backends. [Development]",
                &LATENCY_BUCKETS,
                &["endpoint"],
            )?,
            outcome: counter(
                "backend_outcome",
                "Number of successes and failures for each endpoint. [Development]",
                &["endpoint", "success"],
            )?,
        })
    }

    /// The name was resolved, or could not be.
    pub(crate) fn resolved(&self, success: bool) {
        self.resolutions.with_label_values(&[self.resolver, text(success)]).inc();
    }

    /// The backends are other ones now, and so many.
    pub(crate) fn updated(&self, backends: usize) {
        self.updates.inc();
        self.backends.set(i64::try_from(backends).unwrap_or(i64::MAX));
    }

    /// The metrics of a backend.
    pub(crate) fn backend(&self, endpoint: &str) -> BackendMetrics {
        BackendMetrics {
            latency: self.latency.with_label_values(&[endpoint]),
            succeeded: self.outcome.with_label_values(&[endpoint, text(true)]),
            failed: self.outcome.with_label_values(&[endpoint, text(false)]),
        }
    }

    /// A backend is gone: addresses come and go, and their series must not pile up.
    pub(crate) fn forget(&self, endpoint: &str) {
        let _ = self.latency.remove_label_values(&[endpoint]);
        for success in [true, false] {
            let _ = self.outcome.remove_label_values(&[endpoint, text(success)]);
        }
    }
}

impl BackendMetrics {
    /// The backend answered a request after `elapsed`.
    pub(crate) fn answered(&self, elapsed: Duration, success: bool) {
        self.latency.observe(elapsed.as_secs_f64() * 1000.0);
        if success { self.succeeded.inc() } else { self.failed.inc() }
    }
}

const fn text(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}
