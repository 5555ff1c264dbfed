//! The connector itself.

use async_trait::async_trait;
use spanbridge_component::{
    Batch, Capabilities, Component, Connector, ConsumeError, Consumer, Outputs, Signal,
};

/// Hands each batch to every pipeline of its signal and answers what they answer.
///
/// Nothing is stored or changed here: context, data and errors pass through, and the caller waits for all pipelines.
pub(crate) struct ForwardConnector {
    next: Outputs,
}

impl ForwardConnector {
    pub(crate) fn new(next: Outputs) -> Self {
        Self { next }
    }
}

impl Component for ForwardConnector {}

impl Connector for ForwardConnector {}

#[async_trait]
impl Consumer for ForwardConnector {
    async fn consume(&self, batch: Batch) -> Result<(), ConsumeError> {
        match self.next.get(batch.signal()) {
            Some(next) => next.consume(batch).await,
            // The graph refuses a connector with an input and no output of that signal, so this is our own mistake;
            // an error keeps it from becoming silent loss.
            None => Err(ConsumeError::permanent(format!(
                "forward connector: no pipeline takes {} from it",
                batch.signal()
            ))),
        }
    }

    /// One connector may feed pipelines of several signals and is asked once for all: it promises no less than the
    /// strictest of them.
    fn capabilities(&self) -> Capabilities {
        let signals = Signal::ALL.into_iter().filter_map(|signal| self.next.get(signal));
        Capabilities::of_all(signals.map(|next| next.capabilities()))
    }
}
