//! Memory while the destination is away and the load goes on.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::forwarder::{Forwarder, Kind, Programs};
use crate::load::{self, Report, Shape};
use crate::process;
use crate::request::Template;

/// Between two looks at the resident memory.
const SAMPLE: Duration = Duration::from_millis(100);

/// What is watched, and how.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// The forwarders, in this order.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["memory-limited", "disk-limited"])]
    forwarders: Vec<Kind>,
    /// The core of the forwarder.
    #[arg(long, default_value_t = 0)]
    forwarder_core: usize,
    /// The core of the load.
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    programs: Programs,
}

/// Resident memory over time, in bytes.
#[derive(Debug, Default)]
struct Memory {
    /// Before the load.
    idle: u64,
    /// A quarter, a half, three quarters and all of the samples.
    quarters: [u64; 4],
    /// The kernel's high-water mark.
    peak: u64,
}

/// Watches each forwarder and prints a table.
///
/// # Errors
/// When a forwarder does not run.
pub(crate) async fn run(options: &Options) -> Outcome<()> {
    let template = Rc::new(Template::rich());
    println!(
        "| forwarder, destination away | spans offered | acknowledged | refused | idle RSS MiB | at 25% | 50% | 75% | end | \
         peak |\n|---|---|---|---|---|---|---|---|---|---|"
    );
    for kind in &options.forwarders {
        let (report, memory) = watch(options, *kind, &template).await?;
        let mebibytes = |bytes: u64| bytes / (1 << 20);
        let [first, second, third, last] = memory.quarters.map(mebibytes);
        println!(
            "| {} | {} | {} | {} | {} | {first} | {second} | {third} | {last} | {} |",
            kind.title(),
            options.shape.spans,
            report.acknowledged,
            options.shape.spans.saturating_sub(report.acknowledged),
            mebibytes(memory.idle),
            mebibytes(memory.peak),
        );
        if let Some(first) = report.failures.first() {
            println!("\nrefused with: {first}\n");
        }
    }
    Ok(())
}

async fn watch(options: &Options, kind: Kind, template: &Rc<Template>) -> Outcome<(Report, Memory)> {
    process::pin_to(options.forwarder_core)?;
    let forwarder = Forwarder::start(kind, &options.programs, nobody()?);
    process::pin_to(options.load_core)?;
    let forwarder = forwarder?;
    let mut memory = Memory { idle: forwarder.resident_bytes()?, ..Memory::default() };
    let mut samples = Vec::new();
    let started = Instant::now();
    let report = {
        let mut load = std::pin::pin!(load::run(forwarder.target(), &options.shape, template, 0));
        loop {
            match tokio::time::timeout(SAMPLE, &mut load).await {
                Ok(report) => break report?,
                Err(_) => samples.push(forwarder.resident_bytes()?),
            }
        }
    };
    println!("\n{} took {:.1?}: {report}\n", kind.title(), started.elapsed());
    for (quarter, bytes) in memory.quarters.iter_mut().enumerate() {
        let index = (samples.len() * (quarter + 1) / 4).saturating_sub(1);
        *bytes = samples.get(index).copied().unwrap_or_default();
    }
    memory.peak = forwarder.peak_resident_bytes()?;
    Ok((report, memory))
}

/// An address where nobody listens.
fn nobody() -> Outcome<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
