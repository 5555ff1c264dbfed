//! The processor itself.

use std::sync::Arc;

use async_trait::async_trait;
use spanbridge_attributes::Actions;
use spanbridge_component::telemetry::ProcessorMetrics;
use spanbridge_component::{
    Batch, BuildError, Capabilities, Component, ConsumeError, Consumer, Processor, Settings,
};

use crate::Config;

/// Edits the resources of each batch and hands it on. It holds nothing, so there is nothing to start or drain.
pub(crate) struct ResourceProcessor {
    actions: Actions,
    metrics: ProcessorMetrics,
    next: Arc<dyn Consumer>,
}

impl ResourceProcessor {
    pub(crate) fn new(
        settings: &Settings,
        config: &Config,
        next: Arc<dyn Consumer>,
    ) -> Result<Self, BuildError> {
        let actions = Actions::compile(&config.attributes)?;
        Ok(Self { actions, metrics: ProcessorMetrics::new(&settings.telemetry, &settings.id)?, next })
    }

    fn edit(&self, batch: Batch) -> Batch {
        let from_context = self.actions.look_up(&batch.context);
        let payload =
            batch.payload.edit_resources(|attributes| self.actions.apply(attributes, &from_context));
        Batch { payload, context: batch.context }
    }
}

impl Component for ResourceProcessor {}

impl Processor for ResourceProcessor {}

#[async_trait]
impl Consumer for ResourceProcessor {
    async fn consume(&self, batch: Batch) -> Result<(), ConsumeError> {
        let (signal, items) = (batch.signal(), batch.items());
        self.metrics.incoming(signal, items);
        let batch = self.edit(batch);
        self.metrics.outgoing(signal, items);
        self.next.consume(batch).await
    }

    fn capabilities(&self) -> Capabilities {
        self.next.capabilities()
    }
}
