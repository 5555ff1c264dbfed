//! The configuration block of a gRPC client (reference: collector-core, 5.8).

use std::borrow::Cow;
use std::fmt;
use std::time;

use base64::Engine as _;
use http::HeaderName;
use http::header::HeaderValue;
use http::uri::Authority;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use spanbridge_component::{Problems, Unsupported, Validate};
use spanbridge_config::{Duration, Headers, Optional};

use super::compression::Encoding;
use super::endpoint::{Endpoint, EndpointError};
use crate::auth::ClientAuthConfig;
use crate::tls::{self, ClientTls};

/// How to reach a gRPC server.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientConfig {
    /// Destination: `host:port`, `dns:///host:port`, `passthrough:///host:port`, `unix:///path`. A leading `http://`
    /// is dropped and decides nothing; `https://` means TLS even with `insecure: true`. Required.
    pub endpoint: String,
    /// Compression of requests: `gzip`, `zstd`, `snappy` or `none`.
    pub compression: Compression,
    /// Transport security: TLS with the system's authorities unless the block says otherwise.
    pub tls: ClientTls,
    /// Who gives credentials to the requests. Off by default: they have none.
    pub auth: Optional<ClientAuthConfig>,
    /// HTTP/2 pings that find dead connections. Off by default.
    pub keepalive: Optional<ClientKeepalive>,
    /// Bytes read from the socket at a time. 0 takes the default of 32 KiB.
    pub read_buffer_size: usize,
    /// Bytes collected before they are written to the socket. 0 takes the default of 32 KiB.
    pub write_buffer_size: usize,
    /// `true`: while no connection stands, requests wait for one, as long as their timeout lets them. `false`: they
    /// fail as soon as connecting has failed.
    pub wait_for_ready: bool,
    /// Metadata added to every request that does not have the name already.
    pub headers: Headers,
    /// Value of the `user-agent` header. Empty takes name, version and platform of this program.
    pub user_agent: String,
    /// How requests are spread over the addresses of the endpoint: `round_robin` uses all of them in turn, `pick_first`
    /// the first that answers, `peak_ewma` (not a name of gRPC's) all of them by latency, requests under way, and
    /// failures. The empty text means `pick_first`.
    pub balancer_name: Balancer,
    /// Connections to each address, 1 to 64, default 1; not a key of the Go collector. One connection is served by one
    /// processor at a time, and lost as a whole. Not with `pick_first` or `passthrough:///`, which use one.
    pub connections_per_address: usize,
    /// Value of the `:authority` header in place of the endpoint. Empty keeps the endpoint.
    pub authority: String,
}

/// HTTP/2 keepalive of a client (gRFC A8).
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientKeepalive {
    /// A ping is sent when nothing was received for this long. At least 10s; what is shorter, 0 too, is raised to it.
    pub time: Duration,
    /// The connection is closed when nothing was received for this long after a ping. 0 takes 20s.
    pub timeout: Duration,
    /// Whether to ping while no request is in flight. Servers may answer that with `too_many_pings`.
    pub permit_without_stream: bool,
}

/// How a client compresses its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all: `none` or the empty text.
    #[default]
    None,
    /// With this encoding.
    With(Encoding),
}

/// How requests are spread over addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Balancer {
    /// A connection to each address, used in turn.
    #[default]
    RoundRobin,
    /// One connection, to the first address that answers.
    PickFirst,
    /// A connection to each address; of two drawn at random the one that looks less loaded.
    PeakEwma,
}

/// The keys of the Go collector that a gRPC client of this version refuses by name, relative to its block.
pub const CLIENT_UNSUPPORTED: [Unsupported; 2] = [
    Unsupported { path: "middlewares", reason: "there are no middleware extensions yet" },
    Unsupported { path: "tls.tpm", reason: tls::TPM_UNSUPPORTED },
];

/// grpc-go raises shorter intervals to this, and so do we: servers see them as an attack.
const KEEPALIVE_TIME_MIN: time::Duration = time::Duration::from_secs(10);

