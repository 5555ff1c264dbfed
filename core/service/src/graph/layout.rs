//! The components of one configuration, and how they are connected.

use std::collections::BTreeMap;
use std::sync::Arc;

use spanbridge_component::{ComponentId, Consumer, Extensions, FanOut, Kind, PipelineId, Signal};

use super::entry::Entry;
use super::gate::Gates;
use super::node::{Edges, Node};
use super::plan::Plan;
use super::{Key, Shared};
use crate::books::Owner;
use crate::config::{Config, Pipeline};

/// Why a component could not be made.
#[derive(Debug, thiserror::Error)]
#[error("failed to create \"{}\" {}{}: {reason}", key.id, key.kind, in_pipeline(key.pipeline.as_ref()))]
pub struct CreateError {
    /// Which one.
    pub(crate) key: Key,
    /// What the component said.
    pub(crate) reason: String,
}

/// Components by name.
pub(crate) type Nodes = BTreeMap<Key, Arc<Node>>;
/// Where telemetry comes into each pipeline.
pub(crate) type Entries = BTreeMap<PipelineId, Arc<Entry>>;

/// The components of one configuration. Two of them share what a reload keeps.
pub(crate) struct Layout {
    pub(crate) config: Arc<Config>,
    pub(crate) plan: Plan,
    pub(crate) nodes: Nodes,
    pub(crate) entries: Entries,
}

impl Layout {
    /// Creates every component that `config` uses and `kept` does not have, and starts none. Their edges lead nowhere
    /// until [`Layout::connect`].
    pub(crate) fn build(
        config: Arc<Config>,
        shared: &Shared,
        kept: &Nodes,
        entries: &Entries,
    ) -> Result<Self, CreateError> {
        let plan = Plan::of(&config);
        let mut nodes = Nodes::new();
        for key in plan.start_order() {
            let Some(used) = plan.get(key) else { continue };
            let node = match kept.get(key) {
                Some(node) => node.clone(),
                None => Arc::new(Node::create(&config.components, key, used, shared)?),
            };
            nodes.insert(key.clone(), node);
        }
        let entry = |id: &PipelineId| {
            let known = entries.get(id).cloned();
            let entry = known.unwrap_or_else(|| Arc::new(Entry::new(shared.books.pipeline(id))));
            (id.clone(), entry)
        };
        let entries = config.service.pipelines.keys().map(entry).collect();
        Ok(Self { config, plan, nodes, entries })
    }

    /// Points every edge as the configuration says, but to the gate of a component where there is one.
    ///
    /// Each edge changes at once and for itself. That is sound in any order, because all that is connected runs, or is
    /// behind a gate.
    pub(crate) fn connect(&self, gates: &Gates) {
        for (id, pipeline) in &self.config.service.pipelines {
            if let Some(entry) = self.entries.get(id) {
                entry.link.point(self.connect_pipeline(id, pipeline, gates));
            }
        }
        for node in self.nodes.values() {
            match node.edges() {
                Edges::Connector(links) => {
                    for (id, link) in links {
                        link.point(self.entry(id));
                    }
                }
                Edges::Receiver(outputs) => {
                    for signal in Signal::ALL {
                        outputs.link(signal).point(self.fed_by(&node.key().id, signal));
                    }
                }
                Edges::Processor(_) | Edges::Exporter | Edges::Extension(_) => {}
            }
        }
    }

    /// Every component, in the order in which to start them.
    pub(crate) fn start_order(&self) -> Vec<Arc<Node>> {
        self.plan.start_order().into_iter().filter_map(|key| self.nodes.get(key).cloned()).collect()
    }

    /// These of its components, in the order in which to stop them: stages, the members of which do not depend on one
    /// another. (Extensions may use one another, so each is a stage of its own.)
    pub(crate) fn stop_order(&self, mut nodes: Vec<Arc<Node>>) -> Vec<Vec<Arc<Node>>> {
        nodes.sort_by_key(|node| self.plan.depth(node.key()));
        let same_stage = |a: &Arc<Node>, b: &Arc<Node>| self.plan.depth(a.key()) == self.plan.depth(b.key());
        nodes.chunk_by(same_stage).map(<[Arc<Node>]>::to_vec).collect()
    }

    /// The extensions by id.
    pub(crate) fn extensions(&self) -> Extensions {
        let extension = |node: &Arc<Node>| Some((node.key().id.clone(), node.extension()?.clone()));
        Arc::new(self.nodes.values().filter_map(extension).collect())
    }

    /// Whether some books are those of one of its pipelines or components.
    pub(crate) fn owns(&self, owner: &Owner) -> bool {
        match owner {
            Owner::Pipeline(id) => self.entries.contains_key(id),
            Owner::Component { kind, id, pipeline } => {
                self.nodes.contains_key(&Key { kind: *kind, id: id.clone(), pipeline: pipeline.clone() })
            }
        }
    }

    /// Connects the processors of a pipeline; returns the first consumer.
    fn connect_pipeline(
        &self,
        id: &PipelineId,
        pipeline: &Pipeline,
        gates: &Gates,
    ) -> Option<Arc<dyn Consumer>> {
        let ends: Vec<_> =
            pipeline.exporters().filter_map(|exporter| self.door(&self.sink(exporter), gates)).collect();
        let mut next = (!ends.is_empty()).then(|| FanOut::over(ends));
        let processors: Vec<_> = pipeline.processors().map(|p| Key::processor(p, id)).collect();
        for key in processors.iter().rev() {
            if let Some(Edges::Processor(link)) = self.nodes.get(key).map(|node| node.edges()) {
                link.point(next);
                next = self.door(key, gates);
            }
        }
        next
    }

    /// The exporter or connector that an id in a pipeline's `exporters` stands for.
    fn sink(&self, id: &ComponentId) -> Key {
        let is_connector = self.config.components.connectors.contains_key(id);
        Key::of(if is_connector { Kind::Connector } else { Kind::Exporter }, id)
    }

    fn door(&self, key: &Key, gates: &Gates) -> Option<Arc<dyn Consumer>> {
        gates.get(key).or_else(|| self.nodes.get(key)?.door())
    }

    fn entry(&self, id: &PipelineId) -> Option<Arc<dyn Consumer>> {
        Some(self.entries.get(id)?.clone())
    }

    /// What takes a signal from a receiver: the entries of all its pipelines.
    fn fed_by(&self, receiver: &ComponentId, signal: Signal) -> Option<Arc<dyn Consumer>> {
        let pipelines = self.config.service.pipelines.iter();
        let fed: Vec<_> = pipelines
            .filter(|(id, pipeline)| id.signal() == signal && pipeline.receivers().any(|r| r == receiver))
            .filter_map(|(id, _)| self.entry(id))
            .collect();
        (!fed.is_empty()).then(|| FanOut::over(fed))
    }
}

fn in_pipeline(pipeline: Option<&PipelineId>) -> String {
    pipeline.map(|pipeline| format!(", in pipeline \"{pipeline}\"")).unwrap_or_default()
}
