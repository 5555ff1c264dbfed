//! `dead_letter`: a key of ours.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanbridge_component::{Problems, Validate};

/// Where requests go that are given up for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeadLetterConfig {
    /// The directory of the files; it is made if it does not exist. Required.
    pub directory: PathBuf,
    /// Bytes that this exporter's files may have together, default 104857600 (100 MiB). What does not fit any more is
    /// counted and gone; nothing that is there is overwritten.
    pub max_size: u64,
}

impl Default for DeadLetterConfig {
    fn default() -> Self {
        Self { directory: PathBuf::new(), max_size: 100 << 20 }
    }
}

impl Validate for DeadLetterConfig {
    fn validate(&self, problems: &mut Problems) {
        if self.directory.as_os_str().is_empty() {
            problems.error_at("directory", "a dead_letter block needs a directory");
        }
        if self.max_size == 0 {
            problems.error_at("max_size", "max_size must be positive");
        }
    }
}
