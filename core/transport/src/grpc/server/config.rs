//! The configuration block of a gRPC server.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanbridge_component::{Problems, Validate};
use spanbridge_config::Duration;

/// Message limit in MiB where the configuration says 0.
pub const RECV_MSG_SIZE_MIB_DEFAULT: i64 = 4;
/// Largest `max_recv_msg_size_mib`: gRPC lengths have 32 bits, and HTTP/2 windows 31.
pub const RECV_MSG_SIZE_MIB_MAX: i64 = 2047;

/// Which sockets a server listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
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

/// A gRPC server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Where to listen: `host:port`, `:port` (every address), `[v6]:port`, `host:0` (any free port), or the path of a
    /// unix socket.
    pub endpoint: String,
    /// `tcp`, `tcp4`, `tcp6` or `unix`.
    pub transport: Transport,
    /// Largest message in MiB, before and after decompression. 0 means 4.
    pub max_recv_msg_size_mib: i64,
    /// Calls in flight on one connection. 0 means 128; the Go collector's 0 means no limit.
    pub max_concurrent_streams: u32,
    /// Bytes read from a socket at once, and buffered for each connection. 0 means 32 KiB.
    pub read_buffer_size: i64,
    /// Bytes gathered for each connection before they are written to the socket. 0 means 32 KiB.
    pub write_buffer_size: i64,
    /// Pings, idle connections and the age of connections.
    pub keepalive: Keepalive,
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
            include_metadata: false,
        }
    }
}

impl Validate for ServerConfig {
    fn validate(&self, problems: &mut Problems) {
        if self.max_recv_msg_size_mib < 0 || self.max_recv_msg_size_mib > RECV_MSG_SIZE_MIB_MAX {
            problems.error_at(
                "max_recv_msg_size_mib",
                format!(
                    "invalid max_recv_msg_size_mib value, must be between 1 and {RECV_MSG_SIZE_MIB_MAX}: {}",
                    self.max_recv_msg_size_mib
                ),
            );
        }
        for (key, value) in
            [("read_buffer_size", self.read_buffer_size), ("write_buffer_size", self.write_buffer_size)]
        {
            if value < 0 {
                problems.error_at(key, format!("invalid {key} value: {value}"));
            }
        }
    }
}
