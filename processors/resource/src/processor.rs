//! The processor itself.

use std::sync::Arc;

use async_trait::async_trait;
use spanbridge_component::telemetry::ProcessorMetrics;
use spanbridge_component::{
    Batch, BuildError, Capabilities, Component, ConsumeError, Consumer, Processor, Settings,
};

use crate::Config;
use crate::action::{Action, look_up};
use crate::compile::compile;

/// Edits the resources of each batch and hands it on. It holds nothing, so there is nothing to start or drain.
pub(crate) struct ResourceProcessor {
    actions: Box<[Action]>,
    metrics: ProcessorMetrics,
    next: Arc<dyn Consumer>,
}

impl ResourceProcessor {
    pub(crate) fn new(
        settings: &Settings,
        config: &Config,
        next: Arc<dyn Consumer>,
    ) -> Result<Self, BuildError> {
        let mut from_context = 0;
        let actions = config.attributes.iter().enumerate();
        let actions = actions
            .map(|(index, action)| compile(index, action, &mut from_context))
            .collect::<Result<_, _>>()
            .map_err(|fault| BuildError(fault.message))?;
        Ok(Self { actions, metrics: ProcessorMetrics::new(&settings.telemetry, &settings.id)?, next })
    }

    fn edit(&self, batch: Batch) -> Batch {
        let from_context = look_up(&self.actions, &batch.context);
        let payload = batch.payload.edit_resources(|attributes| {
            for action in &self.actions {
                action.apply(attributes, &from_context);
            }
        });
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
