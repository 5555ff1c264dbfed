//! Ordered start, and ordered shutdown within one bound.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use spanbridge_component::{ComponentId, Kind, PipelineId, ShutdownError};
use tokio::time::{Instant, timeout_at};

use super::{Graph, Key, Node};
use crate::books::Account;

/// A component that did not start.
#[derive(Debug, thiserror::Error)]
#[error("failed to start {component}: {reason}")]
pub struct StartFailure {
    /// Which one, in words.
    pub component: String,
    /// What it said.
    pub reason: String,
}

/// A component that did not stop as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its kind.
    pub kind: Kind,
    /// Its id.
    pub id: ComponentId,
    /// The pipeline, if it is a processor.
    pub pipeline: Option<PipelineId>,
    /// What went wrong.
    pub message: String,
    /// Items it held and could not hand on.
    pub undelivered_items: usize,
}

/// What the shutdown of all components came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    /// The components that failed; empty after a clean shutdown.
    pub failures: Vec<Failure>,
    /// The books of every pipeline and component that had anything to book, since the process began.
    pub accounts: Vec<Account>,
}

impl ShutdownReport {
    /// Whether every component stopped as it should.
    pub fn is_clean(&self) -> bool {
        self.failures.is_empty()
    }
}

impl Graph {
    /// Starts everything in order, and stops at the first failure. What was told to start, the failed one included,
    /// is then for [`Graph::shutdown`] to stop; so it is when this future is dropped half-way.
    pub(crate) async fn start(&mut self) -> Result<(), StartFailure> {
        tracing::info!("Starting extensions...");
        let extensions = self.layout.extensions();
        for node in self.layout.start_order() {
            node.instance.start(extensions.clone()).await?;
        }
        self.shared.board.ready();
        Ok(())
    }

    /// Stops what was started: receivers first, then along the flow of data, extensions last.
    ///
    /// First everybody is told that the pipelines are not ready any more, and every component that the process drains, so
    /// that none lets callers wait for more to come.
    /// Components that do not depend on one another stop at the same time. Each such stage has an equal share of the
    /// time that is left until `timeout` has passed, so a stage that is quick leaves more to those after it, and one
    /// that hangs cannot take the time of the others. What an earlier reload took out and still ends has its share after
    /// the receivers.
    pub(crate) async fn shutdown(&mut self, timeout: Duration) -> ShutdownReport {
        self.shared.board.not_ready();
        self.shared.draining.cancel();
        let end = Instant::now() + timeout;
        let running = self.layout.nodes.values().filter(|node| node.instance.is_running()).cloned().collect();
        let stages = self.layout.stop_order(running);
        let mut shares = stages.len() + usize::from(self.is_winding());
        let mut failures = Vec::new();
        let mut is_in_extensions = false;
        for (index, stage) in stages.iter().enumerate() {
            if !is_in_extensions && stage.iter().any(|node| node.key().kind == Kind::Extension) {
                is_in_extensions = true;
                tracing::info!("Stopping extensions...");
            }
            if (index == 1 || !is_receivers(stage)) && self.is_winding() {
                self.finish_winding(share(end, shares), &mut failures).await;
                shares -= 1;
            }
            failures.extend(stop_stage(stage, share(end, shares)).await);
            shares -= 1;
        }
        // A reload that could not turn back may have left nothing running but receivers; else this has nothing to wait for.
        self.finish_winding(end, &mut failures).await;
        let accounts = self.shared.books.close();
        ShutdownReport { failures, accounts }
    }

    /// Whether something that earlier reloads took out has not ended, or has left something that is not handed over.
    fn is_winding(&self) -> bool {
        !self.winding.is_empty() || !self.heirs.is_idle()
    }

    /// Waits for what earlier reloads took out and for what that left behind, and gives up what has not ended, and what was
    /// not handed over, by `deadline`.
    async fn finish_winding(&mut self, deadline: Instant, failures: &mut Vec<Failure>) {
        // What ends late leaves time to hand over what it held.
        let ended_by = share(deadline, 2);
        while let Ok(Some(ended)) = timeout_at(ended_by, self.winding.join_next()).await {
            failures.extend(ended.into_iter().flatten());
        }
        if !self.winding.is_empty() {
            tracing::error!(
                "Components that an earlier reload took out did not end in time and were abandoned"
            );
            self.abandoned.cancel();
            while let Some(ended) = self.winding.join_next().await {
                failures.extend(ended.into_iter().flatten());
            }
        }
        failures.extend(self.heirs.finish(deadline).await);
    }
}

fn is_receivers(stage: &[Arc<Node>]) -> bool {
    stage.iter().all(|node| node.key().kind == Kind::Receiver)
}

/// An equal share of the time that is left until `end`.
pub(super) fn share(end: Instant, shares: usize) -> Instant {
    let now = Instant::now();
    let shares = u32::try_from(shares.max(1)).unwrap_or(u32::MAX);
    now + end.saturating_duration_since(now) / shares
}

/// Stops the members of a stage at the same time.
async fn stop_stage(stage: &[Arc<Node>], deadline: Instant) -> Vec<Failure> {
    let results = join_all(stage.iter().map(|node| node.instance.shutdown(deadline))).await;
    let failed = stage.iter().zip(results).filter_map(|(node, result)| Some((node, result.err()?)));
    failed.map(|(node, error)| failure(node, error)).collect()
}

/// Reports that a component did not stop as it should.
pub(super) fn failure(node: &Node, error: ShutdownError) -> Failure {
    let _entered = node.instance.span().enter();
    failure_of(node.key(), error)
}

/// As [`failure`], outside the span of the component.
pub(super) fn failure_of(key: &Key, error: ShutdownError) -> Failure {
    tracing::error!(
        component = %key,
        error = %error.message,
        undelivered_items = error.undelivered_items,
        "Component did not stop cleanly"
    );
    Failure {
        kind: key.kind,
        id: key.id.clone(),
        pipeline: key.pipeline.clone(),
        message: error.message,
        undelivered_items: error.undelivered_items,
    }
}
