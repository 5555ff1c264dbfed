//! One run of one configuration.

use std::time::Duration;

use spanbridge_config::{Diagnostic, Document, ProcessEnvironment, Sources};
use spanbridge_service::{Config, Fatal, Logging, Registry, Resource, Service, ServiceError};
use tokio_util::sync::CancellationToken;

use crate::{BUILD, Error};

/// What to run, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the configuration comes from.
    pub sources: Sources,
    /// Longest time that stopping may take.
    pub shutdown_timeout: Duration,
}

/// Why a running service stops.
enum Stop {
    /// Somebody asked for it.
    Requested,
    /// A component cannot go on.
    Fatal(Fatal),
}

/// Loads the configuration, runs its components until `shutdown` fires or one of them cannot go on, and stops them.
///
/// # Errors
/// Whatever was wrong with the configuration, its start, its run or its end.
pub async fn run(
    registry: &Registry,
    options: Options,
    logging: &Logging,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let Some(document) = shutdown.run_until_cancelled(load(options.sources)).await.transpose()? else {
        return Ok(());
    };
    let (config, warnings) = Config::read(&document, registry).map_err(Error::Config)?;
    let resource = Resource::new(&config.telemetry().resource, BUILD);
    logging.install(&config.telemetry().logs, &resource).map_err(Error::Logging)?;
    document.warnings().iter().chain(warnings.iter()).for_each(log_warning);
    // What the configuration was read from is not needed any more.
    drop((document, warnings));

    let mut service = Service::build(&config, &resource, BUILD).await.inspect_err(log_start_error)?;
    drop(config);
    tracing::info!(Version = BUILD.version, NumCPU = cpus(), "Starting {}...", BUILD.command);
    let started = shutdown.run_until_cancelled(service.start()).await;
    let outcome = match started {
        Some(Ok(())) => {
            tracing::info!("Everything is ready. Begin running and processing data.");
            Ok(until_stop(&service, &shutdown).await)
        }
        Some(Err(error)) => {
            log_start_error(&error);
            Err(error)
        }
        None => Ok(Stop::Requested),
    };
    tracing::info!("Starting shutdown...");
    let report = service.shutdown(options.shutdown_timeout).await;
    tracing::info!("Shutdown complete.");
    match outcome? {
        Stop::Fatal(fatal) => Err(Error::Fatal(fatal)),
        Stop::Requested if report.is_clean() => Ok(()),
        Stop::Requested => Err(Error::Shutdown(report.failures.len())),
    }
}

/// Loads the document on a thread for blocking work.
async fn load(sources: Sources) -> Result<Document, Error> {
    let loading = tokio::task::spawn_blocking(move || spanbridge_config::load(&sources, &ProcessEnvironment));
    match loading.await {
        Ok(loaded) => loaded.map_err(Error::Config),
        Err(error) => Err(Error::Internal(format!("loading the configuration failed: {error}"))),
    }
}

async fn until_stop(service: &Service, shutdown: &CancellationToken) -> Stop {
    tokio::select! {
        () = shutdown.cancelled() => Stop::Requested,
        fatal = service.fatal() => {
            tracing::error!(
                error = %fatal.message,
                otelcol.component.id = %fatal.id,
                otelcol.component.kind = fatal.kind.name(),
                "Asynchronous error received, terminating process"
            );
            Stop::Fatal(fatal)
        }
    }
}

fn log_start_error(error: &ServiceError) {
    tracing::error!(%error, "error found during service initialization");
}

fn log_warning(warning: &Diagnostic) {
    let location = warning.location.as_ref().map(|location| {
        let start = location.span.start;
        format!("{}:{}:{}", location.source.name(), start.line, start.column)
    });
    tracing::warn!(path = warning.path, location, help = warning.help, "{}", warning.message);
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
