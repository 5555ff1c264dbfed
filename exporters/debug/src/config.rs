//! What users write under `exporters::debug`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use spanbridge_component::{Problems, Validate};
use spanbridge_config::Toggle;
use spanbridge_exporterhelper::QueueConfig;

use crate::sampler::Sampling;

/// Configuration of the `debug` exporter, and of the former `logging` exporter.
///
/// The keys whose default depends on the name (`logging` had others) are optional here.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How much is printed: `basic` is one line a batch with counts, `normal` adds a line an item, `detailed` adds a
    /// line a field. Default `basic`; `normal` under the old name `logging`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verbosity: Option<Verbosity>,
    /// Records that are printed each second of each message text before sampling begins. Default 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling_initial: Option<u64>,
    /// After `sampling_initial` records every Mth is printed; 1 is all of them, 0 none. Default 1; 500 under the old
    /// name `logging`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling_thereafter: Option<u64>,
    /// `true`: output goes through the process's own log (`service::telemetry::logs`), its level and sampling
    /// included. `false`: it goes to `output_paths`. Default `true`.
    pub use_internal_logger: bool,
    /// Where output goes with `use_internal_logger: false`: `stdout`, `stderr` or paths of files, which are appended
    /// to. Default `[stdout]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_paths: Option<Vec<String>>,
    /// Only under the old name `logging`: `debug` stands for `verbosity: detailed`, `info` for `normal`, everything
    /// above for `basic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loglevel: Option<LogLevel>,
    /// A queue between the pipeline and the output. Off by default: the exporter prints before it answers.
    pub sending_queue: Toggle<QueueConfig>,
}

/// How much is printed of each batch. Names are not case-sensitive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verbosity {
    /// Known from the internal telemetry's levels, and refused here.
    None,
    /// Counts.
    Basic,
    /// Counts, and one line an item.
    Normal,
    /// Counts, and one line a field.
    Detailed,
}

/// The former `logging` exporter's level. Names are not case-sensitive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // the names say it
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
    Dpanic,
    Panic,
    Fatal,
}

/// What a configuration comes to under the name it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Effective {
    pub(crate) verbosity: Verbosity,
    pub(crate) sampling: Sampling,
    pub(crate) destination: Destination,
}

/// Where output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    InternalLog,
    Paths(Vec<String>),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            verbosity: None,
            sampling_initial: None,
            sampling_thereafter: None,
            use_internal_logger: true,
            output_paths: None,
            loglevel: None,
            sending_queue: Toggle::off(QueueConfig::default()),
        }
    }
}

impl Config {
    /// The configuration with the defaults of `type_name`, which is `debug` or `logging`.
    ///
    /// # Errors
    /// For a key of `logging` under `debug`.
    pub(crate) fn effective(&self, type_name: &str) -> Result<Effective, String> {
        let old = type_name == OLD_NAME;
        if self.loglevel.is_some() && !old {
            return Err(
                "'loglevel' belongs to the former logging exporter: write verbosity: detailed for debug, \
                        normal for info, basic for everything above"
                    .to_owned(),
            );
        }
        let (verbosity, thereafter) = if old { (Verbosity::Normal, 500) } else { (Verbosity::Basic, 1) };
        Ok(Effective {
            verbosity: self.verbosity.or(self.loglevel.map(LogLevel::verbosity)).unwrap_or(verbosity),
            sampling: Sampling {
                initial: self.sampling_initial.unwrap_or(2),
                thereafter: self.sampling_thereafter.unwrap_or(thereafter),
            },
            destination: if self.use_internal_logger {
                Destination::InternalLog
            } else {
                Destination::Paths(self.output_paths.clone().unwrap_or_else(|| vec![STDOUT.to_owned()]))
            },
        })
    }
}

/// The name under which the Go collector had this exporter until v0.86, with other defaults.
pub(crate) const OLD_NAME: &str = "logging";

/// Standard output among the output paths.
pub(crate) const STDOUT: &str = "stdout";
/// Standard error among the output paths.
pub(crate) const STDERR: &str = "stderr";

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        if self.verbosity == Some(Verbosity::None) {
            problems
                .error_at("verbosity", "verbosity level \"None\" is not supported")
                .help("write basic, normal or detailed");
        }
        if self.verbosity.is_some() && self.loglevel.is_some() {
            problems.error("'loglevel' and 'verbosity' are incompatible. Use only 'verbosity' instead");
        }
        problems.nested("sending_queue", &self.sending_queue);
        let Some(paths) = &self.output_paths else { return };
        if self.use_internal_logger {
            problems
                .error_at("output_paths", "output_paths is not supported when use_internal_logger is true");
        } else if paths.is_empty() {
            problems
                .error_at("output_paths", "output_paths must not be empty when use_internal_logger is false");
        }
        problems.at("output_paths", |problems| {
            for (index, path) in paths.iter().enumerate() {
                if path.is_empty() {
                    problems.error_at(&index.to_string(), "the path must not be empty");
                } else if path.contains("://") {
                    problems
                        .error_at(&index.to_string(), format!("\"{path}\" is a URL"))
                        .help("write stdout, stderr or the path of a file");
                }
            }
        });
    }
}

