//! How a configuration becomes a `nop` exporter.

use std::sync::Arc;

use spanbridge_component::{BuildError, Descriptor, Exporter, ExporterFactory, Settings, Signal, Stability};

use crate::Config;
use crate::exporter::NopExporter;

/// Makes `nop` exporters.
#[derive(Debug, Clone, Copy, Default)]
pub struct Factory;

impl ExporterFactory for Factory {
    type Config = Config;

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            type_name: "nop",
            aliases: &[],
            signals: &[
                (Signal::Traces, Stability::Beta),
                (Signal::Metrics, Stability::Beta),
                (Signal::Logs, Stability::Beta),
            ],
            unsupported: &[],
        }
    }

    fn create(&self, _: Settings, _: Config) -> Result<Arc<dyn Exporter>, BuildError> {
        Ok(Arc::new(NopExporter))
    }
}

#[cfg(test)]
mod tests {
    use spanbridge_testkit::conformance::Subject;

    use super::*;

    spanbridge_testkit::component_conformance!(Config, Subject::exporter(Factory, Config::default()));
}