/// Most connections to one address.
pub(crate) const CONNECTIONS_PER_ADDRESS_MAX: usize = 64;

/// gRFC A8 and grpc-go: default of `timeout`.
const KEEPALIVE_TIMEOUT_DEFAULT: time::Duration = time::Duration::from_secs(20);

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            compression: Compression::None,
            tls: ClientTls::default(),
            auth: Optional::off(),
            keepalive: Optional::off(),
            read_buffer_size: 0,
            write_buffer_size: 0,
            wait_for_ready: false,
            headers: Headers::default(),
            user_agent: String::new(),
            balancer_name: Balancer::RoundRobin,
            connections_per_address: 1,
            authority: String::new(),
        }
    }
}

impl ClientConfig {
    /// The destination.
    ///
    /// # Errors
    /// What is wrong with `endpoint`.
    pub fn target(&self) -> Result<Endpoint, EndpointError> {
        self.endpoint.parse()
    }

    /// Whether connections are not encrypted: `insecure: true` without an authority, and no `https://`.
    pub fn is_plaintext(&self) -> bool {
        self.tls.is_plaintext() && !self.asks_for_tls()
    }

    /// What is to hold for connections; `None` for plaintext. As in the Go collector, `https://` over `insecure: true` means
    /// TLS with nothing but defaults.
    pub(crate) fn effective_tls(&self) -> Option<Cow<'_, ClientTls>> {
        match (self.tls.is_plaintext(), self.asks_for_tls()) {
            (false, _) => Some(Cow::Borrowed(&self.tls)),
            (true, true) => Some(Cow::Owned(ClientTls::default())),
            (true, false) => None,
        }
    }

    /// What goes into `:authority`, for a destination of this one (grpc-go: the name that TLS asks for, then `authority`, then
    /// the endpoint).
    pub(crate) fn effective_authority(&self, endpoint: &Endpoint) -> String {
        let name = &self.tls.server_name_override;
        if !name.is_empty() && !self.is_plaintext() {
            // An IPv6 address goes into brackets.
            return if name.contains(':') { format!("[{name}]") } else { name.clone() };
        }
        if self.authority.is_empty() { endpoint.authority() } else { self.authority.clone() }
    }

    fn asks_for_tls(&self) -> bool {
        self.endpoint.starts_with("https://")
    }

    fn validate_tls(&self, problems: &mut Problems) {
        problems.nested("tls", &self.tls);
        let name = &self.tls.server_name_override;
        if self.is_plaintext() {
            return;
        }
        if self.tls.is_plaintext() {
            problems.warn_at(
                "endpoint",
                "https:// overrules insecure: true: TLS is used with its defaults, and the rest of tls has no effect",
            );
        }
        if self.endpoint.starts_with("http://") {
            problems
                .warn_at("endpoint", "http:// does not switch TLS off")
                .help("for a plaintext connection write tls: {insecure: true}; otherwise drop http://");
        }
        if !name.is_empty() && !self.authority.is_empty() && *name != self.authority {
            problems.error_at(
                "authority",
                format!(
                    "tls.server_name_override \"{name}\" and authority \"{}\" don't match",
                    self.authority
                ),
            );
        }
    }

    fn validate_connections(&self, problems: &mut Problems) {
        const KEY: &str = "connections_per_address";
        let count = self.connections_per_address;
        if !(1..=CONNECTIONS_PER_ADDRESS_MAX).contains(&count) {
            problems.error_at(KEY, format!("must be from 1 to {CONNECTIONS_PER_ADDRESS_MAX}, found {count}"));
        } else if count > 1 {
            if self.balancer_name == Balancer::PickFirst {
                problems.error_at(KEY, "pick_first uses one connection");
            }
            if matches!(self.target(), Ok(Endpoint::Passthrough(_))) {
                problems.error_at(KEY, "a passthrough endpoint uses one connection");
            }
        }
    }

    fn validate_headers(&self, problems: &mut Problems) {
        problems.at("headers", |problems| {
            for (name, value) in self.headers.iter() {
                if let Err(reason) = header(name, value.expose()) {
                    problems.error_at(name, reason);
                }
            }
        });
    }
}

