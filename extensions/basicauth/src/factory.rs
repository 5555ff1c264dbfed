//! How a configuration becomes a `basicauth` extension.

use std::sync::Arc;

use spanbridge_component::{
    BuildError, Descriptor, Extension, ExtensionFactory, Offers, Settings, Unsupported,
};

use crate::Config;
use crate::extension::BasicAuth;

/// Makes `basicauth` extensions.
#[derive(Debug, Clone, Copy, Default)]
pub struct Factory;

impl ExtensionFactory for Factory {
    type Config = Config;

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            type_name: "basicauth",
            aliases: &[],
            signals: &[],
            unsupported: &[Unsupported {
                path: "client_auth.aws_secrets_manager",
                reason: "mount the secret and name its files: username_file, password_file",
            }],
        }
    }

    fn offers(&self, config: &Config) -> Offers {
        Offers {
            server_authenticator: config.htpasswd.is_on(),
            client_authenticator: config.client_auth.is_on(),
            requires_transport_security: config.client_auth.is_on(),
            ..Offers::default()
        }
    }

    fn create(&self, settings: Settings, config: Config) -> Result<Arc<dyn Extension>, BuildError> {
        Ok(Arc::new(BasicAuth::new(&settings, config)?))
    }
}
