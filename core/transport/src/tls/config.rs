//! What users write under `tls` (reference: collector-core, 5.2).

use std::path::PathBuf;
use std::time;

use rustls::crypto::ring;
use spanbridge_component::{Problems, Validate};
use spanbridge_config::{Duration, Opaque};

use super::pem::{self, PemSource, Sources};
use super::{TlsError, certificate, client, identity, names, protocol, trust};

/// How often files are looked at where `reload_interval` says nothing.
const RELOAD_INTERVAL_DEFAULT: time::Duration = time::Duration::from_secs(10);
/// Shorter intervals are raised to this.
const RELOAD_INTERVAL_MIN: time::Duration = time::Duration::from_secs(1);
/// A warning is due when a certificate of ours has less than this left.
const EXPIRY_WARNING: time::Duration = time::Duration::from_secs(14 * 24 * 3600);

/// Why the key `tpm` of the Go collector is refused.
pub const TPM_UNSUPPORTED: &str = "keys in a TPM are not supported; give the key as key_file or key_pem";

/// The keys that clients and servers have in common.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(default, deny_unknown_fields)]
pub struct TlsSettings {
    /// PEM file of the certificate authorities that a client trusts, in place of the system's. Has no effect on
    /// servers, which verify clients with `client_ca_file`. A change of the file takes effect without a restart.
    pub ca_file: PathBuf,
    /// The same as text.
    pub ca_pem: Opaque,
    /// Whether the system's authorities are trusted in addition to those of `ca_file` or `ca_pem`. Without either of
    /// these they are trusted in any case.
    pub include_system_ca_certs_pool: bool,
    /// PEM file of the own certificate, followed by those that lead to its authority. A change of the file takes effect
    /// without a restart, together with the key's.
    pub cert_file: PathBuf,
    /// The same as text.
    pub cert_pem: Opaque,
    /// PEM file of the key of the own certificate: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key_file: PathBuf,
    /// The same as text.
    pub key_pem: Opaque,
    /// Lowest version to speak: `1.2` (the default) or `1.3`.
    pub min_version: String,
    /// Highest version to speak: `1.2` or `1.3` (the default).
    pub max_version: String,
    /// Cipher suites of TLS 1.2, by the names that Go uses; empty takes all there are. Those of TLS 1.3 are not
    /// configurable.
    pub cipher_suites: Vec<String>,
    /// Must be `false`: there are no insecure cipher suites here to include.
    pub include_insecure_cipher_suites: bool,
    /// Key exchange groups in order of preference: `X25519`, `P256`, `P384`. Empty takes all, in this order.
    pub curve_preferences: Vec<String>,
    /// How often the files are looked at for changes. 0 takes 10s (the Go collector's 0 never looks); what is shorter
    /// than 1s is raised to it.
    pub reload_interval: Duration,
}

spanbridge_config::squash! {
    /// Transport security of a client. Without the block, and with an empty one, TLS is on and the system's authorities are
    /// trusted.
    #[derive(Debug, Clone, Default, PartialEq, Eq)]
    pub struct ClientTls {
        /// The keys that servers have too.
        pub flatten settings: TlsSettings,
        /// `true` means plaintext, unless `ca_file` or `ca_pem` is given or the endpoint begins with `https://`.
        pub insecure: bool,
        /// Whether any certificate of the server will do. Then anybody on the way can read and change everything.
        pub insecure_skip_verify: bool,
        /// Name that the server's certificate must have, in place of the endpoint's host. Is sent as SNI and as
        /// `:authority` too.
        pub server_name_override: String,
    }
}

spanbridge_config::squash! {
    /// Transport security of a server. Without the block it speaks plaintext.
    #[derive(Debug, Clone, Default, PartialEq, Eq)]
    pub struct ServerTls {
        /// The keys that clients have too.
        pub flatten settings: TlsSettings,
        /// PEM file of the certificate authorities of clients. With it a client without a certificate of one of them is
        /// turned away.
        pub client_ca_file: PathBuf,
        /// Whether a change of `client_ca_file` takes effect without a restart.
        pub client_ca_file_reload: bool,
        /// Whether clients may come without a certificate, too; one that is shown is verified. Needs `client_ca_file`, and
        /// `auth` on the server, which decides of those without one (extension `any_auth`). Not a key of the Go collector.
        pub client_certificate_optional: bool,
    }
}