impl Validate for ClientConfig {
    fn validate(&self, problems: &mut Problems) {
        if let Err(error) = self.target() {
            problems.error_at("endpoint", error.to_string());
        }
        self.validate_tls(problems);
        self.validate_connections(problems);
        self.validate_headers(problems);
        if let Some(auth) = self.auth.as_ref() {
            problems.at("auth", |problems| auth.validate(self.is_plaintext(), problems));
        }
        if !self.authority.is_empty() && self.authority.parse::<Authority>().is_err() {
            problems.error_at("authority", format!("invalid authority \"{}\"", self.authority));
        }
        if HeaderValue::from_str(&self.user_agent).is_err() {
            problems.error_at("user_agent", "contains characters that no header may hold");
        }
        if let Some(keepalive) = self.keepalive.as_ref() {
            problems.nested("keepalive", keepalive);
        }
    }
}

impl ClientKeepalive {
    /// The interval that is used.
    pub fn effective_time(&self) -> time::Duration {
        self.time.get().max(KEEPALIVE_TIME_MIN)
    }

    /// The timeout that is used.
    pub fn effective_timeout(&self) -> time::Duration {
        if self.timeout.is_zero() { KEEPALIVE_TIMEOUT_DEFAULT } else { self.timeout.get() }
    }
}

impl Validate for ClientKeepalive {
    fn validate(&self, problems: &mut Problems) {
        if !self.time.is_zero() && self.time.get() < KEEPALIVE_TIME_MIN {
            problems.warn_at("time", format!("{} is raised to the minimum of 10s", self.time));
        }
    }
}

/// Checks one configured header and makes it what is sent. Names are not case-sensitive.
///
/// Binary values (names that end in `-bin`) are base64-encoded on the wire, as gRPC asks.
pub(crate) fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    if name.starts_with(':') || is_reserved(name) {
        return Err(match name.to_ascii_lowercase().as_str() {
            "user-agent" => "is set with the key user_agent".to_owned(),
            "host" | ":authority" => "is set with the key authority".to_owned(),
            _ => format!("header \"{name}\" is reserved for the protocol"),
        });
    }
    let parsed = HeaderName::try_from(name).map_err(|_| format!("invalid header name \"{name}\""))?;
    let value = if name.to_ascii_lowercase().ends_with("-bin") {
        HeaderValue::try_from(super::status::BASE64.encode(value))
    } else {
        HeaderValue::from_str(value)
    };
    // The value is a secret: the message must not hold it.
    let mut value =
        value.map_err(|_| format!("value of header \"{name}\" has characters that no header may hold"))?;
    value.set_sensitive(true);
    Ok((parsed, value))
}

/// Whether a metadata name belongs to gRPC or HTTP/2 and cannot be used by callers.
pub(crate) fn is_reserved(name: &str) -> bool {
    const RESERVED: [&str; 10] = [
        "connection",
        "content-length",
        "content-type",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    ];
    let name = name.to_ascii_lowercase();
    name.starts_with("grpc-") || RESERVED.contains(&name.as_str())
}

impl Compression {
    /// The encoding, if there is one.
    pub const fn encoding(self) -> Option<Encoding> {
        match self {
            Compression::None => None,
            Compression::With(encoding) => Some(encoding),
        }
    }
}

impl Serialize for Compression {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.encoding().map_or("none", Encoding::name))
    }
}

impl<'de> Deserialize<'de> for Compression {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Named("the name of a compression", |name| {
            if matches!(name, "" | "none") {
                return Ok(Compression::None);
            }
            Encoding::from_name(name).map(Compression::With).ok_or_else(|| {
                format!("unsupported compression type \"{name}\"; gRPC knows gzip, snappy, zstd and none")
            })
        }))
    }
}

impl JsonSchema for Compression {
    fn schema_name() -> Cow<'static, str> {
        "GrpcCompression".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Compression of outgoing messages.",
            "enum": ["gzip", "snappy", "zstd", "none", ""]
        })
    }
}

