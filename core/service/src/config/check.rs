//! What must hold between the sections (reference: collector-core, 3.5). Everything is reported, not the first.

use std::collections::BTreeSet;

use spanbridge_component::{
    ComponentId, Descriptor, Kind, PipelineId, Problem, Problems, Reference, Role, Signal,
};
use spanbridge_config::nearest;

use super::{Components, Pipeline, ServiceSection, listeners, references};
use crate::graph::Topology;

pub(super) const KINDS: [Kind; 5] =
    [Kind::Receiver, Kind::Processor, Kind::Exporter, Kind::Connector, Kind::Extension];
/// Stands among the incomplete sections when `service::extensions` could not be decoded.
pub(super) const EXTENSIONS: &str = "service::extensions";

/// What the document defines.
pub(super) struct Definitions<'a> {
    /// What could be decoded.
    pub(super) components: &'a Components,
    /// What is defined, but could not be decoded and has been reported.
    pub(super) undecoded: &'a [(Kind, ComponentId)],
    /// Sections in which something could not be decoded, and has been reported.
    pub(super) incomplete: &'a BTreeSet<String>,
}

/// Everything that is wrong between the sections; paths begin at the root.
pub(super) fn all(definitions: &Definitions<'_>, service: &ServiceSection) -> Vec<Problem> {
    let mut problems = Problems::new();
    if definitions.is_empty() {
        problems
            .error("empty configuration file")
            .help("a configuration needs at least a receiver, an exporter and a pipeline");
        return problems.into_found();
    }
    sections(definitions, service, &mut problems);
    problems.at("service", |problems| {
        extensions(definitions, service, problems);
        problems.at("pipelines", |problems| pipelines(definitions, service, problems));
    });
    references::check(definitions, service, &mut problems);
    let found = problems.into_found();
    let is_whole = definitions.undecoded.is_empty() && definitions.incomplete.is_empty();
    let references_hold = is_whole && found.iter().all(|p| !is_error(p));
    let mut problems = Problems::new();
    if references_hold {
        Topology::plan(&service.pipelines, definitions.components, &mut problems);
        unused(definitions.components, service, &mut problems);
        listeners::check(definitions.components, service, &mut problems);
    }
    found.into_iter().chain(problems.into_found()).collect()
}

fn is_error(problem: &Problem) -> bool {
    problem.severity == spanbridge_component::Severity::Error
}

fn sections(definitions: &Definitions<'_>, service: &ServiceSection, problems: &mut Problems) {
    for kind in [Kind::Receiver, Kind::Exporter] {
        // A pipeline that names none, or one that is not there, has its own error.
        let is_asked_for = !service.pipelines.is_empty() || !definitions.is_complete("pipelines");
        if !is_asked_for && definitions.ids(kind).is_empty() && definitions.is_complete(kind.section()) {
            problems.error(format!("no {kind} configuration specified in config"));
        }
    }
    for id in definitions.ids(Kind::Connector) {
        let other = [Kind::Exporter, Kind::Receiver].into_iter().find(|kind| definitions.defines(*kind, id));
        if let Some(kind) = other {
            problems.at(Kind::Connector.section(), |problems| {
                problems.error_at(
                    id.as_str(),
                    format!(
                        "ambiguous ID: Found both \"{id}\" {kind} and \"{id}\" connector. Change one of the \
                         components' IDs to eliminate ambiguity (e.g. rename \"{id}\" connector to \"{id}/connector\")"
                    ),
                );
            });
        }
    }
}

fn extensions(definitions: &Definitions<'_>, service: &ServiceSection, problems: &mut Problems) {
    problems.at("extensions", |problems| {
        for (index, id) in service.extensions.iter().enumerate() {
            definitions.refers(problems, index, Kind::Extension, &[Kind::Extension], id);
        }
    });
}

fn pipelines(definitions: &Definitions<'_>, service: &ServiceSection, problems: &mut Problems) {
    let is_complete = ["service", "pipelines"].into_iter().all(|section| definitions.is_complete(section));
    if service.pipelines.is_empty() && is_complete {
        problems.error("service must have at least one pipeline");
    }
    for (id, pipeline) in &service.pipelines {
        problems.at(id, |problems| check_pipeline(definitions, id, pipeline, problems));
    }
}

fn check_pipeline(
    definitions: &Definitions<'_>,
    pipeline_id: &PipelineId,
    pipeline: &Pipeline,
    problems: &mut Problems,
) {
    if pipeline.receivers.is_empty() {
        problems.error_at("receivers", "must have at least one receiver");
    }
    if pipeline.exporters.is_empty() {
        problems.error_at("exporters", "must have at least one exporter");
    }
    let signal = pipeline_id.signal();
    problems.at("receivers", |problems| {
        for (index, id) in pipeline.receivers.iter().enumerate() {
            definitions.refers(problems, index, Kind::Receiver, &[Kind::Receiver, Kind::Connector], id);
            definitions.carries(problems, index, Kind::Receiver, id, signal, pipeline_id);
        }
    });
    problems.at("processors", |problems| {
        let mut seen = BTreeSet::new();
        for (index, id) in pipeline.processors.iter().enumerate() {
            definitions.refers(problems, index, Kind::Processor, &[Kind::Processor], id);
            definitions.carries(problems, index, Kind::Processor, id, signal, pipeline_id);
            if !seen.insert(id) {
                problems
                    .error_at(&index.to_string(), format!("references processor \"{id}\" multiple times"));
            }
        }
    });
    problems.at("exporters", |problems| {
        for (index, id) in pipeline.exporters.iter().enumerate() {
            definitions.refers(problems, index, Kind::Exporter, &[Kind::Exporter, Kind::Connector], id);
            definitions.carries(problems, index, Kind::Exporter, id, signal, pipeline_id);
        }
    });
}

