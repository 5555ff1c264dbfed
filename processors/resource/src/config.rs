//! What users write under `processors::resource`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanbridge_attributes::{ActionConfig, validate};
use spanbridge_component::{Problems, Validate};

/// Configuration of the `resource` processor (reference: contrib-components, C).
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The actions, in the order in which they are taken; each sees what the ones before it did. At least one is
    /// required.
    pub attributes: Vec<ActionConfig>,
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        validate("attributes", &self.attributes, problems);
    }
}
