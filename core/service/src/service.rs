//! One run of one configuration.

use std::net::SocketAddr;
use std::time::Duration;

use spanbridge_component::BuildInfo;
use spanbridge_component::telemetry::{Level, Telemetry};

use crate::graph::{CreateError, Graph, ShutdownReport, StartFailure};
use crate::status::{Fatal, StatusBoard};
use crate::telemetry::{Metrics, Resource};
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

/// The components of one configuration, with the endpoints of the process's own metrics.
///
/// Whoever has called [`Service::build`] must call [`Service::shutdown`], also when [`Service::start`] failed.
pub struct Service {
    graph: Graph,
    board: StatusBoard,
    metrics: Metrics,
}

impl Service {
    /// Creates every used component without starting any, to see whether that works.
    ///
    /// # Errors
    /// If a component cannot be made.
    pub fn check(config: &Config, build: BuildInfo) -> Result<(), ServiceError> {
        let telemetry = Telemetry::new(Level::None, prometheus::Registry::new());
        Graph::build(config, &Environment { telemetry, build }, &StatusBoard::new())?;
        Ok(())
    }

    /// Opens the endpoints of the process's own metrics and creates every used component.
    ///
    /// # Errors
    /// If an address is in use or a component cannot be made.
    pub async fn build(config: &Config, resource: &Resource, build: BuildInfo) -> Result<Self, ServiceError> {
        let metrics =
            Metrics::open(&config.telemetry().metrics, resource).await.map_err(ServiceError::Telemetry)?;
        let board = StatusBoard::new();
        let environment = Environment { telemetry: metrics.telemetry().clone(), build };
        let graph = Graph::build(config, &environment, &board)?;
        Ok(Self { graph, board, metrics })
    }

    /// Starts every component, receivers last.
    ///
    /// # Errors
    /// The first component that did not start; those after it were not touched.
    pub async fn start(&mut self) -> Result<(), ServiceError> {
        self.graph.start().await.map_err(ServiceError::Start)
    }

    /// Waits until a running component reports that the process must end.
    pub async fn fatal(&self) -> Fatal {
        self.board.fatal().await
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
