//! What users write under `extensions::oidc`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanbridge_component::{Problems, Severity, Validate};
use spanbridge_transport::file_watch::read_text;
use spanbridge_transport::grpc::ClientTls;
use spanbridge_transport::http::Request;
use spanbridge_transport::tls::TlsSettings;

use crate::issuer::Way;
use crate::keys::KeySet;

/// Issuers of one extension; each has a task that fetches its keys.
const PROVIDERS_MAX: usize = 32;

/// Configuration of the `oidc` extension (reference: contrib-components, D.2).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The header that holds the token, after a word such as `Bearer`. Default `authorization`.
    pub attribute: String,
    /// Who may issue tokens. With one provider, its rules hold for every token; with several, a token's `iss` decides.
    pub providers: Vec<ProviderConfig>,
    /// Deprecated, as are the keys below: of the first provider.
    pub issuer_url: String,
    /// Deprecated: write it under `providers`.
    pub audience: String,
    /// Deprecated: write it under `providers`.
    pub ignore_audience: bool,
    /// Deprecated: write it under `providers`.
    pub issuer_ca_path: PathBuf,
    /// Deprecated: write it under `providers`.
    pub username_claim: String,
    /// Deprecated: write it under `providers`.
    pub groups_claim: String,
}

/// An issuer of tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderConfig {
    /// What stands in `iss` of its tokens. Its keys are found below it, at `/.well-known/openid-configuration`. Required.
    pub issuer_url: String,
    /// What has to stand in `aud` of a token. Required unless `ignore_audience`.
    pub audience: String,
    /// Whether a token of any audience will do. Default `false`.
    pub ignore_audience: bool,
    /// Whether `iss` of a token is not looked at; only with one provider. Default `false`.
    pub ignore_issuer: bool,
    /// PEM file of the certificate authorities of the issuer, in place of the system's. A change takes effect without a
    /// restart.
    pub issuer_ca_path: PathBuf,
    /// The claim that says who the client is. Default `sub`.
    pub username_claim: String,
    /// The claim that holds the client's groups.
    pub groups_claim: String,
    /// File with the issuer's public keys (JWKS); the issuer is not asked then. It is watched.
    pub public_keys_file: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            attribute: "authorization".to_owned(),
            providers: Vec::new(),
            issuer_url: String::new(),
            audience: String::new(),
            ignore_audience: false,
            issuer_ca_path: PathBuf::new(),
            username_claim: String::new(),
            groups_claim: String::new(),
        }
    }
}

impl Config {
    /// Every provider, that of the deprecated keys first.
    pub(crate) fn all(&self) -> Vec<ProviderConfig> {
        self.deprecated().into_iter().chain(self.providers.iter().cloned()).collect()
    }

    /// The header's name; an empty one is the default.
    pub(crate) fn header(&self) -> &str {
        if self.attribute.is_empty() { "authorization" } else { &self.attribute }
    }

    fn deprecated(&self) -> Option<ProviderConfig> {
        let provider = ProviderConfig {
            issuer_url: self.issuer_url.clone(),
            audience: self.audience.clone(),
            ignore_audience: self.ignore_audience,
            issuer_ca_path: self.issuer_ca_path.clone(),
            username_claim: self.username_claim.clone(),
            groups_claim: self.groups_claim.clone(),
            ..ProviderConfig::default()
        };
        (provider != ProviderConfig::default()).then_some(provider)
    }
}

impl ProviderConfig {
    /// TLS to the issuer.
    pub(crate) fn tls(&self) -> ClientTls {
        let settings = TlsSettings { ca_file: self.issuer_ca_path.clone(), ..TlsSettings::default() };
        ClientTls { settings, ..ClientTls::default() }
    }

    /// The keys of the file, if there is one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn keys_of_file(&self) -> Option<Result<KeySet, String>> {
        let path = self.public_keys_file.as_ref()?;
        let keys = read_text(path).and_then(|text| KeySet::parse(text.as_bytes()));
        Some(keys.map_err(|error| format!("invalid public_keys_file \"{}\": {error}", path.display())))
    }

    fn check_url(&self, problems: &mut Problems) {
        if self.issuer_url.is_empty() {
            problems.error_at("issuer_url", "no IssuerURL provided for the OIDC configuration");
            return;
        }
        // With a file it is only compared.
        if self.public_keys_file.is_some() {
            return;
        }
        if let Err(error) = Request::get(&self.issuer_url) {
            problems.error_at("issuer_url", error.cause());
            return;
        }
        let clear = match Way::to(&self.issuer_url) {
            Way::Tls => return,
            Way::Loopback => problems.warn_at(
                "issuer_url",
                "the issuer's keys are fetched without TLS: anybody on this machine can put in others",
            ),
            Way::Open => problems.error_at(
                "issuer_url",
                "the issuer's keys would be fetched without TLS: anybody on the way could put in others, and come in",
            ),
        };
        clear.help("write https://, or give the keys with public_keys_file");
    }

    /// As a `tls` block would be, under the one key that there is here.
    fn check_authority(&self, problems: &mut Problems) {
        if self.issuer_ca_path.as_os_str().is_empty() {
            return;
        }
        let mut found = Problems::new();
        self.tls().validate(&mut found);
        for problem in found.into_found() {
            match problem.severity {
                Severity::Error => problems.error_at("issuer_ca_path", problem.message),
                Severity::Warning => problems.warn_at("issuer_ca_path", problem.message),
            };
        }
        if self.public_keys_file.is_some() {
            problems
                .warn_at("issuer_ca_path", "has no effect: with public_keys_file the issuer is not asked");
        }
    }
}

