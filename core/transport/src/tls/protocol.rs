//! Versions, cipher suites and key exchange groups of a configuration.

use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::crypto::{CryptoProvider, ring};
use spanbridge_component::Problems;

use super::TlsError;
use super::config::TlsSettings;
use super::names::{self, GROUPS, Named, SUITES_1_2, SUITES_1_3};

/// What may be negotiated.
pub(super) struct Protocol {
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) versions: Vec<&'static SupportedProtocolVersion>,
}

/// Reports every name that stands for nothing here.
pub(super) fn check(settings: &TlsSettings, problems: &mut Problems) {
    let mut sound = true;
    for (key, text) in [("min_version", &settings.min_version), ("max_version", &settings.max_version)] {
        let message = match names::version(text) {
            None | Some(Named::Here(_)) => continue,
            Some(Named::Elsewhere) => format!("invalid TLS {key}: TLS {text} is not available here"),
            Some(Named::Unknown) => format!("invalid TLS {key}: unsupported TLS version: \"{text}\""),
        };
        problems.error_at(key, message).help("write \"1.2\" or \"1.3\"");
        sound = false;
    }
    if sound && versions(settings).is_empty() {
        problems.error("invalid TLS configuration: min_version cannot be greater than max_version");
    }
    problems.at("cipher_suites", |problems| check_suites(&settings.cipher_suites, problems));
    problems.at("curve_preferences", |problems| {
        for (index, name) in settings.curve_preferences.iter().enumerate() {
            let message = match names::group(name) {
                Named::Here(_) => continue,
                Named::Elsewhere => format!("invalid curve type: {name} is not available here"),
                Named::Unknown => format!("invalid curve type: {name}"),
            };
            problems
                .error_at(&index.to_string(), message)
                .help(format!("available are {}", names::available_groups()));
        }
    });
}

fn check_suites(suites: &[String], problems: &mut Problems) {
    for (index, name) in suites.iter().enumerate() {
        let message = match names::suite(name) {
            Named::Here(_) if SUITES_1_3.iter().any(|(known, _)| known == name) => {
                problems.warn_at(
                    &index.to_string(),
                    format!("{name} has no effect: the cipher suites of TLS 1.3 are always on"),
                );
                continue;
            }
            Named::Here(_) => continue,
            Named::Elsewhere => format!("TLS cipher suite \"{name}\" is not available here"),
            Named::Unknown => format!("invalid TLS cipher suite: \"{name}\""),
        };
        problems
            .error_at(&index.to_string(), message)
            .help(format!("available are {}", names::available_suites()));
    }
}

/// The versions from the lowest to the highest; names that are none leave the default.
fn versions(settings: &TlsSettings) -> Vec<&'static SupportedProtocolVersion> {
    let all = [&rustls::version::TLS12, &rustls::version::TLS13];
    let place = |text: &str, otherwise: usize| match names::version(text) {
        Some(Named::Here(version)) => all.iter().position(|known| *known == version).unwrap_or(otherwise),
        _ => otherwise,
    };
    let (lowest, highest) = (place(&settings.min_version, 0), place(&settings.max_version, 1));
    all.get(lowest..=highest).unwrap_or_default().to_vec()
}

impl Protocol {
    /// What `settings` allow.
    ///
    /// # Errors
    /// A name that [`check`] reports.
    pub(super) fn new(settings: &TlsSettings) -> Result<Self, TlsError> {
        let mut problems = Problems::new();
        check(settings, &mut problems);
        let mut found = problems.into_found();
        found.retain(|problem| problem.severity == spanbridge_component::Severity::Error);
        if let Some(problem) = found.into_iter().next() {
            return Err(TlsError { help: problem.help, ..TlsError::new("tls", problem.message) });
        }
        let mut provider = ring::default_provider();
        let wanted = |name: &str| {
            settings.cipher_suites.is_empty() || settings.cipher_suites.iter().any(|suite| suite == name)
        };
        let suites_1_2 = SUITES_1_2.into_iter().filter(|(name, _)| wanted(name));
        provider.cipher_suites = SUITES_1_3.into_iter().chain(suites_1_2).map(|(_, suite)| suite).collect();
        provider.kx_groups = if settings.curve_preferences.is_empty() {
            GROUPS.iter().map(|(_, group)| *group).collect()
        } else {
            let known = |name: &String| match names::group(name) {
                Named::Here(group) => Some(group),
                Named::Elsewhere | Named::Unknown => None,
            };
            settings.curve_preferences.iter().filter_map(known).collect()
        };
        let mut versions = versions(settings);
        // Without a suite of TLS 1.2 there is no speaking it.
        versions.retain(|version| provider.cipher_suites.iter().any(|suite| suite.version() == *version));
        if versions.is_empty() {
            let message = "max_version allows only TLS 1.2, and there is no cipher suite for it";
            return Err(TlsError::new("cipher_suites", message));
        }
        Ok(Self { provider: Arc::new(provider), versions })
    }
}
