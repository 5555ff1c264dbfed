//! What became of a batch, told to everyone who has items in it.

use std::sync::{Arc, OnceLock};

use smallvec::SmallVec;
use spanbridge_component::ConsumeError;
use tokio::sync::Notify;

/// The answer to one batch; shared by the task that exports it and by the callers in it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    answer: OnceLock<Result<(), ConsumeError>>,
    done: Notify,
}

impl Outcome {
    /// The answer, if it is there.
    fn answer(&self) -> Option<&Result<(), ConsumeError>> {
        self.answer.get()
    }

    async fn wait(&self) -> Result<(), ConsumeError> {
        // Made before the look: `notify_waiters` reaches every future that exists, polled or not.
        let done = self.done.notified();
        if self.answer().is_none() {
            done.await;
        }
        self.answer().cloned().unwrap_or_else(|| Err(unanswered()))
    }

    fn resolve(&self, answer: Result<(), ConsumeError>) {
        // The first answer stands: the guard below comes second when there was one.
        let _ = self.answer.set(answer);
        self.done.notify_waiters();
    }
}

/// The side that answers. Dropped without an answer (the export panicked, the runtime went away) it answers so that
/// callers try again.
#[derive(Debug)]
pub(crate) struct Resolver(Arc<Outcome>);

impl Resolver {
    pub(crate) fn new(outcome: Arc<Outcome>) -> Self {
        Self(outcome)
    }

    pub(crate) fn outcome(&self) -> &Arc<Outcome> {
        &self.0
    }

    pub(crate) fn resolve(self, answer: Result<(), ConsumeError>) {
        self.0.resolve(answer);
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        if self.0.answer().is_none() {
            self.0.resolve(Err(unanswered()));
        }
    }
}

fn unanswered() -> ConsumeError {
    ConsumeError::retryable("the export of the batch ended without an answer")
}

/// The outcomes of all batches that carry one request: nearly always one.
#[derive(Debug, Default)]
pub(crate) struct Outcomes(SmallVec<[Arc<Outcome>; 1]>);

impl Outcomes {
    pub(crate) fn push(&mut self, outcome: Arc<Outcome>) {
        self.0.push(outcome);
    }

    /// Forgets the parts that have arrived; an error of a part that has not.
    ///
    /// It keeps the list as short as the number of exports at a time, and ends a request of which a part has failed.
    pub(crate) fn settle(&mut self) -> Result<(), ConsumeError> {
        self.0.retain(|outcome| !matches!(outcome.answer(), Some(Ok(()))));
        ConsumeError::join_parts(self.0.iter().filter_map(|outcome| outcome.answer()?.clone().err()))
            .map_or(Ok(()), Err)
    }

    /// Waits for all parts; their errors are joined.
    pub(crate) async fn wait(self) -> Result<(), ConsumeError> {
        let mut errors = SmallVec::<[ConsumeError; 1]>::new();
        for outcome in self.0 {
            errors.extend(outcome.wait().await.err());
        }
        ConsumeError::join_parts(errors).map_or(Ok(()), Err)
    }
}
