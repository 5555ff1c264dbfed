//! From one configuration to the next, by what is different.

use std::sync::Arc;
use std::time::Duration;

use spanbridge_component::Kind;

use super::exchange::{Exchange, Order, WindUp};
use super::layout::{CreateError, Layout, Nodes};
use super::plan::Plan;
use super::{Graph, Key, Node, StartFailure, diff};
use crate::config::Config;

/// How many earlier reloads may still end what they took out; the next one waits for the first of them, which is bounded.
const WINDING_MAX: usize = 8;

/// What a reload changed, in words such as `"otlp" receiver`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Components that were not there before.
    pub added: Vec<String>,
    /// Components that run with another configuration.
    pub replaced: Vec<String>,
    /// Components that are no more.
    pub removed: Vec<String>,
    /// How many components were left alone.
    pub unchanged: usize,
}

/// Why a reload did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// A component could not be made. Nothing was changed.
    #[error("{0}")]
    Create(#[from] CreateError),
    /// A component did not start. What had been changed was changed back.
    #[error("{0}")]
    Start(StartFailure),
    /// A component did not start, and what had been stopped for it could not be brought back.
    #[error("{failure}; going back failed as well: {back}")]
    Broken {
        /// Why the new configuration failed.
        failure: StartFailure,
        /// Why the former one did.
        back: String,
    },
}

impl Graph {
    /// Goes over to `config`, touching only what is different. Receivers have `timeout` to finish what is in flight.
    ///
    /// # Errors
    /// See [`ReloadError`].
    pub(crate) async fn reload(&mut self, config: Config, timeout: Duration) -> Result<Changes, ReloadError> {
        let config = Arc::new(config);
        let kept = diff::unchanged(&self.layout, &config, &Plan::of(&config));
        let next = Layout::build(config, &self.shared, &kept, &self.layout.entries)?;
        let changes = Changes::between(&self.layout, &next);
        self.await_heirs(&next, timeout).await;
        let mut exchange = Exchange::default();
        match self.forward(&next, &mut exchange, timeout).await {
            Ok(()) => {
                self.commit(next, timeout).await;
                Ok(changes)
            }
            Err(failure) => match self.back(next, exchange, timeout).await {
                Ok(()) => Err(ReloadError::Start(failure)),
                Err(back) => Err(ReloadError::Broken { failure, back }),
            },
        }
    }

    /// Starts what can run beside what it replaces, then exchanges the rest.
    async fn forward(
        &mut self,
        next: &Layout,
        exchange: &mut Exchange,
        timeout: Duration,
    ) -> Result<(), StartFailure> {
        let exclusive = diff::exclusive(&self.layout, next);
        let stops_extension = exclusive.iter().any(|key| key.kind == Kind::Extension);
        let waits = |node: &Arc<Node>| match node.key().kind {
            Kind::Receiver => true,
            Kind::Extension => stops_extension,
            _ => exclusive.contains(node.key()),
        };
        let mut ahead = next.start_order();
        ahead.retain(|node| !diff::is_in_both(&self.layout, next, node.key()));
        let fresh = ahead.split_off(ahead.iter().position(waits).unwrap_or(ahead.len()));
        let goes_first = |key: &Key| {
            exclusive.contains(key)
                || (key.kind == Kind::Receiver && !diff::is_in_both(&self.layout, next, key))
        };
        let old = self.layout.nodes.iter();
        let out = old.filter(|(key, _)| goes_first(key)).map(|(_, node)| node.clone()).collect();
        exchange.start(&ahead, next).await?;
        let (source, heirs) = (&mut self.layout, &mut self.heirs);
        exchange.run(Order { target: next, source, heirs, out, fresh, timeout }).await
    }

    /// Goes back from a reload that failed half-way: what it started ends, what it stopped is made anew.
    async fn back(
        &mut self,
        mut next: Layout,
        mut exchange: Exchange,
        timeout: Duration,
    ) -> Result<(), String> {
        let is_running = |node: &Arc<Node>| node.instance.is_running();
        let running: Nodes = self
            .layout
            .nodes
            .iter()
            .filter(|(_, node)| is_running(node))
            .map(|(key, node)| (key.clone(), node.clone()))
            .collect();
        let mut entries = next.entries.clone();
        entries.extend(std::mem::take(&mut self.layout.entries));
        let former = Layout::build(self.layout.config.clone(), &self.shared, &running, &entries);
        drop(entries);
        let former = match former {
            Ok(former) => former,
            Err(error) => {
                // What had come already has taken telemetry.
                self.wind_up(next.stop_order(exchange.started), timeout).await;
                return Err(error.to_string());
            }
        };
        let fresh = former.start_order().into_iter().filter(|node| !is_running(node)).collect();
        let out = std::mem::take(&mut exchange.started);
        let heirs = &mut self.heirs;
        let order = Order { target: &former, source: &mut next, heirs, out, fresh, timeout };
        let outcome = exchange.run(order).await;
        self.layout = former;
        outcome.map_err(|failure| failure.to_string())
    }

    /// Waits, if a name goes for which something is still held, until its component has it and can drain it, but not longer
    /// than `timeout` after everything has ended that earlier reloads took out, which is bounded. One that is only
    /// replaced is not waited for: what is held goes to the next.
    async fn await_heirs(&mut self, next: &Layout, timeout: Duration) {
        if self.heirs.any_leaves(next) {
            while self.winding.join_next().await.is_some() {}
            self.heirs.await_leaving(next, timeout).await;
        }
    }

    /// Makes `next` the graph, and ends in the background what it does not have.
    async fn commit(&mut self, next: Layout, timeout: Duration) {
        let is_gone = |(key, node): &(&Key, &Arc<Node>)| {
            !diff::is_in_both(&self.layout, &next, key) && node.instance.is_running()
        };
        let gone = self.layout.nodes.iter().filter(is_gone).map(|(_, node)| node.clone()).collect();
        let stages = self.layout.stop_order(gone);
        self.layout = next;
        self.shared.books.forget_idle(&|owner| self.layout.owns(owner));
        self.heirs.forget(&self.layout);
        self.wind_up(stages, timeout).await;
    }

    /// Ends components in the background; what they hold goes to those of their name in the graph.
    async fn wind_up(&mut self, stages: Vec<Vec<Arc<Node>>>, timeout: Duration) {
        while self.winding.try_join_next().is_some() {}
        if self.winding.len() >= WINDING_MAX {
            self.winding.join_next().await;
        }
        let mut heir = |node: &Arc<Node>| {
            let door = self.layout.nodes.get(node.key())?.door()?;
            Some((node.key().clone(), self.heirs.enter(node.key(), Some(door))))
        };
        let heirs = stages.iter().flatten().filter_map(&mut heir).collect();
        if !stages.is_empty() {
            let abandoned = self.abandoned.clone();
            self.winding.spawn(WindUp { stages, heirs, abandoned }.run(timeout));
        }
    }
}

impl Changes {
    fn between(old: &Layout, new: &Layout) -> Self {
        let mut changes = Self::default();
        for key in new.nodes.keys() {
            if diff::is_in_both(old, new, key) {
                changes.unchanged += 1;
            } else if old.nodes.contains_key(key) {
                changes.replaced.push(key.to_string());
            } else {
                changes.added.push(key.to_string());
            }
        }
        let is_gone = |key: &&Key| !new.nodes.contains_key(*key);
        changes.removed = old.nodes.keys().filter(is_gone).map(ToString::to_string).collect();
        changes
    }
}
