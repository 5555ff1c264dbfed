//! What exporters count.

use prometheus::{IntCounter, IntCounterVec};
use spanbridge_pdata::Signal;

use super::{Level, Telemetry};
use crate::ComponentId;

/// Where an exporter sends to, as labels of what it counts. Empty labels are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Destination {
    /// Label `server_address`.
    pub server_address: String,
    /// Label `server_port`.
    pub server_port: String,
    /// Label `url_path`, of exporters that send over HTTP.
    pub url_path: String,
}

/// What an exporter counts: every item handed to it is sent or failed, once, however many attempts it took.
#[derive(Debug, Clone)]
pub struct ExporterMetrics {
    exporter: String,
    level: Level,
    by_signal: [OneSignal; 3],
}

#[derive(Debug, Clone)]
struct OneSignal {
    sent: IntCounter,
    failed: IntCounterVec,
    destination: Destination,
}

/// The labels that every exporter may have, and how a destination fills them.
const LABELS: [&str; 4] = ["exporter", "server_address", "server_port", "url_path"];

impl ExporterMetrics {
    /// The counters of `exporter`, whose destination has no name.
    ///
    /// # Errors
    /// As [`Telemetry::counter`].
    pub fn new(telemetry: &Telemetry, exporter: &ComponentId) -> Result<Self, prometheus::Error> {
        Self::to(telemetry, exporter, |_| Destination::default())
    }

    /// The counters of `exporter`, which sends to the `destination` of each signal.
    ///
    /// # Errors
    /// As [`Telemetry::counter`].
    pub fn to(
        telemetry: &Telemetry,
        exporter: &ComponentId,
        destination: impl Fn(Signal) -> Destination,
    ) -> Result<Self, prometheus::Error> {
        let one = |signal| OneSignal::new(telemetry, exporter, signal, destination(signal));
        Ok(Self {
            exporter: exporter.as_str().to_owned(),
            level: telemetry.level(),
            by_signal: [one(Signal::Traces)?, one(Signal::Metrics)?, one(Signal::Logs)?],
        })
    }

    /// The destination has `items`.
    pub fn sent(&self, signal: Signal, items: usize) {
        self.by_signal[signal.index()].sent.inc_by(items as u64);
    }

    /// The destination did not take `items`. At level `detailed` they are counted by the error's type (the gRPC code's
    /// name, or what the reference lists beside) and by whether a retry could not have helped.
    pub fn send_failed(&self, signal: Signal, items: usize, error_type: &str, is_permanent: bool) {
        if items == 0 {
            return;
        }
        let one = &self.by_signal[signal.index()];
        let permanent = if is_permanent { "true" } else { "false" };
        let [error_type, permanent] =
            if self.level == Level::Detailed { [error_type, permanent] } else { ["", ""] };
        let [exporter, address, port, path] = labels(&self.exporter, &one.destination);
        let labels = [exporter, address, port, path, error_type, permanent];
        one.failed.with_label_values(&labels).inc_by(items as u64);
    }
}

fn labels<'a>(exporter: &'a str, destination: &'a Destination) -> [&'a str; 4] {
    [exporter, &destination.server_address, &destination.server_port, &destination.url_path]
}

impl OneSignal {
    fn new(
        telemetry: &Telemetry,
        exporter: &ComponentId,
        signal: Signal,
        destination: Destination,
    ) -> Result<Self, prometheus::Error> {
        let noun = signal.metric_suffix().replace('_', " ");
        let family = |verb: &str, help: &str, extra: &[&str]| {
            let name = format!("otelcol_exporter_{verb}_{}", signal.metric_suffix());
            let help = help.replace("{}", &noun);
            telemetry.counter(&name, &help, &[&LABELS[..], extra].concat())
        };
        let sent = family("sent", "Number of {} successfully sent to destination. [Alpha]", &[])?;
        let failed = family(
            "send_failed",
            "Number of {} in failed attempts to send to destination. [Alpha]",
            &["error_type", "error_permanent"],
        )?;
        Ok(Self {
            sent: sent.with_label_values(&labels(exporter.as_str(), &destination)),
            failed,
            destination,
        })
    }
}