impl Balancer {
    /// The name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Balancer::RoundRobin => "round_robin",
            Balancer::PickFirst => "pick_first",
            Balancer::PeakEwma => "peak_ewma",
        }
    }
}

impl Serialize for Balancer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Balancer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Named("the name of a balancer", |name| match name {
            "round_robin" => Ok(Balancer::RoundRobin),
            "pick_first" | "" => Ok(Balancer::PickFirst),
            "peak_ewma" => Ok(Balancer::PeakEwma),
            other => Err(format!(
                "invalid balancer_name: {other}; valid are round_robin, pick_first and peak_ewma"
            )),
        }))
    }
}

/// Reads a value by its name. The name is judged while it is visited, so that the error has its place.
struct Named<T>(&'static str, fn(&str) -> Result<T, String>);

impl<T> de::Visitor<'_> for Named<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<T, E> {
        (self.1)(name).map_err(E::custom)
    }
}

impl JsonSchema for Balancer {
    fn schema_name() -> Cow<'static, str> {
        "GrpcBalancer".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "How requests are spread over the addresses of the endpoint.",
            "enum": ["round_robin", "pick_first", "peak_ewma", ""]
        })
    }
}

#[cfg(test)]
mod tests {
    use spanbridge_config::Opaque;

    use super::*;

    fn plaintext(endpoint: &str) -> ClientConfig {
        ClientConfig { endpoint: endpoint.into(), tls: ClientTls::plaintext(), ..ClientConfig::default() }
    }

    fn problems(config: &impl Validate) -> Vec<String> {
        let mut problems = Problems::new();
        config.validate(&mut problems);
        problems.into_found().into_iter().map(|p| format!("{}: {}", p.path.join("."), p.message)).collect()
    }

    #[test]
    fn a_plaintext_client_is_valid_also_with_insecure_skip_verify() {
        assert!(problems(&plaintext("localhost:4317")).is_empty());
        let mut both = plaintext("localhost:4317");
        both.tls.insecure_skip_verify = true;
        assert!(problems(&both).is_empty());
    }

    #[test]
    fn tls_is_on_unless_it_is_switched_off_and_https_overrules() {
        let config = |endpoint: &str, tls| ClientConfig { tls, ..plaintext(endpoint) };
        assert!(plaintext("b:1").is_plaintext() && plaintext("http://b:1").is_plaintext());
        assert!(!config("b:1", ClientTls::default()).is_plaintext());
        let overruled = plaintext("https://b:1");
        assert_eq!(overruled.effective_tls().as_deref(), Some(&ClientTls::default()));
        assert!(problems(&overruled)[0].starts_with("endpoint: https:// overrules insecure: true"));
        assert_eq!(
            problems(&config("http://b:1", ClientTls::default())),
            ["endpoint: http:// does not switch TLS off"]
        );
    }

    #[test]
    fn the_authority_follows_the_name_that_tls_asks_for() {
        let named = ClientTls { server_name_override: "real.example".into(), ..ClientTls::default() };
        let config = ClientConfig { tls: named, ..plaintext("b:1") };
        let authority = |config: &ClientConfig| config.effective_authority(&config.target().unwrap());
        assert_eq!(authority(&config), "real.example");
        let both = ClientConfig { authority: "other.example".into(), ..config };
        assert_eq!(
            problems(&both),
            [
                r#"authority: tls.server_name_override "real.example" and authority "other.example" don't match"#
            ]
        );
        assert_eq!(authority(&plaintext("b:1")), "b:1");
        assert_eq!(authority(&ClientConfig { authority: "x:2".into(), ..plaintext("b:1") }), "x:2");
    }

