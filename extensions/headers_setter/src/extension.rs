//! The extension's life: reading, watching, finding the authenticator before it.

use std::sync::{Arc, Mutex, PoisonError};

use spanbridge_component::{
    ClientAuthenticator, Component, Extension, Host, Settings, ShutdownError, StartError, async_trait,
};
use spanbridge_transport::file_watch::Files;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::Span;

use crate::Config;
use crate::action::HeadersSetter;

/// Sets headers, with the files behind them watched.
pub(crate) struct HeadersSetterExtension {
    span: Span,
    config: Config,
    setter: Arc<HeadersSetter>,
    watch: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl HeadersSetterExtension {
    pub(crate) fn new(settings: &Settings, config: Config) -> Self {
        let setter = Arc::new(HeadersSetter::new(&config));
        Self { span: settings.span(), config, setter, watch: Mutex::new(None) }
    }

    fn begin(&self) -> Result<Option<AbortOnDropHandle<()>>, StartError> {
        let paths = self.config.headers.iter().filter_map(|header| header.value_file.clone());
        let files = Files::new(paths.collect());
        self.setter.read_files().map_err(StartError)?;
        let setter = self.setter.clone();
        Ok(files.watch(move || match setter.read_files() {
            Ok(()) => tracing::info!("A header's value has changed; new requests use it"),
            Err(error) => tracing::error!(
                error,
                "A header's value has changed and cannot be used; the last good ones stay in use"
            ),
        }))
    }
}

#[async_trait]
impl Component for HeadersSetterExtension {
    async fn start(&self, host: Host) -> Result<(), StartError> {
        if let (Some(id), Some(additional)) = (&self.config.additional_auth, &self.setter.additional) {
            // A second start is the service's mistake; what was found first stays.
            let _ = additional.set(host.grpc_client_authenticator(id)?);
        }
        let watch = self.span.in_scope(|| self.begin())?;
        *self.watch.lock().unwrap_or_else(PoisonError::into_inner) = watch;
        Ok(())
    }

    async fn shutdown(&self, _: Instant) -> Result<(), ShutdownError> {
        let watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(watch) = watch {
            watch.abort();
            // Ends at its next await; it does nothing but await.
            let _ = watch.await;
        }
        Ok(())
    }
}

impl Extension for HeadersSetterExtension {
    fn as_client_authenticator(&self) -> Option<Arc<dyn ClientAuthenticator>> {
        Some(self.setter.clone())
    }
}
