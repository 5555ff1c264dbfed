//! One batch to several consumers.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;

use crate::{Batch, Capabilities, ConsumeError, Consumer};

/// Hands each batch to several consumers and joins their answers.
///
/// All are called even when one fails, and success needs the success of all (reference: collector-core, 4.3). They are
/// called at the same time, not one after the other as in Go: an answer may mean delivery, and the slowest consumer
/// should then set the waiting time, not the sum. Clones are handles: the telemetry itself is immutable and shared.
pub struct FanOut {
    consumers: Vec<Arc<dyn Consumer>>,
}

impl FanOut {
    /// A consumer that hands on to all of `consumers`; a single one is returned as it is.
    pub fn over(mut consumers: Vec<Arc<dyn Consumer>>) -> Arc<dyn Consumer> {
        if consumers.len() == 1
            && let Some(only) = consumers.pop()
        {
            return only;
        }
        Arc::new(Self { consumers })
    }
}

#[async_trait]
impl Consumer for FanOut {
    async fn consume(&self, batch: Batch) -> Result<(), ConsumeError> {
        let answers = join_all(self.consumers.iter().map(|consumer| consumer.consume(batch.clone()))).await;
        ConsumeError::join(answers.into_iter().filter_map(Result::err)).map_or(Ok(()), Err)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::of_all(self.consumers.iter().map(|c| c.capabilities()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::FutureExt;
    use spanbridge_pdata::{Payload, Signal};

    use super::*;
    use crate::{Acknowledges, Code};

    /// Answers with `answer` and remembers that it was called.
    struct Scripted {
        answer: Result<(), ConsumeError>,
        acknowledges: Acknowledges,
        calls: Mutex<usize>,
    }

    impl Scripted {
        fn new(answer: Result<(), ConsumeError>, acknowledges: Acknowledges) -> Arc<Self> {
            Arc::new(Self { answer, acknowledges, calls: Mutex::new(0) })
        }

        fn calls(&self) -> usize {
            *self.calls.lock().unwrap()
        }
    }

    #[async_trait]
    impl Consumer for Scripted {
        async fn consume(&self, _: Batch) -> Result<(), ConsumeError> {
            *self.calls.lock().unwrap() += 1;
            self.answer.clone()
        }

        fn capabilities(&self) -> Capabilities {
            Capabilities { acknowledges: self.acknowledges }
        }
    }

    #[tokio::test]
    async fn every_consumer_is_called_and_one_failure_fails_the_whole() {
        let refused = ConsumeError::retryable("full").with_code(Code::ResourceExhausted);
        let failing = Scripted::new(Err(refused), Acknowledges::Delivered);
        let working = Scripted::new(Ok(()), Acknowledges::Delivered);
        let fan_out = FanOut::over(vec![failing.clone(), working.clone()]);

        let answer = fan_out.consume(Batch::new(Payload::empty(Signal::Traces))).await;

        assert_eq!(answer.unwrap_err().code(), Code::ResourceExhausted);
        assert_eq!((failing.calls(), working.calls()), (1, 1));
    }

    #[tokio::test]
    async fn a_slow_consumer_does_not_delay_the_others() {
        struct Never;
        #[async_trait]
        impl Consumer for Never {
            async fn consume(&self, _: Batch) -> Result<(), ConsumeError> {
                std::future::pending().await
            }
        }
        let working = Scripted::new(Ok(()), Acknowledges::Delivered);
        let fan_out = FanOut::over(vec![Arc::new(Never), working.clone()]);

        let outcome = fan_out.consume(Batch::new(Payload::empty(Signal::Traces))).now_or_never();

        assert!(outcome.is_none());
        assert_eq!(working.calls(), 1);
    }

    #[test]
    fn it_promises_acceptance_only_when_every_consumer_accepts() {
        let over = |kinds: &[Acknowledges]| {
            FanOut::over(kinds.iter().map(|k| Scripted::new(Ok(()), *k) as Arc<dyn Consumer>).collect())
                .capabilities()
                .acknowledges
        };
        assert_eq!(over(&[Acknowledges::Accepted, Acknowledges::Accepted]), Acknowledges::Accepted);
        assert_eq!(over(&[Acknowledges::Accepted, Acknowledges::Delivered]), Acknowledges::Delivered);
    }
}
