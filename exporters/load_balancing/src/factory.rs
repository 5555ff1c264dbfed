//! How a configuration becomes a `load_balancing` exporter.

use std::sync::Arc;

use spanbridge_component::{BuildError, Descriptor, Exporter, ExporterFactory, Settings, Signal, Stability};
use spanbridge_exporterhelper::ExporterHelper;

use crate::Config;
use crate::config::UNSUPPORTED;
use crate::exporter::BalancingSender;

/// Makes `load_balancing` exporters, also under their former name `loadbalancing`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Factory;

impl ExporterFactory for Factory {
    type Config = Config;

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            type_name: "load_balancing",
            aliases: &["loadbalancing"],
            signals: &[
                (Signal::Traces, Stability::Beta),
                (Signal::Metrics, Stability::Development),
                (Signal::Logs, Stability::Beta),
            ],
            unsupported: &UNSUPPORTED,
        }
    }

    fn create(&self, settings: Settings, config: Config) -> Result<Arc<dyn Exporter>, BuildError> {
        let helper = config.helper.clone();
        let sender = BalancingSender::new(&settings, config)?;
        ExporterHelper::new(settings, helper, sender)
    }
}
