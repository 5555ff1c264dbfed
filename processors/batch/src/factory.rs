//! How a configuration becomes a `batch` processor.

use std::sync::Arc;

use spanbridge_component::{
    BuildError, Consumer, Descriptor, Processor, ProcessorFactory, Settings, Signal, Stability,
};

use crate::Config;
use crate::processor::BatchProcessor;

/// Makes `batch` processors.
#[derive(Debug, Clone, Copy, Default)]
pub struct Factory;

impl ProcessorFactory for Factory {
    type Config = Config;

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            type_name: "batch",
            aliases: &[],
            signals: &[
                (Signal::Traces, Stability::Beta),
                (Signal::Metrics, Stability::Beta),
                (Signal::Logs, Stability::Beta),
            ],
            unsupported: &[],
        }
    }

    fn create(
        &self,
        settings: Settings,
        config: Config,
        next: Arc<dyn Consumer>,
    ) -> Result<Arc<dyn Processor>, BuildError> {
        Ok(Arc::new(BatchProcessor::new(&settings, &config, next)?))
    }
}

#[cfg(test)]
mod tests {
    use spanbridge_testkit::conformance::{Delivery, Subject};

    use super::*;

    /// Requests of up to 10 items, so that batches are closed by size and by time.
    fn config() -> Config {
        Config { send_batch_size: 20, ..Config::default() }
    }

    /// Many requests are cut, and half of one may arrive.
    fn cutting() -> Config {
        Config { send_batch_size: 5, send_batch_max_size: 7, ..Config::default() }
    }

    /// Nothing is gathered.
    fn immediate() -> Config {
        Config { timeout: spanbridge_config::Duration::ZERO, ..Config::default() }
    }

    spanbridge_testkit::component_conformance!(Config, Subject::processor(Factory, Config::default()));
    spanbridge_testkit::processor_conformance!(Factory, config(), Delivery::Exact);

    mod that_cuts {
        use super::*;
        spanbridge_testkit::processor_conformance!(Factory, cutting(), Delivery::AtLeastOnce);
    }

    mod that_gathers_nothing {
        use super::*;
        spanbridge_testkit::processor_conformance!(Factory, immediate(), Delivery::Exact);
    }
}
