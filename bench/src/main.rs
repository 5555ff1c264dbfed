//! The measuring rig: how much CPU and memory a forwarder of OTLP/gRPC needs for a million rich spans.
//!
//! `run` puts a forwarder alone on one core, a load and a sink on another, counts every span at both ends, and prints a
//! table in which nginx, proxying the very same bytes, is the yardstick. `load` and `sink` are its two ends by themselves.

#![expect(clippy::print_stdout, reason = "printing is what this program is for")]

mod door;
mod forwarder;
mod grpc;
mod guess;
mod k8s;
mod ledger;
mod load;
mod outage;
mod process;
mod request;
mod run;
mod sink;
mod table;
mod target;

use std::error::Error;
use std::net::SocketAddr;
use std::rc::Rc;

use clap::{Parser, Subcommand};

use crate::ledger::Ledger;
use crate::request::Template;

/// The rig has one way to fail: it says why and ends.
type Outcome<T> = Result<T, Box<dyn Error>>;

#[derive(Parser)]
#[command(about = "Measures forwarders of OTLP/gRPC", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure forwarders, one after the other, and print a table.
    Run(run::Options),
    /// Watch the memory of forwarders whose destination is away while the load goes on.
    Outage(outage::Options),
    /// Measure what a client that guesses passwords does to the latency of another.
    Guess(guess::Options),
    /// Measure what Kubernetes costs: memory by pods, CPU of finding them, time until a new one is known.
    K8s(k8s::Options),
    /// Send rich spans to a target and report how fast it took them.
    Load {
        /// Where the forwarder listens.
        #[arg(long)]
        target: SocketAddr,
        #[command(flatten)]
        shape: load::Shape,
    },
    /// Take spans until all that `load` sends have come, and report what was missing, doubled or changed.
    Sink {
        /// Where to listen.
        #[arg(long, default_value = "127.0.0.1:4327")]
        listen: SocketAddr,
        /// How many spans will come.
        #[arg(long, default_value_t = 1_000_000)]
        spans: u64,
        /// Most bytes of an HTTP/2 frame that it is sent.
        #[arg(long, default_value_t = grpc::GO_FRAME_BYTES)]
        frame_bytes: u32,
    },
}

fn main() -> Outcome<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        match arguments.command {
            Command::Run(options) => run::run(&options).await,
            Command::Outage(options) => outage::run(&options).await,
            Command::Guess(options) => guess::run(&options).await,
            Command::K8s(options) => k8s::run(&options).await,
            Command::Load { target, shape } => {
                let template = Rc::new(Template::rich());
                let report = load::run(&target.into(), &shape, &template, 0).await?;
                println!("{report}");
                Ok(())
            }
            Command::Sink { listen, spans, frame_bytes } => {
                let ledger = Ledger::new(Rc::new(Template::rich()), spans);
                let sink = sink::Sink::start(listen, frame_bytes, ledger).await?;
                println!("listening on {}", sink.address());
                sink.wait_for_all(None).await?;
                println!("{}", sink.account());
                Ok(())
            }
        }
    })
}
