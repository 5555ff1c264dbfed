//! `service::telemetry::logs`: what users write.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use spanbridge_component::{Problems, Validate};
use spanbridge_config::Duration;
use tracing::level_filters::LevelFilter;

/// The process's own logs.
#[expect(clippy::struct_excessive_bools, reason = "the keys are those of the Go collector")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Least important level that is written: `debug`, `info`, `warn`, `error`; `dpanic`, `panic` and `fatal` switch
    /// logging off in effect, since nothing here logs at them.
    pub level: LogLevel,
    /// Layout of a line.
    pub encoding: Encoding,
    /// Leaves out the file and line that a record comes from.
    pub disable_caller: bool,
    /// Only `true`: stack traces are never written.
    pub disable_stacktrace: bool,
    /// Only `false`: there is no development mode.
    pub development: bool,
    /// Writes the first few equal records of each window and then only every so-manieth. Null switches it off.
    #[schemars(with = "Option<Sampling>")]
    pub sampling: Sampling,
    /// Where to: `stdout`, `stderr`, a file path, or `file:///` and an absolute path. Files are appended to.
    pub output_paths: Vec<String>,
    /// Fields added to every record.
    pub initial_fields: serde_json::Map<String, serde_json::Value>,
    /// Leaves out the field `resource`.
    pub disable_zap_resource: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            level: LogLevel::Info,
            encoding: Encoding::Console,
            disable_caller: false,
            disable_stacktrace: true,
            development: false,
            sampling: Sampling::default(),
            output_paths: vec!["stderr".into()],
            initial_fields: serde_json::Map::new(),
            disable_zap_resource: false,
        }
    }
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        if self.development {
            problems.error_at(
                "development",
                "\"development\" is not supported by this version: there is no development mode",
            );
        }
        if !self.disable_stacktrace {
            problems
                .error_at(
                    "disable_stacktrace",
                    "\"disable_stacktrace: false\" is not supported by this version: stack traces are never written",
                )
                .help("leave it out, or write true");
        }
        for (index, path) in self.output_paths.iter().enumerate() {
            if let Err(reason) = super::output::Target::parse(path) {
                problems.at("output_paths", |p| {
                    p.error_at(&index.to_string(), reason);
                });
            }
        }
        if self.sampling.enabled && self.sampling.tick.is_zero() {
            problems.at("sampling", |p| {
                p.error_at("tick", "must be greater than zero")
                    .help("`sampling: {enabled: false}` writes every record");
            });
        }
    }
}

/// Which of many equal records are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// Whether records are left out at all.
    pub enabled: bool,
    /// Length of a window, which each level and message has for itself; more than zero.
    pub tick: Duration,
    /// The first so many records of a window are written.
    pub initial: u64,
    /// After those, every so-manieth; 0 drops the rest of the window.
    pub thereafter: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { enabled: true, tick: Duration::from_secs(10), initial: 10, thereafter: 100 }
    }
}

/// The layout of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Columns parted by tabs, with the fields as JSON at the end.
    Console,
    /// One JSON object.
    Json,
}

/// A level of zap, whose names the configuration uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // the names say it
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
    DPanic,
    Panic,
    Fatal,
}

impl LogLevel {
    const ALL: [Self; 7] =
        [Self::Debug, Self::Info, Self::Warn, Self::Error, Self::DPanic, Self::Panic, Self::Fatal];

    /// `info`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::DPanic => "dpanic",
            Self::Panic => "panic",
            Self::Fatal => "fatal",
        }
    }

    /// The filter that lets this level and the more important ones pass.
    pub(crate) const fn filter(self) -> LevelFilter {
        match self {
            Self::Debug => LevelFilter::DEBUG,
            Self::Info => LevelFilter::INFO,
            Self::Warn => LevelFilter::WARN,
            Self::Error => LevelFilter::ERROR,
            Self::DPanic | Self::Panic | Self::Fatal => LevelFilter::OFF,
        }
    }
}

impl Serialize for LogLevel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for LogLevel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // zap takes lower or upper case, and nothing between.
        Self::ALL
            .into_iter()
            .find(|level| text == level.name() || text == level.name().to_ascii_uppercase())
            .ok_or_else(|| de::Error::custom(format!("unrecognized level: \"{text}\"")))
    }
}

impl JsonSchema for LogLevel {
    fn schema_name() -> Cow<'static, str> {
        "LogLevel".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<_> = Self::ALL
            .into_iter()
            .flat_map(|level| [level.name().to_owned(), level.name().to_ascii_uppercase()])
            .collect();
        json_schema!({ "type": "string", "enum": names })
    }
}
