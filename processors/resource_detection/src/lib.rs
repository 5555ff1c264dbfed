//! The `resource_detection` processor: it finds out about the machine, the cluster and the cloud that it runs in, and adds
//! that to resources.
//!
//! Detection happens at the start, once for all pipelines that use the same configuration, and again at intervals if that is
//! asked for. What was found is serialized once; a batch is edited by one splice for each resource.

mod config;
mod detect;
mod detectors;
mod factory;
mod found;
mod processor;
mod shared;
mod world;

pub use config::{
    AwsConfig, AzureConfig, Config, EksConfig, EnvConfig, KubernetesConfig, PlainConfig, RetryConfig,
    SystemConfig, ToggleConfig, Toggles,
};
pub use factory::Factory;