    #[test]
    fn every_problem_is_reported_at_its_key() {
        let headers = [
            ("grpc-timeout", "1S"),
            ("Content-Type", "x"),
            (":path", "/"),
            ("te", "x"),
            ("user-agent", "me"),
            ("bad name", "x"),
            ("x-ok", "fine"),
            ("x-bad", "new\nline"),
        ];
        let config = ClientConfig {
            headers: headers.into_iter().map(|(n, v)| (n, Opaque::new(v))).collect(),
            authority: "no spaces".into(),
            user_agent: "\u{7f}".into(),
            keepalive: Optional::on(ClientKeepalive {
                time: Duration::from_secs(5),
                ..ClientKeepalive::default()
            }),
            ..plaintext("backend")
        };
        assert_eq!(
            problems(&config),
            [
                "endpoint: address backend: missing port in address",
                "headers.grpc-timeout: header \"grpc-timeout\" is reserved for the protocol",
                "headers.Content-Type: header \"Content-Type\" is reserved for the protocol",
                "headers.:path: header \":path\" is reserved for the protocol",
                "headers.te: header \"te\" is reserved for the protocol",
                "headers.user-agent: is set with the key user_agent",
                "headers.bad name: invalid header name \"bad name\"",
                "headers.x-bad: value of header \"x-bad\" has characters that no header may hold",
                "authority: invalid authority \"no spaces\"",
                "user_agent: contains characters that no header may hold",
                "keepalive.time: 5s is raised to the minimum of 10s",
            ]
        );
    }

    #[test]
    fn keepalive_fills_what_is_left_out_as_grpc_go_does() {
        let keepalive = ClientKeepalive::default();
        assert_eq!(keepalive.effective_time(), time::Duration::from_secs(10));
        assert_eq!(keepalive.effective_timeout(), time::Duration::from_secs(20));
        let long = ClientKeepalive { time: Duration::from_secs(60), ..keepalive };
        assert_eq!(long.effective_time(), time::Duration::from_secs(60));
    }

    #[test]
    fn compression_parses_by_name_and_refusals_list_the_valid_ones() {
        let parse = |text: &str| serde_json::from_str::<Compression>(text).map_err(|e| e.to_string());
        assert_eq!(parse("\"\""), Ok(Compression::None));
        assert_eq!(parse("\"none\""), Ok(Compression::None));
        for compression in Encoding::ALL.map(Compression::With) {
            assert_eq!(parse(&serde_json::to_string(&compression).unwrap()), Ok(compression));
        }
        let error = parse("\"zlib\"").unwrap_err();
        assert!(
            error.starts_with("unsupported compression type \"zlib\"; gRPC knows gzip, snappy"),
            "{error}"
        );
    }

    #[test]
    fn balancers_parse_by_name_and_the_empty_name_is_pick_first() {
        let parse = |text: &str| serde_json::from_str::<Balancer>(text).map_err(|e| e.to_string());
        assert_eq!(parse("\"round_robin\""), Ok(Balancer::RoundRobin));
        assert_eq!(parse("\"pick_first\""), Ok(Balancer::PickFirst));
        assert_eq!(parse("\"peak_ewma\""), Ok(Balancer::PeakEwma));
        assert_eq!(parse("\"\""), Ok(Balancer::PickFirst));
        assert!(parse("\"least_request\"").unwrap_err().starts_with("invalid balancer_name: least_request"));
    }

    #[test]
    fn connections_are_bounded_and_refused_where_one_is_all_there_is() {
        let with = |connections_per_address, balancer_name| {
            let config = plaintext("localhost:4317");
            problems(&ClientConfig { balancer_name, connections_per_address, ..config })
        };
        assert!(with(4, Balancer::PeakEwma).is_empty());
        assert_eq!(with(0, Balancer::RoundRobin), ["connections_per_address: must be from 1 to 64, found 0"]);
        assert_eq!(with(65, Balancer::RoundRobin).len(), 1);
        assert_eq!(with(2, Balancer::PickFirst), ["connections_per_address: pick_first uses one connection"]);
        let passthrough = ClientConfig { connections_per_address: 2, ..plaintext("passthrough:///b:1") };
        assert_eq!(problems(&passthrough).len(), 1);
    }

    #[test]
    fn binary_headers_are_encoded_and_secrets_are_marked() {
        let (_, value) = header("x-token-bin", "\u{0}\u{1}\u{2}").unwrap();
        assert_eq!(value, "AAEC");
        assert!(value.is_sensitive());
    }
}
