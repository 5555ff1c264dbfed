//! The detectors.

pub(crate) mod aws;
pub(crate) mod azure;
pub(crate) mod docker;
pub(crate) mod env;
pub(crate) mod gcp;
mod imds;
pub(crate) mod kubernetes;
mod names;
pub(crate) mod system;

use regex::Regex;

use spanbridge_component::Permissions;
use spanbridge_kubernetes::Resource;

use crate::config::Config;
use crate::found::Found;
use crate::world::World;

/// A detector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detector {
    Env,
    System,
    Docker,
    KubernetesApi,
    KubernetesNode,
    Ec2,
    Eks,
    Gcp,
    Azure,
    Aks,
}

impl Detector {
    /// Every one.
    pub(crate) const ALL: [Self; 10] = [
        Self::Env,
        Self::System,
        Self::Docker,
        Self::KubernetesApi,
        Self::KubernetesNode,
        Self::Ec2,
        Self::Eks,
        Self::Gcp,
        Self::Azure,
        Self::Aks,
    ];

    /// As users write it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Env => "env",
            Self::System => "system",
            Self::Docker => "docker",
            Self::KubernetesApi => "k8s_api",
            Self::KubernetesNode => "k8snode",
            Self::Ec2 => "ec2",
            Self::Eks => "eks",
            Self::Gcp => "gcp",
            Self::Azure => "azure",
            Self::Aks => "aks",
        }
    }

    /// From what users write.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|detector| detector.name() == name.trim())
    }
}

/// Finds out what `detector` can.
///
/// # Errors
/// What keeps it from it.
pub(crate) async fn detect(detector: Detector, config: &Config, world: &World) -> Result<Found, String> {
    match detector {
        Detector::Env => env::detect(&config.env, world),
        Detector::System => system::detect(&config.system, world).await,
        Detector::Docker => docker::detect(config, world).await,
        Detector::KubernetesApi => kubernetes::detect(&config.k8s_api, config, world).await,
        Detector::KubernetesNode => kubernetes::detect(&config.k8snode, config, world).await,
        Detector::Ec2 => aws::detect_ec2(config, world).await,
        Detector::Eks => aws::detect_eks(config, world).await,
        Detector::Gcp => gcp::detect(config, world).await,
        Detector::Azure => azure::detect(config, world).await,
        Detector::Aks => azure::detect_aks(config, world).await,
    }
}

/// What the detectors of a configuration need from the Kubernetes API.
pub(crate) fn permissions(config: &Config) -> Permissions {
    let mut needed = Permissions::new();
    for detector in config.detectors.iter().filter_map(|name| Detector::parse(name)) {
        match detector {
            Detector::KubernetesApi => kubernetes::need(&config.k8s_api, &mut needed),
            Detector::KubernetesNode => kubernetes::need(&config.k8snode, &mut needed),
            Detector::Eks if !config.eks.node_from_env_var.is_empty() => {
                kubernetes::need_object(Resource::NODES, &mut needed);
            }
            _ => {}
        }
    }
    needed
}

/// What it means that there is nothing to ask: this may run elsewhere, unless the configuration says that it does not.
fn missing(detector: Detector, fails: bool, why: &str) -> Result<Found, String> {
    if fails {
        return Err(why.to_owned());
    }
    tracing::debug!(detector = detector.name(), why, "nothing to detect");
    Ok(Found::default())
}

/// The patterns of tags; validation has refused those that are none.
fn patterns(patterns: &[String]) -> Vec<Regex> {
    patterns.iter().filter_map(|pattern| Regex::new(pattern).ok()).collect()
}
