//! What Kubernetes costs: memory with so many pods, CPU of finding the pod of every request, and the time from a new pod to its
//! first enriched span.

mod api;
mod pods;

use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::Outcome;
use crate::forwarder::{Forwarder, Kind, Programs};
use crate::ledger::Ledger;
use crate::load::{self, Shape};
use crate::process;
use crate::request::{SPANS_PER_REQUEST, Template};
use crate::sink::Sink;
use api::Api;
use pods::{ENRICHED, at, pod};

/// Spans sent before the CPU time is measured.
const WARM_UP_SPANS: u64 = 20_000;
/// How long anything that is waited for may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Until memory that was needed for the list has been given back.
const SETTLE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);
/// New pods whose first enriched span is waited for.
const NEWCOMERS: u8 = 50;

/// What is measured, and how.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Pods that the forwarder watches; several numbers are measured one after the other.
    #[arg(long, value_delimiter = ',', default_values_t = [110, 10_000])]
    pods: Vec<u32>,
    /// Deployments that they belong to.
    #[arg(long, default_value_t = 500)]
    deployments: usize,
    /// Pods that go, each replaced by a new one, a second, while the churn lasts.
    #[arg(long, default_value_t = 50)]
    changes: u32,
    /// How long the churn lasts, in seconds.
    #[arg(long, default_value_t = 20)]
    churn: u32,
    /// Runs with the load, of a forwarder without and one with the processor in turn.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The core of the forwarder.
    #[arg(long, default_value_t = 0)]
    forwarder_core: usize,
    /// The core of load, sink and API server.
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    programs: Programs,
}

/// Measures everything and prints it.
///
/// # Errors
/// When a forwarder does not run, loses something, or does not enrich what it should.
pub(crate) async fn run(options: &Options) -> Outcome<()> {
    let template = Rc::new(Template::rich());
    for pods in &options.pods {
        println!("\n## {pods} pods\n");
        memory(options, *pods, &template).await?;
        cpu(options, *pods, &template).await?;
    }
    Ok(())
}

/// An API server with pods, a sink, and a forwarder between the load and that, which knows the pods.
struct Bed {
    api: Api,
    sink: Sink,
    forwarder: Forwarder,
}

impl Bed {
    async fn start(options: &Options, pods: u32, template: &Rc<Template>, spans: u64) -> Outcome<Self> {
        let api = Api::start().await?;
        for number in 0..pods {
            api.put(&pod(number, options.deployments));
        }
        let ledger = Ledger::new(template.clone(), spans).enriched_by(&ENRICHED);
        let sink = Sink::start((Ipv4Addr::LOCALHOST, 0).into(), options.shape.frame_bytes, ledger).await?;
        process::pin_to(options.forwarder_core)?;
        let forwarder = Forwarder::start_k8s(&options.programs, sink.address(), api.address());
        process::pin_to(options.load_core)?;
        let bed = Self { api, sink, forwarder: forwarder? };
        bed.until("a watch", |bed| bed.api.watches() == 1).await?;
        Ok(bed)
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) -> Outcome<()> {
        let holds = async {
            while !holds(self) {
                sleep(POLL).await;
            }
        };
        timeout(PATIENCE, holds).await.map_err(|_| format!("not within {PATIENCE:?}: {what}").into())
    }
}

/// Resident memory idle, after churn, and at its highest; CPU of the churn; and how fast new pods are known.
async fn memory(options: &Options, pods: u32, template: &Rc<Template>) -> Outcome<()> {
    let bed = Bed::start(options, pods, template, 0).await?;
    sleep(SETTLE).await;
    let idle = bed.forwarder.resident_bytes()?;
    let after_list = bed.forwarder.peak_resident_bytes()?;

    let before = bed.forwarder.cpu_time()?;
    churn(options, pods, &bed.api).await;
    let cpu = bed.forwarder.cpu_time()?.saturating_sub(before);
    let churned = bed.forwarder.resident_bytes()?;

    let mut waits = newcomers(options, &bed, template).await?;
    waits.sort_unstable();
    let at = |index: usize| waits.get(index).copied().unwrap_or_default();
    println!(
        "memory: {:.1} MiB idle, {:.1} MiB after the churn; at its highest {:.1} MiB with the list, {:.1} MiB in the end",
        mebibytes(idle),
        mebibytes(churned),
        mebibytes(after_list),
        mebibytes(bed.forwarder.peak_resident_bytes()?)
    );
    println!(
        "churn: {} pods replaced a second for {} s took {:.2} ms of CPU a second",
        options.changes,
        options.churn,
        cpu.as_secs_f64() * 1e3 / f64::from(options.churn.max(1))
    );
    println!(
        "from a new pod to its first enriched span: p50 {:.2?}, p90 {:.2?}, most {:.2?} of {}",
        at(waits.len() / 2),
        at(waits.len() * 9 / 10),
        at(waits.len().saturating_sub(1)),
        waits.len()
    );
    bed.forwarder.stop()
}

