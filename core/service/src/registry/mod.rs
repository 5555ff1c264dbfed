//! The component types of a program.

mod entry;
mod recipe;
mod role;
mod schema;

use std::sync::Arc;

use spanbridge_component::{
    ConnectorFactory, Descriptor, ExporterFactory, ExtensionFactory, Kind, ProcessorFactory, ReceiverFactory,
    Signal,
};

pub(crate) use entry::{Checks, Entry};
pub(crate) use recipe::Recipe;
pub(crate) use role::{Connectors, Exporters, Extensions, Processors, Receivers, Role};

use entry::TypedEntry;
use role::Factory;

/// The component types of a program: one call a type, so that the list of a program is in one visible place.
#[derive(Default)]
pub struct Registry {
    pub(crate) receivers: Types<Receivers>,
    pub(crate) processors: Types<Processors>,
    pub(crate) exporters: Types<Exporters>,
    pub(crate) connectors: Types<Connectors>,
    pub(crate) extensions: Types<Extensions>,
}

/// The types of one kind.
pub(crate) struct Types<R: Role>(Vec<Arc<dyn Entry<R>>>);

/// A registered type, as `components` prints it.
#[derive(Debug, Clone)]
pub struct Registered {
    /// Its kind.
    pub kind: Kind,
    /// The constant facts about it.
    pub descriptor: Descriptor,
    /// The crate it comes from.
    pub module: &'static str,
    /// For connectors, which signals it turns into which.
    pub connections: Vec<(Signal, Signal)>,
}

impl Registry {
    /// No types yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a type of receivers.
    #[must_use]
    pub fn receiver(mut self, factory: impl ReceiverFactory) -> Self {
        self.receivers.add(factory);
        self
    }

    /// Adds a type of processors.
    #[must_use]
    pub fn processor(mut self, factory: impl ProcessorFactory) -> Self {
        self.processors.add(factory);
        self
    }

    /// Adds a type of exporters.
    #[must_use]
    pub fn exporter(mut self, factory: impl ExporterFactory) -> Self {
        self.exporters.add(factory);
        self
    }

    /// Adds a type of connectors.
    #[must_use]
    pub fn connector(mut self, factory: impl ConnectorFactory) -> Self {
        self.connectors.add(factory);
        self
    }

    /// Adds a type of extensions.
    #[must_use]
    pub fn extension(mut self, factory: impl ExtensionFactory) -> Self {
        self.extensions.add(factory);
        self
    }

    /// Every type of a kind, sorted by name.
    pub fn registered(&self, kind: Kind) -> Vec<Registered> {
        let mut all = match kind {
            Kind::Receiver => self.receivers.registered(),
            Kind::Processor => self.processors.registered(),
            Kind::Exporter => self.exporters.registered(),
            Kind::Connector => self.connectors.registered(),
            Kind::Extension => self.extensions.registered(),
        };
        all.sort_by_key(|registered| registered.descriptor.type_name);
        all
    }

    /// The JSON schema of a whole configuration made of these types.
    pub fn schema(&self) -> serde_json::Value {
        schema::of(self)
    }
}

// === impl Types ===

impl<R: Role> Types<R> {
    fn add(&mut self, factory: impl Factory<R>) {
        self.0.push(Arc::new(TypedEntry(Arc::new(factory))));
    }

    /// All types.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<dyn Entry<R>>> {
        self.0.iter()
    }

    /// The type of a name or alias.
    pub(crate) fn find(&self, name: &str) -> Option<&Arc<dyn Entry<R>>> {
        let by_name = self.0.iter().find(|entry| entry.descriptor().type_name == name);
        by_name.or_else(|| self.0.iter().find(|entry| entry.descriptor().aliases.contains(&name)))
    }

    /// The names that configurations should use, sorted.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.0.iter().map(|entry| entry.descriptor().type_name).collect();
        names.sort_unstable();
        names
    }

    fn registered(&self) -> Vec<Registered> {
        self.0
            .iter()
            .map(|entry| Registered {
                kind: R::KIND,
                descriptor: entry.descriptor(),
                module: entry.module(),
                connections: connections(entry.as_ref()),
            })
            .collect()
    }
}

impl<R: Role> Default for Types<R> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

fn connections<R: Role>(entry: &dyn Entry<R>) -> Vec<(Signal, Signal)> {
    let pairs = Signal::ALL.into_iter().flat_map(|input| Signal::ALL.map(|output| (input, output)));
    pairs.filter(|(input, output)| entry.connects(*input, *output)).collect()
}
