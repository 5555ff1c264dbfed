//! How a configuration becomes an `oidc` extension.

use std::sync::Arc;

use spanbridge_component::{BuildError, Descriptor, Extension, ExtensionFactory, Offers, Settings};

use crate::Config;
use crate::extension::Oidc;

/// Makes `oidc` extensions.
#[derive(Debug, Clone, Copy, Default)]
pub struct Factory;

impl ExtensionFactory for Factory {
    type Config = Config;

    fn descriptor(&self) -> Descriptor {
        Descriptor { type_name: "oidc", aliases: &[], signals: &[], unsupported: &[] }
    }

    fn offers(&self, _: &Config) -> Offers {
        Offers { server_authenticator: true, ..Offers::default() }
    }

    fn create(&self, settings: Settings, config: Config) -> Result<Arc<dyn Extension>, BuildError> {
        Ok(Arc::new(Oidc::new(&settings, &config)?))
    }
}

#[cfg(test)]
mod tests {
    use spanbridge_testkit::conformance::Subject;

    use super::*;
    use crate::ProviderConfig;

    /// An issuer that does not answer.
    fn config() -> Config {
        let provider = ProviderConfig {
            issuer_url: "https://127.0.0.1:1".to_owned(),
            audience: "spans".to_owned(),
            ..ProviderConfig::default()
        };
        Config { providers: vec![provider], ..Config::default() }
    }

    spanbridge_testkit::component_conformance!(Config, Subject::extension(Factory, config()));
}
