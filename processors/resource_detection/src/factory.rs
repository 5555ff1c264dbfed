//! How a configuration becomes a `resource_detection` processor.

use std::sync::Arc;

use spanbridge_component::{
    BuildError, Consumer, Descriptor, Processor, ProcessorFactory, Settings, Signal, Stability,
};

use crate::Config;
use crate::config::UNSUPPORTED;
use crate::processor::ResourceDetectionProcessor;

/// Makes `resource_detection` processors, also under their former name `resourcedetection`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Factory;

impl ProcessorFactory for Factory {
    type Config = Config;

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            type_name: "resource_detection",
            aliases: &["resourcedetection"],
            signals: &[
                (Signal::Traces, Stability::Beta),
                (Signal::Metrics, Stability::Beta),
                (Signal::Logs, Stability::Beta),
            ],
            unsupported: &UNSUPPORTED,
        }
    }

    fn create(
        &self,
        settings: Settings,
        config: Config,
        next: Arc<dyn Consumer>,
    ) -> Result<Arc<dyn Processor>, BuildError> {
        Ok(Arc::new(ResourceDetectionProcessor::new(settings, config, next)?))
    }
}

#[cfg(test)]
mod tests {
    use spanbridge_testkit::conformance::{Delivery, Subject};

    use super::*;

    fn config() -> Config {
        Config { detectors: vec!["system".to_owned()], ..Config::default() }
    }

    spanbridge_testkit::component_conformance!(Config, Subject::processor(Factory, config()));
    spanbridge_testkit::processor_conformance!(Factory, config(), Delivery::Exact);
}
