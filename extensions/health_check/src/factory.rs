//! How a configuration becomes a `health_check` extension.

use std::sync::Arc;

use spanbridge_component::{BuildError, Descriptor, Extension, ExtensionFactory, Settings, Unsupported};
use spanbridge_transport::http::server::SERVER_UNSUPPORTED;

use crate::Config;
use crate::extension::HealthCheck;

/// Makes `health_check` extensions.
#[derive(Debug, Clone, Copy, Default)]
pub struct Factory;

/// The status of single components is not told to probes.
const V2: [Unsupported; 4] = [
    Unsupported { path: "use_v2", reason: V2_REASON },
    Unsupported { path: "http", reason: V2_REASON },
    Unsupported { path: "grpc", reason: V2_REASON },
    Unsupported { path: "component_health", reason: V2_REASON },
];
const V2_REASON: &str =
    "it is a key of healthcheckv2; here probes are told whether the pipelines work: endpoint, path";

/// The two lists in one.
const UNSUPPORTED: [Unsupported; V2.len() + SERVER_UNSUPPORTED.len()] = {
    let mut all = [V2[0]; V2.len() + SERVER_UNSUPPORTED.len()];
    let mut index = 0;
    while index < all.len() {
        all[index] = if index < V2.len() { V2[index] } else { SERVER_UNSUPPORTED[index - V2.len()] };
        index += 1;
    }
    all
};

impl ExtensionFactory for Factory {
    type Config = Config;

    fn descriptor(&self) -> Descriptor {
        Descriptor { type_name: "health_check", aliases: &[], signals: &[], unsupported: &UNSUPPORTED }
    }

    fn create(&self, settings: Settings, config: Config) -> Result<Arc<dyn Extension>, BuildError> {
        Ok(Arc::new(HealthCheck::new(&settings, config)))
    }
}

#[cfg(test)]
mod tests {
    use spanbridge_testkit::conformance::Subject;
    use spanbridge_transport::http::server::ServerConfig;

    use super::*;

    fn config() -> Config {
        let server = ServerConfig { endpoint: "127.0.0.1:0".to_owned(), ..ServerConfig::default() };
        Config { server, ..Config::default() }
    }

    spanbridge_testkit::component_conformance!(Config, Subject::extension(Factory, config()));
}
