//! Consumers that hang or crawl.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use spanbridge_component::{Batch, Capabilities, ConsumeError, Consumer};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::WAIT_MAX;

/// Holds every caller while it is closed, and hands on to the next consumer when it is open.
pub struct Gate {
    open: watch::Sender<bool>,
    waiting: watch::Sender<usize>,
    next: Arc<dyn Consumer>,
}

impl Gate {
    /// A gate that holds every caller.
    pub fn closed(next: Arc<dyn Consumer>) -> Arc<Self> {
        Arc::new(Self { open: watch::Sender::new(false), waiting: watch::Sender::new(0), next })
    }

    /// A consumer that never answers.
    pub fn hanging() -> Arc<Self> {
        Self::closed(crate::Sink::new())
    }

    /// Lets everyone pass, those who wait and those who come.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Holds those who come from now on.
    pub fn close(&self) {
        self.open.send_replace(false);
    }

    /// How many callers it holds now. A caller that gave up is no longer counted.
    pub fn waiting(&self) -> usize {
        *self.waiting.borrow()
    }

    /// Waits until it holds at least `count` callers, at most [`WAIT_MAX`].
    pub async fn wait_for_waiting(&self, count: usize) {
        let mut waiting = self.waiting.subscribe();
        let wait = waiting.wait_for(|waiting| *waiting >= count);
        let waited = timeout(WAIT_MAX, wait).await.is_ok();
        assert!(waited, "the gate waited for {count} callers and holds {}", self.waiting());
    }
}

/// Counts a caller for as long as it waits, also when it is cancelled.
struct Waiting<'a>(&'a watch::Sender<usize>);

impl<'a> Waiting<'a> {
    fn new(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|waiting| *waiting += 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|waiting| *waiting -= 1);
    }
}

#[async_trait]
impl Consumer for Gate {
    async fn consume(&self, batch: Batch) -> Result<(), ConsumeError> {
        let waiting = Waiting::new(&self.waiting);
        let mut open = self.open.subscribe();
        // The sender lives in `self`, so the channel cannot close under us.
        let _ = open.wait_for(|open| *open).await;
        drop(waiting);
        self.next.consume(batch).await
    }

    fn capabilities(&self) -> Capabilities {
        self.next.capabilities()
    }
}

/// Hands on after a fixed delay.
pub struct Slow {
    delay: Duration,
    next: Arc<dyn Consumer>,
}

impl Slow {
    /// Waits `delay` before each call of `next`.
    pub fn new(delay: Duration, next: Arc<dyn Consumer>) -> Arc<Self> {
        Arc::new(Self { delay, next })
    }
}

#[async_trait]
impl Consumer for Slow {
    async fn consume(&self, batch: Batch) -> Result<(), ConsumeError> {
        sleep(self.delay).await;
        self.next.consume(batch).await
    }

    fn capabilities(&self) -> Capabilities {
        self.next.capabilities()
    }
}
