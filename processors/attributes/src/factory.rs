//! How a configuration becomes an `attributes` processor.

use std::sync::Arc;

use spanbridge_component::{
    BuildError, Consumer, Descriptor, Processor, ProcessorFactory, Settings, Signal, Stability,
};

use crate::Config;
use crate::processor::AttributesProcessor;

/// Makes `attributes` processors.
#[derive(Debug, Clone, Copy, Default)]
pub struct Factory;

impl ProcessorFactory for Factory {
    type Config = Config;

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            type_name: "attributes",
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
        Ok(Arc::new(AttributesProcessor::new(&settings, &config, next)?))
    }
}

#[cfg(test)]
mod tests {
    use spanbridge_attributes::ActionConfig;
    use spanbridge_config::AnyValue;
    use spanbridge_testkit::conformance::{Delivery, Subject};

    use super::*;
    use crate::MatchConfig;

    fn config() -> Config {
        let insert = ActionConfig {
            key: "region".into(),
            action: "insert".into(),
            value: AnyValue::String("planet-earth".into()),
            ..ActionConfig::default()
        };
        let exclude = MatchConfig {
            match_type: "strict".into(),
            services: vec!["nobody".into()],
            ..MatchConfig::default()
        };
        Config { actions: vec![insert], exclude: Some(exclude), include: None }
    }

    spanbridge_testkit::component_conformance!(Config, Subject::processor(Factory, config()));
    spanbridge_testkit::processor_conformance!(Factory, config(), Delivery::Exact);
}
