//! What users write under `extensions::headers_setter`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanbridge_component::{ComponentId, Problems, Role, Validate};
use spanbridge_config::Opaque;
use spanbridge_transport::auth::credential_header;
use spanbridge_transport::file_watch::read_text;

/// Configuration of the `headers_setter` extension (reference: contrib-components, D.4).
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What to do, in this order; at least one.
    pub headers: Vec<Header>,
    /// Another client authenticator; its headers are there before the first action.
    pub additional_auth: Option<ComponentId>,
}

/// One header.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Header {
    /// Its name. Required.
    pub key: String,
    /// What to do with it. Default `upsert`, with a warning: say what you mean.
    pub action: Option<Action>,
    /// Its value.
    pub value: Option<Opaque>,
    /// File with its value, without the space around it. It is watched.
    pub value_file: Option<PathBuf>,
    /// Metadata of the client that the telemetry came from; the receiver needs `include_metadata: true`.
    pub from_context: Option<String>,
    /// An attribute of that client's authentication: `username`.
    pub from_attribute: Option<String>,
    /// Its value where `from_context` or `from_attribute` finds none. Without it the header is left as it is.
    pub default_value: Option<Opaque>,
}

/// What to do with a header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Add it if it is not there.
    Insert,
    /// Change it if it is there.
    Update,
    /// Put it there.
    #[default]
    Upsert,
    /// Take it away.
    Delete,
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        if self.headers.is_empty() {
            problems.error_at("headers", "missing headers configuration");
        }
        problems.at("headers", |problems| {
            for (index, header) in self.headers.iter().enumerate() {
                problems.at(index, |problems| header.validate(problems));
            }
        });
        if let Some(id) = &self.additional_auth {
            problems.refer_as("additional_auth", id, Role::ClientAuthenticator { in_the_clear: false });
        }
    }
}

impl Validate for Header {
    fn validate(&self, problems: &mut Problems) {
        if self.key.is_empty() {
            problems.error_at("key", "missing header name");
        } else {
            let value = self.value.as_ref().map_or("", Opaque::expose);
            let default = self.default_value.as_ref().map_or("", Opaque::expose);
            for value in [value, default] {
                if let Err(error) = credential_header(&self.key, value) {
                    problems.error_at("key", error);
                    break;
                }
            }
        }
        if self.action.is_none() {
            problems.warn_at("action", "no action is given: upsert is done");
        }
        self.validate_source(problems);
        // What is wrong with the key is said above.
        let is_used = self.action != Some(Action::Delete) && credential_header(&self.key, "").is_ok();
        if is_used && let Some(Err(error)) = self.value_of_file() {
            problems.error_at("value_file", error);
        }
    }
}

impl Header {
    /// What the file holds, if there is one, without the space around it.
    ///
    /// # Errors
    /// If it cannot be read, or no header may hold it; the error names the file.
    pub(crate) fn value_of_file(&self) -> Option<Result<Opaque, String>> {
        let path = self.value_file.as_ref()?;
        let value = read_text(path).and_then(|text| {
            credential_header(&self.key, text.trim())?;
            Ok(Opaque::new(text.trim()))
        });
        Some(value.map_err(|error| format!("cannot use \"{}\": {error}", path.display())))
    }

    /// Whether its value comes from the client of a request.
    pub(crate) fn is_of_request(&self) -> bool {
        self.from_context.is_some() || self.from_attribute.is_some()
    }

    /// Whether the client's value is in base64 already, as binary metadata stays in the context, and goes into a header
    /// that is binary as well.
    pub(crate) fn is_binary_already(&self) -> bool {
        let is_binary = |name: &str| name.to_ascii_lowercase().ends_with("-bin");
        is_binary(&self.key) && self.from_context.as_deref().is_some_and(is_binary)
    }

    fn validate_source(&self, problems: &mut Problems) {
        let sources = [
            ("value", self.value.is_some()),
            ("value_file", self.value_file.is_some()),
            ("from_context", self.from_context.is_some()),
            ("from_attribute", self.from_attribute.is_some()),
        ];
        let given: Vec<&str> =
            sources.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect();
        let is_delete = self.action == Some(Action::Delete);
        if given.len() > 1 {
            problems.error(format!("invalid header source, must be one of {}", given.join(", ")));
        } else if given.is_empty() && !is_delete {
            problems.error(
                "missing header source, must be 'from_context', 'from_attribute', 'value' or 'value_file'",
            );
        } else if is_delete && !given.is_empty() {
            problems.warn_at(given[0], "has no effect: the header is deleted");
        }
        let from_client = self.from_context.is_some() || self.from_attribute.is_some();
        if self.default_value.is_some() && !from_client {
            problems.warn_at("default_value", "has no effect without from_context or from_attribute");
        }
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
            ("headers_setter", Some("missing headers configuration")),
            ("headers_setter/all", None),
            ("headers_setter/no_key", Some("missing header name")),
            ("headers_setter/no_source", Some("missing header source")),
            ("headers_setter/two_sources", Some("must be one of value, from_context")),
            ("headers_setter/no_action", Some("upsert is done")),
            ("headers_setter/reserved", Some("reserved for the protocol")),
            ("headers_setter/bad_value", Some("has characters that no header may hold")),
            ("headers_setter/no_file", Some("cannot use \"/no/such/file\": ")),
            (
                "headers_setter/bad_file",
                Some("cannot use \"testdata/two_lines\": value of header \"x-token\""),
            ),
            ("headers_setter/deleted", Some("has no effect: the header is deleted")),
        ] {
            let node = document.root().get(id).unwrap().clone();
            let (config, found) = document.decode_and_validate::<Config>(&node, &[id], &[]).into_parts();
            let printed = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
            assert!(!printed.contains("hunter2"), "{printed}");
            let found: Vec<_> = found.into_iter().map(|problem| problem.message).collect();
            assert!(found.iter().all(|message| !message.contains("hunter2")), "{found:?}");
            match message {
                Some(message) => assert!(found.iter().any(|f| f.contains(message)), "{id}: {found:?}"),
                None => assert!(found.is_empty(), "{id}: {found:?}"),
            }
        }
    }
}
