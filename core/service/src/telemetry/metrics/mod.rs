//! The process's own metrics, read by Prometheus (reference: collector-core, 14.1).

mod config;
mod process;
mod server;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use prometheus::Registry;
use spanbridge_component::telemetry::{Level, Telemetry};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use config::any_case_level;
pub use config::{Config, Prometheus, Pull, PullExporter, Reader};

use super::Resource;
use server::{HandlerErrors, Server};

/// The running endpoints and what they serve. Dropping it closes them.
pub(crate) struct Metrics {
    telemetry: Telemetry,
    addresses: Vec<SocketAddr>,
    stop: CancellationToken,
    servers: JoinSet<()>,
}

impl Metrics {
    /// Opens every endpoint of `config` and serves what is registered from now on.
    ///
    /// # Errors
    /// If an address cannot be bound; the text names it.
    pub(crate) async fn open(config: &Config, resource: &Resource) -> Result<Self, String> {
        let registry = Registry::new();
        let telemetry = Telemetry::new(config.level, registry.clone());
        let mut metrics = Self {
            telemetry,
            addresses: Vec::new(),
            stop: CancellationToken::new(),
            servers: JoinSet::new(),
        };
        if config.level == Level::None {
            tracing::info!("Internal metrics telemetry disabled");
            return Ok(metrics);
        }
        let failed = |error: prometheus::Error| format!("cannot register metrics: {error}");
        process::register(&registry, resource).map_err(failed)?;
        let errors = HandlerErrors::register(&registry).map_err(failed)?;
        for (host, port) in config.endpoints() {
            let server = Server::bind(&host, port).await?;
            tracing::info!(endpoint = %server.address(), "Serving internal metrics");
            metrics.addresses.push(server.address());
            metrics.servers.spawn(server.serve(registry.clone(), errors.clone(), metrics.stop.clone()));
        }
        Ok(metrics)
    }

    /// Where components create their metrics.
    pub(crate) fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// The bound addresses, in the order of the readers.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Closes every endpoint.
    pub(crate) async fn close(mut self) {
        self.stop.cancel();
        while self.servers.join_next().await.is_some() {}
    }
}
