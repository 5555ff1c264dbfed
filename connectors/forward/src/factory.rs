//! How a configuration becomes a `forward` connector.

use std::sync::Arc;

use spanbridge_component::{
    BuildError, Connector, ConnectorFactory, ConnectorOutputs, Descriptor, Settings, Signal, Stability,
};

use crate::Config;
use crate::connector::ForwardConnector;

/// Makes `forward` connectors.
#[derive(Debug, Clone, Copy, Default)]
pub struct Factory;

impl ConnectorFactory for Factory {
    type Config = Config;

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            type_name: "forward",
            aliases: &[],
            signals: &[
                (Signal::Traces, Stability::Beta),
                (Signal::Metrics, Stability::Beta),
                (Signal::Logs, Stability::Beta),
            ],
            unsupported: &[],
        }
    }

    fn connects(&self, input: Signal, output: Signal) -> bool {
        input == output
    }

    fn create(
        &self,
        _: Settings,
        _: Config,
        next: ConnectorOutputs,
    ) -> Result<Arc<dyn Connector>, BuildError> {
        Ok(Arc::new(ForwardConnector::new(next.fan_out())))
    }
}

#[cfg(test)]
mod tests {
    use spanbridge_testkit::conformance::Subject;

    use super::*;

    spanbridge_testkit::component_conformance!(Config, Subject::connector(Factory, Config::default()));

    #[test]
    fn a_signal_is_connected_to_itself_only() {
        for input in Signal::ALL {
            for output in Signal::ALL {
                assert_eq!(Factory.connects(input, output), input == output);
            }
        }
    }
}
