//! How a configuration becomes a `file_storage` extension.

use std::sync::Arc;

use spanbridge_component::{BuildError, Descriptor, Extension, ExtensionFactory, Settings};

use crate::Config;
use crate::extension::FileStorage;

/// Makes `file_storage` extensions.
#[derive(Debug, Clone, Copy, Default)]
pub struct Factory;

impl ExtensionFactory for Factory {
    type Config = Config;

    fn descriptor(&self) -> Descriptor {
        Descriptor { type_name: "file_storage", aliases: &[], signals: &[], unsupported: &[] }
    }

    fn create(&self, settings: Settings, config: Config) -> Result<Arc<dyn Extension>, BuildError> {
        Ok(Arc::new(FileStorage::new(&settings, config)?))
    }
}

#[cfg(test)]
mod tests {
    use spanbridge_testkit::conformance::Subject;

    use super::*;

    /// In a directory that is there on every machine; nothing is written unless a log is opened.
    fn config() -> Config {
        Config { directory: std::env::temp_dir(), ..Config::default() }
    }

    spanbridge_testkit::component_conformance!(Config, Subject::extension(Factory, config()));
}
