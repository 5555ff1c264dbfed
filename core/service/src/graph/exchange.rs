//! Takes components out of the running graph and brings others in, without losing what is on its way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use spanbridge_component::{Batch, Consumer, Kind, ShutdownError};
use tokio::time::{Instant, sleep_until};

use super::gate::Gates;
use super::layout::{Entries, Layout};
use super::lifecycle::{Failure, failure, failure_of, share};
use super::{Key, Node, StartFailure};
use crate::books::Books;

/// How long components that cannot run beside their successors may take to end, all together, while calls wait.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// The reason in the books for what a successor did not take.
const NOT_HANDED_OVER: &str = "not_handed_over";
/// How long to wait before a successor that is full is asked again.
const HAND_OVER_RETRY: Duration = Duration::from_millis(50);

/// What components held that have ended, for their successors.
pub(super) type Held = BTreeMap<Key, Vec<Batch>>;

/// The state of one reload between its steps.
#[derive(Default)]
pub(super) struct Exchange {
    gates: Gates,
    /// What components held that have ended; it goes to those who come in their place.
    pub(super) held: Held,
    /// Those that were told to start, in that order.
    pub(super) started: Vec<Arc<Node>>,
}

/// What one exchange does.
pub(super) struct Order<'a> {
    /// What the graph becomes.
    pub(super) target: &'a Layout,
    /// What the graph is.
    pub(super) source: &'a mut Layout,
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

    /// Stops what goes out, starts what comes in, and points every edge of the target. What the former held is then for
    /// the caller to hand over.
    ///
    /// Calls into what is about to start wait. After an error they wait on, and what was stopped has stopped: the next
    /// exchange goes back.
    pub(super) async fn run(&mut self, order: Order<'_>) -> Result<(), StartFailure> {
        let Order { target, source, out, fresh, timeout } = order;
        let (receivers, out) = split(out);
        let (fresh_receivers, fresh) = split(fresh);
        self.stop_receivers(source, receivers, timeout).await;
        for node in fresh.iter().filter(|node| node.door().is_some()) {
            self.gates.close(node.key().clone());
        }
        target.connect(&self.gates);
        // What leads into pipelines that are no more, would keep their components from coming to rest.
        source.entries = Entries::new();
        self.pause(source, target, out).await;
        self.start(&fresh, target).await?;
        self.gates.open(target);
        target.connect(&self.gates);
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
    async fn pause(&mut self, source: &Layout, target: &Layout, out: Vec<Arc<Node>>) {
        let end = Instant::now() + PAUSE_MAX;
        let stages = source.stop_order(out);
        for (index, stage) in stages.iter().enumerate() {
            let deadline = share(end, stages.len() - index);
            let has_successor = |key: &Key| target.nodes.contains_key(key);
            for (node, held, _) in wind_up_stage(stage, &has_successor, deadline).await {
                self.held.entry(node.key().clone()).or_default().extend(held);
            }
        }
    }
}

/// What goes on beside the new graph.
pub(super) struct WindUp {
    /// Components to which nothing leads any more, upstream first.
    pub(super) stages: Vec<Vec<Arc<Node>>>,
    /// What others held that have ended already.
    pub(super) held: Held,
    /// Who gets what the former hold.
    pub(super) successors: BTreeMap<Key, Arc<dyn Consumer>>,
    /// Where it is booked what nobody takes.
    pub(super) books: Books,
}

impl WindUp {
    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.stages.is_empty() && self.held.is_empty()
    }

    /// Ends the components and hands over what there is, within `timeout`.
    pub(super) async fn run(mut self, timeout: Duration) -> Vec<Failure> {
        let end = Instant::now() + timeout;
        let mut failures = Vec::new();
        for (key, held) in std::mem::take(&mut self.held) {
            failures.extend(self.hand_over(&key, held, end).await);
        }
        for (index, stage) in self.stages.iter().enumerate() {
            let deadline = share(end, self.stages.len() - index);
            for (node, held, failed) in
                wind_up_stage(stage, &|key| self.successors.contains_key(key), deadline).await
            {
                failures.extend(failed);
                failures.extend(self.hand_over(node.key(), held, deadline).await);
            }
        }
        failures
    }

    /// Gives what a component held to the one in its place, in order, again and again while that one is full.
    async fn hand_over(&self, key: &Key, held: Vec<Batch>, deadline: Instant) -> Option<Failure> {
        let (mut undelivered_items, mut reason) = (0, "nothing is in its place".to_owned());
        for batch in held {
            let (signal, items) = (batch.signal(), batch.items());
            if let Some(successor) = self.successors.get(key) {
                match offer(batch, successor.as_ref(), deadline).await {
                    Ok(()) => continue,
                    Err(error) => reason = error,
                }
            }
            undelivered_items += items;
            self.books.component(key).take(signal, items).dropped(items, NOT_HANDED_OVER);
        }
        let message = format!("what it held could not be given to its successor: {reason}");
        (undelivered_items > 0).then(|| failure_of(key, ShutdownError { message, undelivered_items }))
    }
}

/// Ends components that do not depend on one another; returns what those held who have a successor.
async fn wind_up_stage<'a>(
    stage: &'a [Arc<Node>],
    has_successor: &(dyn Fn(&Key) -> bool + Sync),
    deadline: Instant,
) -> Vec<(&'a Arc<Node>, Vec<Batch>, Option<Failure>)> {
    let ends = stage.iter().map(|node| async move {
        // Half of the time is for the calls that are under way, half for the component itself.
        node.close(share(deadline, 2)).await;
        let ended = if node.key().kind != Kind::Extension && has_successor(node.key()) {
            node.instance.retire(deadline).await
        } else {
            node.instance.shutdown(deadline).await.map(|()| Vec::new())
        };
        node.disconnect();
        match ended {
            Ok(held) => (node, held, None),
            Err(error) => (node, Vec::new(), Some(failure(node, error))),
        }
    });
    join_all(ends).await
}

/// Offers a batch until it is taken, or can not be, or `deadline` has come.
async fn offer(batch: Batch, successor: &dyn Consumer, deadline: Instant) -> Result<(), String> {
    // The callers of what is handed over have gone: their deadlines mean nothing any more.
    let mut batch = batch;
    batch.context.deadline = None;
    loop {
        let answer = tokio::time::timeout_at(deadline, successor.consume(batch.clone())).await;
        let pause = match answer {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) if error.is_permanent() => return Err(error.to_string()),
            Ok(Err(error)) if Instant::now() + HAND_OVER_RETRY >= deadline => return Err(error.to_string()),
            Ok(Err(error)) => error.retry_after().map_or(HAND_OVER_RETRY, |wait| wait.max(HAND_OVER_RETRY)),
            Err(_) => return Err("it did not answer in time".to_owned()),
        };
        sleep_until((Instant::now() + pause).min(deadline)).await;
    }
}

/// Receivers, and the others.
fn split(nodes: Vec<Arc<Node>>) -> (Vec<Arc<Node>>, Vec<Arc<Node>>) {
    nodes.into_iter().partition(|node| node.key().kind == Kind::Receiver)
}