impl Validate for ProviderConfig {
    fn validate(&self, problems: &mut Problems) {
        if self.audience.is_empty() && !self.ignore_audience {
            problems
                .error_at("audience", "no Audience provided for the OIDC configuration")
                .help("without it a token that was issued for anything else would come in: write what stands in `aud`");
        }
        if self.ignore_audience && !self.audience.is_empty() {
            problems.warn_at("audience", "has no effect: ignore_audience is true");
        }
        self.check_url(problems);
        self.check_authority(problems);
        if let Some(Err(error)) = self.keys_of_file() {
            problems.error_at("public_keys_file", error);
        }
    }
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        if http::HeaderName::try_from(self.header()).is_err() {
            problems.error_at("attribute", format!("\"{}\" is no header name", self.attribute));
        }
        if let Some(provider) = self.deprecated() {
            problems
                .warn_at("issuer_url", "issuer_url, audience and their neighbours are deprecated here")
                .help("move them into a list: providers: [{issuer_url: ..., audience: ...}]");
            provider.validate(problems);
        }
        let all = self.all();
        if all.is_empty() {
            problems.error_at("providers", "names no provider: nobody could come in");
        }
        if all.len() > PROVIDERS_MAX {
            problems.error_at("providers", format!("at most {PROVIDERS_MAX}, not {}", all.len()));
        }
        if all.len() > 1 && all.iter().any(|provider| provider.ignore_issuer) {
            problems
                .error_at("providers", "ignore_issuer cannot be true when multiple providers are configured");
        }
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        if self.deprecated().is_some() {
            seen.insert(&self.issuer_url);
        }
        problems.at("providers", |problems| {
            for (index, provider) in self.providers.iter().enumerate() {
                problems.nested(&index.to_string(), provider);
                if !provider.issuer_url.is_empty() && !seen.insert(&provider.issuer_url) {
                    let message = format!("duplicate issuer URL found: {}", provider.issuer_url);
                    problems.at(index, |problems| {
                        problems.error_at("issuer_url", message);
                    });
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use spanbridge_component::ExtensionFactory as _;
    use spanbridge_config::Document;

    use super::*;

    fn read(id: &str) -> (Option<Config>, Vec<String>) {
        let document = Document::from_yaml(include_str!("../testdata/config.yaml")).unwrap();
        let node = document.root().get(id).unwrap().clone();
        let unsupported = crate::Factory.descriptor().unsupported;
        let (config, found) = document.decode_and_validate::<Config>(&node, &[id], unsupported).into_parts();
        (config, found.into_iter().map(|problem| problem.message).collect())
    }

    #[test]
    fn each_example_is_read_or_refused_with_its_reason() {
        for (id, message) in [
            ("oidc", Some("names no provider: nobody could come in")),
            ("oidc/good", None),
            ("oidc/several", None),
            ("oidc/deprecated", Some("are deprecated here")),
            ("oidc/no_audience", Some("no Audience provided for the OIDC configuration")),
            ("oidc/no_issuer", Some("no IssuerURL provided for the OIDC configuration")),
            ("oidc/twice", Some("duplicate issuer URL found: https://issuer.example")),
            ("oidc/twice_deprecated", Some("duplicate issuer URL found: https://issuer.example")),
            (
                "oidc/ignores_issuer",
                Some("ignore_issuer cannot be true when multiple providers are configured"),
            ),
            ("oidc/no_keys", Some("invalid public_keys_file \"/no/such/file\": No such file")),
            ("oidc/no_authority", Some("/no/such/file")),
            ("oidc/clear", Some("anybody on the way could put in others")),
            ("oidc/loopback", Some("anybody on this machine can put in others")),
            ("oidc/bad_url", Some("unsupported scheme \"ftp\"")),
            ("oidc/bad_header", Some("\"not a name\" is no header name")),
        ] {
            let (_, found) = read(id);
            match message {
                Some(message) => assert!(found.iter().any(|f| f.contains(message)), "{id}: {found:?}"),
                None => assert!(found.is_empty(), "{id}: {found:?}"),
            }
        }
    }

    #[test]
    fn keys_come_in_the_clear_from_this_machine_only() {
        for (id, is_used) in [("oidc/clear", false), ("oidc/loopback", true)] {
            let (config, found) = read(id);
            assert_eq!((config.is_some(), found.len()), (is_used, 1), "{id}: {found:?}");
        }
    }

    #[test]
    fn the_deprecated_keys_make_the_first_provider() {
        let all = read("oidc/deprecated").0.unwrap().all();
        let names: Vec<_> = all.iter().map(|provider| provider.issuer_url.as_str()).collect();
        assert_eq!(names, ["https://issuer.example", "https://other.example"]);
        assert_eq!((all[0].username_claim.as_str(), all[0].audience.as_str()), ("email", "spans"));
    }
}