// === impl TlsSettings ===

impl TlsSettings {
    /// Whether an authority is named.
    pub fn has_ca(&self) -> bool {
        !self.ca_file.as_os_str().is_empty() || !self.ca_pem.is_empty()
    }

    /// Time between two looks at the files.
    pub(super) fn poll_interval(&self) -> time::Duration {
        match self.reload_interval.get() {
            time::Duration::ZERO => RELOAD_INTERVAL_DEFAULT,
            interval => interval.max(RELOAD_INTERVAL_MIN),
        }
    }

    /// Where PEM texts come from.
    pub(super) fn sources(&self) -> Sources {
        Sources {
            ca: PemSource::either("ca_file", &self.ca_file, "ca_pem", &self.ca_pem),
            cert: PemSource::either("cert_file", &self.cert_file, "cert_pem", &self.cert_pem),
            key: PemSource::either("key_file", &self.key_file, "key_pem", &self.key_pem),
            client_ca: None,
        }
    }

    /// What can be told without reading files; whether the sources of PEM texts are in order.
    fn check_keys(&self, problems: &mut Problems) -> bool {
        let both = |file: &PathBuf, pem: &Opaque| !file.as_os_str().is_empty() && !pem.is_empty();
        let mut sound = true;
        for (file, pem, key, message) in [
            (
                &self.ca_file,
                &self.ca_pem,
                "ca_pem",
                "provide either a CA file or the PEM-encoded string, but not both",
            ),
            (
                &self.cert_file,
                &self.cert_pem,
                "cert_pem",
                "provide either certificate file or PEM, but not both",
            ),
            (&self.key_file, &self.key_pem, "key_pem", "provide either key file or PEM, but not both"),
        ] {
            if both(file, pem) {
                problems.error_at(key, message);
                sound = false;
            }
        }
        let sources = self.sources();
        if sources.cert.is_some() != sources.key.is_some() {
            problems.error(
                "TLS configuration must include both certificate and key (CertFile/CertPem and KeyFile/KeyPem)",
            );
            sound = false;
        }
        protocol::check(self, problems);
        if self.include_insecure_cipher_suites {
            problems
                .error_at(
                    "include_insecure_cipher_suites",
                    "there are no insecure cipher suites here to include",
                )
                .help(format!("remove the key; available are {}", names::available_suites()));
        }
        if !self.reload_interval.is_zero() && self.reload_interval.get() < RELOAD_INTERVAL_MIN {
            problems.warn_at(
                "reload_interval",
                format!("{} is raised to the minimum of 1s", self.reload_interval),
            );
        }
        sound
    }

    /// Reads and judges certificate, key and authorities.
    fn check_files(sources: &Sources, role: Role, problems: &mut Problems) {
        let texts = match (&sources.cert, &sources.key) {
            (Some(cert), Some(key)) => pem::read(cert).and_then(|cert| Ok((cert, pem::read(key)?))).map(Some),
            _ => Ok(None),
        };
        let identity = texts.and_then(|texts| {
            texts.map(|(cert, key)| identity::load(&cert, &key, &ring::default_provider())).transpose()
        });
        match identity {
            Ok(Some(identity)) => warn_about(&identity.facts, role, cert_key(sources), problems),
            Ok(None) => {}
            Err(error) => report(problems, error),
        }
        for source in [&sources.ca, &sources.client_ca].into_iter().flatten() {
            match pem::read(source).and_then(|text| trust::anchors(&text)) {
                Ok(anchors) => {
                    for warning in anchors.warnings {
                        problems.warn_at(source.key(), warning);
                    }
                }
                Err(error) => report(problems, error),
            }
        }
    }
}

/// Which side a certificate is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Client,
    Server,
}

fn cert_key(sources: &Sources) -> &'static str {
    sources.cert.as_ref().map_or("cert_file", PemSource::key)
}

fn report(problems: &mut Problems, error: TlsError) {
    let problems = problems.error_at(error.key, error.message);
    if let Some(help) = error.help {
        problems.help(help);
    }
}

