//! Where calls wait while a component is replaced that cannot run beside its successor.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use spanbridge_component::{Batch, ConsumeError, Consumer};
use tokio::sync::watch;
use tokio::time::timeout;

use super::Key;
use super::layout::Layout;

/// How long a call waits at a gate before its caller is asked to try again. More than a replacement takes, unless
/// something hangs.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The gates of one reload. They hold no telemetry: each call waits in the task of its caller.
#[derive(Default)]
pub(crate) struct Gates(BTreeMap<Key, Arc<Gate>>);

/// Stands for a component that does not run yet.
struct Gate {
    state: watch::Sender<State>,
}

#[derive(Clone)]
enum State {
    Closed,
    Open(Arc<dyn Consumer>),
    /// Nothing will come.
    Gone,
}

impl Gates {
    /// Puts a closed gate in front of a component.
    pub(crate) fn close(&mut self, key: Key) {
        self.0.entry(key).or_insert_with(|| Arc::new(Gate { state: watch::Sender::new(State::Closed) }));
    }

    /// The gate of a component, if there is one.
    pub(crate) fn get(&self, key: &Key) -> Option<Arc<dyn Consumer>> {
        Some(self.0.get(key)?.clone())
    }

    /// Lets everyone through to the components of `layout`, all of which run; who waits for one that is not there is
    /// asked to try again.
    pub(crate) fn open(&mut self, layout: &Layout) {
        for (key, gate) in std::mem::take(&mut self.0) {
            let door = layout.nodes.get(&key).and_then(|node| node.door());
            gate.state.send_replace(door.map_or(State::Gone, State::Open));
        }
    }
}

/// A reload that ends half-way leaves nobody waiting.
impl Drop for Gates {
    fn drop(&mut self) {
        for gate in self.0.values() {
            gate.state.send_replace(State::Gone);
        }
    }
}

#[async_trait]
impl Consumer for Gate {
    async fn consume(&self, batch: Batch) -> Result<(), ConsumeError> {
        let mut state = self.state.subscribe();
        let settled = async {
            state.wait_for(|state| !matches!(state, State::Closed)).await.ok().map(|state| state.clone())
        };
        match timeout(WAIT_MAX, settled).await.ok().flatten().unwrap_or(State::Gone) {
            State::Open(next) => next.consume(batch).await,
            State::Closed | State::Gone => {
                Err(ConsumeError::retryable("the configuration is being changed; try again"))
            }
        }
    }
}
