//! One action, as users write it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanbridge_component::Problems;
use spanbridge_config::AnyValue;

use crate::compile::compile;

/// One action on the attributes of a resource or item.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ActionConfig {
    /// The key of the attribute to act on. Required, except for `delete` and `hash` with a `pattern`.
    pub key: String,

    /// What to do: `insert` (if the key is absent), `update` (if it is there), `upsert` (in any case), `delete`, `hash`
    /// (SHA-256 in hexadecimal), `extract` (named groups of a pattern become attributes) or `convert`. Case does not
    /// matter.
    pub action: String,

    /// The value to put in, with the type it has in YAML. For `insert`, `update` and `upsert`.
    pub value: AnyValue,

    /// The key of the attribute to copy the value from. Without such an attribute nothing is done.
    pub from_attribute: String,

    /// What to take from the request: `metadata.<key>` (a bare key means the same; several values are joined with `;`),
    /// `auth.<attribute>` or `client.address`. Metadata needs `include_metadata: true` at the receiver, and ends at a
    /// batch processor that does not list it. Without a value nothing is done.
    pub from_context: String,

    /// The value to put in where the source above has none.
    pub default_value: AnyValue,

    /// A regular expression. For `delete` and `hash` it selects keys, for `extract` it is matched against the value,
    /// and all its groups must be named. It matches anywhere unless it is anchored.
    pub pattern: String,

    /// The type to convert to: `int`, `double` or `string`. A value that cannot be converted stays as it is.
    pub converted_type: String,
}

/// Reports what is wrong with the actions under `key`, each where it stands. An empty list is wrong, too.
pub fn validate(key: &str, actions: &[ActionConfig], problems: &mut Problems) {
    if actions.is_empty() {
        problems.error_at(key, format!("missing required field {key:?}"));
    }
    problems.at(key, |problems| {
        for (index, config) in actions.iter().enumerate() {
            if let Err(fault) = compile(index, config, &mut 0) {
                problems.at(index, |problems| fault.report(problems));
            }
        }
    });
}
