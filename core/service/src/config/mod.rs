//! The whole configuration, decoded: which components are defined, and how the service connects them.

mod check;
mod listeners;
mod read;
mod references;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use spanbridge_component::{BuildError, ComponentId, Kind, Listener, Permissions, PipelineId, Reference};
use spanbridge_config::{Diagnostics, Document};

use crate::registry::{
    Checks, Connectors, Exporters, Extensions, Processors, Receivers, Recipe, Registry, Role,
};
use crate::telemetry;

/// A configuration that has been decoded, validated and found free of errors.
#[derive(Debug)]
pub struct Config {
    pub(crate) components: Components,
    pub(crate) service: ServiceSection,
}

/// Everything defined under the ids of one kind.
pub(crate) type Defined<R> = BTreeMap<ComponentId, Arc<dyn Recipe<R>>>;

/// Every component that is defined, used or not.
#[derive(Debug, Default)]
pub(crate) struct Components {
    pub(crate) receivers: Defined<Receivers>,
    pub(crate) processors: Defined<Processors>,
    pub(crate) exporters: Defined<Exporters>,
    pub(crate) connectors: Defined<Connectors>,
    pub(crate) extensions: Defined<Extensions>,
}

/// The section `service`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceSection {
    /// Logs and metrics of the process itself.
    pub telemetry: telemetry::Config,
    /// The extensions to run, in the order in which they start.
    pub extensions: Vec<ComponentId>,
    /// How components are connected.
    pub pipelines: BTreeMap<PipelineId, Pipeline>,
}

/// One pipeline. The order of processors is that of the flow; receivers and exporters have none.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Pipeline {
    /// Receivers and connectors that bring telemetry in; at least one.
    pub receivers: Vec<ComponentId>,
    /// Processors it goes through; none twice.
    pub processors: Vec<ComponentId>,
    /// Exporters and connectors that take it on; at least one.
    pub exporters: Vec<ComponentId>,
}

impl Config {
    /// Decodes and checks a whole document against the component types of `registry`.
    ///
    /// # Errors
    /// Everything that is wrong, warnings included.
    pub fn read(document: &Document, registry: &Registry) -> Result<(Self, Diagnostics), Diagnostics> {
        read::read(document, registry, Checks::All)
    }

    /// Decodes a whole document without checking what must hold between values and sections: for printing only.
    ///
    /// # Errors
    /// Keys and values that cannot be decoded.
    pub fn decode(document: &Document, registry: &Registry) -> Result<(Self, Diagnostics), Diagnostics> {
        read::read(document, registry, Checks::Types)
    }

    /// The process's own telemetry.
    pub fn telemetry(&self) -> &telemetry::Config {
        &self.service.telemetry
    }

    /// Whether a component has the same effective configuration here and in `other`, secrets included.
    pub(crate) fn is_same(&self, other: &Self, kind: Kind, id: &ComponentId) -> bool {
        spanbridge_config::values::reveal(|| {
            let (this, other) = (self.components.effective(kind, id), other.components.effective(kind, id));
            this.is_some() && this == other
        })
    }

    /// What the components that the pipelines use need from the Kubernetes API, all together.
    ///
    /// # Errors
    /// If a component cannot tell; the text names it.
    pub fn permissions(&self) -> Result<Permissions, BuildError> {
        let mut needed = Permissions::new();
        let named = |kind: Kind, id: &ComponentId, error| BuildError(format!("{kind} \"{id}\": {error}"));
        for (id, recipe) in &self.components.processors {
            if self.service.uses(Kind::Processor, id) {
                needed.merge(recipe.permissions().map_err(|error| named(Kind::Processor, id, error))?);
            }
        }
        for (id, recipe) in &self.components.exporters {
            if self.service.uses(Kind::Exporter, id) {
                needed.merge(recipe.permissions().map_err(|error| named(Kind::Exporter, id, error))?);
            }
        }
        Ok(needed)
    }

    /// The extensions to run, in order, each once.
    pub(crate) fn extensions(&self) -> impl Iterator<Item = &ComponentId> {
        each_once(&self.service.extensions)
    }

    /// The effective configuration, defaults filled in. Secrets are redacted unless this runs inside
    /// [`spanbridge_config::values::reveal`].
    ///
    /// # Errors
    /// If a component's configuration has no JSON form: our own mistake.
    pub fn effective(&self) -> Result<Value, serde_json::Error> {
        let mut root = Map::new();
        insert_section(&mut root, &self.components.receivers)?;
        insert_section(&mut root, &self.components.processors)?;
        insert_section(&mut root, &self.components.exporters)?;
        insert_section(&mut root, &self.components.connectors)?;
        insert_section(&mut root, &self.components.extensions)?;
        root.insert("service".into(), serde_json::to_value(&self.service)?);
        Ok(Value::Object(root))
    }
}

