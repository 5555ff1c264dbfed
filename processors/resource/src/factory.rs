//! How a configuration becomes a `resource` processor.

use std::sync::Arc;

use spanbridge_component::{
    BuildError, Consumer, Descriptor, Processor, ProcessorFactory, Settings, Signal, Stability,
};

use crate::Config;
use crate::processor::ResourceProcessor;

/// Makes `resource` processors.
#[derive(Debug, Clone, Copy, Default)]
pub struct Factory;

impl ProcessorFactory for Factory {
    type Config = Config;

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            type_name: "resource",
            aliases: &[],
            signals: &[
                (Signal::Traces, Stability::Beta),
                (Signal::Metrics, Stability::Beta),
                (Signal::Logs, Stability::Beta),
            ],
            unsupported: &[],
        }
    }

    fn create(
        &self,
        settings: Settings,
        config: Config,
        next: Arc<dyn Consumer>,
    ) -> Result<Arc<dyn Processor>, BuildError> {
        Ok(Arc::new(ResourceProcessor::new(&settings, &config, next)?))
    }
}

#[cfg(test)]
mod tests {
    use spanbridge_attributes::ActionConfig;
    use spanbridge_config::AnyValue;
    use spanbridge_testkit::conformance::{Delivery, Subject};

    use super::*;

    fn config() -> Config {
        let insert = ActionConfig {
            key: "cloud.availability_zone".into(),
            action: "insert".into(),
            value: AnyValue::String("zone-1".into()),
            ..ActionConfig::default()
        };
        Config { attributes: vec![insert] }
    }

    spanbridge_testkit::component_conformance!(Config, Subject::processor(Factory, config()));
    spanbridge_testkit::processor_conformance!(Factory, config(), Delivery::Exact);
}
