//! The extension's life: reading, watching, swapping.

use std::sync::{Arc, Mutex, PoisonError};

use spanbridge_component::{
    ClientAuthenticator, Component, Extension, Host, ServerAuthenticator, Settings, ShutdownError,
    StartError, async_trait,
};
use spanbridge_transport::file_watch::Files;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::Span;

use crate::Config;
use crate::tokens::Current;

/// Tokens, with the file behind them watched.
pub(crate) struct BearerTokenAuth {
    span: Span,
    config: Config,
    tokens: Arc<Current>,
    watch: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl BearerTokenAuth {
    pub(crate) fn new(settings: &Settings, config: Config) -> Self {
        Self { span: settings.span(), config, tokens: Arc::default(), watch: Mutex::new(None) }
    }

    fn begin(&self) -> Result<Option<AbortOnDropHandle<()>>, StartError> {
        let files = Files::new(self.config.filename.iter().cloned().collect());
        self.tokens.swap(self.config.read().map_err(StartError)?);
        let (config, tokens) = (self.config.clone(), self.tokens.clone());
        Ok(files.watch(move || match config.read() {
            Ok(read) => {
                tokens.swap(read);
                tracing::info!("The tokens have changed; new requests use them");
            }
            Err(error) => {
                tracing::error!(
                    error,
                    "The tokens have changed and cannot be used; the last good ones stay in use"
                );
            }
        }))
    }
}

#[async_trait]
impl Component for BearerTokenAuth {
    async fn start(&self, _: Host) -> Result<(), StartError> {
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

impl Extension for BearerTokenAuth {
    fn as_server_authenticator(&self) -> Option<Arc<dyn ServerAuthenticator>> {
        Some(self.tokens.clone())
    }

    fn as_client_authenticator(&self) -> Option<Arc<dyn ClientAuthenticator>> {
        Some(self.tokens.clone())
    }
}
