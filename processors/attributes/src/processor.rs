//! The processor itself.

use std::sync::Arc;

use async_trait::async_trait;
use spanbridge_attributes::{Actions, FromContext};
use spanbridge_component::telemetry::ProcessorMetrics;
use spanbridge_component::{
    Batch, BuildError, Capabilities, Component, ConsumeError, Consumer, PipelineId, Processor, Settings,
};
use spanbridge_pdata::{Attributes, EditAttributes, Item, MetricView, ResourceView, ScopeView};

use crate::Config;
use crate::filter::{Choice, Filter};

/// Edits the items of each batch and hands it on. It holds nothing, so there is nothing to start or drain.
pub(crate) struct AttributesProcessor {
    filter: Filter,
    actions: Actions,
    metrics: ProcessorMetrics,
    next: Arc<dyn Consumer>,
}

impl AttributesProcessor {
    pub(crate) fn new(
        settings: &Settings,
        config: &Config,
        next: Arc<dyn Consumer>,
    ) -> Result<Self, BuildError> {
        let signal = settings.pipeline.as_ref().map(PipelineId::signal);
        let filter = Filter::new(config, signal).map_err(BuildError)?;
        let actions = Actions::compile(&config.actions)?;
        let metrics = ProcessorMetrics::new(&settings.telemetry, &settings.id)?;
        Ok(Self { filter, actions, metrics, next })
    }

    fn edit(&self, batch: Batch) -> Batch {
        let from_context = self.actions.look_up(&batch.context);
        let mut edit = Edit { choice: self.filter.choice(), actions: &self.actions, from_context };
        Batch { payload: batch.payload.edit_item_attributes(&mut edit), context: batch.context }
    }
}

/// The edit of one batch.
struct Edit<'a> {
    choice: Choice<'a>,
    actions: &'a Actions,
    from_context: FromContext,
}

impl EditAttributes for Edit<'_> {
    fn resource(&mut self, resource: ResourceView<'_>) -> bool {
        self.choice.resource(&resource)
    }

    fn scope(&mut self, scope: ScopeView<'_>) -> bool {
        self.choice.scope(&scope)
    }

    fn metric(&mut self, metric: MetricView<'_>) -> bool {
        self.choice.metric(&metric)
    }

    fn item(&mut self, item: Item<'_>, attributes: &mut Attributes<'_>) {
        if self.choice.item(&item) {
            self.actions.apply(attributes, &self.from_context);
        }
    }
}

impl Component for AttributesProcessor {}

impl Processor for AttributesProcessor {}

#[async_trait]
impl Consumer for AttributesProcessor {
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
