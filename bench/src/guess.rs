//! What a client that guesses passwords does to the others.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::spawn_local;

use crate::Outcome;
use crate::door::basic;
use crate::forwarder::{Forwarder, Kind, Programs};
use crate::ledger::Ledger;
use crate::load::{self, Report, Shape};
use crate::process;
use crate::request::{SPANS_PER_REQUEST, Template};
use crate::sink::Sink;
use crate::target::Target;

/// Guesses without an answer; while there are so many, none is made.
const UNANSWERED_MAX: u64 = 1000;
/// Sent and not counted, so that the well-behaved client's password has been seen.
const WARM_UP_SPANS: u64 = 20_000;

/// What is measured, and how.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Wrong passwords a second, each another one, from one address over one connection.
    #[arg(long, default_value_t = 1000)]
    guesses: u32,
    /// Pairs of runs, without and with guesses.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Spans a second of the well-behaved client.
    #[arg(long, default_value_t = 20_000)]
    steady_rate: u64,
    /// The core of the forwarder.
    #[arg(long, default_value_t = 0)]
    forwarder_core: usize,
    /// The core of load, guesses and sink.
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    programs: Programs,
}

/// What the guesser saw.
#[derive(Default)]
struct Guesses {
    made: Cell<u64>,
    refused: Cell<u64>,
    let_in: Cell<u64>,
    unanswered: Cell<u64>,
}

/// Measures the latency of a paced client with and without a guessing one beside it, and prints a table.
///
/// # Errors
/// When the forwarder does not run, a request of the well-behaved client fails, or a wrong password gets in.
pub(crate) async fn run(options: &Options) -> Outcome<()> {
    let template = Rc::new(Template::rich());
    println!(
        "| round | wrong passwords/s | refused | p50 ms | p99 ms | CPU s of the forwarder |\n|---|---|---|---|---|---|"
    );
    let mut ratios = Vec::new();
    for round in 1..=options.rounds {
        let mut p99 = Vec::new();
        for guesses in [0, options.guesses] {
            let (report, seen, cpu) = measure(options, guesses, &template).await?;
            if let Some(failure) = report.failures.first() {
                return Err(format!("the well-behaved client failed: {failure}").into());
            }
            if seen.let_in.get() > 0 {
                return Err(format!("{} wrong passwords were let in", seen.let_in.get()).into());
            }
            p99.push(report.latency(0.99));
            let rate = Duration::from_secs(seen.made.get()).div_duration_f64(report.elapsed);
            println!(
                "| {round} | {rate:.0} | {} | {:.2} | {:.2} | {:.2} |",
                seen.refused.get(),
                report.latency(0.5).as_secs_f64() * 1e3,
                report.latency(0.99).as_secs_f64() * 1e3,
                cpu.as_secs_f64(),
            );
        }
        ratios.push(p99[1].div_duration_f64(p99[0]));
    }
    ratios.sort_unstable_by(f64::total_cmp);
    if let Some(median) = ratios.get(ratios.len() / 2) {
        println!(
            "\np99 with wrong passwords to p99 without: {median:.2} (median of {} rounds, {:.2} to {:.2})",
            ratios.len(),
            ratios[0],
            ratios[ratios.len() - 1],
        );
    }
    Ok(())
}

async fn measure(
    options: &Options,
    guesses: u32,
    template: &Rc<Template>,
) -> Outcome<(Report, Rc<Guesses>, Duration)> {
    let shape = Shape { rate: options.steady_rate, ..options.shape.clone() };
    let spans = WARM_UP_SPANS + shape.spans / SPANS_PER_REQUEST * SPANS_PER_REQUEST;
    let ledger = Ledger::new(template.clone(), spans);
    let sink = Sink::start((Ipv4Addr::LOCALHOST, 0).into(), shape.frame_bytes, ledger).await?;
    process::pin_to(options.forwarder_core)?;
    let forwarder = Forwarder::start(Kind::BasicAuth, &options.programs, sink.address());
    process::pin_to(options.load_core)?;
    let forwarder = forwarder?;
    let warm_up = Shape { spans: WARM_UP_SPANS, rate: 0, ..shape.clone() };
    load::run(forwarder.target(), &warm_up, template, 0).await?;

    let seen = Rc::new(Guesses::default());
    let guesser = spawn_local(guess(forwarder.address(), guesses, seen.clone()));
    let before = forwarder.cpu_time_with_ended_threads()?;
    let report = load::run(forwarder.target(), &shape, template, WARM_UP_SPANS).await?;
    let cpu = forwarder.cpu_time_with_ended_threads()?.saturating_sub(before);
    guesser.abort();
    Ok((report, seen, cpu))
}

/// Guesses at this rate until it is aborted.
async fn guess(address: SocketAddr, rate: u32, seen: Rc<Guesses>) -> Outcome<()> {
    if rate == 0 {
        return Ok(());
    }
    let target = Target::from(address).seen_from(Ipv4Addr::new(127, 0, 0, 2));
    let mut client = target.connect().await?;
    let started = Instant::now();
    for number in 0.. {
        tokio::time::sleep_until((started + Duration::from_secs(1) / rate * number).into()).await;
        if seen.unanswered.get() >= UNANSWERED_MAX {
            continue;
        }
        let Ok(mut ready) = client.clone().ready().await else {
            // The server has had enough of this connection. A guesser comes back.
            client = target.connect().await?;
            continue;
        };
        seen.made.set(seen.made.get() + 1);
        seen.unanswered.set(seen.unanswered.get() + 1);
        let request = target.clone().with_authorization(Some(basic(&format!("guess {number}"))));
        let (answer, mut stream) = ready.send_request(request.export().body(())?, false)?;
        let _ = stream.send_data(Bytes::from_static(&[0; 5]), true);
        let seen = seen.clone();
        spawn_local(async move {
            match answer.await {
                // A refusal has its status in the headers; one that was let in has it behind an empty message.
                Ok(answer) if answer.headers().contains_key("grpc-status") => {
                    seen.refused.set(seen.refused.get() + 1);
                }
                Ok(_) => seen.let_in.set(seen.let_in.get() + 1),
                Err(_) => {}
            }
            seen.unanswered.set(seen.unanswered.get().saturating_sub(1));
        });
    }
    Ok(())
}
