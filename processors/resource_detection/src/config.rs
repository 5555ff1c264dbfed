//! What users write under `processors::resource_detection` (reference: contrib-components, E.13).

mod blocks;
mod unsupported;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanbridge_component::{Problems, Validate};
use spanbridge_config::{Duration, nearest};

pub use blocks::{
    AwsConfig, AzureConfig, EksConfig, EnvConfig, KubernetesConfig, PlainConfig, SystemConfig, ToggleConfig,
    Toggles,
};
pub(crate) use unsupported::UNSUPPORTED;

use crate::detectors::{Detector, aws, azure, docker, gcp, kubernetes, system};
use crate::world::World;

/// Detectors at most: there are not that many.
const DETECTORS_MAX: usize = 32;

/// Configuration of the `resource_detection` processor.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What to look at: `env`, `system`, `docker`, `k8s_api` (formerly `k8snode`), `ec2`, `eks`, `gcp`, `azure`, `aks`. Of
    /// an attribute that several find, that of the first one counts. Default: `env`.
    pub detectors: Vec<String>,
    /// Whether what is found takes the place of attributes that are there. Default true.
    pub r#override: bool,
    /// Detect again at these intervals. Default 0s: only at the start.
    pub refresh_interval: Duration,
    /// How long one request to a metadata service may take, and, unless `retry::max_elapsed_time` is set, all attempts of a
    /// detector together. Default 5s; 0s: no limit.
    pub timeout: Duration,
    /// Whether a metadata service that cannot be reached makes a detector fail. Default false: it finds nothing.
    pub fail_on_missing_metadata: bool,
    /// When a detector that failed is tried again.
    pub retry: RetryConfig,
    /// Only these attributes are added. Default: all. Deprecated: write `resource_attributes` under the detector.
    pub attributes: Vec<String>,
    /// The `env` detector.
    pub env: EnvConfig,
    /// The `system` detector.
    pub system: SystemConfig,
    /// The `docker` detector.
    pub docker: PlainConfig,
    /// The `k8s_api` detector.
    pub k8s_api: KubernetesConfig,
    /// The same under its former name.
    pub k8snode: KubernetesConfig,
    /// The `ec2` detector.
    pub ec2: AwsConfig,
    /// The `eks` detector.
    pub eks: EksConfig,
    /// The `gcp` detector.
    pub gcp: PlainConfig,
    /// The `azure` detector.
    pub azure: AzureConfig,
    /// The `aks` detector.
    pub aks: PlainConfig,
}

/// When a detector that failed is tried again.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetryConfig {
    /// Whether it is tried again at all. Default true.
    pub enabled: bool,
    /// The first pause. Default 1s.
    pub initial_interval: Duration,
    /// By how much of itself a pause may be longer or shorter. Default 0.5.
    pub randomization_factor: f64,
    /// How much longer each pause is than the one before. Default 2.
    pub multiplier: f64,
    /// The longest pause. Default 30s.
    pub max_interval: Duration,
    /// How long all attempts together may take; then `timeout` bounds each. Default 0s: as long as `timeout`.
    pub max_elapsed_time: Duration,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            initial_interval: Duration::from_secs(1),
            randomization_factor: 0.5,
            multiplier: 2.0,
            max_interval: Duration::from_secs(30),
            max_elapsed_time: Duration::ZERO,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            detectors: vec![Detector::Env.name().to_owned()],
            r#override: true,
            refresh_interval: Duration::ZERO,
            timeout: Duration::from_secs(5),
            fail_on_missing_metadata: false,
            retry: RetryConfig::default(),
            attributes: Vec::new(),
            env: EnvConfig::default(),
            system: SystemConfig::default(),
            docker: PlainConfig::default(),
            k8s_api: KubernetesConfig::default(),
            k8snode: KubernetesConfig::default(),
            ec2: AwsConfig::default(),
            eks: EksConfig::default(),
            gcp: PlainConfig::default(),
            azure: AzureConfig::default(),
            aks: PlainConfig::default(),
        }
    }
}

impl Config {
    /// Whether this detector is in the list.
    pub(crate) fn uses(&self, detector: Detector) -> bool {
        self.detectors.iter().any(|name| Detector::parse(name) == Some(detector))
    }

    /// What variables must be set for the detectors in use.
    ///
    /// # Errors
    /// The one that is not.
    pub(crate) fn check_variables(&self, world: &World) -> Result<(), String> {
        for (detector, block) in
            [(Detector::KubernetesApi, &self.k8s_api), (Detector::KubernetesNode, &self.k8snode)]
        {
            let name = block.variable();
            if self.uses(detector) && world.variable(name).is_none() {
                return Err(format!(
                    "{}: node name can't be found since environment variable {name} is not set; set it from spec.nodeName \
                     in the pod's manifest",
                    detector.name()
                ));
            }
        }
        Ok(())
    }

