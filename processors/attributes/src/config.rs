//! What users write under `processors::attributes`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanbridge_attributes::{ActionConfig, validate};
use spanbridge_component::{Problems, Validate};
use spanbridge_config::AnyValue;

use crate::filter;

/// Configuration of the `attributes` processor (reference: contrib-components, C).
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which spans, log records or metrics are edited. Default: all.
    pub include: Option<MatchConfig>,

    /// Which of these are not. Default: none.
    pub exclude: Option<MatchConfig>,

    /// The actions, in the order in which they are taken; each sees what the ones before it did. At least one is
    /// required.
    pub actions: Vec<ActionConfig>,
}

/// Conditions; all that are given must be met. Each signal has its own.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MatchConfig {
    /// How texts and values are compared: `strict` (they are equal) or `regexp` (the regular expression matches, anywhere
    /// unless it is anchored). Required where there is something to compare.
    pub match_type: String,

    /// Settings of the Go collector's cache for `regexp`; they have no effect here, where nothing is cached.
    pub regexp: Option<RegexpConfig>,

    /// For spans: the resource's `service.name` is one of these.
    pub services: Vec<String>,

    /// For spans: the name is one of these.
    pub span_names: Vec<String>,

    /// For spans: the kind is one of these, such as `SPAN_KIND_SERVER`.
    pub span_kinds: Vec<String>,

    /// For log records: the body as a text is one of these.
    pub log_bodies: Vec<String>,

    /// For log records: the severity as its source words it is one of these.
    pub log_severity_texts: Vec<String>,

    /// For log records: the severity is high enough.
    pub log_severity_number: Option<SeverityMatch>,

    /// For metrics: the name is one of these.
    pub metric_names: Vec<String>,

    /// For spans and log records: the item has every one of these attributes.
    pub attributes: Vec<AttributeMatch>,

    /// For all signals: the resource has every one of these attributes.
    pub resources: Vec<AttributeMatch>,

    /// For spans and log records: the instrumentation scope is every one of these; one is usual.
    pub libraries: Vec<LibraryMatch>,
}

/// Settings of the Go collector's cache of matches.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RegexpConfig {
    /// Whether the Go collector caches matches. It has no effect here.
    pub cacheenabled: bool,

    /// How many the Go collector caches. It has no effect here.
    pub cachemaxnumentries: usize,
}

/// An attribute that must be there.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AttributeMatch {
    /// Its key.
    pub key: String,

    /// Its value, with the type it has in YAML; with `match_type: regexp` a regular expression for the value as a text.
    /// Default: any.
    pub value: AnyValue,
}

/// An instrumentation scope.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LibraryMatch {
    /// Its name.
    pub name: String,

    /// Its version; the empty text stands for none. Default: any.
    pub version: Option<String>,
}

/// How high the severity of a log record must be.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SeverityMatch {
    /// The lowest number: 1 TRACE, 5 DEBUG, 9 INFO, 13 WARN, 17 ERROR, 21 FATAL.
    pub min: i32,

    /// Whether records without a severity match. Default: no.
    pub match_undefined: bool,
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        for (key, config) in [("include", &self.include), ("exclude", &self.exclude)] {
            if let Some(config) = config {
                problems.at(key, |problems| filter::validate(config, problems));
            }
        }
        validate("actions", &self.actions, problems);
    }
}