/// Replaces pods, all but the one that the load comes from, in order of their age.
async fn churn(options: &Options, pods: u32, api: &Api) {
    let mut ticks = interval(Duration::from_secs(1) / options.changes.max(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for change in 0..options.changes * options.churn {
        ticks.tick().await;
        api.delete(&pod(change + 1, options.deployments));
        api.put(&pod(pods + change, options.deployments));
    }
}

/// For new pods with addresses of their own, the time from the server's event to the first span that is enriched.
async fn newcomers(options: &Options, bed: &Bed, template: &Rc<Template>) -> Outcome<Vec<Duration>> {
    let one =
        Shape { spans: SPANS_PER_REQUEST, connections: 1, in_flight: 1, rate: 0, ..options.shape.clone() };
    let mut waits = Vec::new();
    for newcomer in 1..=NEWCOMERS {
        let ip = Ipv4Addr::new(127, 1, 0, newcomer);
        let target = bed.forwarder.target().clone().seen_from(ip);
        let send = || load::run(&target, &one, template, 0);
        send().await?;
        let enriched = bed.sink.account().enriched;
        bed.api.put(&at(2_000_000 + u32::from(newcomer), ip, options.deployments));
        let created = Instant::now();
        while bed.sink.account().enriched == enriched {
            let report = send().await?;
            if created.elapsed() > PATIENCE || !report.failures.is_empty() {
                return Err(
                    format!("the pod at {ip} is not known after {:?}: {report}", created.elapsed()).into()
                );
            }
        }
        waits.push(created.elapsed());
    }
    Ok(waits)
}

/// CPU for the load without and with the processor, in turn.
async fn cpu(options: &Options, pods: u32, template: &Rc<Template>) -> Outcome<()> {
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        without.push(measure(options, None, template).await?);
        with.push(measure(options, Some(pods), template).await?);
        let [plain, enriched] = [&without, &with].map(|seconds| seconds.last().copied().unwrap_or_default());
        println!("round {round}: {plain:.3} CPU s per M spans without, {enriched:.3} with the processor");
    }
    let ratios = without.iter().zip(&with).map(|(without, with)| with / without).collect();
    println!(
        "CPU s per M spans: {:.3} without, {:.3} with the processor: {:.3} times as much",
        middle(without.clone()),
        middle(with),
        middle(ratios)
    );
    Ok(())
}

/// CPU seconds for a million spans, with the processor and so many pods, or without it.
async fn measure(options: &Options, pods: Option<u32>, template: &Rc<Template>) -> Outcome<f64> {
    let spans = options.shape.spans / SPANS_PER_REQUEST * SPANS_PER_REQUEST;
    let expected = WARM_UP_SPANS + spans;
    let (_api, sink, forwarder) = if let Some(pods) = pods {
        let Bed { api, sink, forwarder } = Bed::start(options, pods, template, expected).await?;
        (Some(api), sink, forwarder)
    } else {
        let ledger = Ledger::new(template.clone(), expected).enriched_by(&ENRICHED);
        let sink = Sink::start((Ipv4Addr::LOCALHOST, 0).into(), options.shape.frame_bytes, ledger).await?;
        process::pin_to(options.forwarder_core)?;
        let forwarder = Forwarder::start(Kind::Pass, &options.programs, sink.address());
        process::pin_to(options.load_core)?;
        (None, sink, forwarder?)
    };
    let warm_up = Shape { spans: WARM_UP_SPANS, rate: 0, ..options.shape.clone() };
    load::run(forwarder.target(), &warm_up, template, 0).await?;
    let before = forwarder.cpu_time()?;
    let report = load::run(forwarder.target(), &options.shape, template, WARM_UP_SPANS).await?;
    let cpu = forwarder.cpu_time()?.saturating_sub(before);
    let account = sink.account();
    let wrong = if pods.is_some() { account.plain } else { account.enriched };
    if !report.failures.is_empty() || !account.is_exact() || wrong > 0 {
        return Err(format!("{report}; {account}; {wrong} resources are not what they should be").into());
    }
    forwarder.stop()?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let millions = spans as f64 / 1e6;
    Ok(cpu.as_secs_f64() / millions)
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