impl Components {
    /// Whether an id of this kind is defined.
    pub(crate) fn defines(&self, kind: Kind, id: &ComponentId) -> bool {
        match kind {
            Kind::Receiver => self.receivers.contains_key(id),
            Kind::Processor => self.processors.contains_key(id),
            Kind::Exporter => self.exporters.contains_key(id),
            Kind::Connector => self.connectors.contains_key(id),
            Kind::Extension => self.extensions.contains_key(id),
        }
    }

    /// The extensions that a component names in its configuration; none if it is not defined.
    pub(crate) fn references(&self, kind: Kind, id: &ComponentId) -> Vec<Reference> {
        let found = match kind {
            Kind::Receiver => self.receivers.get(id).map(|recipe| recipe.references()),
            Kind::Processor => self.processors.get(id).map(|recipe| recipe.references()),
            Kind::Exporter => self.exporters.get(id).map(|recipe| recipe.references()),
            Kind::Connector => self.connectors.get(id).map(|recipe| recipe.references()),
            Kind::Extension => self.extensions.get(id).map(|recipe| recipe.references()),
        };
        found.unwrap_or_default()
    }

    /// The addresses that a component takes; none if it is not defined.
    pub(crate) fn listeners(&self, kind: Kind, id: &ComponentId) -> Vec<Listener> {
        let found = match kind {
            Kind::Receiver => self.receivers.get(id).map(|recipe| recipe.listeners()),
            Kind::Processor => self.processors.get(id).map(|recipe| recipe.listeners()),
            Kind::Exporter => self.exporters.get(id).map(|recipe| recipe.listeners()),
            Kind::Connector => self.connectors.get(id).map(|recipe| recipe.listeners()),
            Kind::Extension => self.extensions.get(id).map(|recipe| recipe.listeners()),
        };
        found.unwrap_or_default()
    }

    /// The effective configuration of a component; `None` if it is not defined, or has no JSON form.
    fn effective(&self, kind: Kind, id: &ComponentId) -> Option<Value> {
        let effective = match kind {
            Kind::Receiver => self.receivers.get(id)?.effective(),
            Kind::Processor => self.processors.get(id)?.effective(),
            Kind::Exporter => self.exporters.get(id)?.effective(),
            Kind::Connector => self.connectors.get(id)?.effective(),
            Kind::Extension => self.extensions.get(id)?.effective(),
        };
        effective.ok()
    }

    /// The ids of a kind, sorted.
    pub(crate) fn ids(&self, kind: Kind) -> Vec<&ComponentId> {
        match kind {
            Kind::Receiver => self.receivers.keys().collect(),
            Kind::Processor => self.processors.keys().collect(),
            Kind::Exporter => self.exporters.keys().collect(),
            Kind::Connector => self.connectors.keys().collect(),
            Kind::Extension => self.extensions.keys().collect(),
        }
    }
}

impl ServiceSection {
    /// Whether a pipeline or `service::extensions` names a component.
    pub(crate) fn uses(&self, kind: Kind, id: &ComponentId) -> bool {
        let any = |uses: &dyn Fn(&Pipeline) -> bool| self.pipelines.values().any(uses);
        match kind {
            Kind::Receiver => any(&|pipeline| pipeline.receivers.contains(id)),
            Kind::Processor => any(&|pipeline| pipeline.processors.contains(id)),
            Kind::Exporter => any(&|pipeline| pipeline.exporters.contains(id)),
            Kind::Connector => {
                any(&|pipeline| pipeline.receivers.contains(id) || pipeline.exporters.contains(id))
            }
            Kind::Extension => self.extensions.contains(id),
        }
    }
}

impl Pipeline {
    /// Receivers and connectors that bring telemetry in, each once.
    pub(crate) fn receivers(&self) -> impl Iterator<Item = &ComponentId> {
        each_once(&self.receivers)
    }

    /// Processors in the order of the flow.
    pub(crate) fn processors(&self) -> impl Iterator<Item = &ComponentId> {
        self.processors.iter()
    }

    /// Exporters and connectors that take telemetry on, each once.
    pub(crate) fn exporters(&self) -> impl Iterator<Item = &ComponentId> {
        each_once(&self.exporters)
    }
}

fn each_once(ids: &[ComponentId]) -> impl Iterator<Item = &ComponentId> {
    let mut seen = BTreeSet::new();
    ids.iter().filter(move |id| seen.insert(*id))
}

fn insert_section<R: Role>(
    root: &mut Map<String, Value>,
    defined: &Defined<R>,
) -> Result<(), serde_json::Error> {
    if !defined.is_empty() {
        let section = defined.iter().map(|(id, recipe)| Ok((id.to_string(), recipe.effective()?)));
        root.insert(
            R::KIND.section().into(),
            Value::Object(section.collect::<Result<_, serde_json::Error>>()?),
        );
    }
    Ok(())
}
