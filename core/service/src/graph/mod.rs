//! The running graph of components: what is created, in which order it starts, how it changes, and how it stops.

mod diff;
mod entry;
mod exchange;
mod gate;
mod heirs;
mod instance;
mod key;
mod layout;
mod lifecycle;
mod node;
mod plan;
mod reload;
#[cfg(test)]
mod tests;
mod topology;

pub use layout::CreateError;
pub use lifecycle::{Failure, ShutdownReport, StartFailure};
pub use reload::{Changes, ReloadError};

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Environment;
use crate::books::Books;
use crate::config::Config;
use crate::status::StatusBoard;

pub(crate) use key::Key;
pub(crate) use topology::Topology;

use heirs::Heirs;
use layout::{Entries, Layout, Nodes};
use node::Node;

/// How long the whole shutdown may take unless the command line says otherwise.
pub const DEFAULT_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);

/// The components of the configuration that is in force, and what the last ones left behind.
pub(crate) struct Graph {
    layout: Layout,
    shared: Shared,
    /// Components that reloads took out and that still end.
    winding: JoinSet<Vec<Failure>>,
    /// Cancelled when those can not be waited for any longer.
    abandoned: CancellationToken,
    /// Who gets what those hold.
    heirs: Heirs,
}

/// What every component of the process shares.
pub(crate) struct Shared {
    environment: Environment,
    board: StatusBoard,
    books: Books,
    /// Cancelled when the shutdown of the process begins.
    draining: CancellationToken,
}

impl Graph {
    /// Creates the components that the pipelines and `service::extensions` use, and no others.
    pub(crate) fn build(
        config: Config,
        environment: Environment,
        board: &StatusBoard,
        books: Books,
    ) -> Result<Self, CreateError> {
        let draining = CancellationToken::new();
        let heirs = Heirs::new(books.clone());
        let shared = Shared { environment, board: board.clone(), books, draining };
        let layout = Layout::build(Arc::new(config), &shared, &Nodes::new(), &Entries::new())?;
        layout.connect(&gate::Gates::default());
        Ok(Self { layout, shared, winding: JoinSet::new(), abandoned: CancellationToken::new(), heirs })
    }
}