/// Warns of components that nothing uses.
fn unused(components: &Components, service: &ServiceSection, problems: &mut Problems) {
    for kind in KINDS {
        let place = if kind == Kind::Extension { "service::extensions" } else { "any pipeline" };
        for id in components.ids(kind).into_iter().filter(|id| !service.uses(kind, id)) {
            problems.at(kind.section(), |problems| {
                problems.warn_at(id.as_str(), format!("{kind} \"{id}\" is defined but not used in {place}"));
            });
        }
    }
}

impl Definitions<'_> {
    fn is_empty(&self) -> bool {
        self.incomplete.is_empty() && KINDS.into_iter().all(|kind| self.ids(kind).is_empty())
    }

    /// Whether everything in a section could be decoded.
    fn is_complete(&self, section: &str) -> bool {
        !self.incomplete.contains(section)
    }

    fn defines(&self, kind: Kind, id: &ComponentId) -> bool {
        self.components.defines(kind, id) || self.undecoded.iter().any(|(k, i)| *k == kind && i == id)
    }

    fn ids(&self, kind: Kind) -> Vec<&ComponentId> {
        let undecoded = self.undecoded.iter().filter(|(k, _)| *k == kind).map(|(_, id)| id);
        self.components.ids(kind).into_iter().chain(undecoded).collect()
    }

    /// The value of `key` is the id of an extension that is defined, and that the service runs; whether it may be so.
    pub(super) fn runs(
        &self,
        problems: &mut Problems,
        key: &str,
        reference: &Reference,
        service: &ServiceSection,
    ) -> bool {
        let id = &reference.id;
        if !self.is_complete(Kind::Extension.section()) {
            return true;
        }
        // The Go collector's words, which users look for.
        let authenticator = (reference.role != Role::Any)
            .then(|| format!("failed to resolve authenticator \"{id}\": authenticator not found"));
        if !self.defines(Kind::Extension, id) {
            let message = authenticator
                .unwrap_or_else(|| format!("references extension \"{id}\" which is not configured"));
            self.not_configured(problems, key, message, &[Kind::Extension], id);
        } else if self.is_complete(EXTENSIONS) && !service.extensions.contains(id) {
            let message =
                authenticator.unwrap_or_else(|| format!("references extension \"{id}\" which does not run"));
            problems.error_at(key, message).help(format!("add \"{id}\" to service::extensions"));
        } else {
            return true;
        }
        false
    }

    /// The item `index` of the current list is the id of something defined under one of `kinds`.
    fn refers(&self, problems: &mut Problems, index: usize, kind: Kind, kinds: &[Kind], id: &ComponentId) {
        let may_be_there = kinds.iter().any(|kind| !self.is_complete(kind.section()));
        if !may_be_there && !kinds.iter().any(|kind| self.defines(*kind, id)) {
            let message = format!("references {kind} \"{id}\" which is not configured");
            self.not_configured(problems, &index.to_string(), message, kinds, id);
        }
    }

    /// Reports that the value of `key` is no id of something under one of `kinds`, and what may be meant.
    fn not_configured(
        &self,
        problems: &mut Problems,
        key: &str,
        message: String,
        kinds: &[Kind],
        id: &ComponentId,
    ) {
        let defined: Vec<_> =
            kinds.iter().flat_map(|kind| self.ids(*kind)).map(ComponentId::as_str).collect();
        let problem = problems.error_at(key, message);
        let other = KINDS.into_iter().find(|other| self.defines(*other, id));
        if let Some(near) = nearest(id.as_str(), defined.iter().copied()) {
            problem.help(format!("did you mean \"{near}\"?"));
        } else if let Some(other) = other {
            problem.help(format!(
                "\"{id}\" is the id of {} {other}",
                if other == Kind::Exporter || other == Kind::Extension { "an" } else { "a" }
            ));
        } else if defined.is_empty() {
            let section = kinds.first().map_or("", |kind| kind.section());
            problem.help(format!("there is nothing under {section}"));
        } else {
            problem.help(format!("defined are {}", defined.join(", ")));
        }
    }

    /// The item `index` of the current list can carry the signal of its pipeline. (Connectors are looked at as a
    /// whole, where both of their sides are known.)
    fn carries(
        &self,
        problems: &mut Problems,
        index: usize,
        kind: Kind,
        id: &ComponentId,
        signal: Signal,
        pipeline_id: &PipelineId,
    ) {
        let Some(descriptor) = self.descriptor(kind, id).filter(|d| !d.supports(signal)) else { return };
        let message = match kind {
            Kind::Processor => format!(
                "failed to create \"{id}\" processor, in pipeline \"{pipeline_id}\": telemetry type is not supported"
            ),
            _ => format!(
                "failed to create \"{id}\" {kind} for data type \"{signal}\": telemetry type is not supported"
            ),
        };
        let supported: Vec<_> = descriptor.signals.iter().map(|(signal, _)| signal.name()).collect();
        problems.error_at(&index.to_string(), message).help(format!(
            "{} supports {}",
            descriptor.type_name,
            supported.join(", ")
        ));
    }

    fn descriptor(&self, kind: Kind, id: &ComponentId) -> Option<Descriptor> {
        match kind {
            Kind::Receiver => self.components.receivers.get(id).map(|recipe| recipe.descriptor()),
            Kind::Processor => self.components.processors.get(id).map(|recipe| recipe.descriptor()),
            Kind::Exporter => self.components.exporters.get(id).map(|recipe| recipe.descriptor()),
            Kind::Connector | Kind::Extension => None,
        }
    }
}
