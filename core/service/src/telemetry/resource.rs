//! `service::telemetry::resource`: who this process is, on every log record and in `target_info`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, DeserializeSeed, MapAccess};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use spanbridge_component::{BuildInfo, Problems, Validate};
use spanbridge_config::AnyValue;
use uuid::Uuid;

/// Keys of the Go collector's declarative form that this version refuses. (They are not in the table of unsupported
/// keys: here a key that is not known is an attribute of the older form.)
const REFUSED: [(&str, &str); 4] = [
    ("attributes_list", "use resource::attributes"),
    ("schema_url", "the resource has no schema"),
    ("detectors", "resource attributes are not detected; write them as attributes"),
    ("detection/development", "resource attributes are not detected; write them as attributes"),
];

/// The resource as users write it, in either of two forms.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Config {
    /// `attributes: [{name: a, value: b}]`.
    Declarative {
        /// Added to the defaults, or in their place.
        attributes: Vec<Attribute>,
    },
    /// The older plain map; null takes a default away.
    Legacy(BTreeMap<String, Option<String>>),
}

/// One attribute of the declarative form.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Attribute {
    /// Its key; must not be empty.
    pub name: String,
    /// Its value: a text, boolean, number or list.
    pub value: AnyValue,
}

impl Default for Config {
    /// An empty map, which either form can be laid over.
    fn default() -> Self {
        Self::Legacy(BTreeMap::new())
    }
}

impl Config {
    /// Whether it says something in the older form.
    pub(crate) fn is_legacy(&self) -> bool {
        matches!(self, Self::Legacy(attributes) if !attributes.is_empty())
    }
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        if let Self::Declarative { attributes } = self {
            problems.at("attributes", |problems| {
                for (index, attribute) in attributes.iter().enumerate() {
                    problems.at(index, |problems| {
                        if attribute.name.is_empty() {
                            problems.error_at("name", "must not be empty");
                        }
                        if matches!(attribute.value, AnyValue::Null) {
                            problems.error_at("value", "must not be null");
                        }
                    });
                }
            });
        }
    }
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Config;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map with a list `attributes`, or a map of texts")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Config, E> {
                Ok(Config::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Config, A::Error> {
                let mut attributes = None;
                let mut legacy = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == key) {
                        map.next_value_seed(Refused { key: &key, reason })?;
                    } else if key == "attributes" {
                        attributes = Some(map.next_value::<Option<Vec<Attribute>>>()?.unwrap_or_default());
                    } else {
                        legacy.insert(key, map.next_value::<Option<String>>()?);
                    }
                }
                match attributes {
                    None => Ok(Config::Legacy(legacy)),
                    Some(attributes) if legacy.is_empty() => Ok(Config::Declarative { attributes }),
                    Some(_) => Err(de::Error::custom(
                        "resource::attributes cannot be used together with legacy inline resource attributes",
                    )),
                }
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// Refuses the value of a key, so that the error stands at its place.
struct Refused<'a> {
    key: &'a str,
    reason: &'a str,
}

impl<'de> DeserializeSeed<'de> for Refused<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, _: D) -> Result<(), D::Error> {
        let Self { key, reason } = self;
        Err(de::Error::custom(format!("\"{key}\" is not supported by this version: {reason}")))
    }
}

impl JsonSchema for Config {
    fn schema_name() -> Cow<'static, str> {
        "TelemetryResource".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let attributes = generator.subschema_for::<Vec<Attribute>>();
        json_schema!({
            "description": "Attributes of this process: a list `attributes`, or the older plain map of texts.",
            "anyOf": [
                {
                    "type": ["object", "null"],
                    "properties": { "attributes": attributes },
                    "additionalProperties": false
                },
                {
                    "type": "object",
                    "properties": { "attributes": false },
                    "additionalProperties": { "type": ["string", "null"] }
                }
            ]
        })
    }
}

/// Who this process is. Made once a start, so that logs and metrics agree on the instance id.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource(BTreeMap<String, Value>);

impl Resource {
    /// The defaults (`service.name`, `service.version`, a fresh `service.instance.id`) with what `config` says.
    pub fn new(config: &Config, build: BuildInfo) -> Self {
        let mut attributes = BTreeMap::from([
            ("service.instance.id".to_owned(), Value::from(Uuid::new_v4().to_string())),
            ("service.name".to_owned(), Value::from(build.command)),
            ("service.version".to_owned(), Value::from(build.version)),
        ]);
        match config {
            Config::Declarative { attributes: added } => {
                for Attribute { name, value } in added {
                    attributes.insert(name.clone(), serde_json::to_value(value).unwrap_or_default());
                }
            }
            Config::Legacy(changes) => {
                for (name, value) in changes {
                    match value {
                        Some(value) => attributes.insert(name.clone(), value.as_str().into()),
                        None => attributes.remove(name),
                    };
                }
            }
        }
        Self(attributes)
    }

    /// As an object, sorted by name.
    pub(crate) fn to_json(&self) -> Map<String, Value> {
        self.0.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// As Prometheus labels: dots and the like become `_`; names that become equal have their values joined with `;`.
    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        let mut labels: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in &self.0 {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            labels
                .entry(label_name(name))
                .and_modify(|joined| {
                    joined.push(';');
                    joined.push_str(&text);
                })
                .or_insert(text);
        }
        labels
    }
}

fn label_name(name: &str) -> String {
    let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if plain.starts_with(|c: char| c.is_ascii_digit()) { format!("key_{plain}") } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILD: BuildInfo = BuildInfo { command: "spanbridge", description: "", version: "1.2.3" };

    fn config(json: serde_json::Value) -> Result<Config, String> {
        serde_json::from_value(json).map_err(|error| error.to_string())
    }

    #[test]
    fn each_start_has_its_own_instance_id() {
        let one = Resource::new(&Config::default(), BUILD).to_json();
        let two = Resource::new(&Config::default(), BUILD).to_json();
        assert_eq!(one["service.name"], "spanbridge");
        assert_eq!(one["service.version"], "1.2.3");
        assert_ne!(one["service.instance.id"], two["service.instance.id"]);
    }

    #[test]
    fn the_legacy_map_changes_adds_and_takes_away() {
        let config = config(serde_json::json!({
            "service.name": "edge", "service.version": null, "k8s.cluster": "c"
        }));
        let resource = Resource::new(&config.unwrap(), BUILD).to_json();
        assert_eq!(resource["service.name"], "edge");
        assert_eq!(resource["k8s.cluster"], "c");
        assert!(!resource.contains_key("service.version"));
    }

    #[test]
    fn the_two_forms_cannot_be_mixed() {
        let error = config(serde_json::json!({ "attributes": [], "service.name": "x" })).unwrap_err();
        assert!(error.contains("cannot be used together"), "{error}");
    }

    #[test]
    fn labels_are_plain_and_lose_nothing_when_names_become_equal() {
        let config = config(serde_json::json!({ "attributes": [
            { "name": "a.b", "value": "x" }, { "name": "a_b", "value": 2 }, { "name": "9", "value": true }
        ] }));
        let labels = Resource::new(&config.unwrap(), BUILD).labels();
        assert_eq!(labels["a_b"], "x;2");
        assert_eq!(labels["key_9"], "true");
    }
}
