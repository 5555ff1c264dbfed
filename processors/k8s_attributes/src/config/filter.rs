//! Which pods to watch.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, SeqAccess};
use serde::{Deserialize, Deserializer, Serialize};
use spanbridge_component::{Problems, Validate};

use super::suggestion;

/// Which pods to watch. The server filters: what does not match costs nothing here.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FilterConfig {
    /// Only the pods on this node. Set it, or `node_from_env_var`, in a collector that runs on every node.
    pub node: String,

    /// The environment variable that holds the name of the node; it goes before `node`.
    pub node_from_env_var: String,

    /// Only the pods and workloads of this namespace, or of these. Default: of all.
    pub namespace: Namespaces,

    /// Only the pods whose fields have these values, such as `status.phase`.
    pub fields: Vec<FilterTermConfig>,

    /// Only the pods with these labels.
    pub labels: Vec<FilterTermConfig>,
}

/// A condition on one label or field.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FilterTermConfig {
    /// The label or field.
    pub key: String,

    /// The value to compare with.
    pub value: String,

    /// `equals` (default), `not-equals`; for labels also `exists` and `does-not-exist`.
    pub op: String,
}

/// No namespace (all), one, or several; written as a text or as a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Namespaces(pub Vec<String>);

impl<'de> Deserialize<'de> for Namespaces {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Namespaces;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a namespace or a list of namespaces")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Namespaces, E> {
                let names = if name.is_empty() { Vec::new() } else { vec![name.to_owned()] };
                Ok(Namespaces(names))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Namespaces, E> {
                Ok(Namespaces::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Namespaces, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = items.next_element()? {
                    names.push(name);
                }
                Ok(Namespaces(names))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Namespaces {
    fn schema_name() -> Cow<'static, str> {
        "Namespaces".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }
}

pub(crate) const LABEL_OPERATIONS: [&str; 4] = ["equals", "not-equals", "exists", "does-not-exist"];
pub(crate) const FIELD_OPERATIONS: [&str; 2] = ["equals", "not-equals"];

impl Validate for FilterConfig {
    fn validate(&self, problems: &mut Problems) {
        if !self.node_from_env_var.is_empty() && self.node().is_none() {
            let name = &self.node_from_env_var;
            let message = format!("`node_from_env_var` is configured but envvar {name:?} is not set");
            problems
                .error_at("node_from_env_var", message)
                .help("set it in the pod's manifest: valueFrom: {fieldRef: {fieldPath: spec.nodeName}}");
        }
        problems.at("namespace", |problems| {
            for (index, name) in self.namespace.0.iter().enumerate() {
                if !is_label(name) {
                    problems.at(index, |problems| {
                        problems.error(format!("{name:?} is not the name of a namespace"));
                    });
                }
            }
        });
        terms("labels", "label", &self.labels, &LABEL_OPERATIONS, problems);
        terms("fields", "field", &self.fields, &FIELD_OPERATIONS, problems);
    }
}

impl FilterConfig {
    /// The node whose pods are watched; `None` for all, and when the environment variable is not set or empty.
    pub(crate) fn node(&self) -> Option<String> {
        if self.node_from_env_var.is_empty() {
            return (!self.node.is_empty()).then(|| self.node.clone());
        }
        std::env::var(&self.node_from_env_var).ok().filter(|node| !node.is_empty())
    }
}

fn terms(
    key: &str,
    noun: &str,
    terms: &[FilterTermConfig],
    operations: &[&'static str],
    problems: &mut Problems,
) {
    problems.at(key, |problems| {
        for (index, FilterTermConfig { key, value, op }) in terms.iter().enumerate() {
            problems.at(index, |problems| {
                if key.is_empty() {
                    problems.error(format!("a {noun} filter needs a key"));
                }
                if !op.is_empty() && !operations.contains(&op.as_str()) {
                    let message =
                        format!("'{op}' is not a valid {noun} filter operation for key={key}, value={value}");
                    problems.error_at("op", message).help(suggestion(op, operations));
                }
                if op.contains("exist") && !value.is_empty() {
                    problems.error_at("value", format!("the operation '{op}' takes no value"));
                }
                // A selector is one text: what would end a term would change the selection.
                let broken = |text: &str| text.contains([',', '=', '!', '(', ')', ' ']);
                if broken(key) || noun == "label" && broken(value) {
                    let message = format!("key={key}, value={value} cannot be part of a {noun} selector");
                    problems.error(message);
                }
            });
        }
    });
}

/// Whether it is an RFC 1123 label, as names of namespaces are. Names become part of a path.
fn is_label(name: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let ends = |c: Option<&u8>| c.is_some_and(|c| *c != b'-');
    let bytes = name.as_bytes();
    bytes.len() <= 63 && bytes.iter().all(|c| inner(*c)) && ends(bytes.first()) && ends(bytes.last())
}
