//! The Spanbridge collector as a library: everything but the process.
//!
//! [`run`] is one run of one configuration. [`Cli`] is the command line, which `main.rs` hands over to the operating
//! system; nothing here exits.

mod cli;
mod control;
mod error;
mod gates;
mod registry;
mod reload;
mod run;
mod signals;
mod watch;

use spanbridge_component::BuildInfo;

pub use cli::Cli;
pub use control::Control;
pub use error::Error;
pub use registry::registry;
pub use run::{Options, run};
pub use signals::Signals;

/// About this build.
pub const BUILD: BuildInfo = BuildInfo {
    command: "spanbridge",
    // Exporters introduce themselves by it: `user-agent: Spanbridge Collector/<version> (<os>/<arch>)`.
    description: "Spanbridge Collector",
    version: env!("CARGO_PKG_VERSION"),
};
