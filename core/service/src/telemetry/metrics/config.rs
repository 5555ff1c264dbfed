//! `service::telemetry::metrics`: what users write.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use spanbridge_component::telemetry::Level;
use spanbridge_component::{Family, Listen, Problems, Validate};

/// Port of the reader that exists unless `readers` is written.
const DEFAULT_PORT: u16 = 8888;

/// The process's own metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How much is measured; `none` opens no port.
    #[serde(deserialize_with = "any_case_level")]
    pub level: Level,
    /// Who may read the metrics; a written list replaces the default one.
    pub readers: Vec<Reader>,
    /// Deprecated form of one Prometheus reader: `host:port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// One way to read the metrics.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Reader {
    /// The reader asks.
    pub pull: Option<Pull>,
}

/// A reader that asks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Pull {
    /// In which format it is answered.
    pub exporter: PullExporter,
}

/// The format of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PullExporter {
    /// Prometheus text over HTTP, at `/metrics`.
    pub prometheus: Option<Prometheus>,
}

/// A Prometheus endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Prometheus {
    /// Host name or address to listen on; required.
    pub host: Option<String>,
    /// Port to listen on; required. 0 takes a free one, which the log names.
    pub port: Option<u16>,
    /// Only `true`: there are no `otel_scope_*` labels.
    pub without_scope_info: bool,
    /// Only `true`: names have no unit suffix.
    pub without_units: bool,
    /// Only `true`: names have no `_total`.
    pub without_type_suffix: bool,
}

impl Default for Config {
    fn default() -> Self {
        let default = Prometheus::at("localhost", DEFAULT_PORT);
        Self { level: Level::Normal, readers: vec![Reader::of(default)], address: None }
    }
}

impl Default for Prometheus {
    fn default() -> Self {
        Self {
            host: None,
            port: None,
            without_scope_info: true,
            without_units: true,
            without_type_suffix: true,
        }
    }
}

impl Prometheus {
    fn at(host: &str, port: u16) -> Self {
        Self { host: Some(host.to_owned()), port: Some(port), ..Self::default() }
    }

    /// Host, without brackets, and port.
    fn listens_at(&self) -> Option<(String, u16)> {
        Some((self.host.as_deref()?.trim_matches(['[', ']']).to_owned(), self.port?))
    }
}

impl Reader {
    fn of(prometheus: Prometheus) -> Self {
        Self { pull: Some(Pull { exporter: PullExporter { prometheus: Some(prometheus) } }) }
    }

    fn prometheus(&self) -> Option<&Prometheus> {
        self.pull.as_ref()?.exporter.prometheus.as_ref()
    }
}

impl Config {
    /// Host and port of every endpoint to open; none at level `none`.
    pub(crate) fn endpoints(&self) -> Vec<(String, u16)> {
        if self.level == Level::None {
            return Vec::new();
        }
        if let Some(endpoint) = self.address.as_deref().and_then(legacy_endpoint) {
            return vec![endpoint];
        }
        self.readers.iter().filter_map(Reader::prometheus).filter_map(Prometheus::listens_at).collect()
    }
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        if self.level == Level::None {
            return;
        }
        if let Some(address) = &self.address {
            problems
                .warn_at("address", "service::telemetry::metrics::address is deprecated")
                .help("write it as readers: [{pull: {exporter: {prometheus: {host: ..., port: ...}}}}]");
            match legacy_endpoint(address) {
                Some((host, port)) => {
                    problems.listen_at("address", Listen::Tcp { host, port, family: Family::Both });
                }
                None => {
                    problems.error_at("address", format!("\"{address}\" is not of the form host:port"));
                }
            }
            if self.readers != Self::default().readers {
                problems.error_at("address", "cannot be used together with readers");
            }
        }
        if self.readers.is_empty() {
            problems.error_at(
                "readers",
                "collector telemetry metrics reader should exist when metric level is not none",
            );
        }
        if self.address.is_some() && self.readers == Self::default().readers {
            // Nobody has written them, and the address is taken instead.
            return;
        }
        problems.at("readers", |problems| {
            for (index, reader) in self.readers.iter().enumerate() {
                problems.at(index, |problems| reader.validate(problems));
            }
        });
    }
}

impl Validate for Reader {
    fn validate(&self, problems: &mut Problems) {
        match self.prometheus() {
            None => {
                problems
                    .error("no valid metric reader")
                    .help("this version has pull: {exporter: {prometheus: {host: ..., port: ...}}}");
            }
            Some(prometheus) => problems.at("pull", |problems| {
                problems.at("exporter", |problems| problems.nested("prometheus", prometheus));
            }),
        }
    }
}

impl Validate for Prometheus {
    fn validate(&self, problems: &mut Problems) {
        if self.host.as_deref().is_none_or(str::is_empty) {
            problems.error_at("host", "host must be specified");
        }
        match (self.listens_at(), self.port) {
            (Some((host, port)), _) => {
                problems.listen_at("port", Listen::Tcp { host, port, family: Family::Both });
            }
            (None, None) => {
                problems.error_at("port", "port must be specified");
            }
            (None, Some(_)) => {}
        }
        for (key, value) in [
            ("without_scope_info", self.without_scope_info),
            ("without_units", self.without_units),
            ("without_type_suffix", self.without_type_suffix),
        ] {
            if !value {
                problems
                    .error_at(
                        key,
                        format!(
                            "\"{key}: false\" is not supported by this version: names are written as they are"
                        ),
                    )
                    .help("leave it out, or write true");
            }
        }
    }
}

/// Host and port of the old `address`; an empty host meant every interface.
fn legacy_endpoint(address: &str) -> Option<(String, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_matches(['[', ']']);
    Some((if host.is_empty() { "0.0.0.0" } else { host }.to_owned(), port.parse().ok()?))
}

/// Levels may be written in any case.
pub(crate) fn any_case_level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Level, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.to_ascii_lowercase().as_str() {
        "none" => Ok(Level::None),
        "basic" => Ok(Level::Basic),
        "normal" => Ok(Level::Normal),
        "detailed" => Ok(Level::Detailed),
        _ => Err(de::Error::custom(format!("unknown metrics level \"{text}\""))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(json: serde_json::Value) -> Vec<(String, u16)> {
        serde_json::from_value::<Config>(json).unwrap().endpoints()
    }

    #[test]
    fn the_default_reader_is_on_localhost_and_none_opens_no_port() {
        assert_eq!(endpoints(serde_json::json!({})), [("localhost".to_owned(), 8888)]);
        assert_eq!(endpoints(serde_json::json!({ "level": "None" })), []);
    }

    #[test]
    fn the_legacy_address_becomes_an_endpoint() {
        assert_eq!(endpoints(serde_json::json!({ "address": ":8888" })), [("0.0.0.0".to_owned(), 8888)]);
        assert_eq!(endpoints(serde_json::json!({ "address": "[::1]:0" })), [("::1".to_owned(), 0)]);
    }

    #[test]
    fn hosts_may_be_bracketed() {
        let reader = serde_json::json!({ "readers": [
            { "pull": { "exporter": { "prometheus": { "host": "[::1]", "port": 1 } } } }
        ] });
        assert_eq!(endpoints(reader), [("::1".to_owned(), 1)]);
    }
}
