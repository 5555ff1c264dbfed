//! Where backends are found: `resolver`.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use spanbridge_component::{Problems, Validate};
use spanbridge_config::{Duration, Optional};
use spanbridge_transport::grpc::{Endpoint, HostPort};

use crate::ring::ENDPOINTS_MAX;

/// The port of OTLP/gRPC.
const DEFAULT_PORT: u16 = 4317;

/// Where backends are found. Exactly one resolver.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResolverConfig {
    /// A fixed list.
    #[serde(rename = "static")]
    pub fixed: Optional<StaticConfig>,
    /// The addresses of a DNS name, such as that of a headless service.
    pub dns: Optional<DnsConfig>,
}

/// A fixed list of backends.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StaticConfig {
    /// `host[:port]` each; the port is 4317 if it is left out. At most 512.
    pub hostnames: Vec<String>,
}

/// The addresses of a DNS name.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DnsConfig {
    /// The name; each of its A and AAAA records is a backend. Required.
    pub hostname: String,
    /// The port of all backends. Default 4317.
    pub port: Port,
    /// The name is resolved again after this time, and when a backend fails. Default 5s.
    pub interval: Duration,
    /// How long one resolution may take. Default 1s.
    pub timeout: Duration,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            hostname: String::new(),
            port: Port(DEFAULT_PORT),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
        }
    }
}

/// A TCP port, written as a number or as a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Port(pub u16);

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Port;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Port, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Port, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Port, E> {
                text.parse().map(Port).map_err(|_| E::custom(format!("invalid port \"{text}\"")))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Port {
    fn schema_name() -> Cow<'static, str> {
        "Port".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A TCP port.",
            "type": ["integer", "string"], "minimum": 0, "maximum": 65535, "pattern": "^[0-9]{1,5}$"
        })
    }
}

/// The endpoint of a host that may lack its port.
pub(crate) fn with_port(host: &str) -> Result<String, String> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(HostPort { host: ip.to_string(), port: DEFAULT_PORT }.to_string());
    }
    let whole = |text: &str| text.parse::<Endpoint>().map(|_| text.to_owned());
    match whole(host) {
        Err(spanbridge_transport::grpc::EndpointError::MissingPort(_)) => {
            whole(&format!("{host}:{DEFAULT_PORT}")).map_err(|e| e.to_string())
        }
        other => other.map_err(|e| e.to_string()),
    }
}

impl Validate for ResolverConfig {
    fn validate(&self, problems: &mut Problems) {
        match (self.fixed.is_on(), self.dns.is_on()) {
            (false, false) => {
                problems.error("no resolvers specified for the exporter").help("write static or dns");
            }
            (true, true) => {
                problems.error("only one resolver should be specified");
            }
            _ => {}
        }
        problems.nested("static", &self.fixed);
        problems.nested("dns", &self.dns);
    }
}

impl Validate for StaticConfig {
    fn validate(&self, problems: &mut Problems) {
        const KEY: &str = "hostnames";
        if self.hostnames.is_empty() {
            problems.error_at(KEY, "no hostnames specified to resolve the backends");
        }
        if self.hostnames.len() > ENDPOINTS_MAX {
            let text = format!("{} hostnames are more than {ENDPOINTS_MAX}", self.hostnames.len());
            problems.error_at(KEY, text);
        }
        problems.at(KEY, |problems| {
            let mut seen = std::collections::HashSet::new();
            for (index, host) in self.hostnames.iter().enumerate() {
                let index = index.to_string();
                match with_port(host) {
                    Err(error) => {
                        problems.error_at(&index, error);
                    }
                    Ok(endpoint) => {
                        if !seen.insert(endpoint.clone()) {
                            problems.warn_at(&index, format!("{endpoint} is there twice"));
                        }
                    }
                }
            }
        });
    }
}

impl Validate for DnsConfig {
    fn validate(&self, problems: &mut Problems) {
        if self.hostname.is_empty() {
            problems.error_at("hostname", "no hostname specified to resolve the backends");
        } else if let Err(error) = format!("{}:1", self.hostname).parse::<Endpoint>() {
            problems.error_at("hostname", error.to_string());
        }
        for (key, value) in [("interval", self.interval), ("timeout", self.timeout)] {
            if value.is_zero() {
                problems.error_at(key, format!("`{key}` must be positive"));
            }
        }
    }
}
