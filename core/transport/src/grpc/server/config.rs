//! The configuration block of a gRPC server.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use spanbridge_component::{Problems, Validate};
use spanbridge_config::{Duration, Optional};

use super::endpoint::Endpoint;
use super::limits::{CONCURRENT_STREAMS_DEFAULT, FRAME_BYTES, WRITE_BUFFER_BYTES_MAX};
use crate::auth::ServerAuthConfig;
use crate::io::WRITE_BUFFER_BYTES_DEFAULT;
use crate::tls::ServerTls;

/// `read_buffer_size` where the configuration says 0 (grpc-go).
const READ_BUFFER_BYTES_DEFAULT: i64 = 32 * 1024;
/// Message limit in MiB where the configuration says 0 (grpc-go).
const RECV_MSG_SIZE_MIB_DEFAULT: usize = 4;
/// Largest `max_recv_msg_size_mib`: the length of a gRPC message has 32 bits.
const RECV_MSG_SIZE_MIB_MAX: i64 = 4095;

/// Which sockets a server listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP over IPv4 or IPv6, whatever the endpoint resolves to.
    #[default]
    Tcp,
    /// TCP over IPv4 only.
    Tcp4,
    /// TCP over IPv6 only.
    Tcp6,
    /// A unix stream socket; the endpoint is its path.
    Unix,
}

impl FromStr for Transport {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "tcp" => Ok(Transport::Tcp),
            "tcp4" => Ok(Transport::Tcp4),
            "tcp6" => Ok(Transport::Tcp6),
            "unix" => Ok(Transport::Unix),
            "udp" | "udp4" | "udp6" | "ip" | "ip4" | "ip6" | "unixgram" | "unixpacket" => Err(format!(
                "transport type \"{text}\" cannot carry gRPC, which needs a stream: tcp, tcp4, tcp6 or unix"
            )),
            "npipe" => Err("transport type \"npipe\" is for Windows only".to_owned()),
            "" => Err("invalid transport type \"\"".to_owned()),
            _ => Err(format!("unsupported transport type \"{text}\"")),
        }
    }
}

impl<'de> Deserialize<'de> for Transport {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A gRPC server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Where to listen: `host:port`, `:port` (every address), `[v6]:port`, `host:0` (any free port), or the path of a
    /// unix socket.
    pub endpoint: String,
    /// `tcp`, `tcp4`, `tcp6` or `unix`.
    pub transport: Transport,
    /// Transport security. Off by default: the server speaks plaintext.
    pub tls: Optional<ServerTls>,
    /// Largest message in MiB, before and after decompression. 0 means 4.
    pub max_recv_msg_size_mib: i64,
    /// Calls in flight on one connection. 0 means 1000; the Go collector's 0 means no limit.
    pub max_concurrent_streams: u32,
    /// Bytes buffered for each connection while reading: the largest HTTP/2 frame that clients are allowed, from 16 KiB
    /// to 1 MiB. The larger, the fewer frames a large message takes. 0 means 32 KiB; other values are moved into the
    /// range.
    pub read_buffer_size: i64,
    /// Bytes gathered for each connection before they are written to the socket. 0 means 32 KiB.
    pub write_buffer_size: i64,
    /// Pings, idle connections and the age of connections.
    pub keepalive: Keepalive,
    /// Who lets requests in. Off by default: everybody may come in.
    pub auth: Optional<ServerAuthConfig>,
    /// Whether the metadata of requests goes with the telemetry, for processors and exporters that use it.
    pub include_metadata: bool,
}

/// Keepalive of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Keepalive {
    /// What the server does by itself.
    pub server_parameters: KeepaliveParameters,
    /// What the server lets clients do.
    pub enforcement_policy: KeepaliveEnforcement,
}

/// When a server closes and probes connections.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KeepaliveParameters {
    /// A connection without calls for this long is closed gracefully. 0 means never.
    pub max_connection_idle: Duration,
    /// A connection this old is closed gracefully, give or take 10% so that they do not all close at once. 0 means
    /// never.
    pub max_connection_age: Duration,
    /// How long calls may go on after `max_connection_age`, before the connection is cut. 0 means as long as they
    /// take.
    pub max_connection_age_grace: Duration,
    /// Silence after which the server pings the client. 0 means 2h.
    pub time: Duration,
    /// How long the client has to answer a ping before the connection is cut. 0 means 20s.
    pub timeout: Duration,
}

/// How often clients may ping.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KeepaliveEnforcement {
    /// Shortest time between two pings of a client; who pings faster three times is told `too_many_pings` and cut off.
    /// 0 means 5m.
    pub min_time: Duration,
    /// Whether clients may ping this often also while they have no call in flight; otherwise every 2h.
    pub permit_without_stream: bool,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            transport: Transport::Tcp,
            max_recv_msg_size_mib: 0,
            max_concurrent_streams: 0,
            read_buffer_size: 0,
            write_buffer_size: 0,
            keepalive: Keepalive::default(),
            auth: Optional::off(),
            tls: Optional::off(),
            include_metadata: false,
        }
    }
}

