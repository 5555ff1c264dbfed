//! How a configuration becomes a `resource_detection` processor.

use std::sync::Arc;

use spanbridge_component::{
    BuildError, Consumer, Descriptor, Permissions, Processor, ProcessorFactory, Settings, Signal, Stability,
};

use crate::Config;
use crate::config::UNSUPPORTED;
use crate::detectors;
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

    fn permissions(&self, config: &Config) -> Result<Permissions, BuildError> {
        Ok(detectors::permissions(config))
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

    #[test]
    fn a_configuration_needs_what_its_detectors_ask_the_kubernetes_api() {
        for (yaml, rules) in [
            ("detectors: [env, system, docker, ec2, gcp, azure, aks]", vec![]),
            (
                "detectors: [k8s_api]",
                vec![r#"{apiGroups: [""], resources: ["namespaces", "nodes"], verbs: ["get"]}"#],
            ),
            (
                "{detectors: [k8s_api], k8s_api: {resource_attributes: {k8s.cluster.uid: {enabled: false}}}}",
                vec![r#"{apiGroups: [""], resources: ["nodes"], verbs: ["get"]}"#],
            ),
            (
                "{detectors: [eks], eks: {node_from_env_var: NODE}}",
                vec![r#"{apiGroups: [""], resources: ["nodes"], verbs: ["get"]}"#],
            ),
        ] {
            let config: Config = spanbridge_config::from_yaml(yaml).unwrap();
            let needed = Factory.permissions(&config).unwrap();
            let shown: Vec<String> = needed.cluster().iter().map(ToString::to_string).collect();
            assert_eq!(shown, rules, "{yaml}");
        }
    }

    fn config() -> Config {
        Config { detectors: vec!["system".to_owned()], ..Config::default() }
    }

    spanbridge_testkit::component_conformance!(Config, Subject::processor(Factory, config()));
    spanbridge_testkit::processor_conformance!(Factory, config(), Delivery::Exact);
}
