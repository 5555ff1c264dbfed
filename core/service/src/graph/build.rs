//! Creates every used component, downstream first, and connects them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use spanbridge_component::{
    ComponentId, ConnectorOutputs, Consumer, Extension, FanOut, Kind, Outputs, PipelineId, Problems,
    Settings, Signal,
};
use tracing::Span;

use super::instance::{InSpan, Instance};
use super::topology::Topology;
use crate::Environment;
use crate::config::{Components, Config, Pipeline};
use crate::registry::{Extensions, Recipe, Role};
use crate::status::StatusBoard;

/// Why a component could not be made.
#[derive(Debug, thiserror::Error)]
#[error("failed to create \"{id}\" {kind}{place}: {reason}", place = in_pipeline(pipeline.as_ref()))]
pub struct CreateError {
    /// Its kind.
    pub kind: Kind,
    /// Its id.
    pub id: ComponentId,
    /// The pipeline, if it is a processor.
    pub pipeline: Option<PipelineId>,
    /// What the component said.
    pub reason: String,
}

/// Creates an extension.
pub(super) fn extension(
    recipe: &dyn Recipe<Extensions>,
    id: &ComponentId,
    environment: &Environment,
    board: &StatusBoard,
) -> Result<(Arc<dyn Extension>, Instance), CreateError> {
    let settings = environment.settings(Kind::Extension, id, None, Vec::new());
    create(recipe, &settings, (), 0, board)
}

/// Creates every component of the pipelines, in the order in which to start them.
pub(super) fn pipelines(
    config: &Config,
    environment: &Environment,
    board: &StatusBoard,
) -> Result<Vec<Instance>, CreateError> {
    // The configuration was read without errors, so this finds none either.
    let plan = Topology::plan(&config.service.pipelines, &config.components, &mut Problems::new());
    let Some(topology) = plan else { return Ok(Vec::new()) };
    Builder::new(&config.service.pipelines, &config.components, &topology, environment, board).build()
}

/// Builds the graph of one configuration; every map holds what the components upstream hand on to.
struct Builder<'a> {
    pipelines: &'a BTreeMap<PipelineId, Pipeline>,
    components: &'a Components,
    topology: &'a Topology,
    environment: &'a Environment,
    board: &'a StatusBoard,
    depths: Depths,
    exporters: BTreeMap<ComponentId, Arc<dyn Consumer>>,
    connectors: BTreeMap<ComponentId, Arc<dyn Consumer>>,
    entries: BTreeMap<PipelineId, Arc<dyn Consumer>>,
    instances: Vec<Instance>,
}

impl<'a> Builder<'a> {
    fn new(
        pipelines: &'a BTreeMap<PipelineId, Pipeline>,
        components: &'a Components,
        topology: &'a Topology,
        environment: &'a Environment,
        board: &'a StatusBoard,
    ) -> Self {
        Self {
            pipelines,
            components,
            topology,
            environment,
            board,
            depths: Depths::of(pipelines, topology),
            exporters: BTreeMap::new(),
            connectors: BTreeMap::new(),
            entries: BTreeMap::new(),
            instances: Vec::new(),
        }
    }

    /// Creates everything. The instances come in the order in which to start them: each after all downstream of it.
    fn build(mut self) -> Result<Vec<Instance>, CreateError> {
        for pipeline_id in &self.topology.order {
            if let Some(pipeline) = self.pipelines.get(pipeline_id) {
                let entry = self.build_pipeline(pipeline_id, pipeline)?;
                self.entries.insert(pipeline_id.clone(), entry);
            }
        }
        self.build_receivers()?;
        // A stable sort: neighbours of the same depth stay in order of creation.
        self.instances.sort_by_key(|instance| std::cmp::Reverse(instance.depth));
        Ok(self.instances)
    }

    /// Creates the pipeline's processors, and those of its exporters and connectors that are not there yet; returns
    /// what to hand telemetry for this pipeline to.
    fn build_pipeline(
        &mut self,
        pipeline_id: &PipelineId,
        pipeline: &Pipeline,
    ) -> Result<Arc<dyn Consumer>, CreateError> {
        let mut ends = Vec::new();
        for id in pipeline.exporters() {
            ends.extend(self.exporter(id)?);
        }
        let mut next = FanOut::over(ends);
        let processors: Vec<_> = pipeline.processors().collect();
        for (place, id) in processors.iter().enumerate().rev() {
            let Some(recipe) = self.components.processors.get(*id) else { continue };
            let depth = self.depths.of_pipeline(pipeline_id) + place;
            let (processor, span) = self.create(recipe.as_ref(), id, Some(pipeline_id), depth, next)?;
            next = InSpan::wrap(span, processor);
        }
        Ok(next)
    }

