//! How a configuration becomes an `otlp` receiver.

use std::sync::Arc;

use spanbridge_component::{
    BuildError, Descriptor, Outputs, Receiver, ReceiverFactory, Settings, Signal, Stability, Unsupported,
};

use spanbridge_transport::tls::TPM_UNSUPPORTED;

use crate::Config;
use crate::receiver::OtlpReceiver;
use crate::service::ExportService;

/// Makes `otlp` receivers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Factory;

impl ReceiverFactory for Factory {
    type Config = Config;

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            type_name: "otlp",
            aliases: &[],
            signals: &[
                (Signal::Traces, Stability::Stable),
                (Signal::Metrics, Stability::Stable),
                (Signal::Logs, Stability::Stable),
            ],
            unsupported: &[
                Unsupported { path: "protocols.http", reason: "OTLP/HTTP comes with a later version" },
                Unsupported { path: "protocols.grpc.tls.tpm", reason: TPM_UNSUPPORTED },
                Unsupported {
                    path: "protocols.grpc.middlewares",
                    reason: "there are no middleware extensions yet",
                },
            ],
        }
    }

    fn create(
        &self,
        settings: Settings,
        config: Config,
        next: Outputs,
    ) -> Result<Arc<dyn Receiver>, BuildError> {
        let service = ExportService::new(&settings, &config, next)?;
        Ok(Arc::new(OtlpReceiver::new(&settings, config, Arc::new(service))))
    }
}
