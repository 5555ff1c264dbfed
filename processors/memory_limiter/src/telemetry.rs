//! The metrics of this component (reference: collector-core, 14.2), and those of the account that it limits.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, IntCounter};
use spanbridge_component::telemetry::{ProcessorMetrics, Telemetry};
use spanbridge_component::{BuildError, ComponentId, Signal};
use spanbridge_pdata::memory::Account;

/// What one processor counts.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) items: ProcessorMetrics,
    accepted: [IntCounter; 3],
    refused: [IntCounter; 3],
}

impl Metrics {
    pub(crate) fn new(telemetry: &Telemetry, processor: &ComponentId) -> Result<Self, BuildError> {
        let counter = |outcome: &str, signal: Signal| {
            let name = format!("otelcol_processor_memory_limiter_{outcome}_{}", signal.metric_suffix());
            let noun = signal.metric_suffix().replace('_', " ");
            let help = format!("Number of {noun} that the limiter {outcome}. [Alpha]");
            let family = telemetry.counter(&name, &help, &["processor"])?;
            Ok::<_, prometheus::Error>(family.with_label_values(&[processor.as_str()]))
        };
        let counters = |outcome: &str| {
            Ok::<_, prometheus::Error>([
                counter(outcome, Signal::Traces)?,
                counter(outcome, Signal::Metrics)?,
                counter(outcome, Signal::Logs)?,
            ])
        };
        Ok(Self {
            items: ProcessorMetrics::new(telemetry, processor)?,
            accepted: counters("accepted")?,
            refused: counters("refused")?,
        })
    }

    pub(crate) fn accepted(&self, signal: Signal, items: usize) {
        self.accepted[signal.index()].inc_by(items as u64);
    }

    pub(crate) fn refused(&self, signal: Signal, items: usize) {
        self.refused[signal.index()].inc_by(items as u64);
    }
}

/// The account, read each time the metrics are gathered.
struct AccountMetrics {
    account: Account,
    used: Gauge,
    limit: Gauge,
    waiting: Gauge,
    waits: Counter,
    refusals: Counter,
}

/// Registers the metrics of `account`, unless they are there already: it is one account, whoever limits it.
pub(crate) fn register_account(telemetry: &Telemetry, account: &Account) -> Result<(), BuildError> {
    match telemetry.registry().register(Box::new(AccountMetrics::new(account.clone())?)) {
        Ok(()) | Err(prometheus::Error::AlreadyReg) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl AccountMetrics {
    fn new(account: Account) -> Result<Self, prometheus::Error> {
        Ok(Self {
            account,
            used: Gauge::new(
                "otelcol_memory_telemetry_bytes",
                "Bytes of telemetry in memory, and of room reserved for some [Alpha]",
            )?,
            limit: Gauge::new(
                "otelcol_memory_telemetry_limit_bytes",
                "Bytes of telemetry that receivers may take in [Alpha]",
            )?,
            waiting: Gauge::new(
                "otelcol_memory_admission_waiting",
                "Requests that wait for memory now [Alpha]",
            )?,
            waits: Counter::new(
                "otelcol_memory_admission_waits",
                "Number of requests that have waited for memory [Alpha]",
            )?,
            refusals: Counter::new(
                "otelcol_memory_admission_refusals",
                "Number of requests and connections refused for want of memory [Alpha]",
            )?,
        })
    }
}

impl Collector for AccountMetrics {
    fn desc(&self) -> Vec<&Desc> {
        [self.used.desc(), self.limit.desc(), self.waiting.desc(), self.waits.desc(), self.refusals.desc()]
            .concat()
    }

    #[allow(clippy::cast_precision_loss, reason = "memory is far smaller than 2^52 bytes")]
    fn collect(&self) -> Vec<MetricFamily> {
        let usage = self.account.usage();
        self.used.set(usage.used as f64);
        self.waiting.set(usage.waiting as f64);
        raise_to(&self.waits, usage.waits as f64);
        raise_to(&self.refusals, usage.refusals as f64);
        let mut families = [self.used.collect(), self.waiting.collect()].concat();
        families.extend([self.waits.collect(), self.refusals.collect()].concat());
        if let Some(limit) = usage.limit {
            self.limit.set(limit as f64);
            families.extend(self.limit.collect());
        }
        families
    }
}

fn raise_to(counter: &Counter, value: f64) {
    let difference = value - counter.get();
    if difference > 0.0 {
        counter.inc_by(difference);
    }
}
