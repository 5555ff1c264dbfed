//! Which components a configuration needs, what each is for, and in which order they start and stop.

use std::collections::{BTreeMap, BTreeSet};

use spanbridge_component::{ComponentId, Kind, PipelineId, Problems, Signal};

use super::Key;
use super::topology::Topology;
use crate::config::{Config, Pipeline};

/// Every component that a configuration uses.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    uses: BTreeMap<Key, Use>,
}

/// What a component is used for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Use {
    /// How far it is from the receivers, along the longest way: what lies downstream has the greater number, receivers
    /// 0, extensions the greatest of all. Start goes from the greatest to the smallest, shutdown the other way.
    pub(crate) depth: usize,
    /// The signals of the pipelines that use it; for a connector of those that feed it.
    pub(crate) signals: Vec<Signal>,
    /// The pipelines that it feeds, if it is a connector.
    pub(crate) feeds: Vec<PipelineId>,
}

impl Plan {
    /// Plans a configuration that was read without errors.
    pub(crate) fn of(config: &Config) -> Self {
        let mut plan = Self::default();
        let pipelines = &config.service.pipelines;
        // The configuration was read without errors, so this finds none either.
        let Some(topology) = Topology::plan(pipelines, &config.components, &mut Problems::new()) else {
            return plan;
        };
        let depths = Depths::of(pipelines, &topology);
        for (pipeline_id, pipeline) in pipelines {
            let signal = pipeline_id.signal();
            for id in pipeline.receivers().filter(|id| config.components.receivers.contains_key(*id)) {
                plan.add(Key::of(Kind::Receiver, id), 0, signal);
            }
            for (place, id) in pipeline.processors().enumerate() {
                plan.add(Key::processor(id, pipeline_id), depths.of_pipeline(pipeline_id) + place, signal);
            }
            for id in pipeline.exporters() {
                let is_connector = topology.connectors.contains_key(id);
                let (kind, depth) = if is_connector {
                    (Kind::Connector, depths.of_connector(id))
                } else {
                    (Kind::Exporter, depths.exporters)
                };
                plan.add(Key::of(kind, id), depth, signal);
            }
        }
        for (id, used) in topology.connectors {
            let depth = depths.of_connector(&id);
            plan.at(Key::of(Kind::Connector, &id), depth).feeds = used.to;
        }
        for (place, id) in extensions(config).into_iter().enumerate() {
            plan.at(Key::of(Kind::Extension, id), usize::MAX - place);
        }
        plan
    }

    /// What a component is used for; `None` if it is not used.
    pub(crate) fn get(&self, key: &Key) -> Option<&Use> {
        self.uses.get(key)
    }

    /// Every used component.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.uses.keys()
    }

    /// Every used component, in the order in which to start them: each after all that lies downstream of it.
    pub(crate) fn start_order(&self) -> Vec<&Key> {
        let mut keys: Vec<&Key> = self.uses.keys().collect();
        keys.sort_by_key(|key| std::cmp::Reverse(self.depth(key)));
        keys
    }

    /// How far a component is from the receivers.
    pub(crate) fn depth(&self, key: &Key) -> usize {
        self.uses.get(key).map_or(0, |used| used.depth)
    }

    fn add(&mut self, key: Key, depth: usize, signal: Signal) {
        let used = self.at(key, depth);
        if !used.signals.contains(&signal) {
            used.signals.push(signal);
            used.signals.sort_by_key(|signal| signal.index());
        }
    }

    fn at(&mut self, key: Key, depth: usize) -> &mut Use {
        self.uses.entry(key).or_insert(Use { depth, signals: Vec::new(), feeds: Vec::new() })
    }
}

/// Every edge of a configuration's graph, from upstream to downstream.
pub(crate) fn edges(config: &Config) -> Vec<(Key, Key)> {
    let side = |id: &ComponentId, kind: Kind| {
        let is_connector = config.components.connectors.contains_key(id);
        Key::of(if is_connector { Kind::Connector } else { kind }, id)
    };
    let mut edges = Vec::new();
    for (pipeline_id, pipeline) in &config.service.pipelines {
        let mut here: Vec<Key> = pipeline.receivers().map(|id| side(id, Kind::Receiver)).collect();
        for id in pipeline.processors() {
            let next = Key::processor(id, pipeline_id);
            edges.extend(here.drain(..).map(|from| (from, next.clone())));
            here.push(next);
        }
        for id in pipeline.exporters() {
            let next = side(id, Kind::Exporter);
            edges.extend(here.iter().map(|from| (from.clone(), next.clone())));
        }
    }
    edges
}

/// The extensions in the order of `service::extensions`, but each after those that its configuration names.
fn extensions(config: &Config) -> Vec<&ComponentId> {
    let mut left: Vec<&ComponentId> =
        config.extensions().filter(|id| config.components.extensions.contains_key(*id)).collect();
    let mut order = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let is_ready = |id: &&ComponentId| {
            let named = config.components.references(Kind::Extension, id);
            named.iter().all(|reference| reference.id == **id || !left.contains(&&reference.id))
        };
        // A circle is broken where it comes first; its members have to cope.
        let next = left.iter().position(is_ready).unwrap_or(0);
        order.push(left.remove(next));
    }
    order
}

/// How far each pipeline and connector is from the receivers, along the longest way.
struct Depths {
    pipelines: BTreeMap<PipelineId, usize>,
    connectors: BTreeMap<ComponentId, usize>,
    exporters: usize,
}

impl Depths {
    fn of(pipelines: &BTreeMap<PipelineId, Pipeline>, topology: &Topology) -> Self {
        let mut depths = Self { pipelines: BTreeMap::new(), connectors: BTreeMap::new(), exporters: 1 };
        // Upstream first, so that all pipelines into a connector are done before those behind it.
        for id in topology.order.iter().rev() {
            let Some(pipeline) = pipelines.get(id) else { continue };
            let behind = pipeline.receivers().filter_map(|r| depths.connectors.get(r)).max();
            let first = behind.map_or(1, |connector| connector + 1);
            let end = first + pipeline.processors().count();
            depths.pipelines.insert(id.clone(), first);
            for connector in pipeline.exporters().filter(|e| topology.connectors.contains_key(*e)) {
                let depth = depths.connectors.entry(connector.clone()).or_default();
                *depth = end.max(*depth);
            }
            depths.exporters = depths.exporters.max(end + 1);
        }
        depths
    }

    fn of_pipeline(&self, id: &PipelineId) -> usize {
        self.pipelines.get(id).copied().unwrap_or(1)
    }

    fn of_connector(&self, id: &ComponentId) -> usize {
        self.connectors.get(id).copied().unwrap_or(1)
    }
}

/// Everything that feeds one of `keys`, however far upstream, with `keys` themselves.
pub(crate) fn with_upstream(keys: BTreeSet<Key>, edges: &[(Key, Key)]) -> BTreeSet<Key> {
    let mut found = keys;
    loop {
        let more: Vec<Key> = edges
            .iter()
            .filter(|(from, to)| found.contains(to) && !found.contains(from))
            .map(|(from, _)| from.clone())
            .collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}
