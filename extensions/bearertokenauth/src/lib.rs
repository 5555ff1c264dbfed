//! The `bearertokenauth` extension: tokens (RFC 6750) that servers compare requests with, and that clients send.

mod config;
mod extension;
mod factory;
mod tokens;

pub use config::Config;
pub use factory::Factory;
