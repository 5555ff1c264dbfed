//! What users write under `extensions::bearertokenauth`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanbridge_component::{Problems, Validate};
use spanbridge_config::Opaque;
use spanbridge_transport::file_watch::read_text;

use crate::tokens::Tokens;

/// Configuration of the `bearertokenauth` extension (reference: contrib-components, D.1).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The header or metadata name that holds the token. Default `Authorization`.
    pub header: String,
    /// The word before the token; empty for the token alone. Default `Bearer`. Its case counts.
    pub scheme: String,
    /// The token.
    pub token: Opaque,
    /// Tokens that servers accept; clients send the first.
    pub tokens: Vec<Opaque>,
    /// File with a token a line; wins over `token` and `tokens`. Space around a token and empty lines are left out. It is
    /// watched: new tokens are used within two seconds.
    pub filename: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            header: "Authorization".to_owned(),
            scheme: "Bearer".to_owned(),
            token: Opaque::default(),
            tokens: Vec::new(),
            filename: None,
        }
    }
}

impl Config {
    /// The tokens, read from the file if there is one.
    ///
    /// # Errors
    /// What is wrong with them or with the file. Never holds a token.
    pub(crate) fn read(&self) -> Result<Tokens, String> {
        if let Some(path) = &self.filename {
            let shown = path.display();
            let text = read_text(path).map_err(|error| format!("cannot read tokens: {shown}: {error}"))?;
            let tokens: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            if tokens.is_empty() {
                return Err(format!("{shown} holds no token"));
            }
            return Tokens::new(&self.header, &self.scheme, &tokens)
                .map_err(|error| format!("{shown}: {error}"));
        }
        let one = (!self.token.is_empty()).then_some(&self.token);
        let tokens: Vec<&str> = one.into_iter().chain(&self.tokens).map(Opaque::expose).collect();
        if tokens.is_empty() {
            return Err("no bearer token provided".to_owned());
        }
        Tokens::new(&self.header, &self.scheme, &tokens)
    }
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        if !self.token.is_empty() && !self.tokens.is_empty() {
            problems.error("either tokens or token should be set, not both");
        }
        if self.filename.is_some() && !(self.token.is_empty() && self.tokens.is_empty()) {
            problems.warn_at("filename", "the file wins over token and tokens, which have no effect");
        }
        if let Err(error) = self.read() {
            problems.error(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use spanbridge_component::ExtensionFactory as _;
    use spanbridge_config::Document;

    use super::*;

    fn found(id: &str) -> Vec<String> {
        let document = Document::from_yaml(include_str!("../testdata/config.yaml")).unwrap();
        let node = document.root().get(id).unwrap().clone();
        let unsupported = crate::Factory.descriptor().unsupported;
        let (config, found) = document.decode_and_validate::<Config>(&node, &[id], unsupported).into_parts();
        let printed = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
        assert!(!printed.contains("hunter2"), "{printed}");
        let found: Vec<_> = found.into_iter().map(|problem| problem.message).collect();
        assert!(!found.iter().any(|message| message.contains("hunter2")), "{found:?}");
        found
    }

    #[test]
    fn each_example_is_read_or_refused_with_its_reason() {
        for (id, message) in [
            ("bearertokenauth", Some("no bearer token provided")),
            ("bearertokenauth/one", None),
            ("bearertokenauth/many", None),
            ("bearertokenauth/raw", None),
            ("bearertokenauth/both", Some("either tokens or token should be set, not both")),
            ("bearertokenauth/empty", Some("a token is empty")),
            ("bearertokenauth/file", Some("cannot read tokens: /no/such/file: ")),
            ("bearertokenauth/control", Some("has characters that no header may hold")),
            ("bearertokenauth/reserved", Some("is reserved for the protocol")),
            ("bearertokenauth/retry", Some("\"file_retry\" is not supported")),
        ] {
            let found = found(id);
            match message {
                Some(message) => assert!(found.iter().any(|f| f.contains(message)), "{id}: {found:?}"),
                None => assert!(found.is_empty(), "{id}: {found:?}"),
            }
        }
    }
}
