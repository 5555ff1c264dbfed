//! What users write under `extensions::oauth2client`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanbridge_component::{Problems, Validate};
use spanbridge_config::{Duration, Opaque};
use spanbridge_transport::file_watch::read_text;
use spanbridge_transport::grpc::ClientTls;
use spanbridge_transport::http::Request;

use crate::factory::ONLY_JWT_BEARER;

/// The grant type that there is.
pub(crate) const CLIENT_CREDENTIALS: &str = "client_credentials";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// Parameters that have keys of their own.
const PARAMETERS_WITH_KEYS: [(&str, &str); 2] =
    [("client_id", "client_id"), ("client_secret", "client_secret")];

/// Configuration of the `oauth2client` extension (reference: contrib-components, D.3).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who we are at the token endpoint. This or `client_id_file` is required.
    pub client_id: String,
    /// File with the id; wins over `client_id`. Space around it is left out. It is read for every fetch.
    pub client_id_file: Option<PathBuf>,
    /// How we prove it. This or `client_secret_file` is required.
    pub client_secret: Opaque,
    /// File with the secret; wins over `client_secret`. As `client_id_file`.
    pub client_secret_file: Option<PathBuf>,
    /// Where tokens are given out: an `https` URL. Required.
    pub token_url: String,
    /// What the token is to allow; the endpoint's default without any.
    pub scopes: Vec<String>,
    /// Further parameters of the form that is sent, each with its values: `audience: [spans]`.
    pub endpoint_params: BTreeMap<String, Vec<Opaque>>,
    /// TLS to the token endpoint. The URL's scheme says whether there is any.
    pub tls: ClientTls,
    /// Time for one fetch. 0 takes 30s, where the Go collector has no bound.
    pub timeout: Duration,
    /// How long before its end a token is fetched anew, at most half of its life. Default `5m`.
    pub expiry_buffer: Duration,
    /// `client_credentials`, the default.
    pub grant_type: String,
    /// Refused: it belongs to the grant type `jwt-bearer`. It is here so that nothing of it is printed.
    pub client_certificate_key: Opaque,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            client_id: String::new(),
            client_id_file: None,
            client_secret: Opaque::default(),
            client_secret_file: None,
            token_url: String::new(),
            scopes: Vec::new(),
            endpoint_params: BTreeMap::new(),
            tls: ClientTls::default(),
            timeout: Duration::ZERO,
            expiry_buffer: Duration::from_secs(300),
            grant_type: CLIENT_CREDENTIALS.to_owned(),
            client_certificate_key: Opaque::default(),
        }
    }
}

/// Id and secret.
pub(crate) struct Credentials {
    pub(crate) id: String,
    pub(crate) secret: Opaque,
}

impl Config {
    /// Id and secret, read from files where there are some.
    ///
    /// # Errors
    /// The file that cannot be used; never what is in it.
    pub(crate) fn credentials(&self) -> Result<Credentials, String> {
        let id = match &self.client_id_file {
            Some(path) => read(path)?,
            None => self.client_id.clone(),
        };
        let secret = match &self.client_secret_file {
            Some(path) => Opaque::new(read(path)?),
            None => self.client_secret.clone(),
        };
        Ok(Credentials { id, secret })
    }

    fn check_url(&self, problems: &mut Problems) {
        if self.token_url.is_empty() {
            problems.error_at("token_url", "no TokenURL provided in OAuth Client Credentials configuration");
            return;
        }
        match Request::get(&self.token_url) {
            Err(error) => {
                problems.error_at("token_url", error.cause());
            }
            Ok(_) if self.token_url.starts_with("http://") => {
                problems
                    .warn_at("token_url", "the secret goes to the token endpoint in the clear")
                    .help("write https://");
            }
            Ok(_) => {}
        }
    }

    fn check_parameters(&self, problems: &mut Problems) {
        problems.at("endpoint_params", |problems| {
            for (parameter, key) in PARAMETERS_WITH_KEYS {
                if self.endpoint_params.contains_key(parameter) {
                    problems.error_at(
                        parameter,
                        format!("cannot overwrite parameter \"{parameter}\": write {key}"),
                    );
                }
            }
            if self.endpoint_params.contains_key("scope") && !self.scopes.is_empty() {
                problems.error_at("scope", "cannot overwrite parameter \"scope\": write scopes");
            }
        });
    }
}

fn read(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let text =
        read_text(path).map_err(|error| format!("failed to read credentials file \"{shown}\": {error}"))?;
    match text.trim() {
        "" => Err(format!("credentials file \"{shown}\" is empty")),
        text => Ok(text.to_owned()),
    }
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        if self.client_id.is_empty() && self.client_id_file.is_none() {
            problems
                .error_at("client_id", "no ClientID provided in the OAuth2 exporter configuration")
                .help("write client_id or client_id_file");
        }
        if self.client_secret.is_empty() && self.client_secret_file.is_none() {
            problems
                .error_at(
                    "client_secret",
                    "no ClientSecret provided in OAuth Client Credentials configuration",
                )
                .help("write client_secret or client_secret_file");
        }
        if let Err(error) = self.credentials() {
            problems.error(error);
        }
        match self.grant_type.as_str() {
            CLIENT_CREDENTIALS => {}
            JWT_BEARER => {
                problems
                    .error_at("grant_type", "the grant type jwt-bearer is not supported")
                    .help(format!("write {CLIENT_CREDENTIALS}"));
            }
            other => {
                problems
                    .error_at("grant_type", format!("unknown grant type \"{other}\""))
                    .help(format!("write {CLIENT_CREDENTIALS}"));
            }
        }
        if !self.client_certificate_key.is_empty() {
            problems.error_at(
                "client_certificate_key",
                format!("\"client_certificate_key\" is not supported by this version: {ONLY_JWT_BEARER}"),
            );
        }
        self.check_url(problems);
        self.check_parameters(problems);
        if self.tls.insecure && self.token_url.starts_with("https://") {
            problems.warn_at("tls", "insecure: true has no effect: the scheme of token_url decides");
        }
        problems.nested("tls", &self.tls);
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
            ("oauth2client", Some("no ClientID provided in the OAuth2 exporter configuration")),
            ("oauth2client/good", None),
            ("oauth2client/all", None),
            (
                "oauth2client/no_secret",
                Some("no ClientSecret provided in OAuth Client Credentials configuration"),
            ),
            ("oauth2client/no_url", Some("no TokenURL provided in OAuth Client Credentials configuration")),
            ("oauth2client/bad_url", Some("unsupported scheme \"ftp\"")),
            ("oauth2client/userinfo", Some("credentials in the URL are not supported")),
            ("oauth2client/clear", Some("in the clear")),
            ("oauth2client/no_file", Some("failed to read credentials file \"/no/such/file\": ")),
            ("oauth2client/overwrites", Some("cannot overwrite parameter \"client_secret\"")),
            ("oauth2client/jwt_bearer", Some("the grant type jwt-bearer is not supported")),
            ("oauth2client/certificate_key", Some("\"client_certificate_key\" is not supported")),
            ("oauth2client/unknown_grant", Some("unknown grant type \"password\"")),
        ] {
            let found = found(id);
            match message {
                Some(message) => assert!(found.iter().any(|f| f.contains(message)), "{id}: {found:?}"),
                None => assert!(found.is_empty(), "{id}: {found:?}"),
            }
        }
    }
}
