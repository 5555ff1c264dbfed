//! How a configuration becomes an `otlp_grpc` exporter.

use std::sync::Arc;

use spanbridge_component::{BuildError, Descriptor, Exporter, ExporterFactory, Settings, Signal, Stability};
use spanbridge_exporterhelper::ExporterHelper;
use spanbridge_otlp::OtlpGrpcSender;

use crate::Config;
use crate::config::UNSUPPORTED;

/// Makes `otlp_grpc` exporters, also under their former name `otlp`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Factory;

impl ExporterFactory for Factory {
    type Config = Config;

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            type_name: "otlp_grpc",
            aliases: &["otlp"],
            signals: &[
                (Signal::Traces, Stability::Stable),
                (Signal::Metrics, Stability::Stable),
                (Signal::Logs, Stability::Stable),
            ],
            unsupported: &UNSUPPORTED,
        }
    }

    fn create(&self, settings: Settings, config: Config) -> Result<Arc<dyn Exporter>, BuildError> {
        let sender = OtlpGrpcSender::new(&settings, config.client);
        ExporterHelper::new(settings, config.helper, sender)
    }
}
