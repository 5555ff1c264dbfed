//! The `basicauth` extension: HTTP Basic authentication (RFC 7617) for servers and for clients.
//!
//! ```text
//! server:  header ─▶ remembered? ─▶ limits (per client) ─▶ one verification at a time a credential, off the async
//!                        │                                  threads ─▶ table (htpasswd, swapped when its file changes)
//!                        └▶ in at the price of one SHA-256
//! client:  files or keys ─▶ one header value, swapped when a file changes
//! ```

mod background;
mod client;
mod config;
mod extension;
mod factory;
mod hash;
mod htpasswd;
mod limits;
mod md5_crypt;
mod remembered;
mod server;

pub use config::{ClientAuth, Config, Htpasswd};
pub use factory::Factory;
