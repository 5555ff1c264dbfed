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
