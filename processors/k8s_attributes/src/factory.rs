//! How a configuration becomes a `k8s_attributes` processor.

use std::sync::Arc;

use spanbridge_component::{
    BuildError, Consumer, Descriptor, Permissions, Processor, ProcessorFactory, Settings, Signal, Stability,
    Unsupported,
};

use crate::processor::K8sAttributesProcessor;
use crate::rbac;
use crate::{Config, Conventions};

/// Makes `k8s_attributes` processors.
#[derive(Debug, Clone, Copy, Default)]
pub struct Factory {
    /// What `semantic_conventions` is where nobody writes it: the feature gates of the process decide.
    pub conventions: Conventions,
}

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
        mut config: Config,
        next: Arc<dyn Consumer>,
    ) -> Result<Arc<dyn Processor>, BuildError> {
        config.semantic_conventions.get_or_insert(self.conventions);
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

    spanbridge_testkit::component_conformance!(Config, Subject::processor(Factory::default(), config()));
    spanbridge_testkit::processor_conformance!(Factory::default(), config(), Delivery::Exact);
}
