//! Takes components out of the running graph and brings others in, without losing what is on its way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use spanbridge_component::{Kind, ShutdownError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::gate::Gates;
use super::heirs::{Heir, Heirs};
use super::layout::{Entries, Layout};
use super::lifecycle::{Failure, failure, share};
use super::{Key, Node, StartFailure};

/// How long components that cannot run beside their successors may take to end, all together, while calls wait.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// The state of one reload between its steps.
#[derive(Default)]
pub(super) struct Exchange {
    gates: Gates,
    /// Those that were told to start, in that order.
    pub(super) started: Vec<Arc<Node>>,
}

/// What one exchange does.
pub(super) struct Order<'a> {
    /// What the graph becomes.
    pub(super) target: &'a Layout,
    /// What the graph is.
    pub(super) source: &'a mut Layout,
    /// Who gets what those hold that stop.
    pub(super) heirs: &'a mut Heirs,
    /// What stops before anything starts. In any order.
    pub(super) out: Vec<Arc<Node>>,
    /// What starts, in order.
    pub(super) fresh: Vec<Arc<Node>>,
    /// Longest time for receivers to finish what is in flight.
    pub(super) timeout: Duration,
}

impl Exchange {
    /// Starts components to which nothing leads yet.
    pub(super) async fn start(&mut self, nodes: &[Arc<Node>], target: &Layout) -> Result<(), StartFailure> {
        let extensions = target.extensions();
        for node in nodes {
            self.started.push(node.clone());
            node.instance.start_soon(extensions.clone()).await?;
        }
        Ok(())
    }

    /// Stops what goes out, starts what comes in, and points every edge of the target. What the former held goes to those
    /// in their place as soon as these run.
    ///
    /// Calls into what is about to start wait. After an error they wait on, and what was stopped has stopped: the next
    /// exchange goes back.
    pub(super) async fn run(&mut self, order: Order<'_>) -> Result<(), StartFailure> {
        let Order { target, source, heirs, out, fresh, timeout } = order;
        let (receivers, out) = split(out);
        let (fresh_receivers, fresh) = split(fresh);
        self.stop_receivers(source, receivers, timeout).await;
        for node in fresh.iter().filter(|node| node.door().is_some()) {
            self.gates.close(node.key().clone());
        }
        target.connect(&self.gates);
        heirs.point(target, &self.gates);
        // What leads into pipelines that are no more, would keep their components from coming to rest.
        source.entries = Entries::new();
        self.pause(source, target, heirs, out).await;
        self.start(&fresh, target).await?;
        self.gates.open(target);
        target.connect(&self.gates);
        heirs.point(target, &self.gates);
        self.start(&fresh_receivers, target).await
    }

    async fn stop_receivers(&self, source: &Layout, receivers: Vec<Arc<Node>>, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        for stage in source.stop_order(receivers) {
            let ends = stage.iter().map(|node| async move {
                node.close(deadline).await;
                (node, node.instance.shutdown(deadline).await)
            });
            for (node, result) in join_all(ends).await {
                node.disconnect();
                let _ = result.map_err(|error| failure(node, error));
            }
        }
    }

    /// Ends what cannot run beside its successor.
    async fn pause(&self, source: &Layout, target: &Layout, heirs: &mut Heirs, out: Vec<Arc<Node>>) {
        let end = Instant::now() + PAUSE_MAX;
        let stages = source.stop_order(out);
        for (index, stage) in stages.iter().enumerate() {
            let deadline = share(end, stages.len() - index);
            let mut heir = |node: &Node| {
                let is_replaced = node.door().is_some() && target.nodes.contains_key(node.key());
                is_replaced.then(|| heirs.enter(node.key(), None))
            };
            let ends: Vec<_> = stage.iter().map(|node| (node, heir(node))).collect();
            join_all(ends.iter().map(|(node, heir)| wind_up(node, heir.as_ref(), deadline))).await;
        }
    }
}

/// What goes on beside the new graph.
pub(super) struct WindUp {
    /// Components to which nothing leads any more, upstream first.
    pub(super) stages: Vec<Vec<Arc<Node>>>,
    /// Who gets what the former hold.
    pub(super) heirs: BTreeMap<Key, Heir>,
    /// Cancelled when the process cannot wait any longer.
    pub(super) abandoned: CancellationToken,
}

impl WindUp {
    /// Ends the components, within `timeout`.
    pub(super) async fn run(self, timeout: Duration) -> Vec<Failure> {
        let end = Instant::now() + timeout;
        let mut failures = Vec::new();
        for (index, stage) in self.stages.iter().enumerate() {
            let deadline = share(end, self.stages.len() - index);
            let ends = stage.iter().map(|node| self.wind_up(node, deadline));
            failures.extend(join_all(ends).await.into_iter().flatten());
        }
        failures
    }

    async fn wind_up(&self, node: &Node, deadline: Instant) -> Option<Failure> {
        let ended = wind_up(node, self.heirs.get(node.key()), deadline);
        self.abandoned.run_until_cancelled(ended).await.unwrap_or_else(|| {
            let message = "did not end before the process and was abandoned".to_owned();
            Some(failure(node, ShutdownError { message, undelivered_items: 0 }))
        })
    }
}

/// Ends a component; what it held goes to its heir at once, so that nobody who gives up waiting for others loses it.
async fn wind_up(node: &Node, heir: Option<&Heir>, deadline: Instant) -> Option<Failure> {
    // Half of the time is for the calls that are under way, half for the component itself.
    node.close(share(deadline, 2)).await;
    let ended = match heir {
        Some(heir) => node.instance.retire(deadline).await.map(|held| heir.leave(held)),
        None => node.instance.shutdown(deadline).await,
    };
    node.disconnect();
    ended.err().map(|error| failure(node, error))
}

/// Receivers, and the others.
fn split(nodes: Vec<Arc<Node>>) -> (Vec<Arc<Node>>, Vec<Arc<Node>>) {
    nodes.into_iter().partition(|node| node.key().kind == Kind::Receiver)
}
