//! How a configuration becomes a `nop` receiver.

use std::sync::Arc;

use spanbridge_component::{
    BuildError, Descriptor, Outputs, Receiver, ReceiverFactory, Settings, Signal, Stability,
};

use crate::Config;
use crate::receiver::NopReceiver;

/// Makes `nop` receivers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Factory;

impl ReceiverFactory for Factory {
    type Config = Config;

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            type_name: "nop",
            aliases: &[],
            signals: &[
                (Signal::Traces, Stability::Beta),
                (Signal::Metrics, Stability::Beta),
                (Signal::Logs, Stability::Beta),
            ],
            unsupported: &[],
        }
    }

    fn create(&self, _: Settings, _: Config, _: Outputs) -> Result<Arc<dyn Receiver>, BuildError> {
        Ok(Arc::new(NopReceiver))
    }
}

#[cfg(test)]
mod tests {
    use spanbridge_testkit::conformance::Subject;

    use super::*;

    spanbridge_testkit::component_conformance!(Config, Subject::receiver(Factory, Config::default()));
}
