//! How a configuration becomes an `any_auth` extension.

use std::sync::Arc;

use spanbridge_component::{BuildError, Descriptor, Extension, ExtensionFactory, Offers, Settings};

use crate::Config;
use crate::extension::AnyAuthExtension;

/// Makes `any_auth` extensions.
#[derive(Debug, Clone, Copy, Default)]
pub struct Factory;

impl ExtensionFactory for Factory {
    type Config = Config;

    fn descriptor(&self) -> Descriptor {
        Descriptor { type_name: "any_auth", aliases: &[], signals: &[], unsupported: &[] }
    }

    fn offers(&self, config: &Config) -> Offers {
        let takes_client_certificates = config.client_certificate;
        Offers { server_authenticator: true, takes_client_certificates, ..Offers::default() }
    }

    fn create(&self, settings: Settings, config: Config) -> Result<Arc<dyn Extension>, BuildError> {
        Ok(Arc::new(AnyAuthExtension::new(&settings, config)?))
    }
}
