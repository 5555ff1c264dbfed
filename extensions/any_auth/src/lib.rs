//! The `any_auth` extension: several ways to authenticate on one listener, so that clients can be moved from one to the
//! next without a second port. Not in the Go collector.

mod authenticator;
mod config;
mod extension;
mod factory;

pub use config::Config;
pub use factory::Factory;
