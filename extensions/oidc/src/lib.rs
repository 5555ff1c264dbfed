//! The `oidc` extension: lets in whoever shows a token (JWT, RFC 7519) that one of the configured issuers has signed.
//!
//! ```text
//! header ─▶ remembered? ─▶ token (three parts, strict JSON) ─▶ provider (by `iss`) ─▶ key (by `kid`) ─▶ signature ─▶ claims
//!              │                                                  ▲ unknown kid: ask the issuer, at most every 5 s
//!              └▶ in, until the token ends                        └─ keys: discovery and JWKS in the background, or a file
//! ```
//!
//! Signatures are `ring`'s; ADR 011 says why there is no JWT library.

mod algorithm;
mod claims;
mod config;
mod extension;
mod factory;
mod issuer;
mod json;
mod keys;
mod provider;
mod remembered;
mod server;
mod token;

#[cfg(test)]
mod signing;

pub use config::{Config, ProviderConfig};
pub use factory::Factory;
