//! How a configuration becomes an `oauth2client` extension.

use std::sync::Arc;

use spanbridge_component::{
    BuildError, Descriptor, Extension, ExtensionFactory, Offers, Settings, Unsupported,
};
use spanbridge_transport::tls::TPM_UNSUPPORTED;

use crate::Config;
use crate::extension::OAuth2Client;

pub(crate) const ONLY_JWT_BEARER: &str =
    "it belongs to the grant type jwt-bearer, which is not supported; use client_credentials";

/// Makes `oauth2client` extensions.
#[derive(Debug, Clone, Copy, Default)]
pub struct Factory;

const fn jwt_bearer(path: &'static str) -> Unsupported {
    Unsupported { path, reason: ONLY_JWT_BEARER }
}

const UNSUPPORTED: &[Unsupported] = &[
    jwt_bearer("client_certificate_key_file"),
    jwt_bearer("client_certificate_key_id"),
    jwt_bearer("signature_algorithm"),
    jwt_bearer("iss"),
    jwt_bearer("audience"),
    jwt_bearer("claims"),
    Unsupported { path: "tls.tpm", reason: TPM_UNSUPPORTED },
];

impl ExtensionFactory for Factory {
    type Config = Config;

    fn descriptor(&self) -> Descriptor {
        Descriptor { type_name: "oauth2client", aliases: &[], signals: &[], unsupported: UNSUPPORTED }
    }

    fn offers(&self, _: &Config) -> Offers {
        Offers { client_authenticator: true, requires_transport_security: true, ..Offers::default() }
    }

    fn create(&self, settings: Settings, config: Config) -> Result<Arc<dyn Extension>, BuildError> {
        Ok(Arc::new(OAuth2Client::new(&settings, config)))
    }
}

#[cfg(test)]
mod tests {
    use spanbridge_config::Opaque;
    use spanbridge_testkit::conformance::Subject;

    use super::*;

    fn config() -> Config {
        Config {
            client_id: "id".to_owned(),
            client_secret: Opaque::new("secret"),
            token_url: "https://127.0.0.1:1/token".to_owned(),
            ..Config::default()
        }
    }

    spanbridge_testkit::component_conformance!(Config, Subject::extension(Factory, config()));
}
