//! What users write under `receivers::nop`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanbridge_component::Validate;

/// Configuration of the `nop` receiver: it has no keys, and any key is an error.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {}

impl Validate for Config {}
