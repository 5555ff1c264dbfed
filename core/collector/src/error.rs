//! Why the program ends with exit code 1.

use std::io;

use spanbridge_config::Diagnostics;
use spanbridge_service::{Fatal, ReloadError, ServiceError};

/// Why the program ends with exit code 1.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line asks for what cannot be done.
    #[error("Error: {0}\n")]
    Usage(String),
    /// The configuration is wrong; prints every finding with its place.
    #[error("{0}")]
    Config(Diagnostics),
    /// The logger could not be set up.
    #[error("Error: failed to create logger: {0}\n")]
    Logging(String),
    /// The components could not be created or started.
    #[error("Error: {0}\n")]
    Service(#[from] ServiceError),
    /// A running component reported that the process must end.
    #[error("Error: \"{id}\" {kind}: {message}\n", id = .0.id, kind = .0.kind, message = .0.message)]
    Fatal(Fatal),
    /// A reload failed, and what it had stopped could not be brought back.
    #[error("Error: cannot reload the configuration: {0}\n")]
    Reload(ReloadError),
    /// Components did not stop as they should; the log says which and why.
    #[error("Error: {0} of the components did not stop cleanly; see the log\n")]
    Shutdown(usize),
    /// The load generator failed.
    #[error("Error: {0}\n")]
    Telemetrygen(spanbridge_telemetrygen::Error),
    /// Standard output could not be written to.
    #[error("Error: cannot write to standard output: {0}\n")]
    Output(io::Error),
    /// The effective configuration could not be printed.
    #[error("Error: cannot print the configuration: {0}\n")]
    Print(serde_json::Error),
    /// A task of the program itself failed.
    #[error("Error: {0}\n")]
    Internal(String),
}
