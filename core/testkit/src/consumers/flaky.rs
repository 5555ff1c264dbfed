//! A consumer that fails at random, the same way for the same seed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use fastrand::Rng;
use spanbridge_component::{Batch, Capabilities, ConsumeError, Consumer};

/// How often a [`Flaky`] consumer does what, each between 0 and 1; what is left is success.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates {
    /// Share of calls that end in a permanent error.
    pub permanent: f64,
    /// Share of calls that end in a retryable error.
    pub retryable: f64,
}

/// Fails at random and hands on otherwise, after a random delay of 0 to 3 ms so that calls overtake each other.
pub struct Flaky {
    rng: Mutex<Rng>,
    rates: Rates,
    next: Arc<dyn Consumer>,
}

/// Upper bound of the random delay, in milliseconds.
const DELAY_MAX_MILLIS: u64 = 3;

impl Flaky {
    /// Fails at `rates`, decided by `seed`.
    pub fn new(seed: u64, rates: Rates, next: Arc<dyn Consumer>) -> Arc<Self> {
        Arc::new(Self { rng: Mutex::new(Rng::with_seed(seed)), rates, next })
    }

    fn draw(&self) -> (f64, u64) {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        (rng.f64(), rng.u64(0..=DELAY_MAX_MILLIS))
    }
}

#[async_trait]
impl Consumer for Flaky {
    async fn consume(&self, batch: Batch) -> Result<(), ConsumeError> {
        let (chance, delay) = self.draw();
        tokio::time::sleep(Duration::from_millis(delay)).await;
        if chance < self.rates.permanent {
            return Err(ConsumeError::permanent("flaky: permanent"));
        }
        if chance < self.rates.permanent + self.rates.retryable {
            return Err(ConsumeError::retryable("flaky: retryable"));
        }
        self.next.consume(batch).await
    }

    fn capabilities(&self) -> Capabilities {
        self.next.capabilities()
    }
}
