//! Why a run failed.

/// Why a run failed. The messages are for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line asks for what cannot be done.
    #[error("{0}")]
    Usage(String),
    /// The destination did not take an export, and `--allow-export-failures` is not given.
    #[error("cannot export to {endpoint}: {reason}")]
    Export {
        /// The destination, as given.
        endpoint: String,
        /// Its answer, or what kept us from getting one.
        reason: String,
    },
    /// The client could not be made.
    #[error("cannot make a client for {endpoint}: {reason}")]
    Client {
        /// The destination, as given.
        endpoint: String,
        /// What is wrong.
        reason: String,
    },
    /// A worker ended by a fault of ours.
    #[error("a worker failed: {0}")]
    Worker(String),
}
