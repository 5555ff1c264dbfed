//! Which pipeline feeds which: uses of connectors, cycles, and the order in which to build.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use spanbridge_component::{ComponentId, Kind, PipelineId, Problems, Signal};

use crate::config::{Components, Pipeline};

/// The pipelines of a configuration in an order that can be built, with every connector's place between them.
#[derive(Debug)]
pub(crate) struct Topology {
    /// Downstream first: a pipeline comes after every pipeline that its connectors feed.
    pub(crate) order: Vec<PipelineId>,
    /// How each used connector is used.
    pub(crate) connectors: BTreeMap<ComponentId, ConnectorUse>,
}

/// The pipelines on both sides of a connector.
#[derive(Debug, Default)]
pub(crate) struct ConnectorUse {
    /// Pipelines that list it as an exporter.
    pub(crate) from: Vec<PipelineId>,
    /// Pipelines that list it as a receiver.
    pub(crate) to: Vec<PipelineId>,
}

type Pipelines = BTreeMap<PipelineId, Pipeline>;

impl Topology {
    /// Orders `pipelines`; reports connectors that are used on one side only, and the first cycle.
    pub(crate) fn plan(
        pipelines: &Pipelines,
        components: &Components,
        problems: &mut Problems,
    ) -> Option<Self> {
        let connectors = connector_uses(pipelines, components);
        for (id, used) in &connectors {
            check_sides(id, used, components, problems);
        }
        match order(pipelines, &connectors) {
            Ok(order) => Some(Self { order, connectors }),
            Err(remaining) => {
                report_cycle(&remaining, pipelines, &connectors, components, problems);
                None
            }
        }
    }
}

fn connector_uses(pipelines: &Pipelines, components: &Components) -> BTreeMap<ComponentId, ConnectorUse> {
    let mut uses: BTreeMap<ComponentId, ConnectorUse> = BTreeMap::new();
    for (pipeline_id, pipeline) in pipelines {
        for id in pipeline.exporters().filter(|id| components.connectors.contains_key(*id)) {
            uses.entry(id.clone()).or_default().from.push(pipeline_id.clone());
        }
        for id in pipeline.receivers().filter(|id| components.connectors.contains_key(*id)) {
            uses.entry(id.clone()).or_default().to.push(pipeline_id.clone());
        }
    }
    uses
}

/// Every signal that goes into a connector must come out of it somewhere, and the other way round.
fn check_sides(id: &ComponentId, used: &ConnectorUse, components: &Components, problems: &mut Problems) {
    let Some(connector) = components.connectors.get(id) else { return };
    let one_side = |here: &[PipelineId], there: &[PipelineId], connects: &dyn Fn(Signal, Signal) -> bool| {
        let is_lone = |signal: Signal| !there.iter().any(|other| connects(signal, other.signal()));
        here.iter().filter(|p| is_lone(p.signal())).map(ToString::to_string).collect::<Vec<_>>()
    };
    let lone_from = one_side(&used.from, &used.to, &|here, there| connector.connects(here, there));
    let lone_to = one_side(&used.to, &used.from, &|here, there| connector.connects(there, here));
    for (lone, side, other) in [(lone_from, "exporter", "receiver"), (lone_to, "receiver", "exporter")] {
        if !lone.is_empty() {
            let message = format!(
                "connector \"{id}\" used as {side} in [{}] pipeline but not used in any supported {other} pipeline",
                lone.join(" ")
            );
            let help = format!("list \"{id}\" among the {other}s of a pipeline whose signal it supports");
            problems.at(Kind::Connector.section(), |p| {
                p.error_at(id.as_str(), message).help(help);
            });
        }
    }
}

