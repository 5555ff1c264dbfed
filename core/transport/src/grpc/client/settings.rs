//! What a channel is made of, from what the user and the program say.

use std::fmt;
use std::sync::Arc;

use http::HeaderValue;
use http::uri::{Authority, Scheme};
use spanbridge_component::BuildInfo;

use super::backoff::Backoff;
use super::balancer::ReResolution;
use super::call::Template;
use super::connection::{ConnectionOptions, Keepalive};
use super::resolve::{Resolve, SystemResolver};
use crate::grpc::client_config::{ClientConfig, header};
use crate::grpc::{Endpoint, EndpointError};
use crate::io::{READ_BUFFER_BYTES_DEFAULT, WRITE_BUFFER_BYTES_DEFAULT};
use crate::tls::{Connector, TlsError};

/// Calls that a channel has in flight at a time, unless the settings say otherwise; further ones wait.
pub const IN_FLIGHT_MAX_DEFAULT: usize = 4096;

/// What a program decides about a channel, beside what its user configures.
#[derive(Clone)]
pub struct ChannelSettings {
    /// `user-agent`, unless the configuration has one.
    pub user_agent: String,
    /// Finds addresses.
    pub resolver: Arc<dyn Resolve>,
    /// When names are resolved again.
    pub re_resolution: ReResolution,
    /// Pauses between attempts to connect and to resolve.
    pub backoff: Backoff,
    /// Connections to each address, unless the configuration asks for more; at least 1. One connection is served by one
    /// processor at a time.
    pub connections_per_address: usize,
    /// Calls in flight at a time; at least 1.
    pub in_flight_max: usize,
}

impl ChannelSettings {
    /// The settings of a program: its name in `user-agent`, and defaults.
    pub fn new(build: &BuildInfo) -> Self {
        Self {
            user_agent: user_agent(build),
            resolver: Arc::new(SystemResolver),
            re_resolution: ReResolution::default(),
            backoff: Backoff::default(),
            connections_per_address: 1,
            in_flight_max: IN_FLIGHT_MAX_DEFAULT,
        }
    }
}

/// `<description>/<version> (<os>/<arch>)`, as the Go collector introduces itself (reference: collector-core, 8.1).
fn user_agent(build: &BuildInfo) -> String {
    // Go's names.
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{}/{} ({}/{arch})", build.description, build.version, std::env::consts::OS)
}

/// Why a configuration gives no channel. Validation finds all of these first.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The endpoint.
    #[error("endpoint: {0}")]
    Endpoint(#[from] EndpointError),
    /// Certificates, keys and the rest of `tls`.
    #[error("tls: {0}")]
    Tls(#[from] TlsError),
    /// A header, the authority or the user agent.
    #[error("{key}: {reason}")]
    Header {
        /// The key of the configuration.
        key: &'static str,
        /// What is wrong with its value.
        reason: String,
    },
}

/// What every request starts from.
pub(super) fn template(
    config: &ClientConfig,
    settings: &ChannelSettings,
    endpoint: &Endpoint,
) -> Result<Template, ChannelError> {
    let invalid = |key, reason: &dyn fmt::Display| ChannelError::Header { key, reason: reason.to_string() };
    let authority = authority(config, endpoint)?;
    let scheme = if config.is_plaintext() { Scheme::HTTP } else { Scheme::HTTPS };
    let user_agent = if config.user_agent.is_empty() { &settings.user_agent } else { &config.user_agent };
    let user_agent = HeaderValue::from_str(user_agent).map_err(|e| invalid("user_agent", &e))?;
    let headers = config.headers.iter().map(|(name, value)| header(name, value.expose()));
    let headers = headers.collect::<Result<Vec<_>, _>>().map_err(|e| invalid("headers", &e))?;
    Ok(Template::new((scheme, authority), user_agent, headers, config.compression.encoding()))
}

fn authority(config: &ClientConfig, endpoint: &Endpoint) -> Result<Authority, ChannelError> {
    let authority = config.effective_authority(endpoint);
    authority.parse().map_err(|error: http::uri::InvalidUri| ChannelError::Header {
        key: "authority",
        reason: error.to_string(),
    })
}

/// What puts TLS on connections. As in grpc-go, the host of the authority is the name that the server must have.
fn connector(config: &ClientConfig, endpoint: &Endpoint) -> Result<Option<Arc<Connector>>, ChannelError> {
    const ALPN: &[u8] = b"h2";
    let Some(tls) = config.effective_tls() else { return Ok(None) };
    let authority = authority(config, endpoint)?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    Ok(Some(Arc::new(Connector::new(&tls, host, ALPN)?)))
}

/// How connections are made.
pub(super) fn connection_options(
    config: &ClientConfig,
    endpoint: &Endpoint,
) -> Result<ConnectionOptions, ChannelError> {
    let or_default = |bytes: usize, default: usize| if bytes == 0 { default } else { bytes };
    Ok(ConnectionOptions {
        tls: connector(config, endpoint)?,
        keepalive: config.keepalive.as_ref().map(|keepalive| Keepalive {
            time: keepalive.effective_time(),
            timeout: keepalive.effective_timeout(),
            permit_without_stream: keepalive.permit_without_stream,
        }),
        read_buffer_bytes: or_default(config.read_buffer_size, READ_BUFFER_BYTES_DEFAULT),
        write_buffer_bytes: or_default(config.write_buffer_size, WRITE_BUFFER_BYTES_DEFAULT),
    })
}
