//! Reads the configuration again and hands it to the running service.

use spanbridge_service::{Changes, Config, Logging, Registry, ReloadError, Reloaded, Resource, Service};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::run::{load, log_diagnostic};
use crate::watch::watch;
use crate::{Control, Error, Options};

/// What a reload needs beside the service.
pub(crate) struct Reloader<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) options: &'a Options,
    pub(crate) logging: &'a Logging,
    pub(crate) resource: &'a Resource,
}

impl Reloader<'_> {
    /// Watches the configuration files, if that is asked for, until what this returns is dropped.
    pub(crate) fn watch(&self, control: &Control) -> Option<AbortOnDropHandle<()>> {
        let files = self.options.sources.files();
        if self.options.watch && files.is_empty() {
            tracing::warn!("There are no files to watch: the configuration comes from elsewhere");
        }
        (self.options.watch && !files.is_empty())
            .then(|| AbortOnDropHandle::new(tokio::spawn(watch(files, control.clone()))))
    }

    /// Reads the configuration from the same sources and goes over to it. What is wrong is logged, and changes nothing.
    ///
    /// # Errors
    /// Only if the service cannot go on.
    pub(crate) async fn reload(
        &self,
        service: &mut Service,
        shutdown: &CancellationToken,
    ) -> Result<(), ReloadError> {
        tracing::info!("Reloading the configuration...");
        // Only reading it may take long and may be given up: the change itself is bounded.
        let Some(read) = shutdown.run_until_cancelled(self.read()).await else { return Ok(()) };
        let Some(config) = read else {
            tracing::error!("The new configuration is refused; the running one stays in force");
            return Ok(());
        };
        match service.reload(config, self.options.shutdown_timeout).await {
            Ok(reloaded) => {
                self.apply_telemetry(&reloaded);
                log_changes(&reloaded.changes);
                Ok(())
            }
            Err(error @ (ReloadError::Create(_) | ReloadError::Start(_))) => {
                tracing::error!(
                    %error,
                    "The new configuration does not start; the former one is in force"
                );
                Ok(())
            }
            Err(error @ ReloadError::Broken { .. }) => {
                tracing::error!(%error, "The configuration cannot be reloaded, terminating process");
                Err(error)
            }
        }
    }

    /// The new configuration; `None` if anything is wrong with it, all of which is logged.
    async fn read(&self) -> Option<Config> {
        let document = match load(&self.options.sources).await {
            Ok(document) => document,
            Err(Error::Config(found)) => {
                found.iter().for_each(log_diagnostic);
                return None;
            }
            Err(error) => {
                tracing::error!("{}", error.to_string().trim_end());
                return None;
            }
        };
        document.warnings().iter().for_each(log_diagnostic);
        match Config::read(&document, self.registry) {
            Ok((config, warnings)) => {
                warnings.iter().for_each(log_diagnostic);
                Some(config)
            }
            Err(found) => {
                found.iter().for_each(log_diagnostic);
                None
            }
        }
    }

    fn apply_telemetry(&self, reloaded: &Reloaded) {
        if let Some(logs) = &reloaded.logs
            && let Err(error) = self.logging.install(logs, self.resource)
        {
            tracing::error!(error, "service::telemetry::logs is not applied; the logs go on as before");
        }
        for part in &reloaded.needs_restart {
            tracing::warn!("A change of {part} is not applied: it takes a restart of the process");
        }
    }
}

fn log_changes(changes: &Changes) {
    let list = |names: &[String]| (!names.is_empty()).then(|| names.join(", "));
    tracing::info!(
        added = list(&changes.added),
        replaced = list(&changes.replaced),
        removed = list(&changes.removed),
        unchanged = changes.unchanged,
        "The new configuration is in force"
    );
}