impl ServerConfig {
    /// The message limit in bytes.
    pub(super) fn message_bytes_max(&self) -> usize {
        let mib = usize::try_from(self.max_recv_msg_size_mib).ok().filter(|mib| *mib > 0);
        mib.unwrap_or(RECV_MSG_SIZE_MIB_DEFAULT).saturating_mul(1024 * 1024)
    }

    /// Calls in flight on one connection.
    pub(super) fn concurrent_streams(&self) -> u32 {
        if self.max_concurrent_streams == 0 {
            CONCURRENT_STREAMS_DEFAULT
        } else {
            self.max_concurrent_streams
        }
    }

    /// The HTTP/2 frame size to announce.
    pub(super) fn frame_bytes(&self) -> u32 {
        let size = if self.read_buffer_size > 0 { self.read_buffer_size } else { READ_BUFFER_BYTES_DEFAULT };
        u32::try_from(size).unwrap_or(u32::MAX).clamp(*FRAME_BYTES.start(), *FRAME_BYTES.end())
    }

    /// Bytes gathered before a write.
    pub(super) fn write_buffer_bytes(&self) -> usize {
        usize::try_from(self.write_buffer_size).ok().filter(|s| *s > 0).unwrap_or(WRITE_BUFFER_BYTES_DEFAULT)
    }
}

impl Validate for ServerConfig {
    fn validate(&self, problems: &mut Problems) {
        match Endpoint::parse(&self.endpoint, self.transport) {
            Ok(endpoint) => problems.listen_at("endpoint", endpoint.address(self.transport)),
            Err(error) => drop(problems.error_at("endpoint", error)),
        }
        if let Some(auth) = self.auth.as_ref() {
            let asks_for_certificates = self.tls.as_ref().is_some_and(ServerTls::asks_for_certificates);
            problems.at("auth", |problems| auth.validate(asks_for_certificates, problems));
        }
        problems.nested("tls", &self.tls);
        if let Some(tls) = self.tls.as_ref() {
            tls.check_auth(self.auth.is_on(), problems);
        }
        if self.max_recv_msg_size_mib < 0 || self.max_recv_msg_size_mib > RECV_MSG_SIZE_MIB_MAX {
            problems.error_at(
                "max_recv_msg_size_mib",
                format!(
                    "invalid max_recv_msg_size_mib value, must be between 1 and {RECV_MSG_SIZE_MIB_MAX}: {}",
                    self.max_recv_msg_size_mib
                ),
            );
        }
        if self.read_buffer_size < 0 {
            let value = self.read_buffer_size;
            problems.error_at("read_buffer_size", format!("invalid read_buffer_size value: {value}"));
        }
        if !(0..=WRITE_BUFFER_BYTES_MAX).contains(&self.write_buffer_size) {
            let value = self.write_buffer_size;
            problems
                .error_at("write_buffer_size", format!("invalid write_buffer_size value: {value}"))
                .help(format!("each connection may have one: 0 to {WRITE_BUFFER_BYTES_MAX} bytes"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(config: &ServerConfig) -> Vec<String> {
        let mut problems = Problems::new();
        config.validate(&mut problems);
        problems.into_found().into_iter().map(|p| format!("{}: {}", p.path.join("."), p.message)).collect()
    }

    #[test]
    fn values_out_of_range_are_named() {
        let config = ServerConfig {
            endpoint: "localhost:4317".into(),
            max_recv_msg_size_mib: -1,
            read_buffer_size: -2,
            write_buffer_size: i64::MAX,
            ..ServerConfig::default()
        };
        assert_eq!(
            errors(&config),
            [
                "max_recv_msg_size_mib: invalid max_recv_msg_size_mib value, must be between 1 and 4095: -1",
                "read_buffer_size: invalid read_buffer_size value: -2",
                "write_buffer_size: invalid write_buffer_size value: 9223372036854775807",
            ]
        );
        assert_eq!(errors(&ServerConfig::default()), ["endpoint: endpoint must not be empty"]);
    }

    #[test]
    fn zeros_mean_the_documented_defaults() {
        let config = ServerConfig::default();
        assert_eq!(config.message_bytes_max(), 4_194_304);
        assert_eq!(config.concurrent_streams(), 1000);
        assert_eq!((config.frame_bytes(), config.write_buffer_bytes()), (32_768, 32_768));
    }

    #[test]
    fn frame_sizes_stay_within_what_http2_and_memory_allow() {
        for (read_buffer_size, frame) in [(1, 16_384), (524_288, 524_288), (i64::MAX, 1_048_576)] {
            let config = ServerConfig { read_buffer_size, ..ServerConfig::default() };
            assert_eq!(config.frame_bytes(), frame);
        }
    }

    #[test]
    fn transports_that_cannot_carry_grpc_are_refused_with_the_reason() {
        for text in ["udp", "unixgram", "npipe", "", "quic"] {
            assert!(text.parse::<Transport>().is_err(), "{text}");
        }
        assert_eq!("tcp6".parse(), Ok(Transport::Tcp6));
    }
}
