//! What users write under `extensions::any_auth`.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanbridge_component::{ComponentId, Problems, Role, Validate};

/// Authenticators that one listener may ask; each is asked for each request.
const AUTHENTICATORS_MAX: usize = 16;

/// Configuration of the `any_auth` extension: whoever one of these lets in comes in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether a client comes in that has shown a TLS certificate which the listener has verified (`tls::client_ca_file`).
    /// It is tried first. Default `false`.
    pub client_certificate: bool,
    /// The extensions that are asked, in this order.
    pub authenticators: Vec<ComponentId>,
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        let count = self.authenticators.len();
        if count == 0 && !self.client_certificate {
            problems.error_at("authenticators", "names no authenticator: nobody could come in");
        }
        if count > AUTHENTICATORS_MAX {
            problems.error_at("authenticators", format!("at most {AUTHENTICATORS_MAX}, not {count}"));
        }
        problems.at("authenticators", |problems| {
            let mut seen = BTreeSet::new();
            for (index, id) in self.authenticators.iter().enumerate() {
                let key = index.to_string();
                if !seen.insert(id) {
                    problems.error_at(&key, format!("names \"{id}\" twice"));
                }
                problems.refer_as(&key, id, Role::ServerAuthenticator { asks_for_certificates: true });
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use spanbridge_config::Document;

    use super::*;

    #[test]
    fn each_example_is_read_or_refused_with_its_reason() {
        let document = Document::from_yaml(include_str!("../testdata/config.yaml")).unwrap();
        for (id, message) in [
            ("any_auth", Some("names no authenticator")),
            ("any_auth/two", None),
            ("any_auth/certificate", None),
            ("any_auth/twice", Some("names \"basicauth\" twice")),
        ] {
            let node = document.root().get(id).unwrap().clone();
            let (_, found) = document.decode_and_validate::<Config>(&node, &[id], &[]).into_parts();
            let found: Vec<_> = found.into_iter().map(|problem| problem.message).collect();
            match message {
                Some(message) => assert!(found.iter().any(|f| f.contains(message)), "{id}: {found:?}"),
                None => assert!(found.is_empty(), "{id}: {found:?}"),
            }
        }
    }
}
