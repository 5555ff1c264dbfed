//! Ordered start, and ordered shutdown within one bound.

use std::time::Duration;

use futures_util::future::join_all;
use spanbridge_component::{ComponentId, Kind, PipelineId, ShutdownError};
use tokio::time::Instant;

use super::{Graph, Instance};

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
        while let Some(instance) = self.instances.get(self.touched) {
            self.touched += 1;
            instance.announce_start();
            instance
                .start(self.draining.clone(), self.running.clone())
                .await
                .map_err(|error| StartFailure { component: instance.name(), reason: error.to_string() })?;
            instance.announce_started();
        }
        Ok(())
    }

    /// Stops what was started: receivers first, then along the flow of data, extensions last.
    ///
    /// First every component is told that the process drains, so that none lets callers wait for more to come.
    /// Components that do not depend on one another stop at the same time. Each such stage has an equal share of the
    /// time that is left until `timeout` has passed, so a stage that is quick leaves more to those after it, and one
    /// that hangs cannot take the time of the others.
    pub(crate) async fn shutdown(&mut self, timeout: Duration) -> ShutdownReport {
        self.draining.cancel();
        let end = Instant::now() + timeout;
        let (components, extensions) = self.stages();
        let mut stages_left = components.len() + extensions.len();
        let mut report = ShutdownReport::default();
        for stage in components {
            stop_stage(&stage, end, stages_left, &mut report).await;
            stages_left -= 1;
        }
        tracing::info!("Stopping extensions...");
        for extension in extensions {
            stop_stage(&[extension], end, stages_left, &mut report).await;
            stages_left -= 1;
        }
        self.touched = 0;
        report
    }

    /// What was started, in the order in which to stop it: the pipelines' components in stages whose members do not
    /// depend on one another, and the extensions, which may use one another and so stop one at a time.
    fn stages(&self) -> (Vec<Vec<&Instance>>, Vec<&Instance>) {
        let touched = &self.instances[..self.touched];
        let (extensions, components) = touched.split_at(self.extensions.min(self.touched));
        let mut stages: Vec<Vec<&Instance>> = Vec::new();
        for instance in components.iter().rev() {
            match stages.last_mut() {
                Some(stage) if stage[0].depth == instance.depth => stage.push(instance),
                _ => stages.push(vec![instance]),
            }
        }
        (stages, extensions.iter().rev().collect())
    }
}

/// Stops the members of a stage at the same time, within an equal share of what is left until `end`.
async fn stop_stage(stage: &[&Instance], end: Instant, stages_left: usize, report: &mut ShutdownReport) {
    let now = Instant::now();
    let shares = u32::try_from(stages_left.max(1)).unwrap_or(u32::MAX);
    let deadline = now + end.saturating_duration_since(now) / shares;
    let results = join_all(stage.iter().map(|instance| instance.shutdown(deadline))).await;
    for (instance, result) in stage.iter().zip(results) {
        report.failures.extend(result.err().map(|error| failure(instance, error)));
    }
}

fn failure(instance: &Instance, error: ShutdownError) -> Failure {
    let _entered = instance.span().enter();
    tracing::error!(
        error = %error.message,
        undelivered_items = error.undelivered_items,
        "Component did not stop cleanly"
    );
    Failure {
        kind: instance.kind,
        id: instance.id.clone(),
        pipeline: instance.pipeline.clone(),
        message: error.message,
        undelivered_items: error.undelivered_items,
    }
}
