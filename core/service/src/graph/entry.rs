//! Where telemetry comes into a pipeline.

use async_trait::async_trait;
use spanbridge_component::{Batch, Capabilities, ConsumeError, Consumer, Ledger, Link, ledger};

/// Where telemetry comes into a pipeline: keeps the pipeline's books, and stays as long as the pipeline's id does.
pub(crate) struct Entry {
    /// Leads to the first processor, or to the exporters.
    pub(crate) link: Link,
    ledger: Ledger,
}

impl Entry {
    /// The entry of a pipeline that keeps these books.
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self { link: Link::new(), ledger }
    }
}

#[async_trait]
impl Consumer for Entry {
    async fn consume(&self, batch: Batch) -> Result<(), ConsumeError> {
        let mut offer = Offer(self.ledger.take(batch.signal(), batch.items()));
        let result = self.link.hand_on(batch).await;
        if result.is_ok() {
            offer.0.delivered(usize::MAX);
        }
        result
    }

    fn capabilities(&self) -> Capabilities {
        self.link.capabilities()
    }
}

/// What was not delivered is the caller's again, also when the caller stops waiting.
struct Offer(ledger::Entry);

impl Drop for Offer {
    fn drop(&mut self) {
        if self.0.items() > 0 {
            self.0.returned(usize::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt;
    use spanbridge_component::Signal;

    use super::*;
    use crate::testing::batch;

    /// Answers as told, or never.
    struct Answer(Option<Result<(), ConsumeError>>);

    #[async_trait]
    impl Consumer for Answer {
        async fn consume(&self, _: Batch) -> Result<(), ConsumeError> {
            match &self.0 {
                Some(answer) => answer.clone(),
                None => std::future::pending().await,
            }
        }
    }

    #[test]
    fn what_comes_in_is_delivered_or_given_back_whatever_happens() {
        let ledger = Ledger::new();
        let entry = Entry::new(ledger.clone());
        for answer in [Some(Ok(())), Some(Err(ConsumeError::retryable("full"))), None] {
            entry.link.point(Some(Arc::new(Answer(answer))));
            let _ = entry.consume(batch(Signal::Logs)).now_or_never();
        }
        let balance = ledger.balance(Signal::Logs);
        assert_eq!((balance.taken, balance.delivered, balance.returned), (3, 1, 2));
        assert!(balance.is_balanced());
    }
}
