//! A consumer that remembers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use spanbridge_component::{Acknowledges, Batch, Capabilities, ConsumeError, Consumer};
use spanbridge_pdata::Decoded;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::{WAIT_MAX, item_ids};

/// Takes every batch and remembers it.
///
/// Unbounded on purpose: a test must see everything. Do not feed it for minutes.
pub struct Sink {
    batches: Mutex<Vec<Batch>>,
    items: watch::Sender<usize>,
    capabilities: Capabilities,
}

impl Sink {
    /// A sink whose success means delivered.
    pub fn new() -> Arc<Self> {
        Self::acknowledging(Acknowledges::Delivered)
    }

    /// A sink that declares that its success means `acknowledges`.
    pub fn acknowledging(acknowledges: Acknowledges) -> Arc<Self> {
        Arc::new(Self {
            batches: Mutex::default(),
            items: watch::Sender::new(0),
            capabilities: Capabilities { acknowledges },
        })
    }

    /// Every batch so far, in order of arrival.
    pub fn batches(&self) -> Vec<Batch> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The number of items of each batch so far, in order of arrival.
    pub fn batch_sizes(&self) -> Vec<usize> {
        self.batches().iter().map(Batch::items).collect()
    }

    /// How many items came in so far.
    pub fn items(&self) -> usize {
        *self.items.borrow()
    }

    /// The decoded requests so far.
    pub fn decoded(&self) -> Vec<Decoded> {
        let decode = |batch: &Batch| batch.payload.decode().expect("a batch in the pipeline is valid OTLP");
        self.batches().iter().map(decode).collect()
    }

    /// The ids of every item so far, in order of arrival; see [`crate::Payloads`].
    pub fn item_ids(&self) -> Vec<u64> {
        self.batches().iter().flat_map(|batch| item_ids(&batch.payload)).collect()
    }

    /// How often each item id came in.
    pub fn item_counts(&self) -> BTreeMap<u64, usize> {
        let mut counts = BTreeMap::new();
        for id in self.item_ids() {
            *counts.entry(id).or_default() += 1;
        }
        counts
    }

    /// Waits until at least `count` items came in, at most [`WAIT_MAX`].
    pub async fn wait_for_items(&self, count: usize) {
        let mut items = self.items.subscribe();
        let wait = items.wait_for(|items| *items >= count);
        let waited = timeout(WAIT_MAX, wait).await.is_ok();
        assert!(waited, "the sink waited for {count} items and has {}", self.items());
    }
}

#[async_trait]
impl Consumer for Sink {
    async fn consume(&self, batch: Batch) -> Result<(), ConsumeError> {
        let items = batch.items();
        self.batches.lock().unwrap_or_else(PoisonError::into_inner).push(batch);
        self.items.send_modify(|total| *total += items);
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }
}