/// The pipelines downstream first, or those that are left over because they feed one another in a circle.
fn order(
    pipelines: &Pipelines,
    connectors: &BTreeMap<ComponentId, ConnectorUse>,
) -> Result<Vec<PipelineId>, BTreeSet<PipelineId>> {
    let mut order = Vec::with_capacity(pipelines.len());
    let mut remaining: BTreeSet<PipelineId> = pipelines.keys().cloned().collect();
    while !remaining.is_empty() {
        let ready: Vec<_> = remaining
            .iter()
            .filter(|id| downstream(id, pipelines, connectors).all(|(_, next)| !remaining.contains(next)))
            .cloned()
            .collect();
        if ready.is_empty() {
            return Err(remaining);
        }
        for id in &ready {
            remaining.remove(id);
        }
        order.extend(ready);
    }
    Ok(order)
}

/// The connectors that a pipeline exports to, with each pipeline they feed.
///
/// One connector instance serves all its pipelines, so every pipeline behind it counts, whatever its signal.
fn downstream<'a>(
    id: &PipelineId,
    pipelines: &'a Pipelines,
    connectors: &'a BTreeMap<ComponentId, ConnectorUse>,
) -> impl Iterator<Item = (&'a ComponentId, &'a PipelineId)> {
    pipelines
        .get(id)
        .into_iter()
        .flat_map(Pipeline::exporters)
        .filter_map(|exporter| connectors.get_key_value(exporter))
        .flat_map(|(connector, used)| used.to.iter().map(move |next| (connector, next)))
}

/// Names one cycle among `remaining`, each of which feeds at least one other of them.
fn report_cycle(
    remaining: &BTreeSet<PipelineId>,
    pipelines: &Pipelines,
    connectors: &BTreeMap<ComponentId, ConnectorUse>,
    components: &Components,
    problems: &mut Problems,
) {
    let Some(steps) = find_cycle(remaining, pipelines, connectors) else { return };
    // Step `n` is (pipeline, connector out of it); the connector leads to the pipeline of step `n + 1`.
    let next_signal = |n: usize| steps[(n + 1) % steps.len()].0.signal();
    let name =
        |n: usize| format!("connector \"{}\" ({} to {})", steps[n].1, steps[n].0.signal(), next_signal(n));
    let last = steps.len() - 1;
    let mut text = name(last);
    for (n, (pipeline_id, _)) in steps.iter().enumerate() {
        for processor in pipelines.get(*pipeline_id).into_iter().flat_map(Pipeline::processors) {
            let _ = write!(text, " -> processor \"{processor}\" in pipeline \"{pipeline_id}\"");
        }
        text.push_str(" -> ");
        text.push_str(&name(n));
    }
    let is_real = steps.iter().enumerate().all(|(n, (pipeline_id, connector))| {
        components
            .connectors
            .get(*connector)
            .is_some_and(|c| c.connects(pipeline_id.signal(), next_signal(n)))
    });
    let help = if is_real {
        "telemetry would go round for ever; take the connector out of one of these pipelines"
    } else {
        "one connector id is one instance for all signals; give the connector an id of its own for each signal"
    };
    let path_connector = steps[last].1.as_str();
    problems.at(Kind::Connector.section(), |p| {
        p.error_at(path_connector, format!("cycle detected: {text}")).help(help);
    });
}

/// Walks downstream until a pipeline comes up again.
fn find_cycle<'a>(
    remaining: &BTreeSet<PipelineId>,
    pipelines: &'a Pipelines,
    connectors: &'a BTreeMap<ComponentId, ConnectorUse>,
) -> Option<Vec<(&'a PipelineId, &'a ComponentId)>> {
    let mut steps: Vec<(&PipelineId, &ComponentId)> = Vec::new();
    let mut here = pipelines.get_key_value(remaining.first()?)?.0;
    loop {
        let (connector, next) =
            downstream(here, pipelines, connectors).find(|(_, next)| remaining.contains(*next))?;
        steps.push((here, connector));
        if let Some(first) = steps.iter().position(|(pipeline, _)| *pipeline == next) {
            return Some(steps.split_off(first));
        }
        here = next;
    }
}
