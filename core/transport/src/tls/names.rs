//! Names that Go has for versions, cipher suites and curves, and which of them there are here.

use rustls::crypto::ring::{cipher_suite, kx_group};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion, crypto::SupportedKxGroup};

/// The cipher suites of TLS 1.2 that there are, in order of preference.
pub(super) const SUITES_1_2: [(&str, SupportedCipherSuite); 6] = [
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

/// The cipher suites of TLS 1.3: all of them are always on, as in Go.
pub(super) const SUITES_1_3: [(&str, SupportedCipherSuite); 3] = [
    ("TLS_AES_256_GCM_SHA384", cipher_suite::TLS13_AES_256_GCM_SHA384),
    ("TLS_AES_128_GCM_SHA256", cipher_suite::TLS13_AES_128_GCM_SHA256),
    ("TLS_CHACHA20_POLY1305_SHA256", cipher_suite::TLS13_CHACHA20_POLY1305_SHA256),
];

/// Names of Go that stand for no suite here: without forward secrecy, or CBC, RC4 and 3DES.
const SUITES_ELSEWHERE: [&str; 17] = [
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_FALLBACK_SCSV",
];

/// The key exchange groups that there are, in order of preference.
pub(super) static GROUPS: [(&str, &dyn SupportedKxGroup); 3] =
    [("X25519", kx_group::X25519), ("P256", kx_group::SECP256R1), ("P384", kx_group::SECP384R1)];

/// Go's names of groups that are not here.
const GROUPS_ELSEWHERE: [&str; 2] = ["P521", "X25519MLKEM768"];

/// What a name stands for.
pub(super) enum Named<T> {
    /// This.
    Here(T),
    /// Something that Go has and we do not.
    Elsewhere,
    /// Nothing at all.
    Unknown,
}

/// The version that `text` names; `None` for the empty text, which leaves the default.
pub(super) fn version(text: &str) -> Option<Named<&'static SupportedProtocolVersion>> {
    Some(match text {
        "" => return None,
        "1.2" => Named::Here(&rustls::version::TLS12),
        "1.3" => Named::Here(&rustls::version::TLS13),
        "1.0" | "1.1" => Named::Elsewhere,
        _ => Named::Unknown,
    })
}

/// The cipher suite of this name, of whatever version.
pub(super) fn suite(name: &str) -> Named<SupportedCipherSuite> {
    let found = SUITES_1_2.iter().chain(&SUITES_1_3).find(|(known, _)| *known == name);
    match found {
        Some((_, suite)) => Named::Here(*suite),
        None if SUITES_ELSEWHERE.contains(&name) => Named::Elsewhere,
        None => Named::Unknown,
    }
}

/// The group of this name.
pub(super) fn group(name: &str) -> Named<&'static dyn SupportedKxGroup> {
    match GROUPS.iter().find(|(known, _)| *known == name) {
        Some((_, group)) => Named::Here(*group),
        None if GROUPS_ELSEWHERE.contains(&name) => Named::Elsewhere,
        None => Named::Unknown,
    }
}

/// The names of the suites that can be configured.
pub(super) fn available_suites() -> String {
    SUITES_1_2.map(|(name, _)| name).join(", ")
}

/// The names of the groups.
pub(super) fn available_groups() -> String {
    GROUPS.map(|(name, _)| name).join(", ")
}