fn warn_about(facts: &certificate::Facts, role: Role, key: &str, problems: &mut Problems) {
    if let Some(left) = facts.time_left()
        && left < EXPIRY_WARNING
    {
        problems.warn_at(key, format!("the certificate expires soon: {}", facts.validity_text()));
    }
    if facts.is_not_yet_valid() {
        problems.warn_at(key, format!("the certificate is not valid yet: {}", facts.validity_text()));
    }
    if role == Role::Server && facts.names.is_empty() {
        problems
            .warn_at(key, "the certificate has no subject alternative name, so clients cannot match it with a host name")
            .help("the common name alone is not looked at; issue it with subjectAltName");
    }
}

// === impl ClientTls ===

impl ClientTls {
    /// No TLS at all: `insecure: true`.
    pub fn plaintext() -> Self {
        Self { insecure: true, ..Self::default() }
    }

    /// Whether the block by itself means plaintext. An endpoint with `https://` overrules it.
    pub fn is_plaintext(&self) -> bool {
        self.insecure && !self.settings.has_ca()
    }
}

impl Validate for ClientTls {
    fn validate(&self, problems: &mut Problems) {
        let sound = self.settings.check_keys(problems);
        let sources = self.settings.sources();
        if !self.server_name_override.is_empty()
            && let Err(error) = client::server_name(&self.server_name_override)
        {
            problems.error_at("server_name_override", error);
        }
        if self.is_plaintext() {
            for source in [&sources.cert, &sources.key].into_iter().flatten() {
                problems
                    .warn_at(source.key(), "has no effect: insecure: true means plaintext")
                    .help("remove insecure: true to use TLS");
            }
            return;
        }
        if self.insecure_skip_verify {
            problems
                .warn_at(
                    "insecure_skip_verify",
                    "the server's certificate goes unchecked: anybody on the way can read and change the telemetry",
                )
                .help("name the authority with ca_file, and the name in the certificate with server_name_override");
        }
        if sound {
            TlsSettings::check_files(&sources, Role::Client, problems);
        }
    }
}

// === impl ServerTls ===

impl ServerTls {
    /// Where PEM texts come from.
    pub(super) fn sources(&self) -> Sources {
        let client_ca = PemSource::either("client_ca_file", &self.client_ca_file, "", &Opaque::default());
        Sources { client_ca, ..self.settings.sources() }
    }

    /// Whether clients are asked for a certificate.
    pub(crate) fn asks_for_certificates(&self) -> bool {
        self.sources().client_ca.is_some()
    }

    /// Reports, at the server's own place, if clients without a certificate would come in unasked.
    pub(crate) fn check_auth(&self, has_auth: bool, problems: &mut Problems) {
        if self.client_certificate_optional && !has_auth {
            problems.at("tls", |problems| {
                problems
                    .error_at(
                        "client_certificate_optional",
                        "without auth, clients without a certificate come in, too",
                    )
                    .help("let an authenticator decide: auth: {authenticator: any_auth}");
            });
        }
    }
}

impl Validate for ServerTls {
    fn validate(&self, problems: &mut Problems) {
        let mut sound = self.settings.check_keys(problems);
        let sources = self.sources();
        if sources.cert.is_none() && sources.key.is_none() {
            problems.error("TLS configuration must include both certificate and key for server connections");
            sound = false;
        }
        if let Some(ca) = &sources.ca {
            problems
                .warn_at(ca.key(), "has no effect on a server: it does not verify clients")
                .help("to require and verify client certificates write client_ca_file");
        }
        if self.settings.include_system_ca_certs_pool {
            problems.warn_at("include_system_ca_certs_pool", "has no effect on a server");
        }
        if self.client_ca_file_reload && sources.client_ca.is_none() {
            problems.warn_at("client_ca_file_reload", "has no effect without client_ca_file");
        }
        if self.client_certificate_optional && sources.client_ca.is_none() {
            problems.error_at(
                "client_certificate_optional",
                "has no meaning without client_ca_file: no client is asked for a certificate",
            );
        }
        if sound {
            TlsSettings::check_files(&sources, Role::Server, problems);
        }
    }
}
