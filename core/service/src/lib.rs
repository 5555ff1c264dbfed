//! The running graph of components, and the telemetry of the process itself.
//!
//! The way of a configuration: [`Config::read`] turns a loaded document and the [`Registry`] of component types into a
//! checked [`Config`]; [`Service::build`] creates the components that its pipelines use; [`Service::start`] starts them
//! downstream first; [`Service::shutdown`] stops them in the order in which telemetry flows, within one bound.

mod books;
pub mod config;
mod graph;
mod registry;
mod service;
mod status;
pub mod telemetry;
#[cfg(test)]
mod testing;

use spanbridge_component::BuildInfo;
use spanbridge_component::telemetry::Telemetry;

pub use books::{Account, Owner};
pub use config::Config;
pub use graph::{
    Changes, CreateError, DEFAULT_SHUTDOWN_TIMEOUT, Failure, ReloadError, ShutdownReport, StartFailure,
};
pub use registry::{Registered, Registry};
pub use service::{Reloaded, Service, ServiceError};
pub use status::Fatal;
pub use telemetry::{LogLayer, Logging, Resource};

/// What every component of a process shares.
#[derive(Debug, Clone)]
pub(crate) struct Environment {
    /// Where components create their metrics.
    pub(crate) telemetry: Telemetry,
    /// About this build.
    pub(crate) build: BuildInfo,
}