    /// The consumer behind an id in a pipeline's `exporters`: an exporter or a connector, made at its first use.
    fn exporter(&mut self, id: &ComponentId) -> Result<Option<Arc<dyn Consumer>>, CreateError> {
        if let Some(known) = self.exporters.get(id).or_else(|| self.connectors.get(id)) {
            return Ok(Some(known.clone()));
        }
        if let Some(recipe) = self.components.exporters.get(id) {
            let (exporter, span) = self.create(recipe.as_ref(), id, None, self.depths.exporters, ())?;
            let consumer = InSpan::wrap(span, exporter);
            self.exporters.insert(id.clone(), consumer.clone());
            return Ok(Some(consumer));
        }
        let Some(recipe) = self.components.connectors.get(id) else { return Ok(None) };
        let fed = self.topology.connectors.get(id).map(|used| used.to.as_slice()).unwrap_or_default();
        let pipelines = fed.iter().filter_map(|p| Some((p.clone(), self.entries.get(p)?.clone()))).collect();
        let depth = self.depths.of_connector(id);
        let (connector, span) =
            self.create(recipe.as_ref(), id, None, depth, ConnectorOutputs { pipelines })?;
        let consumer = InSpan::wrap(span, connector);
        self.connectors.insert(id.clone(), consumer.clone());
        Ok(Some(consumer))
    }

    /// Creates each used receiver once, with a fan-out over its pipelines for each signal.
    fn build_receivers(&mut self) -> Result<(), CreateError> {
        let used: BTreeSet<&ComponentId> = self.pipelines.values().flat_map(Pipeline::receivers).collect();
        for id in used {
            let Some(recipe) = self.components.receivers.get(id) else { continue };
            let outputs = self.outputs_of(id);
            self.create(recipe.as_ref(), id, None, 0, outputs)?;
        }
        Ok(())
    }

    fn outputs_of(&self, receiver: &ComponentId) -> Outputs {
        Signal::ALL.into_iter().fold(Outputs::new(), |outputs, signal| {
            let consumers: Vec<_> = self
                .pipelines
                .iter()
                .filter(|(id, pipeline)| id.signal() == signal && pipeline.receivers().any(|r| r == receiver))
                .filter_map(|(id, _)| self.entries.get(id).cloned())
                .collect();
            if consumers.is_empty() { outputs } else { outputs.with(signal, FanOut::over(consumers)) }
        })
    }

    /// The signals that a component is used for; for a connector those that go in.
    fn signals_of(&self, kind: Kind, id: &ComponentId, pipeline: Option<&PipelineId>) -> Vec<Signal> {
        let uses = |(pipeline_id, used): &(&PipelineId, &Pipeline)| match kind {
            Kind::Receiver => used.receivers.contains(id),
            Kind::Processor => Some(*pipeline_id) == pipeline,
            Kind::Exporter | Kind::Connector => used.exporters.contains(id),
            Kind::Extension => false,
        };
        let used: BTreeSet<usize> =
            self.pipelines.iter().filter(uses).map(|(pipeline_id, _)| pipeline_id.signal().index()).collect();
        Signal::ALL.into_iter().filter(|signal| used.contains(&signal.index())).collect()
    }

    /// Creates one component within its span and keeps it as an instance.
    fn create<R: Role>(
        &mut self,
        recipe: &dyn Recipe<R>,
        id: &ComponentId,
        pipeline: Option<&PipelineId>,
        depth: usize,
        next: R::Next,
    ) -> Result<(Arc<R::Component>, Span), CreateError> {
        let signals = self.signals_of(R::KIND, id, pipeline);
        let settings = self.environment.settings(R::KIND, id, pipeline, signals);
        let (component, instance) = create(recipe, &settings, next, depth, self.board)?;
        let span = instance.span().clone();
        self.instances.push(instance);
        Ok((component, span))
    }
}

/// Creates one component within its span.
fn create<R: Role>(
    recipe: &dyn Recipe<R>,
    settings: &Settings,
    next: R::Next,
    depth: usize,
    board: &StatusBoard,
) -> Result<(Arc<R::Component>, Instance), CreateError> {
    let span = settings.span();
    let component = span.in_scope(|| recipe.create(settings.clone(), next)).map_err(|error| CreateError {
        kind: settings.kind,
        id: settings.id.clone(),
        pipeline: settings.pipeline.clone(),
        reason: error.to_string(),
    })?;
    let instance = Instance::new(settings, span, depth, R::upcast(component.clone()), board);
    Ok((component, instance))
}

/// How far each pipeline and connector is from the receivers, along the longest way.
///
/// It orders start (greatest first) and shutdown (smallest first): a component's neighbours downstream always have a
/// greater depth, exporters the greatest of all, receivers 0.
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

fn in_pipeline(pipeline: Option<&PipelineId>) -> String {
    pipeline.map(|pipeline| format!(", in pipeline \"{pipeline}\"")).unwrap_or_default()
}
