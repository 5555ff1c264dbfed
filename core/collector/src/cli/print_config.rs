//! `print-config`: the effective configuration.

use spanbridge_config::to_yaml;
use spanbridge_config::values::reveal;
use spanbridge_service::{Config, Registry};

use super::{Format, Mode, PrintArgs, load, print};
use crate::Error;

/// Prints the configuration with defaults filled in (reference: collector-core, 1.6). Durations are texts in both
/// formats.
pub(super) fn print_config(registry: &Registry, args: PrintArgs) -> Result<(), Error> {
    let document = load(args.sources)?;
    let read = if args.validate { Config::read } else { Config::decode };
    let (config, _) = read(&document, registry).map_err(Error::Config)?;
    let effective = match args.mode {
        Mode::Redacted => config.effective(),
        Mode::Unredacted => reveal(|| config.effective()),
    };
    let effective = effective.map_err(Error::Print)?;
    match args.format {
        Format::Yaml => print(&to_yaml(&effective)),
        Format::Json => print(&format!("{effective:#}\n")),
    }
}
