//! How a configuration becomes a `k8s_attributes` processor.

use std::sync::Arc;

use spanbridge_component::{
    BuildError, Consumer, Descriptor, Permissions, Processor, ProcessorFactory, Settings, Signal, Stability,
    Unsupported,
};

use crate::Config;
use crate::processor::K8sAttributesProcessor;
use crate::rbac;

/// Makes `k8s_attributes` processors.
#[derive(Debug, Clone, Copy, Default)]
pub struct Factory;

impl ProcessorFactory for Factory {
    type Config = Config;

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            type_name: "k8s_attributes",
            aliases: &["k8sattributes"],
            signals: &[
                (Signal::Traces, Stability::Beta),
                (Signal::Metrics, Stability::Beta),
                (Signal::Logs, Stability::Beta),
            ],
            unsupported: &[
                Unsupported {
                    path: "extract.labels.*.regex",
                    reason: "values are not searched any more; use key_regex, or a transform afterwards",
                },
                Unsupported {
                    path: "extract.annotations.*.regex",
                    reason: "values are not searched any more; use key_regex, or a transform afterwards",
                },
            ],
        }
    }

    fn permissions(&self, config: &Config) -> Result<Permissions, BuildError> {
        rbac::permissions(config).map_err(|error| BuildError(error.to_string()))
    }

    fn create(
        &self,
        settings: Settings,
        config: Config,
        next: Arc<dyn Consumer>,
    ) -> Result<Arc<dyn Processor>, BuildError> {
        Ok(Arc::new(K8sAttributesProcessor::new(settings, config, next)?))
    }
}

#[cfg(test)]
mod tests {
    use spanbridge_testkit::conformance::{Delivery, Subject};

    use super::*;

    fn config() -> Config {
        Config { passthrough: true, ..Config::default() }
    }

    spanbridge_testkit::component_conformance!(Config, Subject::processor(Factory, config()));
    spanbridge_testkit::processor_conformance!(Factory, config(), Delivery::Exact);
}
