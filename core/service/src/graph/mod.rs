//! The running graph of components: what is created, in which order it starts, and how it stops.

mod build;
mod instance;
mod lifecycle;
#[cfg(test)]
mod tests;
mod topology;

pub use build::CreateError;
pub use lifecycle::{Failure, ShutdownReport, StartFailure};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use spanbridge_component::Extensions;
use tokio_util::sync::CancellationToken;

use crate::Environment;
use crate::config::Config;
use crate::status::StatusBoard;

pub(crate) use instance::Instance;
pub(crate) use topology::Topology;

/// How long the whole shutdown may take unless the command line says otherwise.
pub const DEFAULT_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);

/// Every created component, extensions first, then the pipelines' components downstream first.
pub(crate) struct Graph {
    instances: Vec<Instance>,
    /// How many of `instances` are extensions.
    extensions: usize,
    /// The extensions by id, for those who refer to them.
    running: Extensions,
    /// How many of `instances` have been told to start.
    touched: usize,
    /// Cancelled when the shutdown begins.
    draining: CancellationToken,
}

impl Graph {
    /// Creates the components that the pipelines and `service::extensions` use, and no others.
    pub(crate) fn build(
        config: &Config,
        environment: &Environment,
        board: &StatusBoard,
    ) -> Result<Self, CreateError> {
        let mut instances = Vec::new();
        let mut running = BTreeMap::new();
        for id in config.extensions() {
            if let Some(recipe) = config.components.extensions.get(id) {
                let (extension, instance) = build::extension(recipe.as_ref(), id, environment, board)?;
                running.insert(id.clone(), extension);
                instances.push(instance);
            }
        }
        let extensions = instances.len();
        instances.extend(build::pipelines(config, environment, board)?);
        let draining = CancellationToken::new();
        Ok(Self { instances, extensions, running: Arc::new(running), touched: 0, draining })
    }
}
