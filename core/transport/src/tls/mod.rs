//! Transport security on rustls: configuration blocks, the handshakes of both sides, reload of what is on disk.
//!
//! ```text
//! config ─▶ pem (read) ─▶ identity, trust (judge) ─▶ client / server ─▶ handshake ─▶ h2
//!              ▲                                          ▲
//!              └─ reload: polls the files, builds anew and swaps the whole; connections keep what they began with
//! ```
//!
//! The crypto provider is `ring`; ADR 010 says why, and what of Go's TLS is not there.

mod certificate;
mod client;
mod config;
mod explain;
mod identity;
mod names;
mod opening;
mod pem;
mod protocol;
mod reload;
mod server;
mod stream;
mod trust;
mod verify;

#[cfg(test)]
pub(crate) mod tests;

pub use client::Connector;
pub use config::{ClientTls, ServerTls, TPM_UNSUPPORTED, TlsSettings};
pub use explain::HandshakeError;
pub use opening::Opening;
pub use server::Acceptor;
pub(crate) use stream::READ_AHEAD_BYTES;
pub use stream::{Session, Stream};

pub(crate) use explain::explained;

/// Why a configuration gives no TLS. Never holds key material.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct TlsError {
    /// The key of the block that is at fault.
    pub key: &'static str,
    /// What is wrong, with the file named where there is one.
    pub message: String,
    /// What to do about it, if there is more to say.
    pub help: Option<String>,
}

impl TlsError {
    pub(crate) fn new(key: &'static str, message: impl Into<String>) -> Self {
        Self { key, message: message.into(), help: None }
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}
