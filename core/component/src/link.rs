//! One edge of the graph, which can be pointed at another consumer while calls are under way.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;

use crate::{Batch, Capabilities, Code, ConsumeError, Consumer};

/// One edge of the graph: what a component hands on to. Cheap to clone; clones are the same edge.
///
/// A reload points it at another consumer. A call that is under way stays with the consumer that it went to, and keeps
/// that one alive: when the last such call has ended, the former consumer is dropped, and whoever waits for that knows
/// that nothing is on its way there any more. So nobody keeps what [`Link::next`] returned for longer than one call.
#[derive(Clone, Default)]
pub struct Link(Arc<ArcSwapOption<Target>>);

/// A pointer to a pointer, because the atomic one has to be thin.
struct Target(Arc<dyn Consumer>);

impl Link {
    /// An edge that leads nowhere yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// An edge that leads to `next`.
    pub fn to(next: Arc<dyn Consumer>) -> Self {
        let link = Self::new();
        link.point(Some(next));
        link
    }

    /// Leads to `next` from now on, or nowhere.
    pub fn point(&self, next: Option<Arc<dyn Consumer>>) {
        self.0.store(next.map(|next| Arc::new(Target(next))));
    }

    /// Where it leads now. For one call; see the type.
    pub fn next(&self) -> Option<Arc<dyn Consumer>> {
        self.0.load().as_ref().map(|target| target.0.clone())
    }

    /// Hands `batch` on: [`Consumer::consume`] without a future on the heap.
    ///
    /// # Errors
    /// As the consumer that it leads to; a retryable one if it leads nowhere.
    pub async fn hand_on(&self, batch: Batch) -> Result<(), ConsumeError> {
        match self.next() {
            Some(next) => next.consume(batch).await,
            None => Err(ConsumeError::retryable("nothing takes telemetry from here any more")
                .with_code(Code::Unavailable)),
        }
    }

    /// Whether it leads anywhere now.
    pub fn is_connected(&self) -> bool {
        self.0.load().is_some()
    }
}

#[async_trait]
impl Consumer for Link {
    async fn consume(&self, batch: Batch) -> Result<(), ConsumeError> {
        self.hand_on(batch).await
    }

    fn capabilities(&self) -> Capabilities {
        self.next().map_or_else(Capabilities::default, |next| next.capabilities())
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("is_connected", &self.is_connected()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use spanbridge_pdata::{Payload, Signal};
    use tokio::sync::Semaphore;

    use super::*;

    /// Answers with `answer` once `gate` lets it.
    struct Gated {
        gate: Semaphore,
        answer: Result<(), ConsumeError>,
    }

    #[async_trait]
    impl Consumer for Gated {
        async fn consume(&self, _: Batch) -> Result<(), ConsumeError> {
            let _permit = self.gate.acquire().await;
            self.answer.clone()
        }
    }

    fn gated(answer: Result<(), ConsumeError>) -> Arc<Gated> {
        Arc::new(Gated { gate: Semaphore::new(0), answer })
    }

    fn batch() -> Batch {
        Batch::new(Payload::empty(Signal::Traces))
    }

    #[tokio::test]
    async fn a_call_stays_with_the_consumer_it_went_to_and_keeps_it_alive() {
        let (first, second) = (gated(Ok(())), gated(Err(ConsumeError::permanent("second"))));
        second.gate.add_permits(1);
        let link = Link::to(first.clone());
        let call = tokio::spawn({
            let link = link.clone();
            async move { link.consume(batch()).await }
        });
        tokio::task::yield_now().await;

        link.point(Some(second));
        let weak: Weak<Gated> = Arc::downgrade(&first);
        assert_eq!(link.consume(batch()).await.unwrap_err().message(), "second");
        first.gate.add_permits(1);
        drop(first);

        assert_eq!(call.await.unwrap(), Ok(()));
        assert!(weak.upgrade().is_none(), "the last call was the last to hold it");
    }

    #[tokio::test]
    async fn an_edge_that_leads_nowhere_asks_to_try_again() {
        let link = Link::new();
        assert!(!link.consume(batch()).await.unwrap_err().is_permanent());
        assert_eq!(link.capabilities(), Capabilities::default());
    }
}
