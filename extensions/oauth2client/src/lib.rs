//! The `oauth2client` extension: tokens by the client credentials grant of OAuth 2 (RFC 6749, 4.4), for exporters.
//!
//! ```text
//! authorize ─▶ tokens: still good? ─▶ header
//!                 │ about to expire: fetch behind the caller's back; expired: fetch, and let everybody wait for it
//!                 └▶ one fetch at a time ─▶ request (form, credentials) ─▶ token endpoint ─▶ answer
//! ```

mod answer;
mod config;
mod endpoint;
mod extension;
mod factory;
mod tokens;

pub use config::Config;
pub use factory::Factory;
