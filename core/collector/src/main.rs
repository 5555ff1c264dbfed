//! The program: the process around the library. Nothing else exits.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use mimalloc::MiMalloc;
use spanbridge::{BUILD, Cli, Control, Error, Signals};
use spanbridge_service::Logging;
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::layer::SubscriberExt;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Time that tasks have to notice the end of the runtime; everything that matters has ended before.
const RUNTIME_SHUTDOWN_MAX: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    keep_pages_small();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are errors to clap, too; they print to standard output.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    let (logging, layer) = Logging::new();
    // The only subscriber of the process, so nobody can have set one.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer));
    log_panics();
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            return failed(&Error::Internal(format!("cannot start the runtime: {error}")), &logging);
        }
    };
    let outcome = runtime.block_on(execute(cli, logging.clone()));
    runtime.shutdown_timeout(RUNTIME_SHUTDOWN_MAX);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error, &logging),
    }
}

/// Asks for no huge pages: with them an idle collector holds ten times the memory, and a busy one is no faster (ADR 012).
#[cfg(target_os = "linux")]
fn keep_pages_small() {
    // A sandbox may forbid it; it costs memory, nothing else.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

#[cfg(not(target_os = "linux"))]
fn keep_pages_small() {}

/// Runs the command line until it is done, or until a second signal asks to end at once.
async fn execute(cli: Cli, logging: Logging) -> Result<(), Error> {
    let signals =
        Signals::listen().map_err(|error| Error::Internal(format!("cannot listen to signals: {error}")))?;
    let control = Control::new();
    tokio::select! {
        outcome = cli.execute(logging, control.clone()) => outcome,
        () = signals.until_forced(control) => {
            Err(Error::Internal("ended by a second signal before the shutdown was complete".into()))
        }
    }
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().thread_name(format!("{}-worker", BUILD.command)).enable_all().build()
}

/// Sends panics to the log: a panic ends only the task it happens in, and standard error may be nobody's to read.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        tracing::error!(location, "A task panicked: {}", text.unwrap_or("no message"));
    }));
}

fn failed(error: &Error, logging: &Logging) -> ExitCode {
    logging.give_up();
    let _ = io::stderr().write_all(error.to_string().as_bytes());
    ExitCode::FAILURE
}
