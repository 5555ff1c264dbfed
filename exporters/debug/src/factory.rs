//! How a configuration becomes a `debug` exporter.

use std::sync::Arc;

use spanbridge_component::{
    BuildError, Descriptor, Exporter, ExporterFactory, Settings, Signal, Stability, Unsupported,
};

use crate::Config;
use crate::config::OLD_NAME;
use crate::exporter::DebugExporter;

/// Makes `debug` exporters, also under their old name `logging`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Factory;

impl ExporterFactory for Factory {
    type Config = Config;

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            type_name: "debug",
            aliases: &[OLD_NAME],
            signals: &[
                (Signal::Traces, Stability::Alpha),
                (Signal::Metrics, Stability::Alpha),
                (Signal::Logs, Stability::Alpha),
            ],
            unsupported: &[Unsupported {
                path: "sending_queue",
                reason: "sending queues come with the delivery release; without one the exporter prints before it \
                         answers, which is the default anyway",
            }],
        }
    }

    fn create(&self, settings: Settings, config: Config) -> Result<Arc<dyn Exporter>, BuildError> {
        let effective = config.effective(settings.id.type_name()).map_err(BuildError)?;
        Ok(Arc::new(DebugExporter::new(&settings, effective)?))
    }
}
