//! The extension's life: reading, watching, swapping.

use std::sync::{Arc, Mutex, PoisonError};

use spanbridge_component::{
    BuildError, ClientAuthenticator, Component, Extension, Host, ServerAuthenticator, Settings,
    ShutdownError, StartError, async_trait,
};
use spanbridge_transport::file_watch::Files;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::Span;

use crate::client::{Client, header_value};
use crate::htpasswd::{Remarks, Table};
use crate::server::Server;
use crate::{ClientAuth, Config, Htpasswd};

/// One of the two roles.
enum Role {
    Server(Htpasswd, Arc<Server>),
    Client(ClientAuth, Arc<Client>),
}

/// A table of users, or credentials, with the files behind them watched.
pub(crate) struct BasicAuth {
    span: Span,
    role: Role,
    watch: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl BasicAuth {
    pub(crate) fn new(settings: &Settings, config: Config) -> Result<Self, BuildError> {
        let role = match (config.htpasswd.into_option(), config.client_auth.into_option()) {
            (Some(htpasswd), None) => {
                let server = Server::new().map_err(|error| BuildError(format!("no randomness: {error}")))?;
                Role::Server(htpasswd, Arc::new(server))
            }
            (None, Some(client)) => Role::Client(client, Arc::new(Client::default())),
            // Validation refuses both.
            _ => return Err(BuildError("needs one of `htpasswd` and `client_auth`".to_owned())),
        };
        Ok(Self { span: settings.span(), role, watch: Mutex::new(None) })
    }

    fn begin(&self) -> Result<Option<AbortOnDropHandle<()>>, StartError> {
        match &self.role {
            Role::Server(config, server) => {
                let files = Files::new(config.file.iter().cloned().collect());
                let (table, remarks) = config.table().map_err(|error| StartError(error.to_string()))?;
                use_table(server, table, &remarks);
                let (config, server) = (config.clone(), server.clone());
                Ok(files.watch(move || read_again(&config, &server)))
            }
            Role::Client(config, client) => {
                let paths = [&config.username_file, &config.password_file];
                let files = Files::new(paths.into_iter().flatten().cloned().collect());
                client.swap(header_value(config).map_err(StartError)?);
                let (config, client) = (config.clone(), client.clone());
                Ok(files.watch(move || match header_value(&config) {
                    Ok(value) => {
                        client.swap(value);
                        tracing::info!("The credentials have changed; new requests use them");
                    }
                    Err(error) => {
                        tracing::error!(
                            error,
                            "The credentials have changed and cannot be used; the last good ones stay in use"
                        );
                    }
                }))
            }
        }
    }
}

fn use_table(server: &Server, table: Table, remarks: &Remarks) {
    for remark in remarks.sentences() {
        tracing::warn!("{remark}");
    }
    let users = table.users();
    server.swap(table);
    tracing::info!(users, "Users were read");
}

fn read_again(config: &Htpasswd, server: &Server) {
    match config.table() {
        Ok((table, remarks)) => use_table(server, table, &remarks),
        Err(error) => tracing::error!(
            %error,
            "The htpasswd file has changed and cannot be used; the last good table stays in use"
        ),
    }
}

#[async_trait]
impl Component for BasicAuth {
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

impl Extension for BasicAuth {
    fn as_server_authenticator(&self) -> Option<Arc<dyn ServerAuthenticator>> {
        match &self.role {
            Role::Server(_, server) => Some(server.clone()),
            Role::Client(..) => None,
        }
    }

    fn as_client_authenticator(&self) -> Option<Arc<dyn ClientAuthenticator>> {
        match &self.role {
            Role::Client(_, client) => Some(client.clone()),
            Role::Server(..) => None,
        }
    }
}
