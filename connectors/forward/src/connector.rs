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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use spanbridge_component::{Acknowledges, Code, ConnectorOutputs, Context, PipelineId};
    use spanbridge_testkit::{Failing, Payloads, Sink};

    use super::*;

    fn forward(pipelines: &[(&str, Arc<dyn Consumer>)]) -> ForwardConnector {
        let id = |text: &str| text.parse::<PipelineId>().unwrap();
        let pipelines = pipelines.iter().map(|(text, next)| (id(text), next.clone())).collect();
        ForwardConnector::new(ConnectorOutputs { pipelines }.fan_out())
    }

    fn batch(signal: Signal) -> Batch {
        Batch::new(Payloads::small().request(signal, 4))
    }

    #[tokio::test]
    async fn every_pipeline_of_the_same_signal_gets_the_batch_with_its_context() {
        let (a, b, logs) = (Sink::new(), Sink::new(), Sink::new());
        let connector =
            forward(&[("traces/a", a.clone()), ("traces/b", b.clone()), ("logs/c", logs.clone())]);
        let address: SocketAddr = "192.0.2.1:4317".parse().unwrap();
        let context = Context { client_address: Some(address), ..Context::default() };
        connector.consume(Batch { context, ..batch(Signal::Traces) }).await.unwrap();
        for sink in [a, b] {
            assert_eq!(sink.item_ids(), [0, 1, 2, 3]);
            assert_eq!(sink.batches()[0].context.client_address, Some(address));
        }
        assert_eq!(logs.items(), 0);
    }

    #[tokio::test]
    async fn errors_are_handed_back_and_the_other_pipelines_are_fed_all_the_same() {
        let (good, error) = (Sink::new(), ConsumeError::retryable("full").with_code(Code::ResourceExhausted));
        let connector = forward(&[("logs/a", Failing::always(error.clone())), ("logs/b", good.clone())]);
        assert_eq!(connector.consume(batch(Signal::Logs)).await, Err(error));
        assert_eq!(good.items(), 4);
    }

    #[tokio::test]
    async fn a_signal_without_a_pipeline_is_refused_rather_than_lost() {
        let error = forward(&[("logs", Sink::new())]).consume(batch(Signal::Metrics)).await.unwrap_err();
        assert!(error.is_permanent());
        assert_eq!(error.message(), "forward connector: no pipeline takes metrics from it");
    }

    #[test]
    fn it_promises_what_the_strictest_pipeline_promises() {
        let (queued, direct) = (Sink::acknowledging(Acknowledges::Accepted), Sink::new());
        let acknowledges = |pipelines: &[(&str, Arc<dyn Consumer>)]| forward(pipelines).capabilities();
        let both = acknowledges(&[("logs", queued.clone()), ("traces", direct)]);
        assert_eq!(both.acknowledges, Acknowledges::Delivered);
        assert_eq!(acknowledges(&[("logs", queued)]).acknowledges, Acknowledges::Accepted);
    }
}
