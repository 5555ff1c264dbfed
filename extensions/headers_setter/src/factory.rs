//! How a configuration becomes a `headers_setter` extension.

use std::sync::Arc;

use spanbridge_component::{BuildError, Descriptor, Extension, ExtensionFactory, Offers, Settings};

use crate::Config;
use crate::extension::HeadersSetterExtension;

/// Makes `headers_setter` extensions.
#[derive(Debug, Clone, Copy, Default)]
pub struct Factory;

impl ExtensionFactory for Factory {
    type Config = Config;

    fn descriptor(&self) -> Descriptor {
        Descriptor { type_name: "headers_setter", aliases: &[], signals: &[], unsupported: &[] }
    }

    fn offers(&self, _: &Config) -> Offers {
        // What `additional_auth` requires, the service finds by the reference.
        Offers { client_authenticator: true, ..Offers::default() }
    }

    fn create(&self, settings: Settings, config: Config) -> Result<Arc<dyn Extension>, BuildError> {
        Ok(Arc::new(HeadersSetterExtension::new(&settings, config)))
    }
}
