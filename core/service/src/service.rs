//! One run of one configuration.

use std::net::SocketAddr;
use std::time::Duration;

use spanbridge_component::BuildInfo;
use spanbridge_component::telemetry::{Level, Telemetry};

use crate::books::Books;
use crate::graph::{Changes, CreateError, Graph, ReloadError, ShutdownReport, StartFailure};
use crate::status::{Fatal, StatusBoard};
use crate::telemetry::{self, Metrics, Resource, logs};
use crate::{Config, Environment};

/// Why a configuration without errors could not be brought to life.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A component could not be made.
    #[error("failed to build pipelines: {0}")]
    Create(#[from] CreateError),
    /// A component did not start.
    #[error("cannot start pipelines: {0}")]
    Start(#[from] StartFailure),
    /// The process's own telemetry could not be set up.
    #[error("failed to create telemetry: {0}")]
    Telemetry(String),
}

/// What came of a reload.
#[derive(Debug)]
pub struct Reloaded {
    /// Which components changed.
    pub changes: Changes,
    /// The configuration of the logs, if it changed: whoever owns the logger applies it.
    pub logs: Option<logs::Config>,
    /// What changed, and takes a restart to come into force.
    pub needs_restart: Vec<&'static str>,
}

/// The components of one configuration, with the endpoints of the process's own metrics.
///
/// Whoever has called [`Service::build`] must call [`Service::shutdown`], also when [`Service::start`] failed.
pub struct Service {
    graph: Graph,
    board: StatusBoard,
    metrics: Metrics,
    /// The process's own telemetry as it is set up.
    applied: telemetry::Config,
}

impl Service {
    /// Creates every used component without starting any, to see whether that works.
    ///
    /// # Errors
    /// If a component cannot be made.
    pub fn check(config: Config, build: BuildInfo) -> Result<(), ServiceError> {
        let telemetry = Telemetry::new(Level::None, prometheus::Registry::new());
        Graph::build(config, Environment { telemetry, build }, &StatusBoard::new(), Books::default())?;
        Ok(())
    }

    /// Opens the endpoints of the process's own metrics and creates every used component.
    ///
    /// # Errors
    /// If an address is in use or a component cannot be made.
    pub async fn build(config: Config, resource: &Resource, build: BuildInfo) -> Result<Self, ServiceError> {
        let applied = config.telemetry().clone();
        let metrics = Metrics::open(&applied.metrics, resource).await.map_err(ServiceError::Telemetry)?;
        let books = Books::default();
        let failed = |error: prometheus::Error| format!("cannot register metrics: {error}");
        books.register(metrics.telemetry()).map_err(|error| ServiceError::Telemetry(failed(error)))?;
        let board = StatusBoard::new();
        let environment = Environment { telemetry: metrics.telemetry().clone(), build };
        let graph = Graph::build(config, environment, &board, books)?;
        Ok(Self { graph, board, metrics, applied })
    }

    /// Starts every component, receivers last.
    ///
    /// # Errors
    /// The first component that did not start; those after it were not touched.
    pub async fn start(&mut self) -> Result<(), ServiceError> {
        self.graph.start().await.map_err(ServiceError::Start)
    }

    /// Goes over to `config` while telemetry flows: what is the same in both configurations is not touched, so unchanged
    /// receivers keep their sockets and connections, unchanged processors what they gather, unchanged exporters their
    /// queues. `timeout` bounds how long components that go may take to finish.
    ///
    /// Not cancel safe: whoever begins this waits for its end, which is bounded.
    ///
    /// # Errors
    /// See [`ReloadError`]; unless it is [`ReloadError::Broken`], the former configuration is in force.
    pub async fn reload(&mut self, config: Config, timeout: Duration) -> Result<Reloaded, ReloadError> {
        let new = config.telemetry();
        let parts = [
            ("service::telemetry::metrics", new.metrics != self.applied.metrics),
            ("service::telemetry::resource", new.resource != self.applied.resource),
        ];
        let needs_restart = parts.into_iter().filter(|(_, differs)| *differs).map(|(part, _)| part).collect();
        let logs = (new.logs != self.applied.logs).then(|| new.logs.clone());
        let changes = self.graph.reload(config, timeout).await?;
        if let Some(logs) = &logs {
            self.applied.logs = logs.clone();
        }
        Ok(Reloaded { changes, logs, needs_restart })
    }

    /// Waits until a running component reports that the process must end.
    pub fn fatal(&self) -> impl Future<Output = Fatal> + Send + use<> {
        let board = self.board.clone();
        async move { board.fatal().await }
    }

    /// The bound addresses of the process's own metrics.
    pub fn metrics_addresses(&self) -> &[SocketAddr] {
        self.metrics.addresses()
    }

    /// Stops everything that was started, receivers first, within `timeout` and half a second a stage for components
    /// that ignore their deadline. What failed is logged, and returned.
    pub async fn shutdown(mut self, timeout: Duration) -> ShutdownReport {
        let report = self.graph.shutdown(timeout).await;
        self.metrics.close().await;
        report
    }
}