impl Verbosity {
    const NAMES: [(&'static str, Self); 4] = [
        ("none", Self::None),
        ("basic", Self::Basic),
        ("normal", Self::Normal),
        ("detailed", Self::Detailed),
    ];
}

impl LogLevel {
    const NAMES: [(&'static str, Self); 7] = [
        ("debug", Self::Debug),
        ("info", Self::Info),
        ("warn", Self::Warn),
        ("error", Self::Error),
        ("dpanic", Self::Dpanic),
        ("panic", Self::Panic),
        ("fatal", Self::Fatal),
    ];

    /// What stands for this level since verbosity exists.
    fn verbosity(self) -> Verbosity {
        match self {
            Self::Debug => Verbosity::Detailed,
            Self::Info => Verbosity::Normal,
            Self::Warn | Self::Error | Self::Dpanic | Self::Panic | Self::Fatal => Verbosity::Basic,
        }
    }
}

// === serde and schema: names without regard to case ===

/// The value whose name is `text`, without regard to case.
fn named<T: Copy>(names: &[(&str, T)], what: &str, text: &str) -> Result<T, String> {
    names.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<_> = names.iter().map(|(name, _)| *name).filter(|name| *name != "none").collect();
        format!("unknown {what} \"{text}\": write one of {}", known.join(", "))
    })
}

impl<'de> Deserialize<'de> for Verbosity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        named(&Self::NAMES, "verbosity level", &text).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for LogLevel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        named(&Self::NAMES, "log level", &text).map_err(de::Error::custom)
    }
}

impl JsonSchema for Verbosity {
    fn schema_name() -> Cow<'static, str> {
        "Verbosity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": ["basic", "normal", "detailed"] })
    }
}

impl JsonSchema for LogLevel {
    fn schema_name() -> Cow<'static, str> {
        "LogLevel".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "enum": ["debug", "info", "warn", "error", "dpanic", "panic", "fatal"],
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "it reads better without")]
    fn config(value: Value) -> Config {
        from_json(&value).unwrap()
    }

    /// Through our own deserializer, which optional blocks need.
    fn from_json(value: &Value) -> Result<Config, String> {
        spanbridge_config::from_yaml(&value.to_string()).map_err(|error| error.to_string())
    }

    fn problems(value: Value) -> Vec<String> {
        let mut problems = Problems::new();
        config(value).validate(&mut problems);
        problems.into_found().into_iter().map(|p| format!("{}: {}", p.path.join("."), p.message)).collect()
    }

    #[test]
    fn defaults_depend_on_the_name() {
        let config = config(json!({}));
        let debug = config.effective("debug").unwrap();
        assert_eq!(debug.verbosity, Verbosity::Basic);
        assert_eq!(debug.sampling, Sampling { initial: 2, thereafter: 1 });
        assert_eq!(debug.destination, Destination::InternalLog);
        let logging = config.effective("logging").unwrap();
        assert_eq!(logging.verbosity, Verbosity::Normal);
        assert_eq!(logging.sampling, Sampling { initial: 2, thereafter: 500 });
    }

    #[test]
    fn the_effective_configuration_reads_back_as_itself() {
        let text = serde_json::to_value(Config::default()).unwrap();
        assert_eq!(text, json!({ "use_internal_logger": true, "sending_queue": { "enabled": false } }));
        let text = json!({
            "verbosity": "detailed", "use_internal_logger": false, "output_paths": ["stderr"],
            "sending_queue": { "enabled": false },
        });
        assert_eq!(serde_json::to_value(config(text.clone())).unwrap(), text);
    }

    #[test]
    fn verbosity_ignores_case_and_refuses_what_it_does_not_know() {
        assert_eq!(config(json!({ "verbosity": "Detailed" })).verbosity, Some(Verbosity::Detailed));
        let error = from_json(&json!({ "verbosity": "verbose" })).unwrap_err();
        let text = "unknown verbosity level \"verbose\": write one of basic, normal, detailed";
        assert!(error.contains(text), "{error}");
        assert_eq!(
            problems(json!({ "verbosity": "none" })),
            ["verbosity: verbosity level \"None\" is not supported"]
        );
    }

    #[test]
    fn output_paths_need_the_internal_logger_off_and_at_least_one_path() {
        assert_eq!(
            problems(json!({ "output_paths": ["stdout"] })),
            ["output_paths: output_paths is not supported when use_internal_logger is true"]
        );
        assert_eq!(
            problems(json!({ "use_internal_logger": false, "output_paths": [] })),
            ["output_paths: output_paths must not be empty when use_internal_logger is false"]
        );
        assert_eq!(
            problems(json!({ "use_internal_logger": false, "output_paths": ["stderr", "", "http://x"] })),
            ["output_paths.1: the path must not be empty", "output_paths.2: \"http://x\" is a URL"]
        );
        assert!(problems(json!({ "use_internal_logger": false })).is_empty());
    }

    #[test]
    fn log_levels_map_to_verbosity_under_the_old_name_only() {
        for (level, verbosity) in [
            ("debug", Verbosity::Detailed),
            ("INFO", Verbosity::Normal),
            ("warn", Verbosity::Basic),
            ("error", Verbosity::Basic),
        ] {
            let config = config(json!({ "loglevel": level }));
            assert_eq!(config.effective("logging").unwrap().verbosity, verbosity);
            assert!(config.effective("debug").unwrap_err().starts_with("'loglevel' belongs to"));
        }
        assert_eq!(
            problems(json!({ "loglevel": "debug", "verbosity": "basic" })),
            [": 'loglevel' and 'verbosity' are incompatible. Use only 'verbosity' instead"]
        );
    }

    #[test]
    fn the_queue_is_off_unless_written_and_checked_when_it_is() {
        assert!(!config(json!({})).sending_queue.is_on());
        assert!(config(json!({ "sending_queue": null })).sending_queue.is_on());
        assert_eq!(
            problems(json!({ "sending_queue": { "queue_size": 0 } })),
            ["sending_queue.queue_size: `queue_size` must be positive"]
        );
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(from_json(&json!({ "verbositi": "basic" })).is_err());
    }
}
