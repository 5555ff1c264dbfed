//! How a configuration becomes a `bearertokenauth` extension.

use std::sync::Arc;

use spanbridge_component::{
    BuildError, Descriptor, Extension, ExtensionFactory, Offers, Settings, Unsupported,
};

use crate::Config;
use crate::extension::BearerTokenAuth;

/// Makes `bearertokenauth` extensions.
#[derive(Debug, Clone, Copy, Default)]
pub struct Factory;

impl ExtensionFactory for Factory {
    type Config = Config;

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            type_name: "bearertokenauth",
            aliases: &[],
            signals: &[],
            unsupported: &[Unsupported {
                path: "file_retry",
                reason: "the file has to be there at the start; from then on it is watched",
            }],
        }
    }

    fn offers(&self, _: &Config) -> Offers {
        Offers {
            server_authenticator: true,
            client_authenticator: true,
            requires_transport_security: true,
            ..Offers::default()
        }
    }

    fn create(&self, settings: Settings, config: Config) -> Result<Arc<dyn Extension>, BuildError> {
        Ok(Arc::new(BearerTokenAuth::new(&settings, config)))
    }
}
