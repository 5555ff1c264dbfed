//! One measured run after the other, and the table of their results.

use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use crate::Outcome;
use crate::forwarder::{Forwarder, Kind, Programs};
use crate::ledger::{Account, Ledger};
use crate::load::{self, Report, Shape};
use crate::process;
use crate::request::{SPANS_PER_REQUEST, Template};
use crate::sink::Sink;
use crate::table;

/// Spans sent before the measurement, so that connections, pages and caches are there.
const WARM_UP_SPANS: u64 = 20_000;
/// How long after the last answer the sink may still miss something: the timeout of a batch, generously.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);

/// What is measured, and how.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// The forwarders, in this order.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["nginx", "pass", "batch", "batch-delivered"])]
    forwarders: Vec<Kind>,
    /// Runs of each; the table shows the one in the middle, and the middle one of the rounds' ratios.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The core of the forwarder.
    #[arg(long, default_value_t = 0)]
    forwarder_core: usize,
    /// The core of load and sink.
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    programs: Programs,
}

/// One run.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    /// The round it belongs to.
    pub(crate) round: usize,
    /// Who forwarded.
    pub(crate) kind: Kind,
    /// Spans of the measurement, without the warm-up.
    pub(crate) spans: u64,
    /// CPU time of the forwarder for those.
    pub(crate) cpu: Duration,
    /// Its most resident memory.
    pub(crate) peak_resident_bytes: u64,
    /// What the load saw.
    pub(crate) report: Report,
    /// What the sink got, warm-up included.
    pub(crate) account: Account,
}

impl Measured {
    /// Spans that it moves with one second of CPU.
    pub(crate) fn spans_per_cpu_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let spans = self.spans as f64;
        spans / self.cpu.as_secs_f64()
    }

    /// Why the run does not count, if it does not.
    fn fault(&self) -> Option<String> {
        if let Some(failure) = self.report.failures.first() {
            return Some(format!(
                "{} requests failed, the first with: {failure}",
                self.report.failures.len()
            ));
        }
        if !self.account.is_exact() {
            return Some(self.account.to_string());
        }
        let (wrong, what) = if self.kind.enriches() {
            (self.account.plain, "lack an inserted attribute")
        } else {
            (self.account.enriched, "carry attributes that nobody inserted")
        };
        (wrong > 0).then(|| format!("{wrong} resources {what}"))
    }
}

/// Measures everything and prints the table.
///
/// # Errors
/// When a forwarder does not run, or a run is not exact.
pub(crate) async fn run(options: &Options) -> Outcome<()> {
    let template = Rc::new(Template::rich());
    let mut results = Vec::new();
    for round in 0..options.rounds {
        for kind in &options.forwarders {
            let measured = measure(options, round, *kind, &template).await?;
            println!("round {}: {}: {}; {}", round + 1, kind.title(), measured.report, measured.account);
            if let Some(fault) = measured.fault() {
                return Err(format!("{}: {fault}", kind.title()).into());
            }
            results.push(measured);
        }
    }
    println!("\n{}", table::markdown(&results, &options.shape, template.len()));
    Ok(())
}

async fn measure(options: &Options, round: usize, kind: Kind, template: &Rc<Template>) -> Outcome<Measured> {
    let shape =
        Shape { in_flight: kind.in_flight().unwrap_or(options.shape.in_flight), ..options.shape.clone() };
    let spans = shape.spans / SPANS_PER_REQUEST * SPANS_PER_REQUEST;
    let ledger = Ledger::new(template.clone(), WARM_UP_SPANS + spans);
    let sink = Sink::start((Ipv4Addr::LOCALHOST, 0).into(), shape.frame_bytes, ledger).await?;

    process::pin_to(options.forwarder_core)?;
    let forwarder = Forwarder::start(kind, &options.programs, sink.address());
    process::pin_to(options.load_core)?;
    let forwarder = forwarder?;

    let warm_up = Shape { spans: WARM_UP_SPANS, rate: 0, ..shape.clone() };
    load::run(forwarder.target(), &warm_up, template, 0).await?;
    let before = forwarder.cpu_time()?;
    let report = load::run(forwarder.target(), &shape, template, WARM_UP_SPANS).await?;
    if report.failures.is_empty() {
        // Nothing that was acknowledged may be missing in the end; if it is, the account says so.
        let _ = sink.wait_for_all(Some(SETTLE_TIMEOUT)).await;
    }
    let cpu = forwarder.cpu_time()?.saturating_sub(before);
    let peak_resident_bytes = forwarder.peak_resident_bytes()?;
    forwarder.stop()?;
    Ok(Measured { round, kind, spans, cpu, peak_resident_bytes, report, account: sink.account() })
}
