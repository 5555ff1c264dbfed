//! `service::telemetry`: the process's own logs and metrics.

pub mod logs;
pub mod metrics;
pub mod resource;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanbridge_component::telemetry::Level;
use spanbridge_component::{Problems, Unsupported, Validate};

pub use logs::{LogLayer, Logging};
pub use resource::Resource;

pub(crate) use metrics::Metrics;

/// The process's own telemetry.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Logs.
    pub logs: logs::Config,
    /// Metrics.
    pub metrics: metrics::Config,
    /// Traces: none in this version.
    pub traces: TracesConfig,
    /// Who this process is, in logs and metrics.
    pub resource: resource::Config,
}

/// Traces about the process itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TracesConfig {
    /// Only `none`.
    #[serde(deserialize_with = "metrics::any_case_level")]
    pub level: Level,
}

impl Default for TracesConfig {
    fn default() -> Self {
        Self { level: Level::None }
    }
}

impl Validate for TracesConfig {
    fn validate(&self, problems: &mut Problems) {
        if self.level != Level::None {
            problems
                .error_at(
                    "level",
                    "any \"level\" but none is not supported by this version: the process makes no traces about itself",
                )
                .help("leave it out, or write none");
        }
    }
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        problems.nested("logs", &self.logs);
        problems.nested("metrics", &self.metrics);
        problems.nested("resource", &self.resource);
        problems.nested("traces", &self.traces);
        if self.resource.is_legacy() {
            problems
                .warn_at("resource", "the plain map of resource attributes is deprecated")
                .help("write attributes: [{name: ..., value: ...}]");
        }
    }
}

/// Keys of the Go collector below `service::telemetry` that this version refuses by name.
pub(crate) const UNSUPPORTED: &[Unsupported] = &[
    refused("logs.error_output_paths", "errors of the logger itself have nowhere to go"),
    refused("logs.processors", "the process's own logs are not exported; collect them from output_paths"),
    refused("metrics.views", "the built-in choice for each level is all there is"),
    refused(
        "metrics.readers.*.periodic",
        "the process's own metrics are not exported; scrape them with `pull`",
    ),
    refused(
        "metrics.readers.*.pull.exporter.prometheus.with_resource_constant_labels",
        "resource attributes are on target_info only",
    ),
    refused("traces.processors", "the process makes no traces about itself"),
    refused("traces.propagators", "the process makes no traces about itself"),
    refused("traces.sampler", "the process makes no traces about itself"),
    refused("traces.limits", "the process makes no traces about itself"),
    refused("resource.attributes.*.type", "the type is that of the YAML value"),
];

const fn refused(path: &'static str, reason: &'static str) -> Unsupported {
    Unsupported { path, reason }
}
