//! A consumer that fails as told.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use spanbridge_component::{Batch, Capabilities, ConsumeError, Consumer};

/// What a scripted consumer answers to one call.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Hands on to the next consumer and answers what that answers.
    Pass,
    /// Answers this error, and the next consumer sees nothing.
    Fail(ConsumeError),
}

/// Answers by a script: one outcome a call, then the last one for ever.
pub struct Failing {
    script: Mutex<VecDeque<Outcome>>,
    next: Arc<dyn Consumer>,
    calls: AtomicUsize,
}

impl Failing {
    /// Fails every call with `error`.
    pub fn always(error: ConsumeError) -> Arc<Self> {
        Self::scripted([Outcome::Fail(error)], crate::Sink::new())
    }

    /// Fails one call for each of `errors`, then hands on to `next`.
    pub fn first(errors: impl IntoIterator<Item = ConsumeError>, next: Arc<dyn Consumer>) -> Arc<Self> {
        Self::scripted(errors.into_iter().map(Outcome::Fail).chain([Outcome::Pass]), next)
    }

    /// Takes one outcome of `script` for each call, and repeats the last.
    pub fn scripted(script: impl IntoIterator<Item = Outcome>, next: Arc<dyn Consumer>) -> Arc<Self> {
        let script: VecDeque<_> = script.into_iter().collect();
        assert!(!script.is_empty(), "a script needs at least one outcome");
        Arc::new(Self { script: Mutex::new(script), next, calls: AtomicUsize::new(0) })
    }

    /// How often it was called so far.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    fn next_outcome(&self) -> Outcome {
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = if script.len() > 1 { script.pop_front() } else { script.front().cloned() };
        outcome.expect("the script is never empty")
    }
}

#[async_trait]
impl Consumer for Failing {
    async fn consume(&self, batch: Batch) -> Result<(), ConsumeError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        match self.next_outcome() {
            Outcome::Pass => self.next.consume(batch).await,
            Outcome::Fail(error) => Err(error),
        }
    }

    fn capabilities(&self) -> Capabilities {
        self.next.capabilities()
    }
}
