//! One component of the graph with its edges.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use spanbridge_component::{
    ConnectorOutputs, Consumer, Extension, Kind, Link, Outputs, PipelineId, Settings, Signal,
};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::instance::{Door, Instance};
use super::plan::Use;
use super::{CreateError, Key, Shared};
use crate::config::Components;
use crate::registry::{Recipe, Role};

/// One component of the graph with its edges. A reload keeps it as long as nothing about it changes.
pub(crate) struct Node {
    pub(crate) instance: Instance,
    /// The signals that it was made for.
    pub(crate) signals: Vec<Signal>,
    edges: Edges,
    /// The way in; `None` for what consumes nothing, and once it is taken out of the graph.
    door: Mutex<Option<Arc<dyn Consumer>>>,
    /// Cancelled when the way in was taken away and the last call has ended.
    drained: CancellationToken,
}

/// What a component hands on to.
pub(crate) enum Edges {
    Receiver(Outputs),
    Processor(Link),
    Exporter,
    Connector(BTreeMap<PipelineId, Link>),
    Extension(Arc<dyn Extension>),
}

impl Node {
    /// Creates a component, with edges that lead nowhere yet.
    pub(crate) fn create(
        components: &Components,
        key: &Key,
        used: &Use,
        shared: &Shared,
    ) -> Result<Self, CreateError> {
        let maker = Maker { key, used, shared };
        let drained = CancellationToken::new();
        let (instance, door, edges) = match key.kind {
            Kind::Receiver => {
                let outputs = Outputs::new();
                let (_, instance) = maker.make(components.receivers.get(&key.id), outputs.clone())?;
                (instance, None, Edges::Receiver(outputs))
            }
            Kind::Processor => {
                let link = Link::new();
                let next = Arc::new(link.clone());
                let (processor, instance) = maker.make(components.processors.get(&key.id), next)?;
                let door = Door::into(processor, instance.span().clone(), drained.clone());
                (instance, Some(door), Edges::Processor(link))
            }
            Kind::Exporter => {
                let (exporter, instance) = maker.make(components.exporters.get(&key.id), ())?;
                let door = Door::into(exporter, instance.span().clone(), drained.clone());
                (instance, Some(door), Edges::Exporter)
            }
            Kind::Connector => {
                let links: BTreeMap<_, _> = used.feeds.iter().map(|p| (p.clone(), Link::new())).collect();
                let next = |(p, link): (&PipelineId, &Link)| -> (PipelineId, Arc<dyn Consumer>) {
                    (p.clone(), Arc::new(link.clone()))
                };
                let outputs = ConnectorOutputs { pipelines: links.iter().map(next).collect() };
                let (connector, instance) = maker.make(components.connectors.get(&key.id), outputs)?;
                let door = Door::into(connector, instance.span().clone(), drained.clone());
                (instance, Some(door), Edges::Connector(links))
            }
            Kind::Extension => {
                let (extension, instance) = maker.make(components.extensions.get(&key.id), ())?;
                (instance, None, Edges::Extension(extension))
            }
        };
        if door.is_none() {
            drained.cancel();
        }
        Ok(Self { instance, signals: used.signals.clone(), edges, door: Mutex::new(door), drained })
    }

    /// Which component it is.
    pub(crate) fn key(&self) -> &Key {
        &self.instance.key
    }

    /// What it hands on to.
    pub(crate) fn edges(&self) -> &Edges {
        &self.edges
    }

    /// The way in, for what is to lead to it.
    pub(crate) fn door(&self) -> Option<Arc<dyn Consumer>> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The extension, if it is one.
    pub(crate) fn extension(&self) -> Option<&Arc<dyn Extension>> {
        if let Edges::Extension(extension) = &self.edges { Some(extension) } else { None }
    }

    /// The pipelines that it feeds, if it is a connector.
    pub(crate) fn feeds(&self) -> impl Iterator<Item = &PipelineId> {
        let links = if let Edges::Connector(links) = &self.edges { Some(links) } else { None };
        links.into_iter().flat_map(BTreeMap::keys)
    }

    /// Takes the way in away and waits until the last call has ended, but not beyond `deadline`. Whoever calls this has
    /// pointed every edge elsewhere.
    pub(crate) async fn close(&self, deadline: Instant) {
        self.instance.begin_to_drain();
        drop(self.door.lock().unwrap_or_else(PoisonError::into_inner).take());
        if timeout_at(deadline, self.drained.cancelled()).await.is_err() {
            let _entered = self.instance.span().enter();
            tracing::warn!(
                "Calls are still under way in a component that the new configuration does not have"
            );
        }
    }

    /// Leads nowhere any more: what is downstream is not kept waiting for this.
    pub(crate) fn disconnect(&self) {
        match &self.edges {
            Edges::Receiver(outputs) => {
                for signal in Signal::ALL {
                    outputs.link(signal).point(None);
                }
            }
            Edges::Processor(link) => link.point(None),
            Edges::Connector(links) => links.values().for_each(|link| link.point(None)),
            Edges::Exporter | Edges::Extension(_) => {}
        }
    }
}

/// Makes one component.
struct Maker<'a> {
    key: &'a Key,
    used: &'a Use,
    shared: &'a Shared,
}

impl Maker<'_> {
    /// Makes it within its span.
    fn make<R: Role>(
        &self,
        recipe: Option<&Arc<dyn Recipe<R>>>,
        next: R::Next,
    ) -> Result<(Arc<R::Component>, Instance), CreateError> {
        let settings = self.settings();
        let span = settings.span();
        let failed = |reason: String| CreateError { key: self.key.clone(), reason };
        let recipe = recipe.ok_or_else(|| failed("it is not defined".into()))?;
        let component = span
            .in_scope(|| recipe.create(settings.clone(), next))
            .map_err(|error| failed(error.to_string()))?;
        let draining = self.shared.draining.child_token();
        let instance =
            Instance::new(self.key.clone(), span, R::upcast(component.clone()), &self.shared.board, draining);
        Ok((component, instance))
    }

    fn settings(&self) -> Settings {
        Settings {
            id: self.key.id.clone(),
            kind: self.key.kind,
            pipeline: self.key.pipeline.clone(),
            signals: self.used.signals.clone(),
            ledger: self.shared.books.component(self.key),
            telemetry: self.shared.environment.telemetry.clone(),
            build: self.shared.environment.build,
        }
    }
}
