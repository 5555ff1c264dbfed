//! The exporter itself.

use async_trait::async_trait;
use spanbridge_component::{Batch, Component, ConsumeError, Consumer, Exporter};

/// Answers success and lets the batch go.
///
/// Its answer counts as delivered ([`spanbridge_component::Acknowledges`]): there is no queue in which anything could
/// still be lost.
pub(crate) struct NopExporter;

impl Component for NopExporter {}

impl Exporter for NopExporter {}

#[async_trait]
impl Consumer for NopExporter {
    async fn consume(&self, batch: Batch) -> Result<(), ConsumeError> {
        drop(batch);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use spanbridge_component::{Acknowledges, Signal};
    use spanbridge_testkit::Payloads;

    use super::*;

    #[tokio::test]
    async fn every_signal_is_accepted() {
        for signal in Signal::ALL {
            let batch = Batch::new(Payloads::small().request(signal, 3));
            assert_eq!(NopExporter.consume(batch).await, Ok(()), "{signal}");
        }
        assert_eq!(NopExporter.capabilities().acknowledges, Acknowledges::Delivered);
    }
}
