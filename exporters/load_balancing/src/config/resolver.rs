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
    /// The ready endpoints of a Kubernetes service.
    pub k8s: Optional<KubernetesConfig>,
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

/// The ready endpoints of a Kubernetes service.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KubernetesConfig {
    /// `name.namespace`; without a namespace, that of the pod that this runs in, else `default`. Required.
    pub service: String,
    /// The ports of each endpoint; each is a backend of its own. Default 4317.
    pub ports: Vec<Port>,
    /// How long a watch of the endpoints lasts before the next one follows; in whole seconds, at least one. Default 1m.
    pub timeout: Duration,
    /// Backends by the names of pods of a `StatefulSet` with a headless service, `pod.name.namespace`, not by their
    /// addresses. Default false.
    pub return_hostnames: bool,
}

impl Default for KubernetesConfig {
    fn default() -> Self {
        Self {
            service: String::new(),
            ports: Vec::new(),
            timeout: Duration::from_secs(60),
            return_hostnames: false,
        }
    }
}

impl KubernetesConfig {
    /// The ports of each endpoint.
    pub(crate) fn ports(&self) -> Vec<u16> {
        if self.ports.is_empty() {
            vec![DEFAULT_PORT]
        } else {
            self.ports.iter().map(|port| port.0).collect()
        }
    }

    /// The name of the service, and its namespace if it is given.
    pub(crate) fn name_and_namespace(&self) -> (&str, Option<&str>) {
        match self.service.split_once('.') {
            Some((name, namespace)) => (name, Some(namespace)),
            None => (&self.service, None),
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
        let given = [self.fixed.is_on(), self.dns.is_on(), self.k8s.is_on()];
        match given.iter().filter(|given| **given).count() {
            0 => {
                problems.error("no resolvers specified for the exporter").help("write static, dns or k8s");
            }
            1 => {}
            _ => {
                problems.error("only one resolver should be specified");
            }
        }
        problems.nested("static", &self.fixed);
        problems.nested("dns", &self.dns);
        problems.nested("k8s", &self.k8s);
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

impl Validate for KubernetesConfig {
    fn validate(&self, problems: &mut Problems) {
        const KEY: &str = "service";
        let (name, namespace) = self.name_and_namespace();
        let is_label = |text: &str| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if self.service.is_empty() {
            problems.error_at(KEY, "no service specified to resolve the backends");
        } else if !is_label(name) || !namespace.is_none_or(is_label) {
            problems
                .error_at(KEY, format!("{:?} is no service of Kubernetes", self.service))
                .help("write name or name.namespace, without a domain behind it");
        }
        problems.at("ports", |problems| {
            for (index, port) in self.ports.iter().enumerate().filter(|(_, port)| port.0 == 0) {
                problems.error_at(&index.to_string(), format!("invalid port \"{}\"", port.0));
            }
        });
        if self.timeout.is_zero() {
            problems.error_at("timeout", "`timeout` must be positive");
        }
    }
}
