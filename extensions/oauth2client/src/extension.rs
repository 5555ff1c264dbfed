//! The extension's life: opening, watching the files of the credentials, closing.

use std::sync::{Arc, Mutex, PoisonError};

use spanbridge_component::{
    ClientAuthenticator, Component, Extension, Host, Settings, ShutdownError, StartError, async_trait,
};
use spanbridge_transport::file_watch::Files;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::Span;

use crate::Config;
use crate::endpoint::Endpoint;
use crate::tokens::{Authenticator, Tokens};

/// Tokens, with the files of the credentials watched.
pub(crate) struct OAuth2Client {
    span: Span,
    config: Config,
    tokens: Arc<Tokens>,
    watch: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl OAuth2Client {
    pub(crate) fn new(settings: &Settings, config: Config) -> Self {
        let span = settings.span();
        let tokens = Tokens::new(Endpoint::new(config.clone()), config.expiry_buffer.get(), span.clone());
        Self { span, config, tokens, watch: Mutex::new(None) }
    }

    fn watch(&self) -> Option<AbortOnDropHandle<()>> {
        let paths = [&self.config.client_id_file, &self.config.client_secret_file];
        let files = Files::new(paths.into_iter().flatten().cloned().collect());
        let tokens = self.tokens.clone();
        files.watch(move || {
            tokens.forget();
            tracing::info!(
                "The client's credentials have changed; the next request fetches a token with them"
            );
        })
    }
}

#[async_trait]
impl Component for OAuth2Client {
    async fn start(&self, host: Host) -> Result<(), StartError> {
        self.tokens.open(host);
        let watch = self.span.in_scope(|| self.watch());
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
        self.tokens.close().await;
        Ok(())
    }
}

impl Extension for OAuth2Client {
    fn as_client_authenticator(&self) -> Option<Arc<dyn ClientAuthenticator>> {
        Some(Arc::new(Authenticator(self.tokens.clone())))
    }
}
