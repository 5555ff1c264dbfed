//! One run of one configuration.

use std::pin::pin;
use std::time::Duration;

use spanbridge_config::{Diagnostic, Document, ProcessEnvironment, Sources};
use spanbridge_service::{Config, Fatal, Logging, Registry, ReloadError, Resource, Service, ServiceError};

use crate::reload::Reloader;
use crate::{BUILD, Control, Error};

/// What to run, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the configuration comes from.
    pub sources: Sources,
    /// Longest time that stopping may take.
    pub shutdown_timeout: Duration,
    /// Whether to reload when a configuration file changes.
    pub watch: bool,
}

/// Why a running service stops.
enum Stop {
    /// Somebody asked for it.
    Requested,
    /// A component cannot go on.
    Fatal(Fatal),
    /// A reload failed in a way that left the graph in pieces.
    Broken(ReloadError),
}

/// Loads the configuration, runs its components until `control` asks to stop or one of them cannot go on, and stops them.
/// Reloads the configuration whenever `control` asks for it.
///
/// # Errors
/// Whatever was wrong with the configuration, its start, its run or its end.
pub async fn run(
    registry: &Registry,
    options: Options,
    logging: &Logging,
    control: Control,
) -> Result<(), Error> {
    let shutdown = control.shutdown();
    let Some(loaded) = shutdown.run_until_cancelled(load(&options.sources)).await else { return Ok(()) };
    let document = loaded?;
    let (config, warnings) = Config::read(&document, registry).map_err(Error::Config)?;
    let resource = Resource::new(&config.telemetry().resource, BUILD);
    logging.install(&config.telemetry().logs, &resource).map_err(Error::Logging)?;
    document.warnings().iter().chain(warnings.iter()).for_each(log_diagnostic);
    // What the configuration was read from is not needed any more.
    drop((document, warnings));

    let mut service = Service::build(config, &resource, BUILD).await.inspect_err(log_start_error)?;
    tracing::info!(Version = BUILD.version, NumCPU = cpus(), "Starting {}...", BUILD.command);
    let started = shutdown.run_until_cancelled(service.start()).await;
    let outcome = match started {
        Some(Ok(())) => {
            tracing::info!("Everything is ready. Begin running and processing data.");
            let reloader = Reloader { registry, options: &options, logging, resource: &resource };
            let watching = reloader.watch(&control);
            let stop = until_stop(&mut service, &control, &reloader).await;
            drop(watching);
            Ok(stop)
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
        Stop::Broken(error) => Err(Error::Reload(error)),
        Stop::Requested if report.is_clean() => Ok(()),
        Stop::Requested => Err(Error::Shutdown(report.failures.len())),
    }
}

/// Loads the document on a thread for blocking work.
pub(crate) async fn load(sources: &Sources) -> Result<Document, Error> {
    let sources = sources.clone();
    let loading = tokio::task::spawn_blocking(move || spanbridge_config::load(&sources, &ProcessEnvironment));
    match loading.await {
        Ok(loaded) => loaded.map_err(Error::Config),
        Err(error) => Err(Error::Internal(format!("loading the configuration failed: {error}"))),
    }
}

async fn until_stop(service: &mut Service, control: &Control, reloader: &Reloader<'_>) -> Stop {
    let fatal = service.fatal();
    let mut fatal = pin!(fatal);
    loop {
        tokio::select! {
            biased;
            () = control.shutdown().cancelled() => return Stop::Requested,
            fatal = &mut fatal => {
                tracing::error!(
                    error = %fatal.message,
                    otelcol.component.id = %fatal.id,
                    otelcol.component.kind = fatal.kind.name(),
                    "Asynchronous error received, terminating process"
                );
                return Stop::Fatal(fatal);
            }
            () = control.reload_asked() => {
                if let Err(error) = reloader.reload(service, control.shutdown()).await {
                    return Stop::Broken(error);
                }
            }
        }
    }
}

fn log_start_error(error: &ServiceError) {
    tracing::error!(%error, "error found during service initialization");
}

/// Logs something wrong with the configuration, at its level.
pub(crate) fn log_diagnostic(found: &Diagnostic) {
    let location = found.location.as_ref().map(|location| {
        let start = location.span.start;
        format!("{}:{}:{}", location.source.name(), start.line, start.column)
    });
    if found.is_error() {
        tracing::error!(path = found.path, location, help = found.help, "{}", found.message);
    } else {
        tracing::warn!(path = found.path, location, help = found.help, "{}", found.message);
    }
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
