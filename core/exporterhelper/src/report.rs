//! What an exporter says about its failures: in the log, as its status, in its metrics.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use spanbridge_component::telemetry::ExporterMetrics;
use spanbridge_component::{Code, ConsumeError, Host, Signal, Status};

use crate::{RateLimit, Refusal};

/// At most one log line of each sort in this time; the line says how many were held back.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Says what happens, with the texts of the reference (collector-core, 8.3).
pub(crate) struct Reporter {
    host: OnceLock<Host>,
    metrics: ExporterMetrics,
    is_failing: AtomicBool,
    dropping: String,
    rejecting: String,
    retries: RateLimit,
    drops: RateLimit,
    rejections: RateLimit,
    cuts: RateLimit,
}

/// What ended a request, for the label `error_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    Destination,
    Shutdown,
}

impl Reporter {
    pub(crate) fn new(metrics: ExporterMetrics, retries_on: bool, queue_on: bool) -> Self {
        let mut hint = String::new();
        if !retries_on {
            hint += " Try enabling retry_on_failure config option to retry on retryable errors.";
        }
        if !queue_on {
            hint += " Try enabling sending_queue to survive temporary failures.";
        }
        let limit = || RateLimit::new(LOG_INTERVAL);
        Self {
            host: OnceLock::new(),
            metrics,
            is_failing: AtomicBool::new(false),
            dropping: format!("Exporting failed. Dropping data.{hint}"),
            rejecting: format!("Exporting failed. Rejecting data.{hint}"),
            retries: limit(),
            drops: limit(),
            rejections: limit(),
            cuts: limit(),
        }
    }

    pub(crate) fn started(&self, host: Host) {
        let _ = self.host.set(host);
    }

    /// The destination took `items`.
    pub(crate) fn sent(&self, signal: Signal, items: usize) {
        self.metrics.sent(signal, items);
        // A plain load first: success after success must not write to shared memory.
        if self.is_failing.load(Ordering::Relaxed) && self.is_failing.swap(false, Ordering::Relaxed) {
            self.report(Status::Ok);
        }
    }

    /// The destination does not work now.
    pub(crate) fn not_working(&self, error: &ConsumeError) {
        if !self.is_failing.swap(true, Ordering::Relaxed) {
            self.report(Status::RecoverableError(error.message().to_owned()));
        }
    }

    pub(crate) fn will_retry(&self, error: &ConsumeError, refusal: Refusal, interval: Duration) {
        let Some(held_back) = self.retries.admit() else { return };
        let interval = spanbridge_config::Duration::from(interval);
        if refusal == Refusal::Credentials {
            // Unlike an outage it does not pass by itself.
            tracing::error!(
                %error,
                %interval,
                held_back,
                "Exporting failed. Will retry the request after interval. The destination refuses the credentials of this \
                 exporter: correct them, here or there; what is queued is kept meanwhile."
            );
        } else {
            tracing::info!(%error, %interval, held_back, "Exporting failed. Will retry the request after interval.");
        }
    }

    /// Items are given up; nobody waits for the answer.
    pub(crate) fn dropped(&self, signal: Signal, items: usize, error: &ConsumeError, cause: Cause) {
        self.failed(signal, items, error, cause);
        if let Some(held_back) = self.drops.admit() {
            tracing::error!(%error, dropped_items = items, held_back, "{}", self.dropping);
        }
    }

    /// Items go back to their caller, who gets the error.
    pub(crate) fn rejected(&self, signal: Signal, items: usize, error: &ConsumeError, cause: Cause) {
        self.failed(signal, items, error, cause);
        self.refused(items, error);
    }

    /// The queue did not take the items of a caller.
    pub(crate) fn refused(&self, items: usize, error: &ConsumeError) {
        if let Some(held_back) = self.rejections.admit() {
            tracing::error!(%error, rejected_items = items, held_back, "{}", self.rejecting);
        }
    }

    /// A batch could not be cut small enough.
    pub(crate) fn not_split(&self, signal: Signal, items: usize) {
        if let Some(held_back) = self.cuts.admit() {
            let noun = match signal {
                Signal::Traces => "span",
                Signal::Metrics => "datapoint",
                Signal::Logs => "log record",
            };
            let error = format!("one {noun} size is greater than max size, dropping items: {items}");
            tracing::warn!(error, held_back, "Failed to split request.");
        }
    }

    fn failed(&self, signal: Signal, items: usize, error: &ConsumeError, cause: Cause) {
        let error_type = match (cause, error.status_code()) {
            (Cause::Shutdown, _) => "Shutdown",
            (_, Some(Code::DeadlineExceeded)) => "Deadline_Exceeded",
            (_, Some(code)) => code.name(),
            (_, None) => "_OTHER",
        };
        self.metrics.send_failed(signal, items, error_type, error.is_permanent());
    }

    fn report(&self, status: Status) {
        if let Some(host) = self.host.get() {
            host.report(status);
        }
    }
}
