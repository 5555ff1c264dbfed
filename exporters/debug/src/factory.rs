//! How a configuration becomes a `debug` exporter.

use std::sync::Arc;

use spanbridge_component::{BuildError, Descriptor, Exporter, ExporterFactory, Settings, Signal, Stability};
use spanbridge_exporterhelper::{ExporterHelper, HelperConfig};

use crate::Config;
use crate::config::OLD_NAME;
use crate::exporter::DebugExporter;

/// Makes `debug` exporters, also under their old name `logging`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Factory;

impl ExporterFactory for Factory {
    type Config = Config;

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            type_name: "debug",
            aliases: &[OLD_NAME],
            signals: &[
                (Signal::Traces, Stability::Alpha),
                (Signal::Metrics, Stability::Alpha),
                (Signal::Logs, Stability::Alpha),
            ],
            unsupported: &[],
        }
    }

    fn create(&self, settings: Settings, config: Config) -> Result<Arc<dyn Exporter>, BuildError> {
        let effective = config.effective(settings.id.type_name()).map_err(BuildError)?;
        let sender = DebugExporter::new(&settings, effective);
        let helper = HelperConfig { sending_queue: config.sending_queue, ..HelperConfig::plain() };
        ExporterHelper::new(settings, helper, sender)
    }
}

#[cfg(test)]
mod tests {
    use spanbridge_component::Kind;
    use spanbridge_testkit::conformance::Subject;
    use spanbridge_testkit::settings_of;

    use super::*;
    use crate::{LogLevel, Verbosity};

    spanbridge_testkit::component_conformance!(
        Config,
        Subject::exporter(Factory, Config { verbosity: Some(Verbosity::Detailed), ..Config::default() })
    );

    #[test]
    fn a_key_of_the_old_exporter_is_refused_under_the_new_name() {
        let config = Config { loglevel: Some(LogLevel::Debug), ..Config::default() };
        assert!(Factory.create(settings_of(Kind::Exporter, "logging/x"), config.clone()).is_ok());
        let error = Factory.create(settings_of(Kind::Exporter, "debug/x"), config).err().unwrap();
        assert!(
            error.to_string().starts_with("'loglevel' belongs to the former logging exporter"),
            "{error}"
        );
    }
}