    fn validate_detectors(&self, problems: &mut Problems) {
        const KEY: &str = "detectors";
        if self.detectors.is_empty() {
            problems.error_at(KEY, "no detectors").help("write at least one, such as env");
        } else if self.detectors.len() > DETECTORS_MAX {
            problems.error_at(KEY, format!("more than {DETECTORS_MAX} detectors"));
        }
        problems.at(KEY, |problems| {
            for (index, name) in self.detectors.iter().enumerate() {
                let index = index.to_string();
                match Detector::parse(name) {
                    Some(Detector::KubernetesNode) => {
                        problems
                            .warn_at(&index, "the k8snode detector name is deprecated, use k8s_api instead");
                    }
                    Some(_) => {}
                    None if unsupported::DETECTORS.contains(&name.trim()) => {
                        let message = format!("the detector {name:?} is not supported by this version");
                        problems.error_at(&index, message).help(unsupported::INSTEAD);
                    }
                    None => {
                        let names = Detector::ALL.map(Detector::name);
                        let help = match nearest(name, names) {
                            Some(near) => format!("did you mean \"{near}\"?"),
                            None => format!("one of {}", names.join(", ")),
                        };
                        problems.error_at(&index, format!("invalid detector key: {name}")).help(help);
                    }
                }
            }
        });
    }

    fn validate_retry(&self, problems: &mut Problems) {
        let retry = &self.retry;
        if retry.enabled && self.timeout.is_zero() && retry.max_elapsed_time.is_zero() {
            problems.error_at(
                "retry",
                "with retry::enabled, timeout or retry::max_elapsed_time must be greater than 0: a detector that hangs would \
                 keep the start for ever",
            );
        }
        problems.at("retry", |problems| {
            if !(0.0..=1.0).contains(&retry.randomization_factor) {
                problems.error_at("randomization_factor", "must be between 0 and 1");
            }
            if !(retry.multiplier >= 1.0 && retry.multiplier.is_finite()) {
                problems.error_at("multiplier", "must be at least 1");
            }
            for (key, value) in
                [("initial_interval", retry.initial_interval), ("max_interval", retry.max_interval)]
            {
                if retry.enabled && value.is_zero() {
                    problems.error_at(key, "must be greater than 0");
                }
            }
        });
    }
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        self.validate_detectors(problems);
        self.validate_retry(problems);
        if !self.attributes.is_empty() {
            problems.warn_at("attributes", "deprecated: write resource_attributes under each detector");
        }
        problems.at("system", |problems| self.system.validate(problems));
        problems.at("docker", |problems| self.docker.resource_attributes.validate(docker::TABLE, problems));
        for (key, block) in [("k8s_api", &self.k8s_api), ("k8snode", &self.k8snode)] {
            problems.at(key, |problems| {
                let detector = Detector::parse(key).unwrap_or(Detector::KubernetesApi);
                block.validate(self.uses(detector), problems);
                block.resource_attributes.validate(kubernetes::TABLE, problems);
            });
        }
        problems.at("ec2", |problems| self.ec2.validate(problems));
        problems.at("eks", |problems| self.eks.resource_attributes.validate(aws::EKS_TABLE, problems));
        problems.at("gcp", |problems| self.gcp.resource_attributes.validate(gcp::TABLE, problems));
        problems.at("azure", |problems| {
            blocks::validate_patterns("tags", &self.azure.tags, problems);
            self.azure.resource_attributes.validate(azure::TABLE, problems);
        });
        problems.at("aks", |problems| self.aks.resource_attributes.validate(azure::AKS_TABLE, problems));
        problems.at("system", |problems| self.system.resource_attributes.validate(system::TABLE, problems));
    }
}

#[cfg(test)]
mod tests {
    use spanbridge_config::Document;

    use super::*;

    fn problems(yaml: &str) -> String {
        let document = Document::from_yaml(yaml).unwrap();
        let decoded = document.decode_and_validate::<Config>(document.root(), &[], &UNSUPPORTED);
        let (_, problems) = decoded.into_parts();
        let line = |problem: &spanbridge_config::Diagnostic| format!("{}: {}", problem.path, problem.message);
        problems.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn every_mistake_is_reported_where_it_stands() {
        let examples = include_str!("../testdata/refused.yaml").split("---\n").map(problems);
        insta::assert_snapshot!(examples.collect::<Vec<_>>().join("\n---\n"));
        assert_eq!(problems("detectors: []"), "detectors: no detectors");
    }

    #[test]
    fn the_examples_are_valid() {
        for yaml in [include_str!("../testdata/every_key.yaml"), include_str!("../testdata/minimal.yaml")] {
            assert_eq!(problems(yaml), "");
        }
    }

    #[test]
    fn the_detectors_that_go_has_are_known_or_refused_by_name() {
        for name in unsupported::DETECTORS {
            let text = problems(&format!("detectors: [{name}]"));
            assert_eq!(text, format!("detectors[0]: the detector {name:?} is not supported by this version"));
        }
    }

    #[test]
    fn a_detector_of_the_api_wants_to_know_its_node() {
        let config: Config = spanbridge_config::from_yaml("detectors: [k8s_api]").unwrap();
        let world = |variables| World::made_up(std::path::Path::new("/nowhere"), variables);
        let error = config.check_variables(&world(&[])).unwrap_err();
        assert!(error.contains("environment variable K8S_NODE_NAME is not set"), "{error}");
        config.check_variables(&world(&[("K8S_NODE_NAME", "node-1")])).unwrap();
    }
}
